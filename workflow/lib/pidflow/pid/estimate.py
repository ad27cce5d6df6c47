"""Partial information decomposition and mutual information estimated from samples, with errors.

An estimator (a file in :mod:`pidflow.pid.estimators`) makes the rows Gaussian; after it there is one code path: plug-in
decomposition, exact bias of the informations, bias of the union information, clipping to the consistent range,
delete-group jackknife. Plug-in, permutations and jackknife replicates are one batch.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pidflow import arguments
from pidflow.errors import NumericsError, UnboundedError
from pidflow.flows.settings import FlowConfig
from pidflow.groups import MOST, grouped_folds
from pidflow.pid.bias import bias_warning, mi_bias
from pidflow.pid.correction import corrected_unless_discrete
from pidflow.pid.covariances import (
    covariance,
    deleted_covariances,
    jackknife_blocks,
    repeated_rows,
    standardised,
    varying,
)
from pidflow.pid.estimators._rows import Blocks, estimates_by, gaussian_rows, speaker
from pidflow.pid.from_latents import MIN_PERMUTATIONS, estimate_pid_from_latents
from pidflow.pid.gaussian import ATOMS, DEFINITIONS
from pidflow.pid.gaussian_system import gaussian_mi
from pidflow.pid.results import MIEstimate, PIDEstimate
from pidflow.plugins.registry import available
from pidflow.stats import jackknife_se

# How estimates can be corrected.
TWIN = "twin"
CORRECTIONS = ("none", TWIN)
# What estimator `auto` is compared with: both take no time.
COMPARED = ("gaussian", "copula")


def estimate_pid(
    x1: np.ndarray,
    x2: np.ndarray,
    y: np.ndarray,
    *,
    estimator: str = "auto",
    folds: int = 5,
    groups: np.ndarray | None = None,
    permutations: int = 20,
    jackknife: int = 20,
    seed: int = 0,
    definitions: Sequence[str] = DEFINITIONS,
    flow: FlowConfig | None = None,
    correct: str = "none",
) -> dict[str, PIDEstimate]:
    """Bias-corrected partial information decomposition of rows, one result a definition, in bits.

    Parameters
    ----------
    x1, x2, y : array_like, shapes (n, d1), (n, d2), (n, m)
        The two sources and the target; one-dimensional arrays count as one column. Constant columns are left out and
        named in the warnings; a constant block carries 0 bits.
    estimator : {"auto", "flow", "copula", "gaussian", "mixed"}
        How rows are made Gaussian: the name of a file in :mod:`pidflow.pid.estimators`. ``"auto"`` takes ``"mixed"``
        where a block takes few distinct values or falls into clusters, and ``"flow"`` otherwise; `spoke` of the result
        says which.
    folds : int
        Folds of cross-fitting, for estimators that need a flow.
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
    flow : FlowConfig, optional
        Maps of the flow and how they are trained, for estimators that need one; the defaults when omitted.
    correct : {"none", "twin"}
        ``"twin"`` adds what a flow loses in rows like these, as seen where the truth is known
        (:mod:`pidflow.pid.correction`); it trains a second flow. Estimators that need no flow are left as they are, as
        are rows with codes or clusters, which have no twin.

    Returns
    -------
    dict of str to PIDEstimate
        All numbers are NaN, and a warning says why, where the target is an exact function of a source.

    Raises
    ------
    ConfigError
        For an unknown estimator or definition, or a number out of range.
    DataError
        When row counts differ, values are no finite numbers, or a group label is missing.
    NumericsError
        When there are too few rows, or the decomposition is refused.
    """
    blocks, notes = varying(x1=x1, x2=x2, y=y)
    definitions = arguments.choices(definitions, "definitions", DEFINITIONS)
    arguments.choice(correct, "correct", CORRECTIONS)
    how = {"groups": groups, "permutations": permutations, "jackknife": jackknife, "seed": seed}
    how |= {"definitions": definitions}
    flows = _Flows(tuple(blocks), folds=folds, groups=groups, seed=seed, config=flow)
    found, _ = estimates_by(
        _known(estimator),
        scores=tuple(blocks),
        latents=flows.latents,
        notes=notes + repeated_rows(blocks, groups),
        **how,
    )
    if correct == TWIN and flows.trained is not None and all(one.bounded for one in found.values()):
        from pidflow.pid.labels import any_discrete  # half a second of imports

        found = corrected_unless_discrete(
            found,
            lambda: tuple(estimate_pid_from_latents(*rows, **how) for rows in flows.twin()),
            discrete=any_discrete(blocks),
        )
    if estimator != "auto":
        return found
    return _beside_others(found, tuple(blocks), groups=groups, jackknife=jackknife, seed=seed)


def estimate_mi(
    x: np.ndarray,
    y: np.ndarray,
    *,
    estimator: str = "auto",
    folds: int = 5,
    groups: np.ndarray | None = None,
    jackknife: int = 20,
    seed: int = 0,
    flow: FlowConfig | None = None,
) -> MIEstimate:
    """Bias-corrected mutual information ``I(X; Y)`` of rows, in bits.

    Parameters
    ----------
    x, y : array_like, shapes (n, d), (n, m)
        The two blocks; one-dimensional arrays count as one column.
    estimator, folds, groups, jackknife, seed, flow
        As in :func:`estimate_pid`.

    Returns
    -------
    MIEstimate
    """
    (x, y), notes = varying(x=x, y=y)
    notes += repeated_rows((x, y), groups)
    n, dims = len(y), (x.shape[1], y.shape[1])
    # The flow's likelihood is over three blocks; an independent one adds nothing to it.
    bystander = np.random.default_rng(arguments.seed_of(seed)).standard_normal((n, 1))
    scores = (x, bystander, y)
    spoke = speaker(_known(estimator), scores)
    latents = _Flows(scores, folds=folds, groups=groups, seed=seed, config=flow).latents
    rows = gaussian_rows(spoke, scores=scores, latents=latents)
    if rows is None:
        return _information_of(x, y, spoke, notes=notes, groups=groups, jackknife=jackknife, seed=seed)
    x, _, y = rows

    rows = np.concatenate([standardised(x), standardised(y)], axis=1)
    without, sizes = deleted_covariances(rows, jackknife_blocks(n, jackknife, groups=groups, seed=seed))
    try:
        raw = np.concatenate([gaussian_mi(covariance(rows), dims)[None], _of_parts(without, dims)])
    except UnboundedError as err:
        return MIEstimate(*[np.nan] * 4, n=n, ratio=n / max(1, sum(dims)), warnings=(*notes, f"no number: {err}"))
    bias = np.array([mi_bias(int(k), *dims) for k in (n, *sizes)])
    corrected = raw - bias
    return MIEstimate(
        bits=float(corrected[0]),
        se=float(jackknife_se(corrected[1:])),
        raw=float(raw[0]),
        bias=float(bias[0]),
        n=n,
        ratio=n / max(1, sum(dims)),
        warnings=notes + bias_warning("I", float(bias[0]), float(corrected[0]), n / max(1, sum(dims))),
    )


def _beside_others(
    found: dict[str, PIDEstimate], blocks: Blocks, *, groups: np.ndarray | None, jackknife: int, seed: int
) -> dict[str, PIDEstimate]:
    """The estimates, with a warning where those of `COMPARED`, if any can be had, lie beyond both intervals."""
    notes: dict[str, tuple[str, ...]] = dict.fromkeys(found, ())
    for name in COMPARED:
        try:
            others, _ = estimates_by(
                name,
                scores=blocks,
                latents=lambda: blocks,
                groups=groups,
                permutations=MIN_PERMUTATIONS,
                jackknife=jackknife,
                seed=seed,
                definitions=tuple(found),
            )
        except NumericsError:  # fewer codes than columns leave no covariance
            continue
        for definition, one in found.items():
            other = others[definition]
            apart = [quantity for quantity in ATOMS if other.disagrees(one, quantity)]
            bits = ", ".join(f"{q} {getattr(other, q):.2f} instead of {getattr(one, q):.2f}" for q in apart)
            notes[definition] += (f"estimator {name} disagrees with {one.spoke}: {bits} bit",) if apart else ()
    return {name: replace(one, warnings=one.warnings + notes[name]) for name, one in found.items()}


def _information_of(
    x: np.ndarray, y: np.ndarray, estimator: str, *, notes: tuple[str, ...], groups: np.ndarray | None, **settings: int
) -> MIEstimate:
    """``I(X; Y)`` from the decomposition of a source beside one that is constant."""
    nothing = np.zeros((len(y), 0))
    found, _ = estimates_by(
        estimator,
        scores=(x, nothing, y),
        latents=lambda: (x, nothing, y),
        groups=groups,
        permutations=MIN_PERMUTATIONS,
        definitions=("mmi",),
        **settings,
    )
    whole = found["mmi"]
    return MIEstimate(
        bits=whole.mi_1,
        se=whole.se["mi_1"],
        raw=whole.raw["mi_1"],
        bias=whole.mi_bias["mi_1"],
        n=whole.n,
        ratio=whole.ratio,
        warnings=notes + tuple(word for word in whole.warnings if not word.startswith("x2 ")),
    )


def _of_parts(covariances: np.ndarray, dims: tuple[int, int]) -> np.ndarray:
    """Informations without some of the rows each, bits."""
    try:
        return gaussian_mi(covariances, dims)
    except NumericsError as err:
        raise type(err)(f"standard errors fail when some of the rows are left out: {err}") from err


def _known(estimator: str) -> str:
    arguments.choice(estimator, "estimator", available("pid.estimators"))
    return estimator


class _Flows:
    """Flows of some rows, trained when their latents are asked for, and then those of a twin of the rows.

    `trained` is None before, and where nothing depends on anything.
    """

    def __init__(
        self, scores: Blocks, *, folds: int, groups: np.ndarray | None, seed: int, config: FlowConfig | None
    ) -> None:
        self.scores, self.groups, self.config = scores, groups, config
        self.folds, self.seed = arguments.count(folds, "folds", least=2, most=MOST), arguments.seed_of(seed)
        self.trained = None

    def latents(self) -> Blocks:
        """Held-out latents of the rows."""
        x1, x2, y = self.scores
        if not y.shape[1] or not x1.shape[1] + x2.shape[1]:
            return self.scores
        self.trained = self._of(self.scores, self.seed)
        return self.trained.z1, self.trained.z2, self.trained.y

    def twin(self) -> tuple[Blocks, Blocks]:
        """The latents that a twin of the rows was made from, and those that flows find in it."""
        from pidflow.pid.planted_twin import another_start, planted_twin

        one = self.trained
        twin = planted_twin(one.z1, one.z2, one.y, one.weights, held_out_loss=one.info.held_out_loss, seed=self.seed)
        found = self._of((twin.x1, twin.x2, twin.y), another_start(self.seed))
        return (twin.z1, twin.z2, twin.zy), (found.z1, found.z2, found.y)

    def _of(self, rows: Blocks, seed: int):
        # torch takes seconds to import, and other estimators do not need it.
        from pidflow.flows.gaussianize import gaussianize

        labels = grouped_folds(len(rows[2]), folds=self.folds, groups=self.groups, seed=self.seed)
        return gaussianize(*rows, folds=labels, groups=self.groups, seed=seed, config=self.config)
