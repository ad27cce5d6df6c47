"""What the stages after ``fit_pca`` read of a unit: the principal scores of all its layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from pidflow.files.store import Identity, checksum_of, identity_of, reading_h5, stored_layers, take
from pidflow.names import layer_name

_PLACE = ("model", "task", "condition", "layers")


@dataclass(frozen=True)
class Scores:
    """Principal scores of one unit.

    Attributes
    ----------
    identity
        What the file is about and was made from.
    attrs
        Root attributes of the file: model, task, condition, layers, language, dropped, ...
    layers
        Numbers of the layers.
    images, folds
        Image and fold of each row, shape ``(n,)``.
    vision, language
        One array ``(n, d)`` a layer.
    target
        Shape ``(n, m)``, the same for all layers.
    """

    identity: Identity
    attrs: dict[str, Any]
    layers: tuple[int, ...]
    images: np.ndarray
    folds: np.ndarray
    vision: list[np.ndarray]
    language: list[np.ndarray]
    target: np.ndarray

    def of_layer(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vision, language and target of one layer."""
        place = self.layers.index(layer)
        return self.vision[place], self.language[place], self.target

    @property
    def place(self) -> dict[str, Any]:
        """What states which unit this is, for the attributes of files made from it."""
        return place_of(self.attrs)


def place_of(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a file that say which unit it is about and which layers it has, for files made from it."""
    return {name: attrs[name] for name in _PLACE} | {name: attrs[name] for name in ("stored_layers",) if name in attrs}


def leave_out(file: h5py.File, layer: str) -> None:
    """Mark in a file of flows or twins that it has none of a layer, whose rows are codes or clusters."""
    file.create_group(layer).attrs["discrete"] = True


def left_out(file: h5py.File, layer: str) -> bool:
    """Whether :func:`leave_out` marked the layer."""
    return layer in file and "discrete" in file[layer].attrs


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
        attrs = place_of(file.attrs) | {name: file.attrs[name] for name in ("language", "dropped")}
        attrs = {name: value.item() if isinstance(value, np.generic) else value for name, value in attrs.items()}
        images, layers = take(file, "image_id"), stored_layers(attrs)
        rows = (len(images), None)
        vision, language = (
            [take(file, f"{layer_name(layer)}/{source}/scores", shape=rows) for layer in layers]
            for source in ("vision", "language")
        )
        return Scores(
            identity=identity_of(file),
            attrs=attrs,
            layers=layers,
            images=images,
            folds=take(file, "fold", shape=(len(images),)),
            vision=vision,
            language=language,
            target=take(file, "target/scores", shape=rows),
        )
