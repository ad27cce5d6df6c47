"""Planted predictions: the parametric bootstrap twin of a spectrum, with atoms that are known exactly.

Each question is of one of five sorts, which both sources show: its answer is told by both, by the picture alone, by the
words alone, by their sum, or by none. How often each sort comes up follows from the atoms that were found, so that the
truth, computed exactly from the table, lies near them.
"""

import numpy as np

from pidflow.names import ATOMS, NUMBERED
from pidflow.pid.discrete import discrete_pid
from pidflow.spectrum.decompose import PredictedRows

# Labels of a planted system: its table grows with the cube.
_MOST_LABELS = 4
_SORTS = len(ATOMS) + 1


def planted_rows(bits: dict[str, float], labels: int, n: int, *, seed: int) -> tuple[PredictedRows, dict[str, float]]:
    """n questions drawn from a planted system with atoms near `bits`, and its true quantities in bits.

    Parameters
    ----------
    bits
        Atoms that were found; negative ones count as none.
    labels
        Labels of the task; the planted system has at most four.
    """
    table = _table(bits, min(labels, _MOST_LABELS))
    atoms = discrete_pid(table, tol_bits=1e-6)
    truth = {word: float(getattr(atoms, name)) for word, name in NUMBERED.items()}
    cells = table.sum(axis=2)
    rng = np.random.default_rng(seed)
    one, two = np.unravel_index(rng.choice(cells.size, size=n, p=cells.ravel() / cells.sum()), cells.shape)
    rows = PredictedRows(
        vision=_conditional(table.sum(axis=1))[one],
        language=_conditional(table.sum(axis=0))[two],
        joint=_conditional(table)[one, two],
        images=np.arange(n),
    )
    return rows, truth


def _table(bits: dict[str, float], k: int) -> np.ndarray:
    """``(5 k, 5 k, k)``: symbols of both sources are a sort and one of k values."""
    share = np.array([max(bits[atom], 0.0) for atom in ATOMS]) / np.log2(k)
    share = np.append(share, max(0.0, 1.0 - share.sum()))
    share /= share.sum()
    picture, words = np.meshgrid(np.arange(k), np.arange(k), indexing="ij")
    table = np.zeros((_SORTS, k, _SORTS, k, k))
    for y in range(k):
        told = np.stack(
            [
                (picture == y) & (words == y),
                picture == y,
                words == y,
                (picture + words) % k == y,
                np.ones((k, k), dtype=bool),
            ]
        ).astype(float)
        for sort in range(_SORTS):
            table[sort, :, sort, :, y] = share[sort] * told[sort] / told[sort].sum() / k
    return table.reshape(_SORTS * k, _SORTS * k, k)


def _conditional(table: np.ndarray) -> np.ndarray:
    """Distribution over the last axis; uniform where there is no mass."""
    mass = table.sum(axis=-1, keepdims=True)
    return np.where(mass > 0, table / np.where(mass > 0, mass, 1.0), 1.0 / table.shape[-1])
