"""States of a forward pass on their way to the disk: which are stored, their file, what storage can hold."""

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pidflow.errors import ConfigError, DataError
from pidflow.files import store
from pidflow.files.writing import writing_to
from pidflow.models.capture import BLOCKS, Captured
from pidflow.names import layer_name

_PIECE = 1 << 24


@dataclass(frozen=True)
class Stored:
    """What a file of states holds of each question.

    Attributes
    ----------
    layers, blocks
        Which, in the order of the model.
    width, target_width
        Numbers a state and a target have.
    dtype
        ``float16`` or ``float32``.
    """

    layers: tuple[int, ...]
    blocks: tuple[str, ...]
    width: int
    target_width: int
    dtype: str

    @property
    def names(self) -> dict[str, int]:
        """Datasets, with the bytes of a row of each."""
        size = np.dtype(self.dtype).itemsize
        states = (f"{layer_name(layer)}/{block}" for layer in self.layers for block in self.blocks)
        return dict.fromkeys(states, self.width * size) | {"target": self.target_width * size}

    def bytes_of(self, questions: int) -> int:
        """Bytes on the disk of so many questions under one condition."""
        return questions * sum(self.names.values())

    def empty(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Room for states ``(layers, blocks, rows, width)`` and targets ``(rows, m)``."""
        shape = (len(self.layers), len(self.blocks), rows)
        return np.empty((*shape, self.width), self.dtype), np.empty((rows, self.target_width), self.dtype)

    def of(self, states: torch.Tensor) -> torch.Tensor:
        """Those of all states ``(L + 1, 4, B, width)`` that are stored."""
        blocks = [list(BLOCKS).index(block) for block in self.blocks]
        if (len(self.layers), len(blocks)) == states.shape[:2]:
            return states
        return states[list(self.layers)][:, blocks]


def chosen_blocks(wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Some of the blocks of tokens, in the order of files; None: all.

    Raises
    ------
    ConfigError
        If there is no such block, or none is asked for.
    """
    wanted = tuple(BLOCKS) if wanted is None else tuple(wanted)
    if not wanted or not set(wanted) <= set(BLOCKS):
        raise ConfigError(f"blocks must be some of {', '.join(BLOCKS)}, found {', '.join(wanted) or 'none'}")
    return tuple(block for block in BLOCKS if block in wanted)


class StatesFile:
    """States and targets of questions that follow one another, in an unfinished file where every row has its place.

    Parameters
    ----------
    path
        Made by :func:`begin`.
    first
        Which of the task's questions its first row is about.

    Raises
    ------
    DataError
        If the file is missing, cut short or another.
    """

    def __init__(self, path: str | Path, stored: Stored, *, first: int = 0) -> None:
        self.path, self.stored, self.first = Path(path), stored, first
        try:
            self.places = store.places_in(path, stored.names)
            self._file = os.open(path, os.O_RDWR)
        except (OSError, KeyError) as err:
            raise DataError(
                f"{path}: no file of states that can be gone on with ({err}); delete it and run again"
            ) from err

    def write(self, first: int, states: np.ndarray, goals: np.ndarray) -> int:
        """Put states ``(layers, blocks, rows, width)`` and targets ``(rows, m)`` from a question on; they are on the
        disk when this returns, and have the :meth:`checksum` that it gives back.
        """
        parts = [*states.reshape(-1, *states.shape[2:]), goals]
        found = 0
        with writing_to(self.path):
            for (name, size), part in zip(self.stored.names.items(), parts, strict=True):
                values = np.ascontiguousarray(part)
                found = zlib.crc32(memoryview(values).cast("B"), found)
                _put(self._file, values, self.places[name] + (first - self.first) * size)
            os.fsync(self._file)
        return found

    def checksum(self, first: int, stop: int) -> int:
        """CRC-32 of what the file holds of some questions."""
        found = 0
        for name, size in self.stored.names.items():
            place, left = self.places[name] + (first - self.first) * size, (stop - first) * size
            for done in range(0, left, _PIECE):
                found = zlib.crc32(os.pread(self._file, min(_PIECE, left - done), place + done), found)
        return found

    def copy(self, other: "StatesFile", rows: int) -> None:
        """Put all rows of another file at their places in this one."""
        with writing_to(self.path):
            for name, size in self.stored.names.items():
                here, there = self.places[name] + (other.first - self.first) * size, other.places[name]
                for done in range(0, rows * size, _PIECE):
                    piece = os.pread(other._file, min(_PIECE, rows * size - done), there + done)
                    _put(self._file, np.frombuffer(piece, np.uint8), here + done)

    def close(self) -> None:
        os.close(self._file)


def _put(file: int, values: np.ndarray, place: int) -> None:
    left = memoryview(values).cast("B")
    while left:
        written = os.pwrite(file, left, place)
        left, place = left[written:], place + written


def begin(
    path: str | Path,
    table: pd.DataFrame,
    stored: Stored,
    *,
    identity: store.Identity,
    attrs: Mapping[str, Any],
    candidates: Sequence[str] = (),
) -> None:
    """Make the file for the questions of a table, with room for all rows and with none."""
    with writing_to(path), store.unfinished_h5(path, kind="activations", identity=identity, attrs=attrs) as h5:
        for name in ("item_id", "image_id"):
            store.put(h5, name, list(table[name]))
        store.put(h5, "fold", table["fold"].to_numpy(dtype=np.int64))
        size = np.dtype(stored.dtype).itemsize
        for name, row in stored.names.items():
            store.reserve_in_place(h5, name, (len(table), row // size), stored.dtype)
        if candidates:
            h5["target"].attrs["candidates"] = store.to_json(list(candidates), indent=None)


def storable(
    captured: Captured, goal: torch.Tensor, *, stored: Stored, storage: str, dtype: str, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """States ``(layers, blocks, B, width)`` and targets ``(B, m)`` as arrays of type `storage`.

    Raises
    ------
    DataError
        Naming item and layer, if they hold what is not finite or more than `storage` can.
    """
    states = stored.of(captured.states)
    # One peak per layer and row, the target as one layer more; NaN and infinity survive the maximum.
    peaks = torch.cat([states.abs().amax((1, 3)), goal.abs().amax(1)[None]]).cpu().numpy()
    bad = np.argwhere(~(peaks <= float(np.finfo(storage).max)))
    if len(bad):
        place, row = bad[0]
        where = f"{names[row]}: {'the target' if place == len(states) else f'layer {stored.layers[place]}'}"
        if np.isfinite(peaks[place, row]):
            peak = f"reaches {peaks[place, row]:.4g}, more than {storage} can hold"
            raise DataError(f"{where} {peak}; set storage to float32")
        raise DataError(f"{where} holds NaN or infinity in {dtype}; set the model's dtype to bfloat16 or float32")
    kind = getattr(torch, storage)  # rounded on the device, half is to be copied from there
    return states.to(kind).cpu().numpy(), goal.to(kind).cpu().numpy()
