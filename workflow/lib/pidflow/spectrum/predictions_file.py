"""Predictions on disk: ``results/predictions/{model}/{task}.h5``, one writer and one reader.

The file holds ``item_id, image_id, fold, training, answer`` ``(n,)``, ``options`` ``(n, K)`` (text, empty beyond a
question's own), ``token_ids`` ``(n, K, T)``, ``bare_ids`` ``(n, K)``, ``sources/vision`` and ``sources/language`` ``(n,
d)``, ``about`` (JSON); for each pass ``passes/{name}[/{replacement}]/`` with ``begins``, ``sequence``, ``bare``
``(D, n, K)``, ``greedy`` ``(D, n)`` and ``lens/{variant}`` ``(D, L + 1, n, K)``.
"""

import json
from pathlib import Path

import h5py
import numpy as np

from pidflow.errors import DataError
from pidflow.files import store
from pidflow.spectrum.predictions import Pass, Predictions, checked
from pidflow.spectrum.words import REPLACEMENTS

KIND = "predictions"
_COLUMNS = ("item_id", "image_id", "fold", "training", "answer")


def write_predictions(path: str | Path, predictions: Predictions, *, identity: store.Identity | None = None) -> None:
    """Write predictions; the file is whole or absent.

    Raises
    ------
    DataError
        If the predictions contradict themselves (see :func:`pidflow.spectrum.predictions.checked`).
    """
    checked(predictions, where=str(path))
    most = predictions.offered.shape[1]
    texts = [[*each, *[""] * (most - len(each))] for each in predictions.options]
    with store.writing_h5(path, kind=KIND, identity=identity, attrs={"vocabulary": predictions.vocabulary}) as file:
        for name in _COLUMNS:
            store.put(file, name, getattr(predictions, name))
        store.put(file, "options", np.array(texts, dtype=object))
        store.put(file, "token_ids", predictions.token_ids.astype(np.int64))
        store.put(file, "bare_ids", predictions.bare_ids.astype(np.int64))
        store.put(file, "about", np.array([store.to_json(dict(predictions.about), indent=None)], dtype=object))
        for name in ("vision", "language"):
            store.put(file, f"sources/{name}", getattr(predictions, name).astype(np.float32))
        for key, each in predictions.passes.items():
            store.put(file, f"passes/{key}/greedy", each.greedy.astype(np.int64))
            for name, values in each.arrays().items():
                store.put(file, f"passes/{key}/{name}", values.astype(np.float32))


def read_predictions(path: str | Path, *, expected: store.Identity | None = None) -> Predictions:
    """Predictions of a file that :func:`write_predictions` or an import wrote.

    Raises
    ------
    DataError
        If the file is missing, damaged, about something else than `expected`, or contradicts itself.
    """
    with store.reading_h5(path, kind=KIND, expected=expected) as file:
        columns = {name: store.take(file, name) for name in _COLUMNS}
        n = len(columns["item_id"])
        options = store.take(file, "options", shape=(n, None))
        most = options.shape[1]
        predictions = Predictions(
            **columns | {"training": columns["training"].astype(bool)},
            options=tuple(tuple(each for each in row if each) for row in options),
            token_ids=store.take(file, "token_ids", shape=(n, most, None)),
            bare_ids=store.take(file, "bare_ids", shape=(n, most)),
            vision=store.take(file, "sources/vision", shape=(n, None)).astype(np.float64),
            language=store.take(file, "sources/language", shape=(n, None)).astype(np.float64),
            passes={each.key: each for each in _passes(file)},
            vocabulary=int(file.attrs["vocabulary"]),
            about=_about(path, file),
        )
    return checked(predictions, where=str(path))


def _about(path: str | Path, file: h5py.File) -> dict:
    try:
        return json.loads(store.take(file, "about", shape=(1,))[0])
    except ValueError as err:
        raise DataError(f"{path}: 'about' is not JSON ({err}); delete it and run again") from err


def _passes(file: h5py.File) -> list[Pass]:
    found = []
    for name, group in file["passes"].items():
        inner = {None: group} if "greedy" in group else {each: group[each] for each in REPLACEMENTS if each in group}
        found += [_pass(name, replacement, each) for replacement, each in inner.items()]
    return found


def _pass(name: str, replacement: str | None, group: h5py.Group) -> Pass:
    draws = group["greedy"].shape[0]
    return Pass(
        name=name,
        replacement=replacement,
        **{each: store.take(group, each, shape=(draws, None, None)).astype(np.float64) for each in _SCORED},
        greedy=store.take(group, "greedy", shape=(draws, None)),
        lens={
            variant: store.take(group, f"lens/{variant}", shape=(draws, None, None, None)).astype(np.float64)
            for variant in group.get("lens", ())
        },
    )


_SCORED = ("begins", "sequence", "bare")
