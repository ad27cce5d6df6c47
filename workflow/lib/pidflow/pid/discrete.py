r"""Partial information decomposition of discrete systems, exact up to a certificate.

The default definition is BROJA (Bertschinger et al. 2014): the union information is the least joint information that
any table ``q`` with the two given pair marginals can have,

    U* = H(Y) + min f(q),   f(q) = sum q log q(y | x1, x2),   q(x1, y) = p(x1, y),   q(x2, y) = p(x2, y).

The dual of this problem proves how far off the answer can be; :mod:`pidflow.pid.discrete_solver` solves both. Others
are in :mod:`pidflow.pid.discrete_definitions`.
"""

import math

import numpy as np

from pidflow import arguments, arrays
from pidflow.errors import DataError, NumericsError
from pidflow.pid.discrete_definitions import dependency_unions, redundancy
from pidflow.pid.discrete_solver import entropy, union_at, union_information
from pidflow.pid.gaussian import INFORMATIONS, MAX_GAP_BITS, PIDAtoms, PIDInfo, atoms_of
from pidflow.pid.gaussian_system import LN2

# Sums of a table may be off by this much, or by so many roundings of the type it came in; it is then scaled to one.
SUM_TOLERANCE, SUM_ROUNDINGS = 1e-9, 8
# Smaller entries count as zero. They are beyond what a table of this precision can state, and 256 of them are worth
# less than 2e-9 bit, but their logarithms would dominate the arithmetic.
SMALLEST_ENTRY = 1e-13
# Tables solved side by side, as many as these bytes hold: each table has the result it has alone.
CHUNK, CHUNK_BYTES = 256, 2**28
METHODS = {
    "broja": "interior point on the dual geometric program",
    "imin": "closed form: least specific information",
    "mmi": "closed form: smaller of the two informations",
    "dep": "constraint lattice, iterative proportional fitting",
    "ccs": "common change in surprisal, iterative proportional fitting",
}
# Arrays of each size that one table needs at a time: Newton matrices, blocks over pairs of labels, whole tables.
_MATRICES, _PAIR_BLOCKS, _TABLES = 4, 4, 40


def discrete_pid(
    pmf: np.ndarray, *, definition: str = "broja", tol_bits: float = 1e-8, most_gap_bits: float = MAX_GAP_BITS
) -> PIDAtoms:
    """Partial information decomposition of a table of probabilities, in bits.

    Parameters
    ----------
    pmf : array_like, shape (..., k1, k2, ky)
        Joint probabilities of X1, X2 and Y. Zeros are welcome, entries below 1e-13 count as zeros; each table must sum
        to one within 1e-9, or within eight roundings of its type (5e-7 in float32), and is scaled to one. A note in
        ``info.notes`` says when that moved it by more than 1e-9.
    definition : {"broja", "imin", "mmi", "dep", "ccs"}
        Which redundancy. Atoms of ``"broja"`` and ``"imin"`` are not negative, those of the others may be: synergy of
        ``"mmi"`` never, of ``"dep"`` where the pairs tell less than both sources do, any atom of ``"ccs"``.
    tol_bits : float
        Certificate at which a table is done.
    most_gap_bits : float
        Certificate beyond which a table is refused. Estimates that are unsure by more than that may allow more.

    Returns
    -------
    PIDAtoms
        Arrays over the leading axes. ``info.gap_bits`` bounds the error of the union information and hence of every
        atom; for ``"broja"`` the true union is at most that much smaller, for ``"dep"`` and ``"ccs"`` it is how far the
        entropy of their fitted distribution may be from the greatest. Tables that mix ordinary entries with some around
        1e-7 can stop short of `tol_bits`; they say so in ``info.converged``. ``info.condition`` is one: nothing is
        inverted.

    Raises
    ------
    ConfigError
        For an unknown definition.
    DataError
        When `pmf` has fewer than three axes, or holds values that are negative, no finite numbers, or do not sum to
        one.
    NumericsError
        When a certificate is looser than `most_gap_bits` (1e-3), or a table needs more memory than the machine has.

    References
    ----------
    Bertschinger, Rauh, Olbrich, Jost, Ay: Quantifying unique information. Entropy 16 (2014).

    Examples
    --------
    AND of two fair coins:

    >>> import numpy as np
    >>> pmf = np.zeros((2, 2, 2))
    >>> pmf[0, 0, 0] = pmf[0, 1, 0] = pmf[1, 0, 0] = pmf[1, 1, 1] = 0.25
    >>> atoms = discrete_pid(pmf)
    >>> [round(float(v), 4) + 0.0 for v in (atoms.redundancy, atoms.unique_1, atoms.unique_2, atoms.synergy)]
    [0.3113, 0.0, 0.0, 0.5]
    """
    arguments.choice(definition, "definition", tuple(METHODS))
    tol_bits = arguments.number(tol_bits, "tol_bits", above=0.0)
    tables, lead, notes = _checked(pmf)
    each = _bytes_a_table(*tables.shape[1:])
    arrays.refuse_beyond_memory(each, f"a table of {' x '.join(map(str, tables.shape[1:]))}")
    n, k1, k2, ky = tables.shape
    mi_1 = _mutual_information(tables.sum(axis=2))
    mi_2 = _mutual_information(tables.sum(axis=1))
    mi_12 = _mutual_information(tables.reshape(n, k1 * k2, ky))
    union, gap = np.empty(n), np.empty(n)
    at_once = int(np.clip(CHUNK_BYTES // each, 1, CHUNK))
    for first in range(0, n, at_once):
        some = slice(first, first + at_once)
        if definition == "broja":
            union[some], gap[some], _ = union_information(tables[some], tol=tol_bits * LN2)
        else:
            one, two = mi_1[some] * LN2, mi_2[some] * LN2
            shared, gap[some] = redundancy(tables[some], definition, one, two, tol=tol_bits * LN2)
            union[some] = one + two - shared
    union, gap = union / LN2, gap / LN2
    worst = float(gap.max(initial=0.0))
    if not worst <= most_gap_bits:
        raise NumericsError(
            f"the certified gap of {int((~(gap <= most_gap_bits)).sum())} of {gap.size} tables exceeds {most_gap_bits} "
            f"bit (worst {worst:.3g}); tables with entries of very different size are hard, merge rare symbols"
        )
    mi_1, mi_2, mi_12, union, gap = (v.reshape(lead) for v in (mi_1, mi_2, mi_12, union, gap))
    return PIDAtoms(
        **atoms_of(dict(zip(INFORMATIONS, (mi_1, mi_2, mi_12), strict=True)), union),
        union=union,
        info=PIDInfo(
            gap_bits=gap,
            converged=gap <= tol_bits,
            condition=np.ones(lead),
            method=METHODS[definition],
            notes=notes,
        ),
    )


def redundancy_beside(
    table: np.ndarray, others: np.ndarray, *, definition: str, tol_bits: float
) -> tuple[float, np.ndarray, float]:
    """Redundancy of a table, that of tables hardly different from it to first order, and the certificate, in bits.

    The solution of the one table is a bound for every other: duals stay feasible, and the cross-entropy with a product
    of functions of pairs bounds the greatest entropy. Solving hundreds of tables without some rows each is spared.

    Parameters
    ----------
    table, others : ndarray, shapes (k1, k2, ky) and (n, k1, k2, ky)
        Entries of the others are positive only where those of the table are.
    definition : {"broja", "dep"}
    tol_bits
        As in :func:`discrete_pid`.
    """
    tables = np.concatenate([table[None], others])
    mi_1, mi_2 = (_mutual_information(tables.sum(axis=axis)) * LN2 for axis in (2, 1))
    if definition == "broja":
        least, gap, duals = union_information(tables[:1], tol=tol_bits * LN2)
        union = np.concatenate([least, union_at(tables[1:], duals[0]) + least - union_at(tables[:1], duals[0])])
    else:
        union, gap = dependency_unions(tables, mi_1, mi_2, tol=tol_bits * LN2)
    redundancies = (mi_1 + mi_2 - union) / LN2
    return float(redundancies[0]), redundancies[1:], float(gap[0] / LN2)


def _checked(pmf: np.ndarray) -> tuple[np.ndarray, tuple[int, ...], tuple[str, ...]]:
    """Tables as one flat batch, the leading shape they came in, and a note when they were scaled."""
    given, pmf = pmf, arrays.numbers(pmf, "pmf")
    if pmf.ndim < 3 or 0 in pmf.shape[-3:]:
        raise DataError(
            f"pmf must have shape (..., k1, k2, ky) with no empty axis among the last three; found {pmf.shape}"
        )
    if (pmf < 0).any():
        raise DataError(
            f"pmf holds negative values (least {pmf.min():.3g}); pass probabilities, not logarithms or scores"
        )
    off = np.abs(pmf.sum(axis=(-3, -2, -1)) - 1.0)
    worst, notes = float(off.max(initial=0.0)), ()
    if worst > SUM_TOLERANCE:
        allowed = max(SUM_TOLERANCE, SUM_ROUNDINGS * arrays.precision(given))
        if worst > allowed:
            total = float(pmf.sum(axis=(-3, -2, -1)).flat[off.argmax()])
            raise DataError(
                f"every table must sum to one within {allowed:.2g}, found {total:.12g}; divide counts by their sum"
            )
        notes = (f"tables summed to one within {worst:.1g}, which their type explains, and were scaled to one",)
    lead = pmf.shape[:-3]
    tables = pmf.reshape(math.prod(lead), *pmf.shape[-3:])
    tables = np.where(tables < SMALLEST_ENTRY, 0.0, tables)
    return tables / tables.sum(axis=(1, 2, 3), keepdims=True), lead, notes


def _bytes_a_table(k1: int, k2: int, ky: int) -> int:
    """Memory that solving one table takes, in bytes, from above."""
    return 8 * (_MATRICES * (ky * (k1 + k2)) ** 2 + _PAIR_BLOCKS * k1 * k2 * ky**2 + _TABLES * k1 * k2 * ky)


def _mutual_information(pmf: np.ndarray) -> np.ndarray:
    """``I(X;Y)`` in bits of tables of shape ``(n, kx, ky)``."""
    joint, x, y = (entropy(table) for table in (pmf, pmf.sum(axis=2), pmf.sum(axis=1)))
    return (x + y - joint) / LN2
