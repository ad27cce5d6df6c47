"""What every estimator is handed, and how one is called by its name.

A plug-in says what it ``NEEDS`` and has a function ``gaussian_rows`` that makes rows Gaussian; or it has a function
``estimates`` that decomposes the scores itself, or a function ``speaker`` that names the estimator for given scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pidflow.errors import ConfigError
from pidflow.pid.covariances import covariance, standardised, varying
from pidflow.pid.from_latents import estimates_of_rows, or_unbounded
from pidflow.pid.gaussian_system import whiten_system
from pidflow.pid.results import PIDEstimate
from pidflow.plugins.registry import load

Blocks = tuple[np.ndarray, np.ndarray, np.ndarray]
# What an estimator may need: the rows as they came, or the held-out latents of a flow (see pidflow.flows.gaussianize).
SCORES, LATENTS = "scores", "latents"


def speaker(estimator: str, scores: Blocks) -> str:
    """The estimator that speaks for these rows: the one named, or the one that it chooses."""
    plugin = load("pid.estimators", estimator)
    if not hasattr(plugin, "speaker"):
        return estimator
    return plugin.speaker(*_varying(scores)[0]).__name__.rpartition(".")[2]


def needs_flow(estimator: str) -> bool:
    """Whether an estimator that speaks starts from the latents of a flow."""
    return getattr(load("pid.estimators", estimator), "NEEDS", None) == LATENTS


def gaussian_rows(estimator: str, *, scores: Blocks, latents: Callable[[], Blocks]) -> Blocks | None:
    """The two sources and the target as the estimator makes them Gaussian; None where it makes them not so.

    Parameters
    ----------
    estimator
        Name of a file in this folder.
    scores
        Rows as they came, of shapes ``(n, d1)``, ``(n, d2)``, ``(n, m)``.
    latents
        Gives the held-out latents of a flow; called only when the estimator needs them.

    Raises
    ------
    ConfigError
        If there is no such estimator, or it needs what there is not.
    """
    plugin = load("pid.estimators", speaker(estimator, scores))
    if hasattr(plugin, "estimates"):
        return None
    if plugin.NEEDS not in (SCORES, LATENTS):
        raise ConfigError(f"estimator '{estimator}' needs {plugin.NEEDS!r}, expected {SCORES!r} or {LATENTS!r}")
    return plugin.gaussian_rows(*(scores if plugin.NEEDS == SCORES else latents()))


def estimates_by(
    estimator: str,
    *,
    scores: Blocks,
    latents: Callable[[], Blocks],
    groups: np.ndarray | None,
    permutations: int,
    jackknife: int,
    seed: int,
    definitions: Sequence[str],
    notes: tuple[str, ...] = (),
) -> tuple[dict[str, PIDEstimate], Blocks | None]:
    """Decompositions of rows by an estimator, and the rows that it made Gaussian, if it did.

    Where the target is an exact function of a source the estimates have no number, and say so.

    Parameters
    ----------
    estimator, scores, latents
        As in :func:`gaussian_rows`.
    groups, permutations, jackknife, seed, definitions
        As in :func:`pidflow.pid.estimate.estimate_pid`.
    notes
        Come before the warnings of each result.
    """
    from pidflow.pid.labels import clumped  # half a second of imports

    spoke = speaker(estimator, scores)
    rows = gaussian_rows(spoke, scores=scores, latents=latents)
    blocks, more = _varying(scores if rows is None else rows)
    decompose = load("pid.estimators", spoke).estimates if rows is None else estimates_of_rows
    more += (() if rows is None else _discrete(spoke, scores)) + clumped(_varying(scores)[0][2])
    exact = None if rows is None or rows is scores else _varying(scores)[0]
    found = or_unbounded(
        decompose if exact is None else _refused_where_exact(decompose, exact),
        blocks,
        notes=tuple(dict.fromkeys(notes + more)),
        groups=groups,
        permutations=permutations,
        jackknife=jackknife,
        seed=seed,
        definitions=definitions,
    )
    return {name: replace(each, spoke=spoke) for name, each in found.items()}, rows


def _discrete(spoke: str, scores: Blocks) -> tuple[str, ...]:
    """A word on rows with codes or clusters, of which an estimator that makes rows Gaussian knows nothing."""
    from pidflow.pid.labels import described  # half a second of imports

    found = described(_varying(scores)[0])
    return (f"{found}, of which estimator {spoke} knows nothing: take estimator auto",) * bool(found)


def _refused_where_exact(decompose: Callable[..., dict[str, PIDEstimate]], scores: Blocks):
    """`decompose` of rows whose scores are looked at first: maps of columns hide what a covariance of scores shows."""

    def of(blocks: Blocks, **settings: Any) -> dict[str, PIDEstimate]:
        rows = np.concatenate([standardised(block) for block in scores], axis=1)
        whiten_system(covariance(rows), tuple(block.shape[1] for block in scores))
        return decompose(blocks, **settings)

    return of


def _varying(blocks: Blocks) -> tuple[Blocks, tuple[str, ...]]:
    """The blocks without columns that do not vary, and a note on those."""
    kept, notes = varying(**dict(zip(("x1", "x2", "y"), blocks, strict=True)))
    return tuple(kept), notes
