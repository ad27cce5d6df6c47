"""Tidy tables of a run: one row a number, with its 95 % interval and what speaks against believing it.

A decomposition record (the content of one ``layer-XX.json``) becomes one `Cell` per route and definition; every table
about information is made of cells. All informations are in bits, shares are fractions of the joint information.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.errors import DataError

ATOMS = ("redundancy", "unique_vision", "unique_language", "synergy")
INFORMATIONS = ("mi_vision", "mi_language", "mi_joint")
QUANTITIES = (*ATOMS, *INFORMATIONS)
INTACT = "intact"
SCHEMA_VERSION = 2
MISSED = "missed information"
CLIPPED = "clipped"
TWIN = "wrong in the planted twin"

PLACE = ("model", "task", "condition", "layer", "route", "definition")
PID_COLUMNS = (
    *(*PLACE, "atom", "bits", "se", "low", "high"),
    *("share", "share_se", "share_low", "share_high", "p_value", "missed_bits", "n", "groups", "clipped", "missed"),
    *("twin_error", "twin_failed", "warning"),
)
DIFFERENCE_COLUMNS = (
    *(*PLACE, "atom", "bits", "se", "low", "high"),
    *("z", "paired", "warning"),
    *("control", "control_bits", "control_se", "control_low", "control_high"),
    *("net_bits", "net_se", "net_low", "net_high"),
)
ANSWER_COLUMNS = (
    *("model", "task", "condition", "n", "accuracy", "accuracy_se", "accuracy_low", "accuracy_high", "probability"),
    *("answer_probability", "rows_decomposed", "rows_dropped"),
    *("accuracy_lost", "accuracy_lost_se", "accuracy_lost_low", "accuracy_lost_high"),
)
LENS_COLUMNS = ("model", "task", "condition", "layer", "probability", "se", "low", "high")
GAUSSIANITY_COLUMNS = ("model", "task", "condition", "layer", "block", "at", "statistic", "value")

UNKNOWN = stats.Estimate(np.nan, np.nan, np.nan)
# How the four atoms make up the informations; replicates of the informations follow from those of the atoms.
_SUMS = {
    "mi_vision": ("redundancy", "unique_vision"),
    "mi_language": ("redundancy", "unique_language"),
    "mi_joint": ATOMS,
}


@dataclass(frozen=True)
class Cell:
    """One layer of one (model, task, condition), decomposed along one route by one definition.

    Attributes
    ----------
    layer, n
        Layer number, and rows behind the estimate.
    bits, se
        Each of `QUANTITIES`, and its standard error.
    replicates
        Each of `QUANTITIES` without each of G groups of images, shape ``(G,)``.
    blocks
        Fingerprint of the groups; empty where the record has none.
    p_value, missed_bits
        Of "no information at all", and what a critic finds beyond it.
    clipped, missed
        Whether the union information was moved to the consistent range; whether information is significantly missed.
    twin_error
        Each of `QUANTITIES` as the same estimator found it in the planted twin, minus the truth there.
    twin_failed
        Quantities that it got wrong in the planted twin (:mod:`pidflow.twin`).
    warnings
        What the estimator said.
    """

    model: str
    task: str
    condition: str
    layer: int
    route: str
    definition: str
    n: int
    bits: dict[str, float]
    se: dict[str, float]
    replicates: dict[str, np.ndarray]
    blocks: str
    p_value: float
    missed_bits: float
    clipped: bool
    missed: bool
    twin_error: dict[str, float]
    twin_failed: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def place(self) -> dict[str, str | int]:
        """Where the cell belongs: the leading columns of every table."""
        return {name: getattr(self, name) for name in PLACE}

    @property
    def warning(self) -> str:
        """All that speaks against the numbers, ";" between."""
        return self._joined([f"{TWIN}: {', '.join(self.twin_failed)}"] if self.twin_failed else [])

    def warning_about(self, quantity: str) -> str:
        """All that speaks against one of `QUANTITIES`."""
        return self._joined([TWIN] if quantity in self.twin_failed else [])

    def _joined(self, twin: Sequence[str]) -> str:
        flags = [name for name, raised in ((MISSED, self.missed), (CLIPPED, self.clipped)) if raised]
        return "; ".join([*flags, *twin, *(text.replace(";", ",") for text in self.warnings)])

    def share(self, quantity: str) -> stats.Estimate:
        """A quantity as a fraction of the joint information; NaN where that is not above zero."""
        if not self.bits["mi_joint"] > 0:
            return stats.Estimate(np.nan, np.nan, len(self.replicates["mi_joint"]) - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            replicates = self.replicates[quantity] / self.replicates["mi_joint"]
        return stats.jackknife(self.bits[quantity] / self.bits["mi_joint"], replicates)


def cells(record: Mapping, *, where: str) -> list[Cell]:
    """The cells of one decomposition record; `where` names it in errors.

    Raises
    ------
    DataError
        When the record is of another version or lacks something.
    """
    version = record.get("schema_version")
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{where}: expected a decomposition of schema version {SCHEMA_VERSION}, found {version!r}; "
            "delete the file and run again"
        )
    try:
        return [
            _cell(record, route, definition)
            for route, found in record["routes"].items()
            for definition in found["definitions"]
        ]
    except KeyError as err:
        raise DataError(f"{where}: the decomposition lacks {err}; delete the file and run again") from err


def _cell(record: Mapping, route: str, definition: str) -> Cell:
    along = record["routes"][route]
    found = along["definitions"][definition]
    missed = along["missed_information"]
    replicates = {atom: np.asarray(found["jackknife"][atom], dtype=float) for atom in ATOMS}
    replicates |= {name: sum(replicates[atom] for atom in parts) for name, parts in _SUMS.items()}
    return Cell(
        model=record["model"],
        task=record["task"],
        condition=record["condition"],
        layer=int(record["layer"]),
        route=route,
        definition=definition,
        n=int(record["n"]),
        bits={atom: _number(found["atoms"][atom]) for atom in ATOMS}
        | {name: _number(along["mi"][name.removeprefix("mi_")]) for name in INFORMATIONS},
        se={atom: _number(found["se"][atom]) for atom in ATOMS}
        | {name: _number(along["mi_se"][name.removeprefix("mi_")]) for name in INFORMATIONS},
        replicates=replicates,
        blocks=str(found.get("blocks", "")),
        p_value=_number(along.get("p_value")),
        missed_bits=_number(missed["bits"]),
        clipped=bool(found["clipped"]),
        missed=bool(missed["flag"]),
        twin_error={name: found["twin"][name]["bits"] - found["twin"][name]["truth"] for name in QUANTITIES},
        twin_failed=tuple(name for name in QUANTITIES if not found["twin"][name]["passed"]),
        warnings=tuple(found.get("warnings", along.get("warnings", ()))),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def same_groups(a: Cell, b: Cell) -> bool:
    """Whether jackknife group g is the same set of images in both cells, so that errors may be paired."""
    return a.n == b.n and a.blocks == b.blocks and len(a.replicates["mi_joint"]) == len(b.replicates["mi_joint"])


def pid_table(found: Sequence[Cell]) -> pd.DataFrame:
    """Atoms and informations of every cell, one row each; columns `PID_COLUMNS`.

    Raises
    ------
    DataError
        When two cells claim the same place.
    """
    indexed(found)
    rows = []
    for cell in found:
        groups = len(cell.replicates["mi_joint"])
        for quantity in QUANTITIES:
            low, high = stats.interval(cell.bits[quantity], cell.se[quantity], groups - 1)
            share = cell.share(quantity)
            share_low, share_high = share.interval()
            rows.append(
                {
                    **cell.place,
                    "atom": quantity,
                    "bits": cell.bits[quantity],
                    "se": cell.se[quantity],
                    "low": low,
                    "high": high,
                    "share": share.value,
                    "share_se": share.se,
                    "share_low": share_low,
                    "share_high": share_high,
                    "p_value": cell.p_value,
                    "missed_bits": cell.missed_bits,
                    "n": cell.n,
                    "groups": groups,
                    "clipped": cell.clipped,
                    "missed": cell.missed,
                    "twin_error": cell.twin_error[quantity],
                    "twin_failed": quantity in cell.twin_failed,
                    "warning": cell.warning_about(quantity),
                }
            )
    return _sorted(pd.DataFrame(rows, columns=PID_COLUMNS))


def difference_table(found: Sequence[Cell], controls: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Every condition minus intact, one row a quantity; columns `DIFFERENCE_COLUMNS`.

    Where both sides deleted the same groups of images the error is the jackknife of the difference (``paired``);
    otherwise variances are added, which is too cautious for conditions that share images. Beside a condition that
    `controls` (condition to condition) gives a control stand what the control changes (``control_…``) and the condition
    minus its control (``net_…``); what speaks against the control is said in its own rows.
    """
    place = indexed(found)
    rows = []
    for cell in found:
        intact = _under(place, cell, INTACT)
        if cell.condition == INTACT or intact is None:
            continue
        control = _under(place, cell, (controls or {}).get(cell.condition))
        for quantity in QUANTITIES:
            texts = ((c.condition, c.warning_about(quantity)) for c in (cell, intact))
            change = _minus(cell, intact, quantity)
            rows.append(
                {
                    **cell.place,
                    "atom": quantity,
                    **estimate_columns(change, "bits", ""),
                    "z": change.value / change.se if change.se > 0 else np.nan,
                    "paired": same_groups(cell, intact),
                    "warning": "; ".join(f"{condition}: {text}" for condition, text in texts if text),
                    "control": "" if control is None else control.condition,
                    **estimate_columns(_minus(control, intact, quantity), "control_bits", "control_"),
                    **estimate_columns(_minus(cell, control, quantity), "net_bits", "net_"),
                }
            )
    return _sorted(pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS))


def _under(place: Mapping[tuple, Cell], cell: Cell, condition: str | None) -> Cell | None:
    """The same cell under another condition."""
    return place.get(tuple((cell.place | {"condition": condition}).values()))


def _minus(a: Cell | None, b: Cell | None, quantity: str) -> stats.Estimate:
    """A quantity of one cell minus that of another; NaN where there is none."""
    if a is None or b is None:
        return UNKNOWN
    return stats.propagate(
        lambda x, y: (x - y)[..., 0],
        [(np.array([c.bits[quantity]]), c.replicates[quantity][:, None]) for c in (a, b)],
        paired=same_groups(a, b),
    )


def estimate_columns(found: stats.Estimate, value: str, prefix: str) -> dict[str, float]:
    """An estimate as four columns: its value under that name, error and interval as ``{prefix}se, …low, …high``."""
    low, high = found.interval()
    return {value: found.value, f"{prefix}se": found.se, f"{prefix}low": low, f"{prefix}high": high}


def accuracy_lost(intact: pd.DataFrame, other: pd.DataFrame) -> stats.Estimate:
    """Accuracy of intact minus that of a condition over the questions both answered; paired, clustered by image."""
    both = intact[["item_id", "image_id", "correct"]].merge(
        other[["item_id", "correct"]], on="item_id", suffixes=("", "_other"), validate="one_to_one"
    )
    return stats.clustered_mean(both["correct"].astype(float) - both["correct_other"], both["image_id"])


def answers_table(answers: Mapping[tuple[str, str, str], pd.DataFrame], decomposed: Sequence[Cell]) -> pd.DataFrame:
    """How well and how surely each (model, task, condition) answers; columns `ANSWER_COLUMNS`.

    ``accuracy_lost`` is that of :func:`accuracy_lost`: without the image, how much the task depends on vision.
    ``rows_dropped`` are the questions that no decomposition used (wrongly answered ones, when only correct answers are
    analysed); NaN for a condition that was not decomposed.
    """
    used = {(c.model, c.task, c.condition): c.n for c in decomposed}
    rows = []
    for (model, task, condition), frame in answers.items():
        accuracy = stats.clustered_mean(frame["correct"].astype(float), frame["image_id"])
        intact = answers.get((model, task, INTACT))
        lost = UNKNOWN if condition == INTACT or intact is None else accuracy_lost(intact, frame)
        kept = used.get((model, task, condition), np.nan)
        rows.append(
            {
                "model": model,
                "task": task,
                "condition": condition,
                "n": len(frame),
                **estimate_columns(accuracy, "accuracy", "accuracy_"),
                "probability": frame["probability"].mean(),
                "answer_probability": frame["answer_probability"].mean(),
                "rows_decomposed": kept,
                "rows_dropped": len(frame) - kept,
                **estimate_columns(lost, "accuracy_lost", "accuracy_lost_"),
            }
        )
    return _sorted(pd.DataFrame(rows, columns=ANSWER_COLUMNS))


def lens_table(answers: Mapping[tuple[str, str, str], pd.DataFrame]) -> pd.DataFrame:
    """Mean logit-lens probability of the model's own answer at each layer; columns `LENS_COLUMNS`."""
    rows = []
    for unit, frame in answers.items():
        for column in frame.columns:
            if column.startswith("lens_"):
                mean = stats.clustered_mean(frame[column], frame["image_id"])
                rows.append((*unit, int(column.removeprefix("lens_")), mean.value, mean.se, *mean.interval()))
    return _sorted(pd.DataFrame(rows, columns=LENS_COLUMNS))


def gaussianity_table(
    diagnostics: Iterable[tuple[tuple[str, str, str], int, Mapping[str, int], Mapping[str, np.ndarray]]],
) -> pd.DataFrame:
    """Normality statistics before and after the flow; columns `GAUSSIANITY_COLUMNS`.

    Parameters
    ----------
    diagnostics
        Per layer: (model, task, condition), layer number, columns of each block in order, and named statistics. A name
        that starts with ``input`` or ``latent`` says where the statistic was taken, the rest of it which one it is.
        Names of the form ``…_p`` are p-values.

    Returns
    -------
    DataFrame
        A number of all blocks together has block ``all``. An array with one entry per column is averaged over each
        block; p-values become the share of columns rejected at 5 %, as statistic ``…_rejected``.
    """
    rows = []
    for unit, layer, widths, values in diagnostics:
        for name, value in values.items():
            at, _, statistic = name.replace("/", "_").partition("_")
            statistic = statistic.removeprefix("gaussianity_")
            if at not in ("input", "latent") or not statistic:
                continue
            value = np.asarray(value, dtype=float)
            if value.ndim == 0:
                rows.append((*unit, layer, "all", at, statistic, float(value)))
            elif value.shape == (sum(widths.values()),):
                rejected = statistic.endswith("_p")
                label = statistic.removesuffix("_p") + "_rejected" if rejected else statistic
                parts = np.split(value < 0.05 if rejected else value, np.cumsum(list(widths.values()))[:-1])
                for block, part in zip(widths, parts, strict=True):
                    rows.append((*unit, layer, block, at, label, float(part.mean())))
    return _sorted(pd.DataFrame(rows, columns=GAUSSIANITY_COLUMNS))


def indexed(found: Iterable[Cell]) -> dict[tuple, Cell]:
    """Cells by their place, the values of `PLACE`.

    Raises
    ------
    DataError
        When two cells claim the same place.
    """
    place: dict[tuple, Cell] = {}
    for cell in found:
        key = tuple(cell.place.values())
        if key in place:
            raise DataError(
                f"two decompositions of layer {cell.layer} of {cell.model}/{cell.task}/{cell.condition} were given; "
                "pass each file once"
            )
        place[key] = cell
    return place


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in an order that does not depend on the order of files; quantities stay in their own order."""
    keys = [name for name in PLACE if name in frame]
    return frame.sort_values(keys, kind="stable", ignore_index=True)
