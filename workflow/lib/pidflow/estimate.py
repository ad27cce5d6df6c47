"""Partial information decomposition and mutual information estimated from samples, with errors.

Three routes lead from rows to a covariance; behind it there is one code path.

``"linear"``
    The rows as they are: exact for jointly Gaussian data, otherwise what a linear model can see.
``"rank"``
    Each column replaced by its normal scores (van der Waerden): free of monotone warps of single columns.
``"flow"``
    Held-out latents of a product of diffeomorphisms (:mod:`pidflow.flow`): free of smooth warps of whole blocks.

Then: plug-in decomposition, exact bias of the informations, bias of the union information, clipping to the consistent
range, delete-group jackknife. Plug-in, permutations and jackknife replicates are one batch.
"""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from pidflow.bias import consistent_union, grouped_folds, jackknife_se, mi_bias
from pidflow.crossfit import CrossFit
from pidflow.errors import ConfigError, NumericsError
from pidflow.gaussian import GaussianSystem, gaussian_mi, whiten_system
from pidflow.pid_estimate import QUANTITIES, MIEstimate, PIDEstimate
from pidflow.pid_gaussian import DEFINITIONS, INFORMATIONS, decompose, independent_union
from pidflow.samples import (
    columns,
    covariance,
    deleted_covariances,
    jackknife_blocks,
    normal_scores,
    permuted_covariances,
)

ROUTES = ("flow", "rank", "linear")
MIN_PERMUTATIONS = 20


def estimate_pid(
    x1: np.ndarray,
    x2: np.ndarray,
    y: np.ndarray,
    *,
    route: str = "flow",
    folds: int = 5,
    groups: np.ndarray | None = None,
    permutations: int = 20,
    jackknife: int = 20,
    seed: int = 0,
    definitions: Sequence[str] = DEFINITIONS,
) -> dict[str, PIDEstimate]:
    """Bias-corrected partial information decomposition of rows, one result a definition, in bits.

    Parameters
    ----------
    x1, x2, y : array_like, shapes (n, d1), (n, d2), (n, m)
        The two sources and the target; one-dimensional arrays count as one column.
    route : {"flow", "rank", "linear"}
        How rows are made Gaussian, see the module.
    folds : int
        Folds of cross-fitting for ``route="flow"``.
    groups : array_like, shape (n,), optional
        Rows with equal labels (questions about one image) are dependent: folds, permutations and jackknife blocks
        keep them together.
    permutations : int
        Null data sets, at least 20.
    jackknife : int
        Blocks of rows deleted in turn for the standard errors; fewer when there are fewer groups.
    seed : int
        Determines folds, permutations and blocks.
    definitions : sequence of {"broja", "mmi", "dep"}
        Which decompositions.

    Returns
    -------
    dict of str to PIDEstimate

    Raises
    ------
    ConfigError
        For an unknown route or definition.
    DataError
        When row counts differ or values are not finite.
    NumericsError
        When a column is constant, there are too few rows, or the decomposition is refused.
    """
    x1, x2, y = columns(x1=x1, x2=x2, y=y)
    x1, x2, y = _through_route(x1, x2, y, route=route, folds=folds, groups=groups, seed=seed)
    return estimate_pid_from_latents(
        x1,
        x2,
        y,
        groups=groups,
        permutations=permutations,
        jackknife=jackknife,
        seed=seed,
        definitions=definitions,
    )


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

    Parameters
    ----------
    z1, z2, zy : array_like, shapes (n, d1), (n, d2), (n, m)
        Latents of the sources and the target.
    groups, permutations, jackknife, seed, definitions
        As in :func:`estimate_pid`.

    Returns
    -------
    dict of str to PIDEstimate
    """
    z1, z2, zy = columns(x1=z1, x2=z2, y=zy)
    n, dims = len(zy), (z1.shape[1], z2.shape[1], zy.shape[1])
    unknown = [d for d in definitions if d not in DEFINITIONS]
    if unknown or not definitions:
        raise ConfigError(f"definitions must be taken from {', '.join(DEFINITIONS)}, found {list(definitions)}")
    if permutations < MIN_PERMUTATIONS:
        raise ConfigError(f"permutations must be at least {MIN_PERMUTATIONS}, found {permutations}")

    blocks = jackknife_blocks(n, jackknife, groups=groups, seed=seed)
    sources = np.concatenate([z1, z2], axis=1)
    rows = np.concatenate([sources, zy], axis=1)
    null = permuted_covariances(sources, zy, permutations, groups=groups, seed=seed)
    without, sizes = deleted_covariances(rows, blocks)
    everything = covariance(rows)
    whiten_system(everything, dims)
    try:
        system = whiten_system(np.concatenate([everything[None], null, without]), dims)
    except NumericsError as err:
        raise NumericsError(f"standard errors fail when some of the rows are left out: {err}") from err
    crossfit = None if tuple(definitions) == ("mmi",) else CrossFit.of(rows, blocks, dims, seed=seed)
    return {
        name: _estimate(
            system,
            definition=name,
            dims=dims,
            sizes=np.concatenate([[n], sizes]),
            permutations=permutations,
            crossfit=crossfit,
            fingerprint=sha256(np.ascontiguousarray(blocks, dtype="<i8").tobytes()).hexdigest()[:16],
        )
        for name in definitions
    }


def estimate_mi(
    x: np.ndarray,
    y: np.ndarray,
    *,
    route: str = "flow",
    folds: int = 5,
    groups: np.ndarray | None = None,
    jackknife: int = 20,
    seed: int = 0,
) -> MIEstimate:
    """Bias-corrected mutual information ``I(X; Y)`` of rows, in bits.

    Parameters
    ----------
    x, y : array_like, shapes (n, d), (n, m)
        The two blocks; one-dimensional arrays count as one column.
    route, folds, groups, jackknife, seed
        As in :func:`estimate_pid`.

    Returns
    -------
    MIEstimate
    """
    x, y = columns(x=x, y=y)
    n, dims = len(y), (x.shape[1], y.shape[1])
    # The flow's likelihood is over three blocks; an independent one adds nothing to it.
    bystander = np.random.default_rng(seed).standard_normal((n, 1))
    x, _, y = _through_route(x, bystander, y, route=route, folds=folds, groups=groups, seed=seed)

    rows = np.concatenate([x, y], axis=1)
    without, sizes = deleted_covariances(rows, jackknife_blocks(n, jackknife, groups=groups, seed=seed))
    raw = gaussian_mi(np.concatenate([covariance(rows)[None], without]), dims)
    bias = np.array([mi_bias(int(k), *dims) for k in (n, *sizes)])
    corrected = raw - bias
    return MIEstimate(
        bits=float(corrected[0]),
        se=float(jackknife_se(corrected[1:])),
        raw=float(raw[0]),
        bias=float(bias[0]),
        n=n,
        ratio=n / sum(dims),
        warnings=_bias_warning("I", float(bias[0]), float(corrected[0]), n / sum(dims)),
    )


def _through_route(
    x1: np.ndarray,
    x2: np.ndarray,
    y: np.ndarray,
    *,
    route: str,
    folds: int,
    groups: np.ndarray | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if route == "linear":
        return x1, x2, y
    if route == "rank":
        return normal_scores(x1), normal_scores(x2), normal_scores(y)
    if route != "flow":
        raise ConfigError(f"route must be one of {', '.join(ROUTES)}, found {route!r}")
    # torch takes seconds to import, and decompositions do not need it.
    from pidflow.flow import gaussianize

    labels = grouped_folds(len(y), folds=folds, groups=groups, seed=seed)
    latents = gaussianize(x1, x2, y, folds=labels, groups=groups, seed=seed)
    return latents.z1, latents.z2, latents.y


def _estimate(
    system: GaussianSystem,
    *,
    definition: str,
    dims: tuple[int, int, int],
    sizes: np.ndarray,
    permutations: int,
    crossfit: CrossFit | None,
    fingerprint: str,
) -> PIDEstimate:
    """Corrected estimate from the batch ``[all rows, permutations..., deleted blocks...]``."""
    d1, d2, m = dims
    plug_in = decompose(system, definition=definition)
    kept = np.r_[0, 1 + permutations : len(plug_in.mi_12)]
    null = slice(1, 1 + permutations)
    exact = {
        name: np.array([mi_bias(int(n), source, m) for n in sizes])
        for name, source in zip(INFORMATIONS, (d1, d2, d1 + d2), strict=True)
    }
    mi = {name: getattr(plug_in, name)[kept] - exact[name] for name in INFORMATIONS}
    if definition == "mmi":
        correction = "exact"
        corrected = np.maximum(mi["mi_1"], mi["mi_2"])
    elif crossfit is None:
        correction = "permutation"
        # The measured bias belongs to all rows; fewer rows have more of it, in proportion to the exact bias of I12.
        corrected = plug_in.union[kept] - plug_in.union[null].mean() * exact["mi_12"] / exact["mi_12"][0]
    elif definition == "broja":
        correction = "cross-fit"
        corrected = 0.5 * (mi["mi_1"] + mi["mi_2"] + crossfit.unique_1 + crossfit.unique_2)
    else:
        correction = "cross-fit"
        corrected = np.minimum(independent_union(system)[kept] - crossfit.independent_bias, mi["mi_12"])
    union, clipped = consistent_union(corrected, mi["mi_1"], mi["mi_2"], mi["mi_12"])
    values = {
        "redundancy": mi["mi_1"] + mi["mi_2"] - union,
        "unique_1": union - mi["mi_2"],
        "unique_2": union - mi["mi_1"],
        "synergy": mi["mi_12"] - union,
        **mi,
    }
    n, ratio = int(sizes[0]), float(sizes[0] / sum(dims))
    return PIDEstimate(
        definition=definition,
        **{name: float(values[name][0]) for name in QUANTITIES},
        se={name: float(jackknife_se(values[name][1:])) for name in QUANTITIES},
        p_value=float((1 + (plug_in.mi_12[null] >= plug_in.mi_12[0]).sum()) / (permutations + 1)),
        union_raw=float(plug_in.union[0]),
        union_corrected=float(corrected[0]),
        union=float(union[0]),
        clipped=bool(clipped[0]),
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
        warnings=plug_in.info.notes
        + _bias_warning("I12", float(exact["mi_12"][0]), float(mi["mi_12"][0]), ratio)
        + _dependence_warning(plug_in.mi_12[null], float(exact["mi_12"][0]))
        + _correction_warning(correction)
        + _range_warning(mi, corrected, union),
    )


def _bias_warning(name: str, bias: float, corrected: float, ratio: float) -> tuple[str, ...]:
    if bias <= 0.5 * corrected:
        return ()
    return (
        f"the finite-sample bias of {name} ({bias:.3g} bit) exceeds half of what is left ({corrected:.3g} bit); "
        f"{ratio:.1f} rows a dimension are few for this much information",
    )


def _dependence_warning(null_mi: np.ndarray, exact: float) -> tuple[str, ...]:
    """The exact bias assumes independent rows; permuted data show when they are not."""
    excess = null_mi.mean() - exact
    if excess <= max(0.25 * exact, 4.0 * null_mi.std(ddof=1) / np.sqrt(len(null_mi))):
        return ()
    return (
        f"permuted data carry {null_mi.mean():.3g} bit of I12 where independent Gaussian rows would carry {exact:.3g}: "
        "rows depend on each other or have heavy tails, and the corrected informations are too large by about as much",
    )


def _correction_warning(correction: str) -> tuple[str, ...]:
    if correction != "permutation":
        return ()
    return (
        "rows are too few to be divided, so the union information was corrected by permutations: too little where the "
        "sources tie, too much where one dominates",
    )


def _range_warning(mi: dict[str, np.ndarray], corrected: np.ndarray, union: np.ndarray) -> tuple[str, ...]:
    """Noise at a boundary clips by about its own standard error; more than twice that deserves a word."""
    moved = union - corrected
    if abs(moved[0]) <= 2 * jackknife_se(moved[1:]):
        return ()
    one, two, both = (float(mi[name][0]) for name in INFORMATIONS)
    lower, upper = max(one, two), min(one + two, both)
    allowed = f"between {lower:.4g} and {upper:.4g}"
    if lower > upper:
        allowed = f"above {lower:.4g} and below {upper:.4g} (the informations contradict each other: they are noise)"
    return (f"union information {corrected[0]:.4g} bit was clipped to {union[0]:.4g}: it must lie {allowed}",)
