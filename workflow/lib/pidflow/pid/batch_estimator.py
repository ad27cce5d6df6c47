r"""Partial information decomposition of samples with a discrete target, by a learned coupling (BATCH).

Given are rows of two sources and three predictions of the label: from source 1, from source 2, from both. The BROJA
union information is the least ``I_q(X1, X2; Y)`` over couplings q with ``q(y | x1) = p(y | x1)``, ``q(y | x2) = p(y |
x2)``. As in Liang et al. 2023, two networks give an unnormalised coupling of every row of source 1 with every row of
source 2 for each label, ``exp <f1(x1, y), f2(x2, y)>``; Sinkhorn scaling enforces the two predictions; the information
of the result is the loss. What is different here, and why:

- Predictions are made **feasible** first. A coupling exists only if both sources predict the same label frequencies on
  average; where they do not, the predictions are moved by the least relative entropy, and how far is reported.
- Sinkhorn runs to 1e-6 of a row's mass, the rest is corrected exactly. Its derivative is taken at the fixed point, not
  through the iterations: ``q (log q(y | x1, x2) - a - b)``, with a and b such that no marginal moves.
- Training stops on the loss of **held-out rows**, not after a number of epochs. Every row is used; no batch is dropped.
- The final coupling is over all rows (in blocks of 2048 when there are more), and comes with a **lower bound** from the
  dual of the same problem: the gap says how far the networks may be from the best coupling.
- Nothing is clipped. A negative atom is reported as such; the atoms always add up to ``I(X1, X2; Y)``.

The sources enter the optimum only through ``p(y | x1)`` and ``p(y | x2)``, so the networks see these beside the rows.

References
----------
Liang, Cheng, Fan, Ling, Nie, Chen, Deng, Allen, Auerbach, Mahmood, Salakhutdinov, Morency: Quantifying & modeling
multimodal interactions: an information decomposition framework. NeurIPS 2023.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pidflow import arguments, arrays
from pidflow.errors import DataError, NumericsError
from pidflow.groups import grouped_folds
from pidflow.pid.gaussian import ATOMS, INFORMATIONS, PIDAtoms, PIDInfo, atoms_of
from pidflow.pid.gaussian_system import LN2
from pidflow.pid.learned_coupling import Networks, marginals_of, train
from pidflow.pid.predicted import divergence, predicted_information
from pidflow.pid.sinkhorn import information, lower_bound, scaled

# Rows coupled at once when the result is computed; a coupling has this number squared entries per label.
BLOCK = 2048
# Arrays of the size of a coupling that exist at a time.
COUPLINGS = 10
# Scaling stops at this error of a marginal entry, in units of a row's mass, or after so many iterations; what is left
# is then corrected exactly.
SINKHORN_TOLERANCE, SINKHORN_ITERATIONS = 1e-6, 300
# A prediction outside [0, 1] or rows that do not sum to one within this are no probabilities.
SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class BatchInfo:
    """How a BATCH decomposition came about, and what was done to the predictions.

    Attributes
    ----------
    offset_1, offset_2 : float
        ``KL(mean p(y | xi) || p(y))`` in bits. The mean of ``KL(p(y | xi) || p(y))``, sometimes taken for the
        information of source i, exceeds it by this: a constant prediction [0.9, 0.1] reads as 0.53 bit against [0.5,
        0.5].
    moved_1, moved_2 : float
        Mean total variation between the predictions given and the feasible ones used.
    raw_mi_1, raw_mi_2, raw_mi_12 : float
        Information of the predictions as given, each against its own mean, in bits. Where they differ much from the
        atoms' ``mi_1, mi_2``, the predictions contradict each other.
    raw_sum : float
        Sum of the four atoms in bits as reported: equals ``mi_12``.
    clipped_sum : float
        What the sum would be if negative atoms were set to zero; the difference to `raw_sum` is what that would hide.
    sinkhorn_error : float
        Largest error of a marginal entry that Sinkhorn scaling left to the exact correction, in units of a row's mass.
    steps : int
        Training steps made.
    held_out_bits : ndarray, shape (evaluations,)
        Union information of the held-out rows during training.
    stopped : bool
        Whether held-out rows, and not `max_steps`, ended the training.
    rows, blocks : int
        Rows used (all of them) and blocks the final coupling was computed in.
    warnings : tuple of str
        What a reader must know before believing the numbers.
    """

    offset_1: float
    offset_2: float
    moved_1: float
    moved_2: float
    raw_mi_1: float
    raw_mi_2: float
    raw_mi_12: float
    raw_sum: float
    clipped_sum: float
    sinkhorn_error: float
    steps: int
    held_out_bits: np.ndarray
    stopped: bool
    rows: int
    blocks: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class BatchPID:
    """A BATCH decomposition: `atoms` in bits, of which ``atoms.info.gap_bits`` bounds the optimisation, and `info`."""

    atoms: PIDAtoms
    info: BatchInfo


def batch_pid(
    x1: np.ndarray,
    x2: np.ndarray,
    p_y_x1: np.ndarray,
    p_y_x2: np.ndarray,
    p_y_x12: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    hidden: int = 64,
    rank: int = 8,
    batch_size: int = 256,
    learning_rate: float = 1e-2,
    max_steps: int = 1000,
    evaluate_every: int = 10,
    patience: int = 5,
    min_gain_bits: float = 5e-4,
) -> BatchPID:
    """Partial information decomposition of samples with a discrete target, in bits.

    Parameters
    ----------
    x1, x2 : array_like, shapes (n, d1), (n, d2)
        Rows of the two sources, any n from 20.
    p_y_x1, p_y_x2, p_y_x12 : array_like, shape (n, ky)
        Predicted label probabilities of each row from source 1, from source 2 and from both. ``p(y)`` is the mean of
        the last. They should come from models that have not seen the rows they predict.
    groups : array_like, shape (n,), optional
        Rows with equal labels stay on one side of the split for early stopping.
    seed : int
        Random state of the networks, the split and the batches.
    hidden, rank : int
        Width of the hidden layer and of the inner product.
    batch_size : int
        Rows coupled in one training step, about: batches are of nearly equal size and hold every training row.
    learning_rate, max_steps : float, int
        Of Adam.
    evaluate_every, patience, min_gain_bits : int, int, float
        Training stops when `patience` evaluations on held-out rows, every `evaluate_every` steps, brought less than
        `min_gain_bits`.

    Returns
    -------
    BatchPID

    Raises
    ------
    ConfigError
        When a setting is out of range.
    DataError
        When shapes disagree, values are no finite numbers, a group label is missing, or predictions are no
        probabilities.
    NumericsError
        When the couplings need more memory than the machine has, or training does not reach a finite loss.
    """
    seed = arguments.seed_of(seed)
    sizes = {"hidden": hidden, "rank": rank, "batch_size": batch_size, "max_steps": max_steps}
    sizes |= {"evaluate_every": evaluate_every, "patience": patience}
    sizes = {name: arguments.count(value, name, least=1, most=1_000_000) for name, value in sizes.items()}
    learning_rate = arguments.number(learning_rate, "learning_rate", above=0.0, at_most=1.0)
    min_gain_bits = arguments.number(min_gain_bits, "min_gain_bits", least=0.0)
    x1, x2 = arrays.same_rows(x1=x1, x2=x2)
    given = [_probabilities(p, name) for p, name in ((p_y_x1, "p_y_x1"), (p_y_x2, "p_y_x2"), (p_y_x12, "p_y_x12"))]
    n = len(x1)
    if {len(p) for p in given} != {n} or len({p.shape[1] for p in given}) != 1:
        found = ", ".join(str(np.shape(v)) for v in (x1, x2, *given))
        raise DataError(
            f"x1, x2 and the three predictions must have the same rows, and one set of labels; found {found}"
        )
    if n < 20:
        raise DataError(f"a coupling needs at least 20 rows, found {n}")
    coupled = min(n, max(BLOCK, 4 * sizes["batch_size"]))
    arrays.refuse_beyond_memory(
        8 * COUPLINGS * given[0].shape[1] * coupled**2, f"couplings of {coupled} rows for {given[0].shape[1]} labels"
    )
    networks = Networks(x1, x2, given, hidden=sizes["hidden"], rank=sizes["rank"], seed=seed)
    held_out = grouped_folds(n, folds=5, groups=groups, seed=seed) == 0
    curve, steps, stopped = train(
        networks,
        given,
        np.flatnonzero(~held_out),
        np.flatnonzero(held_out),
        rng=np.random.default_rng(seed),
        batch_size=sizes["batch_size"],
        learning_rate=learning_rate,
        max_steps=sizes["max_steps"],
        evaluate_every=sizes["evaluate_every"],
        patience=sizes["patience"],
        min_gain=min_gain_bits * LN2,
    )
    if not np.isfinite(curve).any():
        raise NumericsError("the loss of the coupling was never finite; lower learning_rate")
    return _result(networks, given, curve=curve, steps=steps, stopped=stopped, rng=np.random.default_rng(seed))


def _probabilities(p: np.ndarray, name: str) -> np.ndarray:
    p = arrays.numbers(p, name)
    if p.ndim != 2 or not p.size or (p < 0).any():
        raise DataError(
            f"{name} must be probabilities of shape (n, labels), found shape {p.shape}; apply softmax first"
        )
    total = p.sum(axis=1, keepdims=True)
    if np.abs(total - 1.0).max(initial=0.0) > SUM_TOLERANCE:
        row = int(np.abs(total - 1.0).argmax())
        raise DataError(f"{name}: row {row} sums to {total[row, 0]:.6g}, expected 1; apply softmax first")
    return p / total


def _over_blocks(
    networks: Networks, given: list[np.ndarray], blocks: Sequence[np.ndarray]
) -> tuple[float, float, float, np.ndarray, np.ndarray]:
    """Union and its lower bound in bits, largest error of a marginal, how far predictions were moved, informations."""
    n = len(given[0])
    union = bound = error = 0.0
    moved, mi = np.zeros(2), np.zeros(3)
    for rows in blocks:
        share = len(rows) / n
        marginals = marginals_of(given, rows)
        with torch.no_grad():
            weights = np.exp(networks(rows).numpy())
        coupling, off = scaled(weights, *marginals, tolerance=SINKHORN_TOLERANCE, max_iterations=SINKHORN_ITERATIONS)
        here, posterior = information(coupling)
        union += share * here / LN2
        bound += share * lower_bound(coupling, posterior, *marginals) / LN2
        error = max(error, off)
        used = [marginal.T * len(rows) for marginal in marginals]
        moved += share * np.array(
            [0.5 * np.abs(u - p[rows]).sum(axis=1).mean() for u, p in zip(used, given, strict=False)]
        )
        mi += share * np.array([predicted_information(p) for p in (*used, given[2][rows])])
    return union, bound, error, moved, mi


def _result(
    networks: Networks,
    given: list[np.ndarray],
    *,
    curve: np.ndarray,
    steps: int,
    stopped: bool,
    rng: np.random.Generator,
) -> BatchPID:
    """The decomposition of all rows, block by block."""
    n = len(given[0])
    blocks = np.array_split(rng.permutation(n), -(-n // BLOCK))
    union, bound, error, moved, mi = _over_blocks(networks, given, blocks)
    values = atoms_of(dict(zip(INFORMATIONS, map(np.asarray, mi), strict=True)), union)
    atoms = {name: values[name] for name in ATOMS}
    gap = max(union - bound, 0.0)
    frequencies = given[2].mean(axis=0)
    return BatchPID(
        atoms=PIDAtoms(
            **values,
            union=np.asarray(union),
            info=PIDInfo(
                gap_bits=np.asarray(gap),
                converged=np.asarray(stopped),
                condition=np.ones(()),
                method="learned coupling, Sinkhorn",
                notes=(),
            ),
        ),
        info=BatchInfo(
            offset_1=divergence(given[0].mean(axis=0), frequencies),
            offset_2=divergence(given[1].mean(axis=0), frequencies),
            moved_1=float(moved[0]),
            moved_2=float(moved[1]),
            raw_mi_1=predicted_information(given[0]),
            raw_mi_2=predicted_information(given[1]),
            raw_mi_12=predicted_information(given[2]),
            raw_sum=float(sum(atoms.values())),
            clipped_sum=float(sum(max(v, 0.0) for v in atoms.values())),
            sinkhorn_error=error,
            steps=steps,
            held_out_bits=curve,
            stopped=stopped,
            rows=n,
            blocks=len(blocks),
            warnings=_warnings(atoms, gap=gap, stopped=stopped, moved=moved),
        ),
    )


def _warnings(atoms: dict[str, np.ndarray], *, gap: float, stopped: bool, moved: np.ndarray) -> tuple[str, ...]:
    out = []
    if not stopped:
        out.append(
            "the held-out loss was still falling when the steps ran out: uniques and synergy trade off; raise max_steps"
        )
    if gap > 0.05:
        out.append(f"a better coupling could lower the union information by up to {gap:.2g} bit")
    if moved.max() > 0.05:
        out.append(
            f"predictions contradict each other: sources had to be moved by {moved[0]:.2g} and {moved[1]:.2g} in total "
            "variation before a coupling existed"
        )
    negative = [name for name, value in atoms.items() if value < -0.02]
    if negative:
        out.append(f"negative: {', '.join(negative)}; the joint prediction knows less than the sources apart")
    return tuple(out)
