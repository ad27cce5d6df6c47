"""States that VLM-Lens left in SQLite, and what linear classifiers predict from them.

A database has one row a forward and layer: ``image_path`` (and ``image_id``), ``prompt``, ``label``, ``layer``,
``tensor``. It holds no predictions, so the label is predicted: from the vision layer's pooled state, the language
layer's, and both. These are what a *classifier* finds in the states, not what the model says.
"""

import io
import sqlite3
import zipfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pidflow.errors import DataError
from pidflow.groups import grouped_folds
from pidflow.spectrum.predictions import Pass, Predictions, pass_key
from pidflow.spectrum.words import JOINT, LANGUAGE_ONLY, VISION_ONLY

_NEEDED = ("prompt", "label", "layer", "tensor")
_FOLDS = 5
# Strengths of the pull to zero that are tried on held-out questions of the training part.
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, eq=False)
class States:
    """States of n questions: ``vision`` and ``language`` ``(n, d)``, labels as text, the picture each is about."""

    vision: np.ndarray
    language: np.ndarray
    labels: np.ndarray
    images: np.ndarray


def read_lens(training: str | Path, held_out: str | Path, *, vision: str, language: str, seed: int = 0) -> Predictions:
    """What linear classifiers predict from the states of two layers, learnt on the training part.

    On the training part itself predictions are cross-fitted, and no picture is on both sides.

    Raises
    ------
    DataError
        If a database is unreadable, lacks a layer, a label or a part of a question, states are of unequal length, or
        the training part has fewer than two labels.
    """
    parts = [read_states(Path(path), vision=vision, language=language) for path in (training, held_out)]
    for name in ("vision", "language"):
        widths = {getattr(part, name).shape[1] for part in parts}
        if len(widths) > 1:
            raise DataError(f"{held_out}: {name} states have {widths} numbers in the two parts; expected one model's")
    names = [label for label, _ in Counter(parts[0].labels.tolist()).most_common()]
    if len(names) < 2:
        raise DataError(f"{training}: has {len(names)} different label(s), expected at least 2 to predict")
    learnt, other = parts
    answer = np.array([names.index(each) if each in names else -1 for part in parts for each in part.labels])
    trained = np.repeat([True, False], [len(learnt.labels), len(other.labels)])
    blocks = {VISION_ONLY: ("vision",), LANGUAGE_ONLY: ("language",), JOINT: ("vision", "language")}
    n, passes = len(trained), {}
    for name, chosen in blocks.items():
        rows = [np.concatenate([getattr(part, each) for each in chosen], axis=1) for part in parts]
        p = _predicted(rows[0], answer[trained], learnt.images, rows[1], len(names), seed=seed)
        scores = np.log(np.maximum(p, 1e-300))[None]
        unknown = np.full_like(scores, np.nan)
        passes[pass_key(name)] = Pass(name, scores, unknown, scores, scores.argmax(2))
    places = np.tile(np.arange(len(names)), (n, 1))
    return Predictions(
        item_id=np.array(
            [f"{'training' if is_training else 'held-out'}-{row}" for row, is_training in enumerate(trained)],
            dtype=object,
        ),
        image_id=np.concatenate([learnt.images, other.images]),
        fold=np.where(trained, 0, 1),
        training=trained,
        options=(tuple(names),) * n,
        answer=answer,
        token_ids=places[:, :, None],
        bare_ids=places,
        vision=np.concatenate([part.vision for part in parts]),
        language=np.concatenate([part.language for part in parts]),
        passes=passes,
        vocabulary=0,
        about={
            "source": "vlm-lens",
            "predicted_by": "linear classifiers of the label, not by the model",
            "layers": {"vision": vision, "language": language},
            "token_ids": "places of the labels; the databases hold no ids",
        },
    )


def read_states(path: Path, *, vision: str, language: str) -> States:
    """States of two layers, question by question, in the order in which they were written."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; check spectrum.imports")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            columns, rows = _rows(path, database, (vision, language))
    except sqlite3.Error as err:
        raise DataError(f"{path}: not a readable SQLite database ({err})") from err
    of_layer: dict[str, list[dict[str, Any]]] = {vision: [], language: []}
    for row in rows:
        of_layer[row[columns.index("layer")]].append(dict(zip(columns, row, strict=True)))
    counts = {layer: len(found) for layer, found in of_layer.items()}
    if len(set(counts.values())) > 1 or not all(counts.values()):
        found = ", ".join(f"'{layer}' {count}" for layer, count in counts.items())
        raise DataError(f"{path}: the layers have unequal numbers of rows or none ({found}); expected one a question")
    pairs = list(zip(of_layer[vision], of_layer[language], strict=True))
    for place, (one, two) in enumerate(pairs):
        if any(one.get(name) != two.get(name) for name in ("image_path", "image_id", "prompt", "label")):
            raise DataError(
                f"{path}: row {place} of the two layers is about different questions; extract them together"
            )
        if one["label"] is None or not str(one["label"]).strip():
            raise DataError(f"{path}: row {place} has no label; give VLM-Lens a data set with a column 'label'")
    images = [
        str(one.get("image_path") or one.get("image_id") or f"row {place}") for place, (one, _) in enumerate(pairs)
    ]
    return States(
        vision=_stacked(path, vision, [one["tensor"] for one, _ in pairs]),
        language=_stacked(path, language, [two["tensor"] for _, two in pairs]),
        labels=np.array([str(one["label"]).strip() for one, _ in pairs], dtype=object),
        images=np.array(images, dtype=object),
    )


def _rows(path: Path, database: sqlite3.Connection, layers: tuple[str, str]) -> tuple[list[str], list[tuple]]:
    """The columns of the table of tensors, and its rows of two layers."""
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in tables}
    columns = {name: [row[1] for row in database.execute(f"PRAGMA table_info({quoted[name]})")] for name in tables}
    able = [name for name in tables if set(_NEEDED) <= set(columns[name])]
    if len(able) != 1:
        raise DataError(
            f"{path}: expected one table with the columns {', '.join(_NEEDED)}, found {len(able)} among "
            f"{', '.join(tables) or 'none'}"
        )
    wanted = [name for name in ("image_path", "image_id", *_NEEDED) if name in columns[able[0]]]
    there = [layer for (layer,) in database.execute(f"SELECT DISTINCT layer FROM {quoted[able[0]]}")]
    missing = [layer for layer in layers if layer not in there]
    if missing:
        raise DataError(
            f"{path}: has no layer {', '.join(map(repr, missing))}, it has: {', '.join(sorted(map(str, there))[:12])}"
        )
    chosen = f"SELECT {', '.join(wanted)} FROM {quoted[able[0]]} WHERE layer IN (?, ?) ORDER BY rowid"
    return wanted, list(database.execute(chosen, layers))


def _stacked(path: Path, layer: str, blobs: list[bytes]) -> np.ndarray:
    """One pooled state a question: the mean over tokens where they were not pooled."""
    import torch

    found = []
    for place, blob in enumerate(blobs):
        if not _holds_what_it_is(blob):
            raise DataError(
                f"{path}: tensor {place} of layer '{layer}' is no archive of torch that holds its tensor as it is; "
                "save it with torch.save"
            )
        try:  # tensors alone: whatever else a file would build is refused
            tensor = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
            values = tensor.double().reshape(-1, tensor.shape[-1]).mean(0).numpy()
        except Exception as err:  # the library raises whatever a damaged archive makes it raise
            raise DataError(f"{path}: tensor {place} of layer '{layer}' cannot be read ({type(err).__name__})") from err
        if not np.isfinite(values).all():
            raise DataError(f"{path}: tensor {place} of layer '{layer}' holds NaN or infinity")
        found.append(values)
    if len({len(values) for values in found}) > 1:
        raise DataError(f"{path}: tensors of layer '{layer}' have unequal lengths; expected one model's")
    return np.stack(found)


def _holds_what_it_is(blob: bytes) -> bool:
    """Whether bytes are an archive whose members are not compressed: what is deflated may unpack to any size."""
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, TypeError, ValueError, OSError, EOFError):
        return False
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    return stored and sum(member.file_size for member in members) <= len(blob)


def _predicted(
    rows: np.ndarray, labels: np.ndarray, images: np.ndarray, others: np.ndarray, count: int, *, seed: int
) -> np.ndarray:
    """Probabilities ``(n + m, count)``: cross-fitted for the rows learnt from, then for the others."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(chosen: np.ndarray, strength: float, asked: np.ndarray) -> np.ndarray:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        model.fit(rows[chosen], labels[chosen])
        p = np.full((len(asked), count), 1e-6)
        p[:, model[-1].classes_] = np.maximum(model.predict_proba(asked), 1e-6)
        return p / p.sum(1, keepdims=True)

    fold = grouped_folds(len(rows), folds=min(_FOLDS, len(np.unique(images.astype(str)))), groups=images, seed=seed)
    best, least = None, np.inf
    for strength in _STRENGTHS:
        crossed = np.zeros((len(rows), count))
        for each in np.unique(fold):
            chosen = fold != each
            if len(np.unique(labels[chosen])) < 2:
                raise DataError("a part of the training questions has a single label; take more questions")
            crossed[~chosen] = fitted(chosen, strength, rows[~chosen])
        loss = log_loss(labels, crossed, labels=np.arange(count))
        if loss < least:
            best, least = (strength, crossed), loss
    return np.concatenate([best[1], fitted(np.ones(len(rows), dtype=bool), best[0], others)])
