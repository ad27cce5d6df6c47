"""How much predictions of a label know, and how far two of them disagree on its frequencies, in bits."""

import numpy as np

_TINY = 1e-300


def predicted_information(p: np.ndarray) -> float:
    """``mean KL(p_i || mean p)`` in bits: the information of predictions of shape (n, ky)."""
    return float((p * (_log2(p) - _log2(p.mean(axis=0)))).sum(axis=1).mean())


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """``KL(p || q)`` in bits of two distributions; infinite where q misses a label of p."""
    if (p[q == 0] > 0).any():
        return float("inf")
    return float((p * (_log2(p) - _log2(q))).sum())


def entropy(p: np.ndarray) -> float:
    """Entropy of a distribution, bits."""
    return -float((p * _log2(p)).sum())


def _log2(p: np.ndarray) -> np.ndarray:
    return np.log2(np.maximum(p, _TINY))
