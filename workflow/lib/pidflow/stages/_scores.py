"""What the stages after ``fit_pca`` read of a unit: the principal scores of all its layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pidflow.files.store import Identity, checksum_of, identity_of, reading_h5, take
from pidflow.names import layer_name


@dataclass(frozen=True)
class Scores:
    """Principal scores of one unit.

    Attributes
    ----------
    identity
        What the file is about and was made from.
    attrs
        Root attributes of the file: model, task, condition, layers, language, dropped, ...
    images, folds
        Image and fold of each row, shape ``(n,)``.
    vision, language
        One array ``(n, d)`` a layer.
    target
        Shape ``(n, m)``, the same for all layers.
    """

    identity: Identity
    attrs: dict[str, Any]
    images: np.ndarray
    folds: np.ndarray
    vision: list[np.ndarray]
    language: list[np.ndarray]
    target: np.ndarray

    @property
    def layers(self) -> range:
        """Numbers of the layers."""
        return range(len(self.vision))

    def of_layer(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vision, language and target of one layer."""
        return self.vision[layer], self.language[layer], self.target

    @property
    def place(self) -> dict[str, Any]:
        """What says which unit this is, for the attributes of files made from it."""
        return {name: self.attrs[name] for name in ("model", "task", "condition", "layers")}


def made_from(path: str, unit: Mapping[str, str] | None = None) -> Identity:
    """What a file that was computed from another one must be about; `unit` as in :func:`read_scores`."""
    return Identity(**(unit or {}), made_from=checksum_of(path))


def read_scores(path: str, unit: Mapping[str, str] | None = None) -> Scores:
    """The scores in a file of stage ``fit_pca``.

    Parameters
    ----------
    path
        The file.
    unit
        Model, task and condition that it must be about; None: any.

    Raises
    ------
    DataError
        When the file is missing, damaged, about another unit or lacks a layer.
    """
    with reading_h5(path, kind="pca", expected=Identity(**(unit or {}))) as file:
        attrs = {name: file.attrs[name] for name in ("model", "task", "condition", "language", "dropped", "layers")}
        attrs = {name: value.item() if isinstance(value, np.generic) else value for name, value in attrs.items()}
        images = take(file, "image_id")
        rows = (len(images), None)
        vision, language = (
            [
                take(file, f"{layer_name(layer)}/{source}/scores", shape=rows)
                for layer in range(int(attrs["layers"]) + 1)
            ]
            for source in ("vision", "language")
        )
        return Scores(
            identity=identity_of(file),
            attrs=attrs,
            images=images,
            folds=take(file, "fold", shape=(len(images),)),
            vision=vision,
            language=language,
            target=take(file, "target/scores", shape=rows),
        )
