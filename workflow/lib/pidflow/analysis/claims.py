"""The headline claims of arXiv 2602.15580 as testable statements about the models of a run.

Each claim is a number and a side of a threshold. It is *supported* when the 95 % interval of the number lies wholly on
the claimed side, *not supported* when it lies wholly on the other, and *undetermined* otherwise: too few rows, one
model where two are needed, a share of an information that is not above zero.

What to know before quoting a verdict. Errors come from recomputing the whole number without each group of images; tasks
have their own images and count as independent. "Early" is the first third of the layers and "late" the last third, the
embedding output counted as layer 0. A cut is judged against the intact model and, as ``…-beyond-random``, against its
random control: a rise that any damage brings says nothing about this edge. A cut changes what is said, too: where
conditions were also decomposed against what the intact model says, each claim about a cut has a second row. A mean over
tasks speaks of these tasks, not of tasks in general; only the correlations over tasks take the tasks as a sample, which
makes them hard to establish with few tasks. How much a task depends on vision is the accuracy it loses without the
image, which is not what it loses under the cut that is judged. There are many rows, and of twenty that lie on their
threshold one is expected to be judged by chance: so every row has a second verdict, that of Holm's procedure over all
rows of the table, under which the chance of any wrong verdict in the whole table is at most 5 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import combinations

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.analysis.decompositions import UNKNOWN, against, warning
from pidflow.analysis.dependence import EFFECTS, LOST, REDUNDANT, dependence_table, over_tasks
from pidflow.analysis.profiles import Profile, agreement, by_condition, change, comparable, quantity_of
from pidflow.analysis.reach import Reach
from pidflow.analysis.statements import (
    AGREEMENT,
    CONTROLLED_STATEMENTS,
    DEPENDENCE_STATEMENTS,
    INTACT_STATEMENTS,
    KNOCKOUT_STATEMENTS,
    REDUNDANCY_STATEMENTS,
    Statement,
    early,
    peak_contrast,
)
from pidflow.names import ALL_TASKS, INTACT, MIN_TASKS, OWN
from pidflow.pid.results import Decomposition

NO_CONDITION = "none"

_Evidence = tuple[stats.Estimate, str]
_NO_CUT = "no task was run with this attention cut"


@dataclass(frozen=True)
class Claim:
    """One claim, judged.

    Attributes
    ----------
    id, statement
        What is claimed.
    model, task, condition, target, estimator, definition
        Of what: a model (two joined by " / " in comparisons), a task or ``all``, the intervention or ``intact``, and
        the target it was decomposed against.
    estimate, se, low, high
        The number, its standard error and its 95 % interval; NaN where it is not defined.
    unit
        ``bits``, ``share`` (of the joint information) or ``correlation``.
    threshold, side
        The number is claimed to lie ``above`` or ``below`` the threshold.
    verdict
        ``supported``, ``not supported`` or ``undetermined``, from the interval of this row alone.
    p_value
        Two-sided, of the number lying at the threshold; NaN where there is no number or no error.
    p_holm, verdict_holm
        The same after Holm's procedure over all rows that are judged together (:func:`pidflow.stats.family_wise`).
    paper_value
        What the paper reports; NaN where it gives no number.
    reason
        One sentence with the numbers.
    """

    id: str
    statement: str
    model: str
    task: str
    condition: str
    target: str
    estimator: str
    definition: str
    estimate: float
    se: float
    low: float
    high: float
    unit: str
    threshold: float
    side: str
    verdict: str
    p_value: float
    p_holm: float
    verdict_holm: str
    paper_value: float
    reason: str


COLUMNS = tuple(field.name for field in fields(Claim))


def judge(
    decompositions: Sequence[Decomposition],
    lost: Mapping[tuple[str, str], stats.Estimate],
    *,
    knockout: str | None,
    control: str | None = None,
    reached: Mapping[tuple[str, str, str], Reach] | None = None,
    estimator: str = "flow",
    definition: str = "broja",
    target: str = OWN,
) -> list[Claim]:
    """Every claim about every model, per task and over all tasks.

    Parameters
    ----------
    decompositions
        All of the run; those of other estimators and definitions are left aside.
    lost
        Accuracy lost without the image, by (model, task); empty when that was not measured.
    knockout
        The condition in which the question cannot attend to the image; None if the run has none.
    control
        The condition that is its random control, in the run or not; None if none is defined.
    reached
        How far each (model, task, condition) reached; a control that is matched to nothing is none.
    estimator, definition
        Which estimate is judged.
    target
        Against which target the conditions were decomposed, of :data:`pidflow.names.TARGETS`. Claims about the intact
        model alone, which has one target, are judged with ``own``.

    Returns
    -------
    list of Claim
        Empty when no decomposition has this estimator and definition.

    Raises
    ------
    DataError
        When layers of one profile were decomposed with different rows.
    """
    decompositions = against(decompositions, target)
    profiles = by_condition(decompositions, estimator=estimator, definition=definition)
    tasks = dependence_table(
        decompositions, lost, knockout=knockout, estimator=estimator, definition=definition, target=target
    )
    models = sorted({model for model, _ in profiles})

    claims: list[Claim] = []
    for model in models:
        judged = _Judged(model, estimator, definition, target)
        intact, cut, random = (profiles.get((model, condition), {}) for condition in (INTACT, knockout, control))
        for statement in INTACT_STATEMENTS:
            evidence = {task: _measured(statement, profile) for task, profile in intact.items()}
            claims += judged.tasks(statement, INTACT, evidence, missing="no task was run intact")
        for quantity in EFFECTS:
            statement, controlled = KNOCKOUT_STATEMENTS[quantity], CONTROLLED_STATEMENTS[quantity]
            evidence = {task: _changed(statement, intact[task], cut[task]) for task in intact if task in cut}
            claims += judged.tasks(statement, knockout, evidence, missing=_NO_CUT)
            evidence = {
                task: _beyond(controlled, random[task], cut[task], reached or {}) for task in cut if task in random
            }
            claims += judged.tasks(controlled, knockout, evidence, missing=_uncontrolled(cut, control))
            rows = tasks[(tasks["model"] == model) & (tasks["atom"] == quantity)]
            for correlated, moderator in (
                (DEPENDENCE_STATEMENTS[quantity], LOST),
                (REDUNDANCY_STATEMENTS[quantity], REDUNDANT),
            ):
                claims.append(judged.claim(correlated, ALL_TASKS, knockout, *_correlated(rows, moderator)))
    for first, second in combinations(models, 2):
        one, two = profiles.get((first, INTACT), {}), profiles.get((second, INTACT), {})
        shared = {task: (agreement(one[task], two[task]), "") for task in one if task in two}
        claims += _Judged(f"{first} / {second}", estimator, definition, target).tasks(
            AGREEMENT, INTACT, shared, missing="no task was run intact with both models"
        )
    if len(models) == 1:
        alone = UNKNOWN, "the run has one model, a comparison needs two"
        claims.append(_Judged(models[0], estimator, definition, target).claim(AGREEMENT, ALL_TASKS, INTACT, *alone))
    return [claim for claim in claims if target == OWN or claim.condition != INTACT]


def claims_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """Claims as rows, columns `COLUMNS`; together they are the family of Holm's procedure."""
    return pd.DataFrame([asdict(claim) for claim in stats.family_wise(claims)], columns=COLUMNS)


def _measured(statement: Statement, profile: Profile) -> _Evidence:
    """The number of a statement about one intact profile, and what to say about it."""
    first = early(profile.depth)
    if first.all() or not first.any():
        return UNKNOWN, "the decomposed layers do not cover the first third and what follows it"
    if statement.unit == "share":
        joint = profile.estimate(lambda values, _: quantity_of(values, "mi_joint")[..., -1])
        if not joint.interval()[0] > 0:
            return UNKNOWN, f"the joint information at the last layer ({joint.value:.3f} bits) is not above zero"
    found, notes = profile.estimate(statement.of), _warned(profile)
    if statement.unit == "share" and found.se < stats.ROUNDING:
        # Clipped to its bound in every replicate, an atom shows no error of its own.
        found = replace(found, se=joint.se / joint.value)
        notes.append("the atom is clipped, its error is that of the joint information")
    if statement.of is peak_contrast:
        vision = profile.curve("unique_vision")
        notes.insert(0, f"largest at layer {profile.layers[int(vision.argmax())]} ({vision.max():.3f} bits)")
    return found, "; ".join(notes)


def _changed(statement: Statement, without: Profile, cut: Profile) -> _Evidence:
    """The number of a statement under the cut minus the same number without it."""
    if not comparable(without, cut):
        return UNKNOWN, "the two conditions were not decomposed at the same layers behind the embedding"
    notes = [*_warned(without, f"{without.condition} "), *_warned(cut, "cut ")]
    return change(cut, without, statement.of), "; ".join(notes)


def _beyond(
    statement: Statement, random: Profile, cut: Profile, reached: Mapping[tuple[str, str, str], Reach]
) -> _Evidence:
    """The number of a statement under the cut minus the same number under its random control."""
    reach, of_cut = (reached.get((each.model, each.task, each.condition)) for each in (random, cut))
    if reach is None or not reach.control:
        return _changed(statement, random, cut)
    if not reach.matched:
        return UNKNOWN, f"{reach.in_words}: there are too few pairs that end where those of the edge end"
    if of_cut is not None and (lacking := reach.lacking(of_cut)):
        return UNKNOWN, f"{reach.in_words}; {lacking}"
    found, notes = _changed(statement, random, cut)
    return found, "; ".join(filter(None, (reach.in_words, notes)))


def _uncontrolled(cut: Mapping[str, Profile], control: str | None) -> str:
    """Why there is nothing to compare a cut with, and what to do about it."""
    if not cut:
        return _NO_CUT
    if control is None:
        return (
            "no intervention is its random control; define one of kind random with the source, target and blocks "
            "of the cut and add it to run.conditions"
        )
    return f"no task was run with its random control; add '{control}' to run.conditions"


def _correlated(rows: pd.DataFrame, moderator: str) -> _Evidence:
    """Fisher's z of the correlation of effect and `moderator` over the tasks, which are the sample."""
    found, count = over_tasks(rows, moderator)
    if count >= MIN_TASKS:
        return found, f"over {count} tasks" if np.isfinite(
            found.value
        ) else f"one number is the same in all {count} tasks"
    note = f"{count} tasks have both numbers, a correlation needs {MIN_TASKS}"
    if moderator == LOST and len(rows) and rows[LOST].isna().all():
        note += "; claims.blind names the condition that measures the accuracy without the image"
    return found, note


def _warned(profile: Profile, which: str = "") -> list[str]:
    flagged = sum(bool(warning(each)) for each in profile.decompositions)
    return [f"{flagged} of {len(profile.decompositions)} {which}layers carry warnings"] if flagged else []


@dataclass(frozen=True)
class _Judged:
    """What is judged: the part all claims of one model share."""

    model: str
    estimator: str
    definition: str
    target: str

    def tasks(
        self, statement: Statement, condition: str | None, evidence: Mapping[str, _Evidence], *, missing: str
    ) -> list[Claim]:
        """One claim per task and one about their mean; `missing` states why there is no task."""
        if not evidence:
            return [self.claim(statement, ALL_TASKS, condition, UNKNOWN, missing)]
        single = [self.claim(statement, task, condition, *found) for task, found in evidence.items()]
        known = {task: e for task, (e, _) in evidence.items() if np.isfinite(e.value) and np.isfinite(e.se)}
        if not known:
            nowhere = f"defined in none of {len(evidence)} tasks: {next(iter(evidence.values()))[1]}"
            return [*single, self.claim(statement, ALL_TASKS, condition, UNKNOWN, nowhere)]
        counts = Counter(claim.verdict for claim in single)
        tally = ", ".join(
            f"{name} in {counts[name]}"
            for name in (stats.SUPPORTED, stats.NOT_SUPPORTED, stats.UNDETERMINED)
            if counts[name]
        )
        note = f"mean over {len(known)} of {len(evidence)} tasks; one by one {tally}"
        mean = stats.mean_of_independent(list(known.values()))
        return [*single, self.claim(statement, ALL_TASKS, condition, mean, note)]

    def claim(self, statement: Statement, task: str, condition: str | None, found: stats.Estimate, note: str) -> Claim:
        low, high = found.interval()
        value, se, tested = found.value, found.se, statement.threshold
        if statement.unit == "correlation":
            tested = float(stats.fisher(np.array(tested)))
            value, low, high = (float(np.tanh(z)) for z in (value, low, high))
            se = (1 - value**2) * se
        verdict = stats.verdict(low, high, threshold=statement.threshold, above=statement.above)
        p_value = stats.p_value(found, threshold=tested)
        return Claim(
            id=statement.id,
            statement=statement.text,
            model=self.model,
            task=task,
            condition=condition or NO_CONDITION,
            target=self.target,
            estimator=self.estimator,
            definition=self.definition,
            estimate=value,
            se=se,
            low=low,
            high=high,
            unit=statement.unit,
            threshold=statement.threshold,
            side="above" if statement.above else "below",
            verdict=verdict,
            p_value=p_value,
            p_holm=p_value,
            verdict_holm=verdict,
            paper_value=statement.paper_value,
            reason=_sentence(statement, value, low, high, note),
        )


def _sentence(statement: Statement, value: float, low: float, high: float, note: str) -> str:
    if not np.isfinite(value):
        return f"No number: {note}."
    unit = {"bits": " bits", "share": " of the joint information", "correlation": ""}[statement.unit]
    spread = "its error is not known" if not high - low > stats.ROUNDING else f"95 % interval {low:z.3f} to {high:z.3f}"
    claimed = f"claimed {'above' if statement.above else 'below'} {statement.threshold:g}"
    return f"{value:z.3f}{unit} ({spread}; {claimed})" + (f"; {note}" if note else "") + "."
