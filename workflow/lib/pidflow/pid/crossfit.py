"""Union information of rows without the optimism of choosing and judging on the same rows.

The BROJA union is a maximum over ways to split the target's directions between the sources: for any basis
``T = [Ta, Tb]`` of the target space, Fischer's inequality gives

    2 (U* - I1) >= log det C1 - log det(Ta^T C1 Ta) - log det(Tb^T C2 Tb) + 2 log |det T|,     Ci = Cov(Y | Xi),

with equality for the generalised eigenvectors of (C2, C1), where Ta are those with eigenvalue >= 1. The plug-in
estimate picks its T on the rows it is then evaluated on, which is why it is too large: by ``O(1/n)`` when the sources
differ in every direction, by ``O(1/sqrt n)`` when they tie in some. A null data set cannot measure that, because there
the sources tie *and* know nothing.

Here T comes from training rows and the bound from test rows. Given T, each log-determinant is one of a Wishart matrix,
whose bias is known exactly, so what is left is the loss from an imperfect T. It is inversely proportional to the number
of training rows, and is removed by doing all again with half of them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma

from pidflow.errors import NumericsError
from pidflow.pid.bias import mi_bias
from pidflow.pid.covariances import RowBlocks, covariance
from pidflow.pid.gaussian import independent_union
from pidflow.pid.gaussian_system import LN2, whiten_system

REPEATS = 8
TEST_PARTS = 4
# Half of the training rows must still fill some blocks.
MIN_BLOCKS = 2 * TEST_PARTS
# A test part needs this many rows for each dimension of the larger pair (Xi, Y).
ROWS_PER_DIMENSION = 1.5


@dataclass(frozen=True)
class CrossFit:
    """What dividing the rows tells about the union information; entry 0 for all rows, then without each block.

    Attributes
    ----------
    unique_1, unique_2 : ndarray, shape (1 + G,)
        Cross-fitted uniques of the BROJA decomposition, in bits. Without a block they are the mean of the values by
        bases chosen anew, whose jackknife counts several times what choosing adds to the error (it counts terms of
        second order twice, and a choice between sources that tie is not smooth), and by the bases of all rows, whose
        jackknife does not count it at all.
    independent_bias : ndarray, shape (1 + G,)
        Bias in bits of the joint information of sources that are independent given the target, for ``"dep"``. It is
        smooth in the covariance: how much it grows from all rows to half of them, in units of the exactly known growth
        of the bias of ``I12``, tells how much it is.
    """

    unique_1: np.ndarray
    unique_2: np.ndarray
    independent_bias: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, blocks: np.ndarray, dims: tuple[int, int, int], *, seed: int) -> "CrossFit | None":
        """Cross-fit `rows` ``(n, D)`` in `blocks` labelled ``0 .. G - 1``; None when they are too few to be divided.

        The covariance of all rows must not be degenerate; a column that is constant in a part of the rows (a rare
        answer) makes dividing them impossible, too.
        """
        count = int(blocks.max()) + 1
        if not can_crossfit(len(rows), count, dims):
            return None
        statistics = RowBlocks.of(_white(rows, dims), blocks)
        plan = split_plan(count, repeats=REPEATS, seed=seed)
        try:
            without = np.concatenate([np.zeros((1, count), dtype=bool), np.eye(count, dtype=bool)])
            anew, kept = (
                crossfit_uniques(statistics, dims, plan=plan, without=without, anew=anew) for anew in (True, False)
            )
            growth = _independent_growth(statistics, dims, seed=seed)
        except (np.linalg.LinAlgError, NumericsError):
            return None
        sizes = len(rows) - np.concatenate([[0], statistics.rows])
        unique_1, unique_2 = 0.5 * (anew + kept)
        return cls(unique_1, unique_2, growth * np.array([mi_bias(int(n), dims[0] + dims[1], dims[2]) for n in sizes]))


def can_crossfit(n: int, blocks: int, dims: tuple[int, int, int]) -> bool:
    """Whether `n` rows in so many equal `blocks` can be divided further and still support the dimensions."""
    d1, d2, m = dims
    # The jackknife takes a whole block out of one test part.
    smallest = n * (blocks // TEST_PARTS - 1) / blocks
    return blocks >= MIN_BLOCKS and smallest >= ROWS_PER_DIMENSION * (max(d1, d2) + m)


def split_plan(blocks: int, *, repeats: int, seed: int) -> np.ndarray:
    """Which blocks test, train, and make up each half of the training blocks.

    Parameters
    ----------
    blocks : int
        Number of blocks of rows.
    repeats : int
        How many times the blocks are dealt into four test parts.
    seed : int
        Random state.

    Returns
    -------
    ndarray of bool, shape (4, repeats * 4, blocks)
        Membership in test, train, first half and second half, for each part of each repeat.
    """
    rng = np.random.default_rng(seed)
    plan = np.zeros((4, repeats * TEST_PARTS, blocks), dtype=bool)
    for repeat in range(repeats):
        part = rng.permutation(blocks) % TEST_PARTS
        for k in range(TEST_PARTS):
            test, train, first, second = plan[:, repeat * TEST_PARTS + k]
            test[part == k] = True
            train[part != k] = True
            shuffled = rng.permutation(np.flatnonzero(train))
            first[shuffled[::2]] = True
            second[shuffled[1::2]] = True
    return plan


def crossfit_uniques(
    blocks: RowBlocks, dims: tuple[int, int, int], *, plan: np.ndarray, without: np.ndarray, anew: bool = True
) -> np.ndarray:
    """Cross-fitted ``unique_1 = U* - I2`` and ``unique_2 = U* - I1`` of the BROJA decomposition, in bits.

    Unbiased for independent Gaussian rows up to second order in (dimension / rows); a small unique may come out
    slightly negative. Rows that depend on each other must share a block.

    Parameters
    ----------
    blocks : RowBlocks
        Statistics of the rows, ordered ``[x1, x2, y]``, in coordinates where no block is ill-conditioned.
    dims : (d1, d2, m)
        Sizes of the three blocks of columns.
    plan : ndarray of bool, shape (4, P, G)
        From :func:`split_plan`.
    without : ndarray of bool, shape (J, G)
        Blocks of rows to leave out, for each of `J` estimates.
    anew : bool
        Whether each of these estimates chooses its bases anew, or takes those of all rows.

    Returns
    -------
    ndarray, shape (2, J)
        ``unique_1`` and ``unique_2``.

    Raises
    ------
    numpy.linalg.LinAlgError
        When a column does not vary within some part.
    """
    remaining = ~without
    test = plan[0] & remaining[:, None]
    _, train, first, second = plan[:, None] & remaining[:, None] if anew else plan[:, None]
    conditional = _conditional_scatters(blocks, test, dims)
    # Parts count by their rows, or the jackknife would give too much weight to rows of the part that lost a block.
    weight = test @ blocks.rows / (test @ blocks.rows).sum(axis=1, keepdims=True)

    def judged(member: np.ndarray) -> np.ndarray:
        return (_uniques_given_basis(conditional, _basis(blocks, member, dims)) * weight).sum(axis=-1)

    full, half = judged(train), 0.5 * (judged(first) + judged(second))
    # The loss is a / rows, so the value without it lies beyond that of all training rows, seen from that of half.
    x_full = np.mean(1.0 / (train @ blocks.rows), axis=1)
    x_half = np.mean(1.0 / (np.concatenate([first, second], axis=1) @ blocks.rows), axis=1)
    value = full + (full - half) * x_full / (x_half - x_full)
    # Where half of the rows are far too few the loss grows faster and the step overshoots. Choosing and judging on the
    # same rows errs upwards, so the truth does not lie beyond it.
    everything = _basis(blocks, remaining if anew else np.ones_like(remaining[:1]), dims)
    optimistic = _uniques_given_basis(_conditional_scatters(blocks, remaining, dims), everything)
    return np.minimum(value, optimistic) / LN2


def _conditional_scatters(
    blocks: RowBlocks, member: np.ndarray, dims: tuple[int, int, int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each source, the scatter of Y given it and its degrees of freedom, for each set of blocks ``(..., G)``."""
    d1, d2, _ = dims
    scatter, rows = blocks.scatter(member)
    target = slice(d1 + d2, None)
    out = []
    for source in (slice(0, d1), slice(d1, d1 + d2)):
        cross = scatter[..., source, target]
        explained = cross.swapaxes(-1, -2) @ np.linalg.solve(scatter[..., source, source], cross)
        out.append((scatter[..., target, target] - explained, rows - 1 - (source.stop - source.start)))
    return out


def _basis(blocks: RowBlocks, member: np.ndarray, dims: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """``T`` with ``T^T C1 T = 1, T^T C2 T = diag(λ)``, λ ascending, and how many λ are below 1."""
    (scatter_1, freedom_1), (scatter_2, freedom_2) = _conditional_scatters(blocks, member, dims)
    inverse = np.linalg.inv(np.linalg.cholesky(scatter_1 / freedom_1[..., None, None]))
    values, vectors = np.linalg.eigh(inverse @ (scatter_2 / freedom_2[..., None, None]) @ inverse.swapaxes(-1, -2))
    return inverse.swapaxes(-1, -2) @ vectors, (values < 1.0).sum(axis=-1)


def _uniques_given_basis(
    conditional: list[tuple[np.ndarray, np.ndarray]], basis: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """``unique_1`` and ``unique_2`` in nats, stacked, that a basis from other rows yields; free of bias given it."""
    directions, below = basis
    m = directions.shape[-1]
    (scatter_1, freedom_1), (scatter_2, freedom_2) = conditional
    seen_1 = directions.swapaxes(-1, -2) @ scatter_1 @ directions
    seen_2 = directions.swapaxes(-1, -2) @ scatter_2 @ directions
    # Directions below 1 belong to source 2 and come first; those of source 1 are counted from the end.
    log_det_1 = _leading_log_dets(seen_1[..., ::-1, ::-1], freedom_1)
    log_det_2 = _leading_log_dets(seen_2, freedom_2)
    best = _pick(log_det_1, m - below) + _pick(log_det_2, below)
    return 0.5 * np.stack([log_det_2[..., m] - best, log_det_1[..., m] - best])


def _leading_log_dets(scatter: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Unbiased log-determinants of the leading ``p x p`` blocks of a covariance, ``p = 0 .. m``, from its scatter."""
    diagonal = np.einsum("...ii->...i", np.linalg.cholesky(scatter))
    order = np.arange(diagonal.shape[-1])
    each = 2.0 * np.log(diagonal) - np.log(2.0) - digamma((freedom[..., None] - order) / 2.0)
    return np.concatenate([np.zeros_like(each[..., :1]), np.cumsum(each, axis=-1)], axis=-1)


def _pick(table: np.ndarray, column: np.ndarray) -> np.ndarray:
    return np.take_along_axis(table, column[..., None], axis=-1)[..., 0]


def _independent_growth(blocks: RowBlocks, dims: tuple[int, int, int], *, seed: int) -> float:
    """Growth of the plug-in ``I_ci`` from all rows to half of them, relative to that of the exact bias of ``I12``."""
    d1, d2, m = dims
    rng = np.random.default_rng(seed)
    count = len(blocks.rows)
    halves = np.stack([rng.permutation(count) % 2 == 0 for _ in range(REPEATS)])
    member = np.concatenate([np.ones((1, count), dtype=bool), halves, ~halves])
    scatter, rows = blocks.scatter(member)
    values = independent_union(whiten_system(scatter / (rows[:, None, None] - 1), dims))
    exact = np.array([mi_bias(int(n), d1 + d2, m) for n in rows])
    return float((values[1:].mean() - values[0]) / (exact[1:].mean() - exact[0]))


def _white(rows: np.ndarray, dims: tuple[int, int, int]) -> np.ndarray:
    """Rows with each block of columns whitened, so that scatter matrices of parts are well conditioned."""
    parts = np.split(rows - rows.mean(axis=0), np.cumsum(dims)[:-1], axis=1)
    return np.concatenate([np.linalg.solve(np.linalg.cholesky(covariance(part)), part.T).T for part in parts], axis=1)
