"""Files of pooled states: opened as a whole, read layer by layer."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pidflow.errors import DataError
from pidflow.files.hdf5 import find, identity_of, reading_h5, take
from pidflow.files.identity import Identity
from pidflow.names import BLOCKS, layer_name


@dataclass(frozen=True)
class Activations:
    """An open activation file.

    Attributes
    ----------
    layers
        Number of blocks L; states may be of layer 0 (embedding output) to layer L.
    stored, blocks
        Which layers and which blocks of tokens the file has the states of.
    n, width
        Rows and residual width.
    item_id, image_id, fold
        Per row, shape ``(n,)``.
    attrs
        Root attributes: prompt, target, seed, ...
    identity
        What the file is about and what it was made from.
    """

    file: h5py.File
    layers: int
    stored: tuple[int, ...]
    blocks: tuple[str, ...]
    n: int
    width: int
    item_id: np.ndarray
    image_id: np.ndarray
    fold: np.ndarray
    attrs: dict[str, Any]
    identity: Identity

    def state(self, layer: int, block: str) -> np.ndarray:
        """Pooled states ``(n, width)`` in float64 of one layer and one block of tokens.

        They are read now, and no others; ``torch.from_numpy`` makes a tensor of them without a copy.

        Raises
        ------
        DataError
            If the file has no such layer or block.
        """
        self._has(layer, block)
        return take(self.file, f"{layer_name(layer)}/{block}", shape=(self.n, self.width)).astype(np.float64)

    def state_rows(self, layer: int, block: str, rows: np.ndarray) -> "StoredRows":
        """Some rows of :meth:`state`, in rising order, as they are stored and read when they are asked for."""
        self._has(layer, block)
        return StoredRows(self.file, f"{layer_name(layer)}/{block}", rows)

    def target(self) -> np.ndarray:
        """The target ``(n, m)`` in float64."""
        return take(self.file, "target", shape=(self.n, None)).astype(np.float64)

    def target_rows(self, rows: np.ndarray) -> "StoredRows":
        """Some rows of the target, likewise."""
        return StoredRows(self.file, "target", rows)

    def _has(self, layer: int, block: str) -> None:
        if block not in self.blocks or layer not in self.stored:
            raise DataError(
                f"{self.file.filename}: asked for block '{block}' of layer {layer}; the file has the blocks "
                f"{', '.join(self.blocks)} of layers {_listed(self.stored)}"
            )


class StoredRows:
    """Rows of a dataset that stay on the disk until they are asked for.

    Attributes
    ----------
    shape
        ``(rows, width)``.
    """

    def __init__(self, file: h5py.File, name: str, rows: np.ndarray) -> None:
        self._dataset, self._rows = find(file, name), np.asarray(rows)
        self.shape = (len(self._rows), self._dataset.shape[-1])

    def between(self, start: int, stop: int) -> np.ndarray:
        """Those from one place among them to another, as they are stored."""
        wanted = self._rows[start:stop]
        if not len(wanted):
            return np.empty((0, self.shape[1]), self._dataset.dtype)
        first = wanted[0]
        try:
            return self._dataset[first : wanted[-1] + 1][wanted - first]
        except OSError as err:
            name = self._dataset.file.filename
            raise DataError(f"{name}: cannot be read ({err}); check the disk, delete the file and run again") from err


def stored_layers(attrs: Mapping[str, Any]) -> tuple[int, ...]:
    """The layers that a file has, by its attributes; a file that does not say has all."""
    named = attrs.get("stored_layers")
    return tuple(range(int(attrs["layers"]) + 1)) if named is None else tuple(json.loads(named))


@contextmanager
def reading_activations(path: str | Path, *, expected: Identity | None = None) -> Iterator[Activations]:
    """An open activation file whose layers, rows and widths agree with each other and with its attributes."""
    with reading_h5(path, kind="activations", expected=expected) as file:
        attrs = {name: value.item() if isinstance(value, np.generic) else value for name, value in file.attrs.items()}
        layers = attrs.get("layers")
        if not isinstance(layers, int) or layers < 0:
            raise DataError(
                f"{path}: attribute 'layers' is {layers!r}, expected a whole number; delete it and run again"
            )
        stored = stored_layers(attrs)
        blocks = tuple(json.loads(attrs["stored_blocks"])) if "stored_blocks" in attrs else BLOCKS
        expected = {layer_name(layer) for layer in stored}
        found = {name for name in file if name.startswith("layer-")}
        if found != expected:
            raise DataError(
                f"{path}: says {layers} blocks and layers {_listed(stored)}, but holds {len(found)} "
                f"(missing {sorted(expected - found)}, unexpected {sorted(found - expected)}); delete it and run again"
            )
        item_id = take(file, "item_id", shape=(None,))
        n = len(item_id)
        first = file.get(f"{layer_name(stored[0])}/{blocks[0]}")
        width = first.shape[-1] if isinstance(first, h5py.Dataset) and first.shape else 0
        for name in sorted(expected):
            for block in blocks:
                _check_shape(path, file, f"{name}/{block}", (n, width))
        yield Activations(
            file=file,
            layers=layers,
            stored=stored,
            blocks=blocks,
            n=n,
            width=width,
            item_id=item_id,
            image_id=take(file, "image_id", shape=(n,)),
            fold=take(file, "fold", shape=(n,)),
            attrs=attrs,
            identity=identity_of(file),
        )


def _check_shape(path: str | Path, file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    found = file[name].shape if isinstance(file.get(name), h5py.Dataset) else "nothing"
    if found != shape:
        raise DataError(
            f"{path}: '{name}' holds {found}, expected {shape}; the file contradicts itself, delete it and run again"
        )


def _listed(layers: tuple[int, ...]) -> str:
    whole = len(layers) > 1 and layers == tuple(range(layers[0], layers[-1] + 1))
    return f"{layers[0]} to {layers[-1]}" if whole else ", ".join(map(str, layers))
