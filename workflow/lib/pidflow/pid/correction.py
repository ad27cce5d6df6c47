"""What the twin gives back: an estimate corrected by what the same estimator loses in its own twin.

A flow trained on few rows finds less than is there. By how much is seen in the planted twin of the rows
(:mod:`pidflow.pid.planted_twin`), where the latents that a perfect flow would find are known: the same decomposition of
those latents, minus that of the latents that newly trained flows find, is added to the estimate. Both start from the
same draw, so its luck cancels, and the finite-sample bias with it.

The error of the corrected number has three parts: that of the estimate; that of what the twin shows, whose jackknife
groups are the same images; and that a twin is not the real thing. The last is a share of the correction
(`UNSURE`, as measured where the truth is known) and has one direction everywhere, so it enters the replicates as one
pattern that all estimates share: it cancels in differences as far as the corrections do.

Rows with codes or clusters are not corrected: their twin has none, and flows lose something else in it than in them
(docs/correction.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from pidflow.errors import DataError
from pidflow.pid.bias import BIAS, RANGE, bias_warning, range_warning, reported_union
from pidflow.pid.gaussian import INFORMATIONS, atoms_of
from pidflow.pid.results import QUANTITIES, PIDEstimate, Uncorrected
from pidflow.stats import TOLERANCE, jackknife_se

# Standard deviation of the true loss over the correction, chosen by tests/benchmarks/study_correction.py.
UNSURE = 0.5
# Part of what was found beyond which a correction deserves a word: half, as for the finite-sample bias beside what it
# leaves. Of the corrected number that is a third.
LARGEST = 1 / 2
NO_TWIN = "not corrected: a planted twin has neither codes nor clusters"


def corrected_unless_discrete(
    estimates: Mapping[str, PIDEstimate],
    of_twin: Callable[[], tuple[Mapping[str, PIDEstimate], Mapping[str, PIDEstimate]]],
    *,
    discrete: bool,
) -> dict[str, PIDEstimate]:
    """Estimates of one set of rows by definition, corrected where a twin resembles the rows, with a warning elsewhere.

    Parameters
    ----------
    estimates
        Of the real rows, from latents.
    of_twin
        Gives `perfect` and `found` of :func:`corrected` by definition; not called where the rows have no twin.
    discrete
        Whether anything is discrete about the rows (:func:`pidflow.pid.labels.any_discrete`).
    """
    if discrete:
        return {name: replace(each, warnings=(*each.warnings, NO_TWIN)) for name, each in estimates.items()}
    perfect, found = of_twin()
    return {name: corrected(each, perfect=perfect[name], found=found[name]) for name, each in estimates.items()}


def corrected(estimate: PIDEstimate, *, perfect: PIDEstimate, found: PIDEstimate) -> PIDEstimate:
    """The estimate with what the twin shows to be lost given back, bits; as it is where information has no bound.

    Parameters
    ----------
    estimate
        Of the real rows.
    perfect, found
        Of the latents that the twin was made from, and of those that the estimator finds in its rows.

    Raises
    ------
    DataError
        When the three are not of one definition and number of jackknife groups.
    """
    if not estimate.bounded:
        return estimate
    if not (perfect.bounded and found.bounded):
        return replace(estimate, warnings=(*estimate.warnings, "not corrected: information has no bound in the twin"))
    if len({(each.definition, each.groups) for each in (estimate, perfect, found)}) > 1:
        raise DataError("an estimate and its twin must have one definition and as many jackknife groups")
    parts = estimate, perfect, found
    mi = {
        name: _given([np.array([getattr(each, name), *each.replicates[name]]) for each in parts])
        for name in INFORMATIONS
    }
    if estimate.definition == "mmi":
        free = np.maximum(mi["mi_1"], mi["mi_2"])
    else:
        free = _given([_unions(each) for each in parts])
    # What a block of no columns leaves carries no contradiction.
    both_tell = mi["mi_1"].any() and mi["mi_2"].any()
    union = reported_union(free, mi) if both_tell else free
    values = atoms_of(mi, union)
    back = float(mi["mi_12"][0]) - estimate.mi_12
    return replace(
        estimate,
        **{name: float(values[name][0]) for name in QUANTITIES},
        se={name: float(jackknife_se(values[name][1:])) for name in QUANTITIES},
        union_corrected=float(free[0]),
        union=float(union[0]),
        clipped=bool(abs(union[0] - free[0]) > 1e-12),
        replicates={name: values[name][1:].tolist() for name in QUANTITIES},
        warnings=(
            *(text for text in estimate.warnings if not text.startswith((BIAS, RANGE))),
            *bias_warning("I12", estimate.mi_bias["mi_12"], float(mi["mi_12"][0]), estimate.ratio),
            *(range_warning(free, mi) if both_tell else ()),
            *_size_warning(back, estimate.mi_12),
        ),
        uncorrected=Uncorrected({name: getattr(estimate, name) for name in QUANTITIES}, dict(estimate.se)),
    )


def _size_warning(back: float, found: float) -> tuple[str, ...]:
    """A word where the correction is large beside what was found."""
    if abs(back) <= max(LARGEST * abs(found), TOLERANCE):
        return ()
    return (
        f"{back:.3g} bit of I12 were given back by the twin, more than half of the {found:.3g} that were found: flows "
        "cannot undo the maps of these rows",
    )


def _unions(estimate: PIDEstimate) -> np.ndarray:
    """Union information before it is clipped, of all rows and without each jackknife group, ``(1 + G,)``."""
    replicates = (np.asarray(estimate.replicates[name]) for name in ("mi_1", "mi_2", "redundancy"))
    one, two, shared = replicates
    return np.concatenate([[estimate.union_corrected], one + two - shared])


def _given(values: list[np.ndarray]) -> np.ndarray:
    """Estimate + perfect - found, ``(1 + G,)``, with the share of the correction that is unsure in the replicates."""
    estimate, perfect, found = values
    back = perfect - found
    return estimate + back + UNSURE * back[0] * np.concatenate([[0.0], pattern(len(back) - 1)])


def pattern(groups: int) -> np.ndarray:
    """Replicates of a number whose jackknife error is 1 and whose mean is 0, ``(G,)``."""
    signs = np.resize([1.0, -1.0], groups)
    signs[2 * (groups // 2) :] = 0.0
    return signs / jackknife_se(signs)
