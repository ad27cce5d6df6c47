"""What the stages of a probe share: the training part, statistics on disk, the model over a table of questions."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch

from pidflow.errors import ConfigError, DataError
from pidflow.files import store
from pidflow.models.probe_inputs import Fed, Part
from pidflow.spectrum.noise_check import NoiseCheck
from pidflow.spectrum.options import lettered, letters_of, offered_options, right_place
from pidflow.spectrum.replacements import Donor, PartStatistics, Statistics
from pidflow.spectrum.words import LETTERS
from pidflow.stages._questions import examples_of

log = logging.getLogger(__name__)

KIND = "probe statistics"


def training_rows(table: pd.DataFrame, folds: Sequence[int]) -> np.ndarray:
    """Boolean ``(n,)``: the rows of the training folds.

    Raises
    ------
    ConfigError
        If there are none, a fold is unknown, or nothing is left to evaluate on.
    """
    there = sorted(set(table["fold"].tolist()))
    unknown = [fold for fold in folds if fold not in there]
    if not folds or unknown or len(set(folds)) == len(there):
        problem = f"{unknown} are none of them" if unknown else "none is chosen" if not folds else "none is left over"
        raise ConfigError(
            f"spectrum.training must be some, but not all, of the folds {there} of the questions, and {problem}: "
            "statistics come from the training folds, results from the others"
        )
    return table["fold"].isin(folds).to_numpy()


def as_asked(table: pd.DataFrame, *, answers: str) -> pd.DataFrame:
    """The questions as the model gets them: with lettered options under them where letters are scored."""
    if answers != LETTERS:
        return table
    columns: dict[str, list[Any]] = {name: [] for name in ("question", "options", "offered", "answer")}
    for example in examples_of(table):
        question, letters, offered, answer = example.question, example.options, example.offered, example.answer
        if not offered:  # where the source put letters into its questions, they stay
            offered = offered_options(example.options, where=example.name)
            letters = letters_of(offered, where=example.name)
            question, place = lettered(question, offered, letters), right_place(offered, answer)
            answer = letters[place] if place >= 0 else answer
        for name, value in (("question", question), ("options", letters), ("offered", offered), ("answer", answer)):
            columns[name].append(value)
    return table.assign(**columns)


def replacements_of(
    fed: Fed,
    statistics: Statistics,
    wanted: Sequence[str],
    *,
    kind: str,
    draw: int,
    seed: int,
    asked: Sequence[Mapping[str, str]],
) -> dict[str, torch.Tensor]:
    """New tokens for some parts of a batch, in the order of their tokens.

    Parameters
    ----------
    wanted
        Names of parts.
    asked
        Per row ``item``, ``image``, ``question``.
    """
    parts = fed.parts()
    return {
        name: torch.from_numpy(_tokens(parts[name], name, statistics, kind=kind, draw=draw, seed=seed, asked=asked))
        for name in wanted
    }


def _tokens(
    part: Part, name: str, statistics: Statistics, *, asked: Sequence[Mapping[str, str]], **how: Any
) -> np.ndarray:
    counts = torch.bincount(part.rows, minlength=len(asked)).tolist()
    return np.concatenate(
        [
            statistics.replacement(how["kind"], name, count, draw=how["draw"], seed=how["seed"], **row)
            for count, row in zip(counts, asked, strict=True)
            if count
        ]
        or [np.zeros((0, part.values.shape[1]), dtype=np.float32)]
    )


def write_statistics(
    path: str | Path,
    statistics: Statistics,
    checks: Sequence[NoiseCheck],
    *,
    identity: store.Identity,
    attrs: Mapping[str, Any],
) -> None:
    """Statistics of the replacements and how far noise lies from what it stands in for, as HDF5."""
    plain = [{name: _finite(value) for name, value in asdict(each).items()} for each in checks]
    with store.writing_h5(path, kind=KIND, identity=identity, attrs={**attrs, "noise_checks": plain}) as file:
        for name, part in statistics.parts.items():
            store.put(file, f"parts/{name}/mean", part.mean)
            store.put(file, f"parts/{name}/deviation", part.deviation)
            file[f"parts/{name}"].attrs["tokens"] = part.tokens
            tokens = [each.parts[name] for each in statistics.donors]
            store.put(file, f"donors/{name}/values", np.concatenate(tokens).astype(np.float32))
            store.put(file, f"donors/{name}/counts", np.array([len(each) for each in tokens]))
        for column in ("item_id", "image_id", "question"):
            store.put(file, f"donors/{column}", [getattr(each, column) for each in statistics.donors])


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def read_statistics(path: str | Path, *, expected: store.Identity | None = None) -> tuple[Statistics, list[dict]]:
    """The statistics, and the checks of noise as plain values.

    Raises
    ------
    DataError
        If the file is missing, damaged, about something else, or contradicts itself.
    """
    with store.reading_h5(path, kind=KIND, expected=expected) as file:
        parts = {
            name: PartStatistics(
                store.take(file, f"parts/{name}/mean"),
                store.take(file, f"parts/{name}/deviation"),
                int(file[f"parts/{name}"].attrs["tokens"]),
            )
            for name in file["parts"]
        }
        columns = [store.take(file, f"donors/{name}", shape=(None,)) for name in ("item_id", "image_id", "question")]
        pieces = {name: _pieces(path, file, name, len(columns[0])) for name in parts}
        donors = tuple(
            Donor(*who, parts={name: pieces[name][place] for name in parts})
            for place, who in enumerate(zip(*columns, strict=True))
        )
        return Statistics(parts, donors), json.loads(file.attrs["noise_checks"])


def _pieces(path: str | Path, file: h5py.File, name: str, donors: int) -> list[np.ndarray]:
    counts = store.take(file, f"donors/{name}/counts", shape=(donors,))
    values = store.take(file, f"donors/{name}/values", shape=(int(counts.sum()), None))
    if not len(counts):
        raise DataError(f"{path}: holds no donors; delete it and run again")
    return np.split(values, np.cumsum(counts)[:-1])
