"""One decomposition of one layer as every table and claim reads it, made from the record on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pidflow import stats
from pidflow.errors import DataError
from pidflow.names import ATOMS, INFORMATIONS, QUANTITIES

SCHEMA_VERSION = 2
MISSED = "missed information"
CLIPPED = "clipped"
TWIN = "wrong in the planted twin"

PLACE = ("model", "task", "condition", "layer", "estimator", "definition")
UNKNOWN = stats.Estimate(np.nan, np.nan, np.nan)
# How the four atoms make up the informations; replicates of the informations follow from those of the atoms.
_SUMS = {
    "mi_vision": ("redundancy", "unique_vision"),
    "mi_language": ("redundancy", "unique_language"),
    "mi_joint": ATOMS,
}


@dataclass(frozen=True)
class Cell:
    """One layer of one (model, task, condition), decomposed along one estimator by one definition.

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
        Quantities that it got wrong in the planted twin (:mod:`pidflow.validation.planted_twin`).
    warnings
        What the estimator said.
    """

    model: str
    task: str
    condition: str
    layer: int
    estimator: str
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
            _cell(record, estimator, definition)
            for estimator, found in record["estimators"].items()
            for definition in found["definitions"]
        ]
    except KeyError as err:
        raise DataError(f"{where}: the decomposition lacks {err}; delete the file and run again") from err


def _cell(record: Mapping, estimator: str, definition: str) -> Cell:
    along = record["estimators"][estimator]
    found = along["definitions"][definition]
    missed = along["missed_information"]
    replicates = {atom: np.asarray(found["jackknife"][atom], dtype=float) for atom in ATOMS}
    replicates |= {name: sum(replicates[atom] for atom in parts) for name, parts in _SUMS.items()}
    return Cell(
        model=record["model"],
        task=record["task"],
        condition=record["condition"],
        layer=int(record["layer"]),
        estimator=estimator,
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


def estimate_columns(found: stats.Estimate, value: str, prefix: str) -> dict[str, float]:
    """An estimate as four columns: its value under that name, error and interval as ``{prefix}se, …low, …high``."""
    low, high = found.interval()
    return {value: found.value, f"{prefix}se": found.se, f"{prefix}low": low, f"{prefix}high": high}
