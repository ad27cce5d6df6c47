"""Partial information decomposition of Gaussian systems, in closed form.

One number, the union information ``U*``, fixes the four atoms of a decomposition of ``I(X1, X2; Y)``:
``redundancy = I1 + I2 - U*``, ``unique_1 = U* - I2``, ``unique_2 = U* - I1``, ``synergy = I12 - U*``.
Three definitions of it are offered, all batched over the leading axes of the covariance.

``"broja"`` (default)
    ``U* = min I_Q(X1, X2; Y)`` over all Q that keep both pairs (Xi, Y) (Bertschinger et al. 2014). For Gaussian data
    the minimiser is Gaussian, so this is also the ~-PID of Venkatesh et al. 2023 and Thin-PID of Zhao et al. 2025.
``"mmi"``
    ``U* = max(I1, I2)`` (Barrett 2015): one of the two uniques is zero in every single system.
``"dep"``
    ``U* = min(I_ci, I12)``, the dependency-constraint definition of James, Emenheiser and Crutchfield 2019, in the
    Gaussian form of Kay and Ince 2018. ``I_ci`` is the joint information if the sources were independent given Y.

**Why BROJA needs no solver.** Let ``Ci = Cov(Y | Xi)``. Under a coupling Q of the sources, ``W = Cov_Q(Y | X1, X2)``
obeys ``W <= C1`` and ``W <= C2`` in the Loewner order, because a second observation never hurts. Conversely, a channel
that leaves ``W <= Ci`` unexplained can be degraded into each of the two sources, so it yields a coupling that is at
least as poor as itself. Hence

    U* = 1/2 log det Cov(Y) - 1/2 max { log det W : W <= C1, W <= C2 }.

In the basis ``S`` with ``C1 = S S^T`` and ``C2 = S diag(λ) S^T``, both constraints are diagonal, and Hadamard's
inequality makes ``W = S diag(min(1, λ)) S^T`` optimal. With the generalised eigenvalues ``λ`` of the pair (C2, C1):

    unique_1 = 1/2 sum max(0, log λ_k),      unique_2 = 1/2 sum max(0, -log λ_k).

Each direction of the target in which source 1 leaves less unexplained than source 2 is, by that ratio, unique to 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pidflow import arguments
from pidflow.errors import NumericsError
from pidflow.pid.gaussian_system import EPS, ILL_CONDITIONED, LN2, Batch, GaussianSystem, whitened

METHODS = {
    "broja": "closed form: generalised eigenvalues of the conditional covariances",
    "mmi": "closed form: larger of the two informations",
    "dep": "closed form: constraint lattice",
}
DEFINITIONS = tuple(METHODS)
ATOMS = ("redundancy", "unique_1", "unique_2", "synergy")
INFORMATIONS = ("mi_1", "mi_2", "mi_12")
# A decomposition whose certificate is looser than this is refused: its second decimal would be unknown.
MAX_GAP_BITS = 1e-3


@dataclass(frozen=True)
class PIDInfo:
    """How far a decomposition can be trusted.

    Attributes
    ----------
    gap_bits : ndarray, shape (...)
        Proven bound on the error of ``U*``, in bits: for ``"broja"`` the duality gap between a feasible ``W`` and a
        feasible multiplier, both evaluated in float64 (it bounds the optimisation, given the whitened covariances);
        zero for the other definitions, which optimise nothing.
    converged : ndarray of bool, shape (...)
        Whether ``gap_bits <= tol_bits``.
    condition : ndarray, shape (...)
        Largest condition number of a block; about ``eps * condition`` is lost to rounding on top of the gap.
    method : str
        How ``U*`` was found.
    notes : tuple of str
        What a reader should know: sources that share directions, ill-conditioned blocks.
    """

    gap_bits: np.ndarray
    converged: np.ndarray
    condition: np.ndarray
    method: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PIDAtoms:
    """A decomposition of ``I(X1, X2; Y)``; arrays over the leading axes of the covariance, all in bits.

    Attributes
    ----------
    redundancy, unique_1, unique_2, synergy : ndarray, shape (...)
        The four atoms. They are not clipped: rounding can leave a zero at -1e-12.
    mi_1, mi_2, mi_12 : ndarray, shape (...)
        ``I(X1;Y)``, ``I(X2;Y)``, ``I(X1,X2;Y)``.
    union : ndarray, shape (...)
        The union information ``U*``.
    info : PIDInfo
        Certificate and notes.
    """

    redundancy: np.ndarray
    unique_1: np.ndarray
    unique_2: np.ndarray
    synergy: np.ndarray
    mi_1: np.ndarray
    mi_2: np.ndarray
    mi_12: np.ndarray
    union: np.ndarray
    info: PIDInfo


def atoms_of(mi: Mapping[str, ArrayLike], union: ArrayLike) -> dict[str, np.ndarray]:
    """The four atoms and three informations that informations by name and a union information stand for, bits."""
    return {
        "redundancy": mi["mi_1"] + mi["mi_2"] - union,
        "unique_1": union - mi["mi_2"],
        "unique_2": union - mi["mi_1"],
        "synergy": mi["mi_12"] - union,
        **{name: mi[name] for name in INFORMATIONS},
    }


def gaussian_pid(
    cov: np.ndarray, dims: Sequence[int], *, definition: str = "broja", tol_bits: float = 1e-6
) -> PIDAtoms:
    """Partial information decomposition of jointly Gaussian X1, X2, Y, in bits.

    Parameters
    ----------
    cov : array_like, shape (..., D, D)
        Covariances, ordered ``[x1, x2, y]``, ``D = d1 + d2 + m``.
    dims : (d1, d2, m)
        Sizes of the three blocks; a block of no columns carries no information.
    definition : {"broja", "mmi", "dep"}
        Which union information, see the module.
    tol_bits : float
        Certificate below which a problem counts as converged. Does not affect the atoms.

    Returns
    -------
    PIDAtoms

    Raises
    ------
    ConfigError
        For an unknown definition.
    DataError
        When `cov` is not a stack of finite symmetric matrices of the stated size.
    NumericsError
        When a block is singular, `cov` is not positive semi-definite, the target is a function of a source (infinite
        information), or the certificate is looser than 1e-3 bit.

    Notes
    -----
    Batches are worked off in slices, so memory stays near that of `cov`; each system has the result it has alone.

    Examples
    --------
    Two noisy views of one scalar: all that both tell is redundant, the cleaner one adds a unique part.

    >>> import numpy as np
    >>> cov = np.array([[1.0, 0.48, 0.8], [0.48, 1.0, 0.6], [0.8, 0.6, 1.0]])
    >>> atoms = gaussian_pid(cov, (1, 1, 1))
    >>> [round(float(v), 3) for v in (atoms.redundancy, atoms.unique_1, atoms.unique_2, atoms.synergy)]
    [0.322, 0.415, 0.0, 0.133]
    """
    arguments.choice(definition, "definition", DEFINITIONS)
    tol_bits = arguments.number(tol_bits, "tol_bits", above=0.0)
    batch = Batch.of(cov, dims, names=("x1", "x2", "y"))
    parts = [_solved(whitened(part), definition) for part in batch.slices()]
    together = _Solved(*(np.concatenate(each).reshape(batch.lead) for each in zip(*parts, strict=True)))
    return _atoms(together, definition=definition, tol_bits=tol_bits)


def decompose(system: GaussianSystem, *, definition: str = "broja", tol_bits: float = 1e-6) -> PIDAtoms:
    """Decomposition of a whitened system; :func:`gaussian_pid` for callers that need several definitions of one batch.

    Parameters
    ----------
    system : GaussianSystem
        From :func:`pidflow.pid.gaussian_system.whiten_system`.
    definition, tol_bits
        As in :func:`gaussian_pid`.

    Returns
    -------
    PIDAtoms
    """
    arguments.choice(definition, "definition", DEFINITIONS)
    return _atoms(_solved(system, definition), definition=definition, tol_bits=tol_bits)


class _Solved(NamedTuple):
    """What a decomposition is made of; arrays over the leading axes."""

    mi_1: np.ndarray
    mi_2: np.ndarray
    mi_12: np.ndarray
    union: np.ndarray
    gap: np.ndarray
    condition: np.ndarray
    shared: np.ndarray


def _solved(system: GaussianSystem, definition: str) -> _Solved:
    gap = np.zeros_like(system.mi_1)
    if definition == "broja":
        unique_1, unique_2, gap = _broja_uniques(system)
        # Two ways to the same number; their mean is exactly symmetric in the sources.
        union = 0.5 * ((system.mi_2 + unique_1) + (system.mi_1 + unique_2))
    elif definition == "mmi":
        union = np.maximum(system.mi_1, system.mi_2)
    else:
        union = np.minimum(independent_union(system), system.mi_12)
    return _Solved(
        system.mi_1, system.mi_2, system.mi_12, union, gap, system.condition, np.asarray(system.shared_directions)
    )


def _atoms(solved: _Solved, *, definition: str, tol_bits: float) -> PIDAtoms:
    worst = float(solved.gap.max(initial=0.0))
    if not worst <= MAX_GAP_BITS:
        raise NumericsError(
            f"{definition}: the certified gap of {int((~(solved.gap <= MAX_GAP_BITS)).sum())} of {solved.gap.size} "
            f"problems exceeds {MAX_GAP_BITS} bit (worst {worst:.3g}, condition number "
            f"{float(solved.condition.max()):.3g}); reduce the blocks with PCA"
        )
    mi_1, mi_2, mi_12, union, gap, condition, shared = solved
    return PIDAtoms(
        **atoms_of(dict(zip(INFORMATIONS, (mi_1, mi_2, mi_12), strict=True)), union),
        union=union,
        info=PIDInfo(
            gap_bits=gap,
            converged=gap <= tol_bits,
            condition=condition,
            method=METHODS[definition],
            notes=_notes(shared, condition),
        ),
    )


def _broja_uniques(system: GaussianSystem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``unique_1``, ``unique_2`` and the certified gap, in bits.

    The generalised eigenvalues are the squared singular values of ``A = F1^-1 F2``: going through ``A`` and not
    through ``A A^T`` keeps the small ones accurate when the two sources know very different directions.
    """
    ratio = system.inverse_1 @ system.factor_2
    basis, root, _ = np.linalg.svd(ratio)
    log_root = np.log(root)
    unique_1 = np.maximum(log_root, 0.0).sum(axis=-1) / LN2
    unique_2 = np.maximum(-log_root, 0.0).sum(axis=-1) / LN2
    return unique_1, unique_2, _duality_gap(system, ratio, basis, root) / LN2


def _duality_gap(system: GaussianSystem, ratio: np.ndarray, basis: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Bound in nats on the error of the union information that `root` claims, by weak duality.

    In coordinates in which ``C1 = I`` and ``C2 = B = A A^T`` the problem is ``max log det W, W <= I, W <= B``, and the
    claim is ``sum log min(1, root^2)``. From above: for any positive semi-definite L1, L2 the maximum is at most
    ``tr L1 + tr(L2 B) - log det(L1 + L2) - m``, here with ``L1, L2 = P diag(1 or 0) P^T, P diag(0 or 1/root^2) P^T``.
    From below: any feasible W will do, here ``t P diag(min(1, root^2)) P^T``, shrunk by t until it provably satisfies
    both constraints. Nothing assumes that `basis` P is orthonormal or that `root` belongs to it.
    """
    m = root.shape[-1]
    cap = np.minimum(root, 1.0)
    transposed = basis.swapaxes(-1, -2)
    log_det_basis = np.linalg.slogdet(basis)[1]

    through = ratio.swapaxes(-1, -2) @ basis
    trace_1 = np.square(basis).sum(axis=-2)
    trace_2 = np.square(through).sum(axis=-2) / root**2
    above = np.where(root < 1.0, trace_2, trace_1).sum(axis=-1) - m - 2.0 * log_det_basis

    # W <= I holds for t * ||P||^2 <= 1, W <= B for t * ||A^-1 P cap||^2 <= 1; norms bounded through the Gram matrices.
    excess_1 = np.linalg.norm(transposed @ basis - np.eye(m), axis=(-2, -1))
    pulled = (system.inverse_2 @ system.factor_1) @ (basis * cap[..., None, :])
    expected = np.square(np.minimum(1.0, 1.0 / root))[..., None] * np.eye(m)
    excess_2 = np.linalg.norm(pulled.swapaxes(-1, -2) @ pulled - expected, axis=(-2, -1))
    below = m * np.log1p(np.maximum(excess_1, excess_2)) - 2.0 * log_det_basis
    return 0.5 * np.maximum(np.maximum(above, below), 0.0)


def independent_union(system: GaussianSystem) -> np.ndarray:
    """``I(X1, X2; Y)`` in bits if X1 and X2 were independent given Y: the precisions of the two sources add up.

    Parameters
    ----------
    system : GaussianSystem

    Returns
    -------
    ndarray, shape (...)
    """
    precision = (
        system.inverse_1.swapaxes(-1, -2) @ system.inverse_1
        + system.inverse_2.swapaxes(-1, -2) @ system.inverse_2
        - np.eye(system.factor_1.shape[-1])
    )
    return 0.5 * np.linalg.slogdet(precision)[1] / LN2


def _notes(shared: np.ndarray, condition: np.ndarray) -> tuple[str, ...]:
    notes = []
    most = int(shared.max(initial=0))
    if most:
        notes.append(f"x1 and x2 are copies of each other in {most} directions; I(x1, x2; y) was taken without them")
    worst = float(condition.max(initial=1.0))
    if worst > ILL_CONDITIONED:
        notes.append(
            f"a block has condition number {worst:.2g}: about {worst * EPS:.1g} bit of each figure is rounding"
        )
    return tuple(notes)
