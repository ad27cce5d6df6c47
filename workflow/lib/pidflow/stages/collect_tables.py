"""Stage ``collect_pid``: everything a run found, as tidy tables, and the claims judged on them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from pidflow.analysis import baselines, claims, dependence, predicted, tables
from pidflow.analysis.decompositions import warning
from pidflow.analysis.reach import Reach
from pidflow.errors import DataError
from pidflow.files.store import Identity, read_json, read_table, reading_h5, take, write_table
from pidflow.names import INTACT, OWN, TARGETS, analysis_of, layer_name
from pidflow.pid.records import from_json
from pidflow.pid.results import Decomposition
from pidflow.stages._scores import read_scores
from pidflow.stats import Estimate

log = logging.getLogger(__name__)

Unit = tuple[str, str, str]
_ANSWERS = ("item_id", "image_id", "predicted", "correct", "probability", "answer_probability", "uncut", "control")
# Where a flow file keeps the latents of each block of columns, in the order of its diagnostics.
_BLOCKS = {"vision": "z1", "language": "z2", "target": "y"}


def run(
    *,
    pid: Sequence[str],
    answers: Sequence[str],
    blind_answers: Sequence[str] = (),
    flows: Sequence[str],
    pid_table: Sequence[str],
    differences_table: Sequence[str],
    answers_table: Sequence[str],
    lens_table: Sequence[str],
    gaussianity_table: Sequence[str],
    dependence_table: Sequence[str],
    claims_table: Sequence[str],
    pca: Sequence[str] = (),
    baselines_table: Sequence[str] = (),
    predictions_table: Sequence[str] = (),
    knockout: str | None,
    blind: str | None = None,
    unasked: str | None = None,
    control: str | None = None,
    controls: Mapping[str, str] | None = None,
    claim_estimators: Sequence[str] = ("flow",),
    claim_definitions: Sequence[str] = ("broja",),
) -> None:
    """Collect a run into tables.

    Parameters
    ----------
    pid
        Decompositions, one JSON file per layer of each unit.
    answers, flows
        Answers (parquet) and latents (HDF5), one file per unit, named ``…/{model}/{task}/{condition}.…``.
    blind_answers
        Answers of conditions of which nothing else was run.
    pid_table, differences_table, answers_table, lens_table, gaussianity_table, dependence_table, claims_table
        Where each table goes, usually one parquet and one csv file; README says what the columns mean.
    pca
        Principal scores, one file a unit, which linear probes start from.
    baselines_table, predictions_table
        Likewise; see :mod:`pidflow.analysis.baselines` and :mod:`pidflow.analysis.predicted`.
    knockout
        The condition in which the question cannot attend to the image; None if the run has none.
    blind
        The condition in which nothing after the image can attend to it; None if it was not measured.
    unasked
        The condition in which nothing after the question can attend to it; None if it was not measured.
    control
        The random control of ``knockout``, in the run or not; None if none is defined.
    controls
        Conditions of the run, each with its control in the run.
    claim_estimators, claim_definitions
        Claims are judged once for each pair, and those about conditions for each target they were decomposed against.

    Raises
    ------
    DataError
        When a file is damaged, of another version, or given twice.
    """
    decomposed = [each for path in pid for each in _decompositions(path)]
    answered, unseen = (
        {_unit(path): read_table(path, columns=_ANSWERS, expected=_about(path)) for path in paths}
        for paths in (answers, blind_answers)
    )
    known = answered | unseen
    lost = _lost(known, blind)
    reached = {unit: Reach.of(frame) for unit, frame in known.items()}
    targets = sorted({each.target for each in decomposed} | {OWN}, key=TARGETS.index)
    chosen = [
        {"estimator": estimator, "definition": definition, "target": target}
        for estimator in claim_estimators
        for definition in claim_definitions
        for target in targets
    ]
    judged = [
        claim
        for each in chosen
        for claim in claims.judge(decomposed, lost, knockout=knockout, control=control, reached=reached, **each)
    ]
    effects = [dependence.dependence_table(decomposed, lost, knockout=knockout, **each) for each in chosen]
    _report(decomposed, judged, claim_estimators)
    _write(pid_table, tables.pid_table(decomposed))
    _write(differences_table, tables.difference_table(decomposed, controls, reached))
    _write(answers_table, tables.answers_table(known, decomposed))
    _write(lens_table, tables.lens_table(answered))
    _write(gaussianity_table, tables.gaussianity_table(entry for path in flows for entry in _diagnostics(path)))
    _write(dependence_table, pd.concat(effects, ignore_index=True))
    _write(claims_table, claims.claims_table(judged))
    if baselines_table:
        taken = dict(zip(baselines.LOST, (lost, _lost(known, unasked)), strict=True))
        beside = _baselines(decomposed, pca, answered, taken, chosen)
        _write(baselines_table, beside)
        # What is lost without image or question is a baseline, and would predict itself.
        cuts = {unit: frame for unit, frame in known.items() if unit[2] not in (blind, unasked)}
        _write(predictions_table, predicted.prediction_table(beside, _effects(cuts)))


def _lost(known: Mapping[Unit, pd.DataFrame], without: str | None) -> dict[tuple[str, str], Estimate]:
    """Accuracy lost under a condition, by model and task."""
    return {
        (model, task): tables.accuracy_lost(known[model, task, INTACT], frame)
        for (model, task, condition), frame in known.items()
        if condition == without and (model, task, INTACT) in known
    }


def _effects(answered: Mapping[Unit, pd.DataFrame]) -> dict[Unit, dict[str, float]]:
    """Change of accuracy and of the probability of the right answer under each condition, by unit."""
    out = {}
    for (model, task, condition), frame in answered.items():
        intact = answered.get((model, task, INTACT))
        if condition == INTACT or intact is None:
            continue
        both = intact.merge(frame, on="item_id", suffixes=("", "_cut"), validate="one_to_one")
        out[model, task, condition] = {
            "accuracy": float((both["correct_cut"].astype(float) - both["correct"]).mean()),
            "answer_probability": float((both["answer_probability_cut"] - both["answer_probability"]).mean()),
        }
    return out


def _baselines(
    decomposed: Sequence[Decomposition],
    pca: Sequence[str],
    answered: Mapping[Unit, pd.DataFrame],
    lost: Mapping[str, Mapping[tuple[str, str], Estimate]],
    chosen: Sequence[Mapping[str, str]],
) -> pd.DataFrame:
    """Atoms beside linear probes of what the model said in the same condition."""
    probes, frequent = {}, {}
    for path in pca:
        unit = _unit(path)
        scores = read_scores(path, dict(zip(("model", "task", "condition"), unit, strict=True)))
        said = answered[unit].set_index("item_id")["predicted"].reindex(_items(path)).to_numpy()
        probed = baselines.probed(scores.vision, scores.language, said, folds=scores.folds, images=scores.images)
        probes[unit] = dict(zip(scores.layers, probed, strict=True))
        frequent[unit] = float(np.bincount(np.unique(said.astype(str), return_inverse=True)[1]).max() / len(said))
    own = [each for each in decomposed if each.target == OWN]
    found = [
        baselines.baselines_table(own, probes, lost, frequent, estimator=estimator, definition=definition)
        for estimator, definition in dict.fromkeys((each["estimator"], each["definition"]) for each in chosen)
    ]
    return pd.concat(found, ignore_index=True)


def _items(path: str) -> np.ndarray:
    """Questions of the rows of a file of principal scores."""
    with reading_h5(path, kind="pca") as file:
        return take(file, "item_id")


def _decompositions(path: str) -> list[Decomposition]:
    """The decompositions of one layer, which must be those that the path names."""
    found = from_json(read_json(path, expected=_about(Path(path).parent)), where=path)
    *unit, name = Path(path).with_suffix("").parts[-4:]
    for each in found:
        analysis = analysis_of(each.condition, each.target)
        if [each.model, each.task, analysis, layer_name(each.layer)] != [*unit, name]:
            raise DataError(
                f"{path}: holds layer {each.layer} of {each.model}/{each.task}/{analysis}, not what its path "
                "says; delete the file and run again"
            )
    return found


def _about(path: str | Path) -> Identity:
    return Identity(*_unit(path))


def _unit(path: str | Path) -> Unit:
    """Model, task and condition, which are the last parts of the path of any file of a unit."""
    parts = Path(path).with_suffix("").parts[-3:]
    if len(parts) < 3:
        raise DataError(f"{path}: expected a path that ends in model/task/condition, so that rows can be told apart")
    return parts[0], parts[1], parts[2]


def _diagnostics(path: str) -> Iterator[tuple[Unit, int, dict[str, int], dict[str, np.ndarray]]]:
    with reading_h5(path, kind="flow", expected=_about(path)) as file:
        for name in sorted(file):
            if not name.startswith("layer-") or "diagnostics" not in file[name]:
                continue
            group, values = file[name], {}

            def collect(key: str, entry: h5py.HLObject, values: dict = values) -> None:
                if isinstance(entry, h5py.Dataset) and np.issubdtype(entry.dtype, np.number):
                    values[key] = entry[()]

            group["diagnostics"].visititems(collect)
            widths = {block: group[latents].shape[1] for block, latents in _BLOCKS.items()}
            yield _unit(path), int(name.removeprefix("layer-")), widths, values


def _write(paths: Sequence[str], frame: pd.DataFrame) -> None:
    for path in paths:
        write_table(path, frame)
        log.info("%s: %d rows", path, len(frame))


def _report(decomposed: Sequence[Decomposition], judged: Sequence[claims.Claim], estimators: Sequence[str]) -> None:
    flagged = sum(bool(warning(each)) for each in decomposed)
    if flagged:
        log.warning("%d of %d decompositions carry warnings, see column 'warning'", flagged, len(decomposed))
    if not judged:
        log.warning("no claim was judged: no decomposition has one of the estimators %s", ", ".join(estimators))
    for claim in judged:
        if claim.task == claims.ALL_TASKS:
            log.info("%s, %s: %s. %s", claim.model, claim.id, claim.verdict, claim.reason)
