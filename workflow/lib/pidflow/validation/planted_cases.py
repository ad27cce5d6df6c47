r"""Planted cases: samples whose decomposition is known, at the size and the dimensions of a run.

An estimate on activations has no truth beside it. Here it has: each case draws ``n`` rows of ``d1 + d2 + m`` columns
from a system whose atoms follow from a formula, so the estimator of a run can be judged where the run uses it.

``gaussian``
    Columns of the target are seen through pairs of noisy scalar channels, then every block is rotated, so that no
    column stands out. Such channels commute and every definition has a closed form (:func:`parallel_channels`). All
    four atoms are positive.
``warped``, ``bent``
    The same rows, with each column passed through ``sinh`` (heavy tails), or with every second column moved by the
    square of its neighbour (bananas). Both are diffeomorphisms of whole blocks: the truth is that of ``gaussian``.
``discrete``
    A coin in each source and their AND in the target, each readable without error from one direction. The truth is
    that of the table. No product of diffeomorphisms makes this Gaussian.
``xor``
    The sign of one direction of the target is the product of a sign in each source: one bit of synergy. The pairs are
    independent, so a product flow sees nothing; what must happen is that missed information is flagged.
``independent``
    Three independent blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pidflow import arguments
from pidflow.groups import MOST_ROWS
from pidflow.pid.discrete import discrete_pid
from pidflow.pid.gaussian import ATOMS, DEFINITIONS
from pidflow.stats import TOLERANCE, within

CASES = ("gaussian", "warped", "bent", "discrete", "xor", "independent")

# Channels of the Gaussian case, repeated over the columns of the target: signal-to-noise ratio in source 1 and in
# source 2, correlation of the two noises. Known to both; to 1; to 2; told best by comparing the two.
CHANNELS = ((2.0, 2.0, 0.5), (1.5, 0.0, 0.0), (0.0, 1.5, 0.0), (0.5, 0.5, -0.8))
# Steepness of the sinh; in units of the neighbour's variance, how far a column is bent.
WARP, BEND = 1.2, 0.5
# The two faces of a coin lie at least one unit from their border and spread by this much beyond.
COIN_SPREAD = 0.3
# Consecutive rows that share a group label.
GROUP_ROWS = 3


INTERVAL, FLAG, INTERVAL_OR_FLAG, BOUND = "interval", "flag", "interval or flag", "bound"


@dataclass(frozen=True)
class Case:
    """Rows with a known decomposition.

    Attributes
    ----------
    name : str
        One of `CASES`.
    x1, x2, y : ndarray, shapes (n, d1), (n, d2), (n, m)
    groups : ndarray of int, shape (n,)
        Stand-in for image labels. Rows are independent: the labels exercise the grouped code path.
    truth : dict of str to dict of str to float
        Bits by definition and atom; definitions without a known truth are absent.
    information : float
        True ``I(X1, X2; Y)`` in bits.
    rule : str
        What counts as a pass, see :meth:`passes`.
    tolerance : float
        Bits allowed on top of the 95 % interval.
    note : str
        What the case shows.
    """

    name: str
    x1: np.ndarray
    x2: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    truth: dict[str, dict[str, float]]
    information: float
    rule: str
    tolerance: float
    note: str

    def holds(self, definition: str, atom: str, *, bits: float, se: float, df: float) -> bool:
        """Whether the 95 % interval (Student's t of `df` degrees of freedom) with the tolerance holds the truth.

        By rule ``"bound"`` the tolerance alone has to hold it.
        """
        error = 0.0 if self.rule == BOUND else se
        return within(bits, self.truth[definition][atom], se=error, df=df, tolerance=self.tolerance)

    def passes(self, definition: str, atom: str, *, bits: float, se: float, df: float, flagged: bool) -> bool:
        """Whether an estimated atom counts as right.

        By rules ``"interval"`` and ``"bound"``: its interval :meth:`holds`. By rule ``"flag"``: missed information was
        flagged, whatever the atom. By rule ``"interval or flag"``: either; an announced shortfall misleads nobody.
        """
        holds = self.holds(definition, atom, bits=bits, se=se, df=df)
        return {FLAG: flagged, INTERVAL_OR_FLAG: holds or flagged}.get(self.rule, holds)

    def flag_is_right(self, *, flagged: bool, low: float) -> bool:
        """Whether raising, or not raising, the flag was right.

        Silence is wrong only where the rule demands a flag; a flag is wrong where nothing is missing: where the true
        joint information lies below the interval of its estimate, whose lower end is `low`.
        """
        if self.rule == FLAG:
            return flagged
        return not flagged or self.information > low


def planted_cases(n: int, dims: Sequence[int], *, seed: int = 0, names: Sequence[str] = CASES) -> Iterator[Case]:
    """Cases at a given size, in the order of `names`; the draw of each depends on the seed and on nothing else.

    Parameters
    ----------
    n : int
        Rows.
    dims : (d1, d2, m)
        Columns of the two sources and of the target.
    seed : int
        Random state. ``gaussian``, ``warped`` and ``bent`` share one draw: what differs between their estimates is the
        map.
    names : sequence of str
        Which cases, from `CASES`.

    Yields
    ------
    Case

    Raises
    ------
    ConfigError
        For an unknown case, or a number out of range.
    DataError
        For dimensions that are not three whole numbers of at least 1.
    """
    names = arguments.choices(names, "names", CASES)
    n = arguments.count(n, "n", least=2, most=MOST_ROWS)
    seed = arguments.seed_of(seed)
    dims = arguments.sizes(dims, ("d1", "d2", "m"), least=1)
    makers = {
        "gaussian": _gaussian,
        "warped": _warped,
        "bent": _bent,
        "discrete": _discrete,
        "xor": _xor,
        "independent": _independent,
    }
    for name in names:
        yield makers[name](n, dims, seed)


def parallel_channels(
    ratio_1: np.ndarray, ratio_2: np.ndarray, noise_correlation: np.ndarray
) -> dict[str, dict[str, float]]:
    """Atoms in bits, by definition, of independent scalar Gaussian channels side by side.

    Column k of the target is seen by source i as ``sqrt(ratio_i) y_k + noise``; the two noises of a column correlate by
    ``noise_correlation``. The channels commute, hence

        ``U*_broja = 1/2 sum log(1 + max(a, b))``,   ``U*_mmi = max(I1, I2)``,
        ``U*_dep = min(1/2 sum log(1 + a + b), I12)``,   ``I12 = 1/2 sum log(1 + (a + b - 2 r sqrt(ab)) / (1 - r^2))``.

    Parameters
    ----------
    ratio_1, ratio_2, noise_correlation : array_like, shape (k,)
        Signal-to-noise ratios ``a`` and ``b``, noise correlation ``r``.
    """
    a, b, r = (np.asarray(v, dtype=np.float64) for v in (ratio_1, ratio_2, noise_correlation))
    mi_1, mi_2 = _capacity(a), _capacity(b)
    mi_12 = _capacity((a + b - 2.0 * r * np.sqrt(a * b)) / (1.0 - r**2))
    union = {
        "broja": _capacity(np.maximum(a, b)),
        "mmi": max(mi_1, mi_2),
        "dep": min(_capacity(a + b), mi_12),
    }
    return {
        name: dict(zip(ATOMS, (mi_1 + mi_2 - u, u - mi_2, u - mi_1, mi_12 - u), strict=True))
        for name, u in union.items()
    }


def _capacity(ratio: np.ndarray) -> float:
    return float(0.5 * np.log2(1.0 + ratio).sum())


def _gaussian(n: int, dims: tuple[int, int, int], seed: int) -> Case:
    rng = np.random.default_rng([seed, CASES.index("gaussian")])
    count = min(dims)
    # Every repetition halves, thirds, … the signal, so that the total stays within what n rows can show.
    a, b, r = (np.array(column) for column in zip(*(CHANNELS[k % len(CHANNELS)] for k in range(count)), strict=True))
    a, b = (ratio / np.ceil(count / len(CHANNELS)) for ratio in (a, b))
    x1, x2, y = (rng.standard_normal((n, d)) for d in dims)
    noise = x1[:, :count], r * x1[:, :count] + np.sqrt(1.0 - r**2) * x2[:, :count]
    for x, ratio, own in ((x1, a, noise[0].copy()), (x2, b, noise[1].copy())):
        x[:, :count] = (np.sqrt(ratio) * y[:, :count] + own) / np.sqrt(1.0 + ratio)
    return _case(
        "gaussian",
        [_rotated(rng, block) for block in (x1, x2, y)],
        truth=parallel_channels(a, b, r),
        rule=INTERVAL,
        note="jointly Gaussian: every estimator should hold the truth",
    )


def _warped(n: int, dims: tuple[int, int, int], seed: int) -> Case:
    base = _gaussian(n, dims, seed)
    return _mapped(base, "warped", lambda x: np.sinh(WARP * x), INTERVAL, "monotone warp: copula and flow undo it")


def _bent(n: int, dims: tuple[int, int, int], seed: int) -> Case:
    note = "curved within blocks: only the flow can undo it, and few rows let it do so in part"
    return _mapped(_gaussian(n, dims, seed), "bent", _bend, INTERVAL_OR_FLAG, note)


def _bend(x: np.ndarray) -> np.ndarray:
    """Every second column moved by the centred square of the one before; volume-preserving and invertible."""
    bent = x.copy()
    last = x.shape[1] // 2 * 2
    bent[:, 1:last:2] += BEND * (x[:, 0:last:2] ** 2 - 1.0)
    return bent


def _discrete(n: int, dims: tuple[int, int, int], seed: int) -> Case:
    rng = np.random.default_rng([seed, CASES.index("discrete")])
    one, two = rng.integers(2, size=(2, n))
    pmf = np.zeros((2, 2, 2))
    for i, j in np.ndindex(2, 2):
        pmf[i, j, i & j] = 0.25
    exact = discrete_pid(pmf)
    smaller = min(float(exact.mi_1), float(exact.mi_2))
    truth = {
        "broja": {atom: float(getattr(exact, atom)) for atom in ATOMS},
        "mmi": {"redundancy": smaller, "unique_1": 0.0, "unique_2": 0.0, "synergy": float(exact.mi_12) - smaller},
    }
    blocks = []
    for face, d in zip((one, two, one & two), dims, strict=True):
        block = rng.standard_normal((n, d))
        block[:, 0] = (2 * face - 1) * (1.0 + COIN_SPREAD * np.abs(block[:, 0]))
        blocks.append(_rotated(rng, block))
    note = "two coins and their AND: clusters, which no product of smooth maps makes Gaussian"
    return _case("discrete", blocks, truth=truth, rule=INTERVAL_OR_FLAG, note=note)


def _xor(n: int, dims: tuple[int, int, int], seed: int) -> Case:
    rng = np.random.default_rng([seed, CASES.index("xor")])
    x1, x2, y = (rng.standard_normal((n, d)) for d in dims)
    y[:, 0] = np.abs(y[:, 0]) * np.sign(x1[:, 0] * x2[:, 0])
    return _case(
        "xor",
        [_rotated(rng, block) for block in (x1, x2, y)],
        truth=_everywhere(synergy=1.0),
        rule=FLAG,
        note="XOR of signs: invisible to every product flow, so missed information must be flagged",
    )


def _independent(n: int, dims: tuple[int, int, int], seed: int) -> Case:
    rng = np.random.default_rng([seed, CASES.index("independent")])
    blocks = [rng.standard_normal((n, d)) for d in dims]
    return _case("independent", blocks, truth=_everywhere(), rule=BOUND, note="nothing to find")


def _everywhere(**atoms: float) -> dict[str, dict[str, float]]:
    """The same atoms for every definition; those not named are zero."""
    return {definition: {atom: atoms.get(atom, 0.0) for atom in ATOMS} for definition in DEFINITIONS}


def _case(
    name: str,
    blocks: Sequence[np.ndarray],
    *,
    truth: dict[str, dict[str, float]],
    rule: str,
    note: str,
    tolerance: float = TOLERANCE,
) -> Case:
    x1, x2, y = blocks
    return Case(
        name=name,
        x1=x1,
        x2=x2,
        y=y,
        groups=np.arange(len(y)) // GROUP_ROWS,
        truth=truth,
        information=sum(truth["broja"].values()),
        rule=rule,
        tolerance=tolerance,
        note=note,
    )


def _mapped(base: Case, name: str, change, rule: str, note: str) -> Case:
    """The rows of `base` after the same diffeomorphism of each block."""
    return replace(base, name=name, x1=change(base.x1), x2=change(base.x2), y=change(base.y), rule=rule, note=note)


def _rotated(rng: np.random.Generator, block: np.ndarray) -> np.ndarray:
    """The block in a random orthonormal basis (Haar-distributed)."""
    q, r = np.linalg.qr(rng.standard_normal((block.shape[1], block.shape[1])))
    return block @ (q * np.sign(np.diag(r)))
