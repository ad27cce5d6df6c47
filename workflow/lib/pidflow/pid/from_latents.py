"""The decomposition of rows that are as Gaussian as they will get, bias-corrected and with errors.

Plug-in decomposition, exact bias of the informations, bias of the union information, clipping to the consistent range,
delete-group jackknife. Plug-in, permutations and jackknife replicates are one batch.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from pidflow import arguments
from pidflow.errors import NumericsError, UnboundedError
from pidflow.groups import MOST
from pidflow.pid.bias import bias_warning, mi_bias, range_warning, reported_union
from pidflow.pid.covariances import (
    covariance,
    deleted_covariances,
    jackknife_blocks,
    permuted_covariances,
    repeated_rows,
    standardised,
    varying,
)
from pidflow.pid.crossfit import CrossFit
from pidflow.pid.gaussian import DEFINITIONS, INFORMATIONS, PIDAtoms, atoms_of, decompose, independent_union
from pidflow.pid.gaussian_system import GaussianSystem, whiten_system
from pidflow.pid.results import QUANTITIES, UNBOUNDED, PIDEstimate
from pidflow.stats import jackknife_se

MIN_PERMUTATIONS = 20
# Kurtosis of a column, and distance of a row in standard deviations, beyond which rows are no normal ones.
MOST_KURTOSIS, FARTHEST = 6.0, 6.5
TAILS = "has heavy tails"
# Rows for each dimension of sources and target, below which cross-fitting was seen to leave more than the errors hold.
FEWEST_A_DIMENSION = 10


def estimate_pid_from_latents(
    z1: np.ndarray,
    z2: np.ndarray,
    zy: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    permutations: int = 20,
    jackknife: int = 20,
    seed: int = 0,
    definitions: Sequence[str] = DEFINITIONS,
) -> dict[str, PIDEstimate]:
    """Decomposition of rows that are already as Gaussian as they will get; :func:`estimate_pid` ends here.

    Errors do not include the training of the flow that made the latents: it is not repeated for each deleted block.
    Where the target is an exact function of a source, information has no bound: every number is NaN, and a warning says
    so.

    Parameters
    ----------
    z1, z2, zy : array_like, shapes (n, d1), (n, d2), (n, m)
        Latents of the sources and the target. Constant columns are left out and named in the warnings.
    groups, permutations, jackknife, seed, definitions
        As in :func:`estimate_pid`.

    Returns
    -------
    dict of str to PIDEstimate
    """
    blocks, notes = varying(x1=z1, x2=z2, y=zy)
    return or_unbounded(
        estimates_of_rows,
        blocks,
        notes=notes + repeated_rows(blocks, groups),
        groups=groups,
        permutations=permutations,
        jackknife=jackknife,
        seed=seed,
        definitions=definitions,
    )


def estimates_of_rows(
    parts: Sequence[np.ndarray],
    *,
    notes: tuple[str, ...],
    groups: np.ndarray | None,
    permutations: int,
    jackknife: int,
    seed: int,
    definitions: Sequence[str],
) -> dict[str, PIDEstimate]:
    """:func:`estimate_pid_from_latents` of checked blocks whose columns vary; `notes` come before its warnings.

    Raises
    ------
    UnboundedError
        When the target is an exact function of a source.
    """
    definitions = arguments.choices(definitions, "definitions", DEFINITIONS)
    permutations = arguments.count(permutations, "permutations", least=MIN_PERMUTATIONS, most=MOST)
    seed = arguments.seed_of(seed)
    n, dims = len(parts[0]), tuple(part.shape[1] for part in parts)
    blocks = jackknife_blocks(n, jackknife, groups=groups, seed=seed)
    z1, z2, zy = (standardised(part) for part in parts)
    tails = _tail_warnings(x1=z1, x2=z2, y=zy)
    sources = np.concatenate([z1, z2], axis=1)
    rows = np.concatenate([sources, zy], axis=1)
    null = permuted_covariances(sources, zy, permutations, groups=groups, seed=seed)
    without, sizes = deleted_covariances(rows, blocks)
    everything = covariance(rows)
    whiten_system(everything, dims)
    try:
        system = whiten_system(np.concatenate([everything[None], null, without]), dims)
    except NumericsError as err:
        raise type(err)(f"standard errors fail when some of the rows are left out: {err}") from err
    crossfit = None
    if definitions != ("mmi",) and all(dims):
        crossfit = CrossFit.of(rows, blocks, dims, seed=seed)
    return {
        name: _estimate(
            system,
            definition=name,
            dims=dims,
            sizes=np.concatenate([[n], sizes]),
            permutations=permutations,
            crossfit=crossfit,
            fingerprint=_fingerprint(blocks),
            notes=notes + tails,
        )
        for name in definitions
    }


def or_unbounded(
    decompose: Callable[..., dict[str, PIDEstimate]], blocks: Sequence[np.ndarray], **settings: Any
) -> dict[str, PIDEstimate]:
    """What `decompose` makes of blocks; where their information has no bound, estimates without a number.

    Parameters
    ----------
    decompose
        :func:`estimates_of_rows`, or what takes the same `settings`.
    """
    try:
        return decompose(blocks, **settings)
    except UnboundedError as err:
        reason = f"no number: {err}"
    n = len(blocks[0])
    members = jackknife_blocks(n, settings["jackknife"], groups=settings["groups"], seed=settings["seed"])
    none = dict.fromkeys(QUANTITIES, np.nan)
    return {
        definition: PIDEstimate(
            definition=definition,
            **none,
            se=none,
            p_value=1.0,
            union_raw=np.nan,
            union_corrected=np.nan,
            union=np.nan,
            clipped=False,
            union_correction=UNBOUNDED,
            union_null=np.nan,
            union_bias=np.nan,
            mi_bias=dict.fromkeys(INFORMATIONS, np.nan),
            raw=none,
            gap_bits=np.nan,
            converged=True,
            n=n,
            ratio=n / max(1, sum(block.shape[1] for block in blocks)),
            replicates={name: [np.nan] * (int(members.max()) + 1) for name in QUANTITIES},
            blocks=_fingerprint(members),
            warnings=(*settings["notes"], reason),
        )
        for definition in settings["definitions"]
    }


def _fingerprint(members: np.ndarray) -> str:
    return sha256(np.ascontiguousarray(members, dtype="<i8").tobytes()).hexdigest()[:16]


def _estimate(
    system: GaussianSystem,
    *,
    definition: str,
    dims: tuple[int, int, int],
    sizes: np.ndarray,
    permutations: int,
    crossfit: CrossFit | None,
    fingerprint: str,
    notes: tuple[str, ...],
) -> PIDEstimate:
    """Corrected estimate from the batch ``[all rows, permutations..., deleted blocks...]``."""
    plug_in = decompose(system, definition=definition)
    kept = np.r_[0, 1 + permutations : len(plug_in.mi_12)]
    null = slice(1, 1 + permutations)
    exact = _exact_biases(dims, sizes, np.asarray(system.shared_directions)[kept])
    mi = {name: getattr(plug_in, name)[kept] - exact[name] for name in INFORMATIONS}
    correction, corrected = _corrected_union(
        system,
        plug_in,
        mi,
        definition=definition,
        dims=dims,
        bias=exact["mi_12"],
        kept=kept,
        null=null,
        crossfit=crossfit,
    )
    union = reported_union(corrected, mi) if all(dims) else corrected
    values = atoms_of(mi, union)
    n, ratio = int(sizes[0]), float(sizes[0] / max(1, sum(dims)))
    words = bias_warning("I12", float(exact["mi_12"][0]), float(mi["mi_12"][0]), ratio)
    words += _dependence_warning(plug_in.mi_12[null], float(exact["mi_12"][0]))
    words += _correction_warning(correction, definition, ratio) + (range_warning(corrected, mi) if all(dims) else ())
    return PIDEstimate(
        definition=definition,
        **{name: float(values[name][0]) for name in QUANTITIES},
        se={name: float(jackknife_se(values[name][1:])) for name in QUANTITIES},
        p_value=float((1 + (plug_in.mi_12[null] >= plug_in.mi_12[0]).sum()) / (permutations + 1)),
        union_raw=float(plug_in.union[0]),
        union_corrected=float(corrected[0]),
        union=float(union[0]),
        clipped=bool(abs(union[0] - corrected[0]) > 1e-12),
        union_correction=correction,
        union_null=float(plug_in.union[null].mean()),
        union_bias=float(plug_in.union[0] - corrected[0]),
        mi_bias={name: float(bias[0]) for name, bias in exact.items()},
        raw={name: float(getattr(plug_in, name)[0]) for name in QUANTITIES},
        gap_bits=float(plug_in.info.gap_bits.max()),
        converged=bool(plug_in.info.converged.all()),
        n=n,
        ratio=ratio,
        replicates={name: values[name][1:].tolist() for name in QUANTITIES},
        blocks=fingerprint,
        warnings=notes + plug_in.info.notes + words,
    )


def _exact_biases(
    dims: tuple[int, int, int], sizes: np.ndarray, shared_directions: np.ndarray
) -> dict[str, np.ndarray]:
    """Exactly known biases of the informations, for each number of rows."""
    d1, d2, m = dims
    # Directions in which the sources are copies count once: they were dropped, and noise in them with them.
    joint = d1 + d2 - shared_directions
    widths = (np.full_like(joint, d1), np.full_like(joint, d2), joint)
    return {
        name: np.array([mi_bias(int(n), int(source), m) for n, source in zip(sizes, of_source, strict=True)])
        for name, of_source in zip(INFORMATIONS, widths, strict=True)
    }


def _corrected_union(
    system: GaussianSystem,
    plug_in: PIDAtoms,
    mi: dict[str, np.ndarray],
    *,
    definition: str,
    dims: tuple[int, int, int],
    bias: np.ndarray,
    kept: np.ndarray,
    null: slice,
    crossfit: CrossFit | None,
) -> tuple[str, np.ndarray]:
    """How the union information was corrected, and its values for all rows and each deleted block.

    `mi` are the corrected informations, `bias` is that of I12.
    """
    if not all(dims):
        # A constant source adds nothing to what the other one knows.
        return "exact", mi["mi_1"] + mi["mi_2"]
    if definition == "mmi":
        return "exact", np.maximum(mi["mi_1"], mi["mi_2"])
    if crossfit is None:
        # The measured bias belongs to all rows; fewer rows have more of it, in proportion to the exact bias of I12.
        return "permutation", plug_in.union[kept] - plug_in.union[null].mean() * bias / bias[0]
    if definition == "broja":
        return "cross-fit", 0.5 * (mi["mi_1"] + mi["mi_2"] + crossfit.unique_1 + crossfit.unique_2)
    return "cross-fit", np.minimum(independent_union(system)[kept] - crossfit.independent_bias, mi["mi_12"])


def _tail_warnings(**blocks: np.ndarray) -> tuple[str, ...]:
    """A word on blocks whose standardised columns have tails that no normal has."""
    notes = []
    for name, block in blocks.items():
        if not block.shape[1]:
            continue
        far, kurtosis = float(np.abs(block).max()), float((block**4).mean(axis=0).max())
        if far > FARTHEST or kurtosis > MOST_KURTOSIS:
            notes.append(
                f"{name} {TAILS} (kurtosis {kurtosis:.1f}, farthest row at {far:.1f} standard deviations; 3 "
                "and about 4 in normal rows): a few rows decide; compare with estimator copula"
            )
    return tuple(notes)


def _dependence_warning(null_mi: np.ndarray, exact: float) -> tuple[str, ...]:
    """The exact bias assumes independent rows; permuted data show when they are not."""
    excess = null_mi.mean() - exact
    if excess <= max(0.25 * exact, 4.0 * null_mi.std(ddof=1) / np.sqrt(len(null_mi))):
        return ()
    return (
        f"permuted data carry {null_mi.mean():.3g} bit of I12 where independent Gaussian rows would carry {exact:.3g}: "
        "rows depend on each other or have heavy tails, and the corrected informations are too large by about as much",
    )


def _correction_warning(correction: str, definition: str, ratio: float) -> tuple[str, ...]:
    if correction == "permutation":
        return (
            "rows are too few to be divided, so the union information was corrected by permutations: too little where "
            "the sources tie, too much where one dominates",
        )
    if correction == "cross-fit" and definition == "broja" and ratio < FEWEST_A_DIMENSION:
        return (
            f"{ratio:.1f} rows a dimension are few to divide the target between the sources by: below "
            f"{FEWEST_A_DIMENSION}, atoms may be off by more than their intervals",
        )
    return ()
