"""Stage ``fit_pca``: principal components of every layer and block, over the questions that are kept."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd

from pidflow.errors import DataError, PidflowError
from pidflow.files.store import (
    Activations,
    Identity,
    checksum_of,
    digest_of,
    put,
    read_table,
    reading_activations,
    table_identity,
    to_json,
    writing_h5,
)
from pidflow.flows.pca import PrincipalBasis, Rows, fit_pca
from pidflow.names import INTACT, OWN, analysis_of, condition_and_target, layer_name

log = logging.getLogger(__name__)


def run(
    *,
    activations: str,
    answers: str,
    output: str,
    correct_only: bool,
    language: str,
    variance: float,
    max_components: int,
    target_components: int,
    seed: int,
    unit: Mapping[str, str] | None = None,
    target: str | None = None,
) -> None:
    """Reduce one unit's activations to principal scores.

    Parameters
    ----------
    activations
        Activation file of this condition.
    answers
        Answers of the intact model: with ``correct_only`` they decide, for every condition, which questions are kept.
    output
        HDF5 with, per layer, the bases and scores of ``vision`` and ``language``, and those of the target.
    correct_only
        Keep the questions that the intact model answers correctly.
    language
        The block read as the language source: ``text``, ``question`` or ``last``.
    variance, max_components
        As in :func:`pidflow.flows.pca.fit_pca`, for the sources.
    target_components
        Cap for the target.
    seed
        Recorded; nothing here is random.
    unit
        Model, task and condition that the activations must be about; None: any. The condition may name a target
        (:func:`pidflow.names.analysis_of`).
    target
        Activation file of the intact model, when its target takes the place of this condition's own.

    Raises
    ------
    DataError
        If the activations are about another unit, if answers and activations were not made from the same model, prompt,
        precision, settings and questions, or if no question is kept.
    """
    asked = Identity(**(unit or {}))
    if asked.condition is not None:
        asked = replace(asked, condition=condition_and_target(asked.condition)[0])
    intact = read_table(answers, columns=("item_id", "correct"))
    settings = {"variance": variance, "max_components": max_components}
    chosen = {**settings, "correct_only": correct_only, "language": language, "target": target_components}
    with ExitStack() as stack:
        data = stack.enter_context(reading_activations(activations, expected=asked))
        of_answers = table_identity(answers)
        of_answers.check(replace(asked, condition=INTACT), where=answers)
        of_answers.check_comparable(data.identity, where=answers, other_where=activations)
        goals = data if target is None else stack.enter_context(_intact(data, target, activations))
        sources = [checksum_of(activations), *([] if target is None else [checksum_of(target)])]
        analysis = analysis_of(data.attrs["condition"], OWN if target is None else INTACT)
        identity = replace(
            data.identity,
            condition=analysis,
            settings=digest_of([data.identity.settings, chosen]),
            made_from=sources[0] if target is None else digest_of(sources),
        )
        with writing_h5(output, kind="pca", identity=identity) as file:
            rows = _kept(intact, data.item_id, correct_only=correct_only, answers=answers, activations=activations)
            _write(
                file, data, goals, rows, activations, language=language, target_components=target_components, **settings
            )
            file.attrs.update(
                {name: data.attrs[name] for name in ("model", "task", "layers")}
                | {"stored_layers": to_json(data.stored, indent=None)}
                | {
                    "condition": analysis,
                    "language": language,
                    "correct_only": correct_only,
                    "dropped": data.n - len(rows),
                    "seed": seed,
                }
                | settings
            )


@contextmanager
def _intact(data: Activations, target: str, activations: str) -> Iterator[Activations]:
    """What the intact model says to the same questions."""
    intact_unit = Identity(data.identity.model, data.identity.task, INTACT)
    with reading_activations(target, expected=intact_unit) as intact:
        intact.identity.check_comparable(data.identity, where=target, other_where=activations)
        if list(intact.item_id) != list(data.item_id):
            raise DataError(
                f"{target} and {activations} are not about the same questions in the same order "
                f"({intact.n} and {data.n} rows); delete both and run again"
            )
        yield intact


def _write(
    file,
    data: Activations,
    goals: Activations,
    rows: np.ndarray,
    source: str,
    *,
    language: str,
    target_components: int,
    **settings,
):
    """Bases and scores of every layer and of the target, over the rows that are kept."""
    log.info("%d of %d questions kept, %d answered wrongly and dropped", len(rows), data.n, data.n - len(rows))
    for name in ("item_id", "image_id", "fold"):
        put(file, name, getattr(data, name)[rows])
    put(file, "rows", rows)
    for layer in data.stored:
        for part, block in (("vision", "vision"), ("language", language)):
            _reduce(file, f"{layer_name(layer)}/{part}", data.state_rows(layer, block, rows), source, **settings)
    _reduce(file, "target", goals.target_rows(rows), source, **settings | {"max_components": target_components})


def _kept(
    intact: pd.DataFrame, item_id: np.ndarray, *, correct_only: bool, answers: str, activations: str
) -> np.ndarray:
    if list(intact["item_id"]) != list(item_id):
        raise DataError(
            f"{answers} and {activations} are not about the same questions in the same order "
            f"({len(intact)} and {len(item_id)} rows); delete both and run again"
        )
    rows = np.flatnonzero(intact["correct"]) if correct_only else np.arange(len(intact))
    if len(rows) == 0:
        raise DataError(
            f"{answers}: none of {len(intact)} questions was answered correctly, so correct_only keeps nothing; "
            "set pca.correct_only to false or check the model and its prompt"
        )
    return rows


def _reduce(file, where: str, block: Rows, source: str, **settings) -> PrincipalBasis:
    try:
        basis = fit_pca(block, **settings)
    except PidflowError as error:
        raise type(error)(f"{source}: {where}: {error}") from error
    put(file, f"{where}/mean", basis.mean)
    put(file, f"{where}/components", basis.components)
    put(file, f"{where}/explained_variance_ratio", basis.explained_variance_ratio)
    put(file, f"{where}/scores", basis.scores(block))
    if basis.note:
        log.warning("%s: %s", where, basis.note)
    log.debug("%s: %d components hold %.3f of the variance", where, *_summary(basis))
    return basis


def _summary(basis: PrincipalBasis) -> tuple[int, float]:
    return len(basis.components), float(basis.explained_variance_ratio.sum())
