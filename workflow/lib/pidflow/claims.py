"""The headline claims of arXiv 2602.15580 as testable statements about the models of a run.

Each claim is a number and a side of a threshold. It is *supported* when the 95 % interval of the number lies wholly on
the claimed side, *not supported* when it lies wholly on the other, and *undetermined* otherwise: too few rows, one
model where two are needed, a share of an information that is not above zero.

What to know before quoting a verdict. Errors come from recomputing the whole number without each group of images; tasks
have their own images and count as independent. "Early" is the first third of the layers and "late" the last third, the
embedding output counted as layer 0. A mean over tasks speaks of these tasks, not of tasks in general; only the
correlations over tasks take the tasks as a sample, which makes them hard to establish with few tasks. There are many
rows, and no correction for that: of twenty true-null rows, one is expected to miss its threshold by chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import combinations

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.profiles import Profile, agreement, change, quantity_of
from pidflow.tables import INTACT, Cell

ALL_TASKS = "all"
NO_CONDITION = "none"
# Fisher's z has the error 1 / sqrt(tasks - 3).
MIN_TASKS = 4

_Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
_Evidence = tuple[stats.Estimate, str]
_UNKNOWN = stats.Estimate(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Claim:
    """One claim, judged.

    Attributes
    ----------
    id, statement
        What is claimed.
    model, task, condition, route, definition
        Of what: a model (two joined by " / " in comparisons), a task or ``all``, the intervention or ``intact``.
    estimate, se, low, high
        The number, its standard error and its 95 % interval; NaN where it is not defined.
    unit
        ``bits``, ``share`` (of the joint information) or ``correlation``.
    threshold, side
        The number is claimed to lie ``above`` or ``below`` the threshold.
    verdict
        ``supported``, ``not supported`` or ``undetermined``.
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
    route: str
    definition: str
    estimate: float
    se: float
    low: float
    high: float
    unit: str
    threshold: float
    side: str
    verdict: str
    paper_value: float
    reason: str


COLUMNS = tuple(field.name for field in fields(Claim))


@dataclass(frozen=True)
class Statement:
    """A claim before it meets data; `of` computes its number from profile values and relative depth."""

    id: str
    text: str
    unit: str
    of: _Statistic | None = None
    threshold: float = 0.0
    above: bool = True
    paper_value: float = float("nan")


def _early(depth: np.ndarray) -> np.ndarray:
    return depth <= 1 / 3 + 1e-9


def _late(depth: np.ndarray) -> np.ndarray:
    return depth >= 2 / 3 - 1e-9


def _peak_contrast(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
    vision, early = quantity_of(values, "unique_vision"), _early(depth)
    return vision[..., early].max(axis=-1) - vision[..., ~early].max(axis=-1)


def _rise(quantity: str) -> _Statistic:
    def of(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
        course = quantity_of(values, quantity)
        return course[..., _late(depth)].mean(axis=-1) - course[..., _early(depth)].mean(axis=-1)

    return of


def _last_share(quantity: str) -> _Statistic:
    def of(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
        return quantity_of(values, quantity)[..., -1] / quantity_of(values, "mi_joint")[..., -1]

    return of


def _mean_behind_input(quantity: str) -> _Statistic:
    def of(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
        # A cut cannot change the embedding output; layer 0 would only dilute the effect.
        return quantity_of(values, quantity)[..., depth > 0].mean(axis=-1)

    return of


INTACT_STATEMENTS = (
    Statement(
        "vision-peaks-early",
        "vision-unique information peaks in the first third of the layers (largest there minus largest elsewhere)",
        "bits",
        _peak_contrast,
    ),
    Statement(
        "vision-decays",
        "vision-unique information decays with depth (mean of the last third minus mean of the first)",
        "bits",
        _rise("unique_vision"),
        above=False,
    ),
    Statement(
        "language-surges-late",
        "language-unique information surges late (mean of the last third minus mean of the first)",
        "bits",
        _rise("unique_language"),
    ),
    Statement(
        "language-dominates-last",
        "language-unique information is most of the joint information at the last layer",
        "share",
        _last_share("unique_language"),
        threshold=0.5,
        paper_value=0.82,
    ),
    Statement(
        "synergy-is-small",
        "synergy is below 2 % of the joint information at the last layer",
        "share",
        _last_share("synergy"),
        threshold=0.02,
        above=False,
        paper_value=0.02,
    ),
)
KNOCKOUT_STATEMENTS = (
    Statement(
        "knockout-traps-vision",
        "cutting image-to-question attention raises vision-unique information (mean change over layers)",
        "bits",
        _mean_behind_input("unique_vision"),
    ),
    Statement(
        "knockout-raises-synergy",
        "cutting image-to-question attention raises synergy (mean change over layers)",
        "bits",
        _mean_behind_input("synergy"),
    ),
    Statement(
        "knockout-raises-cost",
        "cutting image-to-question attention raises the joint information (mean change over layers)",
        "bits",
        _mean_behind_input("mi_joint"),
    ),
)
DEPENDENCE_STATEMENTS = tuple(
    Statement(
        f"{effect.id}-by-dependence",
        f"tasks that lose more accuracy under the cut show a larger rise of {what} (correlation over tasks)",
        "correlation",
    )
    for effect, what in zip(
        KNOCKOUT_STATEMENTS, ("vision-unique information", "synergy", "the joint information"), strict=True
    )
)
AGREEMENT = Statement(
    "trajectories-agree",
    "the courses of the four atoms over the layers correlate above 0.96 between models",
    "correlation",
    threshold=0.96,
    paper_value=0.96,
)


def judge(
    cells: Sequence[Cell],
    accuracy_lost: Mapping[tuple[str, str], float],
    *,
    knockout: str | None,
    route: str = "flow",
    definition: str = "broja",
) -> list[Claim]:
    """Every claim about every model, per task and over all tasks.

    Parameters
    ----------
    cells
        Decompositions of the run; those of other routes and definitions are left aside.
    accuracy_lost
        Accuracy of intact minus that under `knockout`, by (model, task).
    knockout
        The condition in which the question cannot attend to the image; None if the run has none.
    route, definition
        Which estimate is judged.

    Returns
    -------
    list of Claim
        Empty when no cell has this route and definition.

    Raises
    ------
    DataError
        When layers of one profile were decomposed with different rows.
    """
    grouped: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        if (cell.route, cell.definition) == (route, definition):
            grouped.setdefault((cell.model, cell.task, cell.condition), []).append(cell)
    profiles: dict[tuple[str, str], dict[str, Profile]] = {}
    for (model, task, condition), found in sorted(grouped.items()):
        profiles.setdefault((model, condition), {})[task] = Profile.of(found)
    models = sorted({model for model, _ in profiles})

    claims: list[Claim] = []
    for model in models:
        judged = _Judged(model, route, definition)
        intact, cut = (profiles.get((model, condition), {}) for condition in (INTACT, knockout))
        for statement in INTACT_STATEMENTS:
            claims += judged.tasks(statement, INTACT, {task: _measured(statement, p) for task, p in intact.items()})
        both = [task for task in intact if task in cut]
        lost = np.array([accuracy_lost.get((model, task), np.nan) for task in both])
        for statement, by_dependence in zip(KNOCKOUT_STATEMENTS, DEPENDENCE_STATEMENTS, strict=True):
            effects = {task: _changed(statement, intact[task], cut[task]) for task in both}
            claims += judged.tasks(statement, knockout, effects)
            sizes = np.array([effect.value for effect, _ in effects.values()])
            claims.append(judged.claim(by_dependence, ALL_TASKS, knockout, *_over_tasks(lost, sizes)))
    for first, second in combinations(models, 2):
        one, two = profiles.get((first, INTACT), {}), profiles.get((second, INTACT), {})
        shared = {task: (agreement(one[task], two[task]), "") for task in one if task in two}
        claims += _Judged(f"{first} / {second}", route, definition).tasks(AGREEMENT, INTACT, shared)
    if len(models) == 1:
        alone = _UNKNOWN, "the run has one model, a comparison needs two"
        claims.append(_Judged(models[0], route, definition).claim(AGREEMENT, ALL_TASKS, INTACT, *alone))
    return claims


def claims_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """Claims as rows, columns `COLUMNS`."""
    return pd.DataFrame([asdict(claim) for claim in claims], columns=COLUMNS)


def _measured(statement: Statement, profile: Profile) -> _Evidence:
    """The number of a statement about one intact profile, and what to say about it."""
    early = _early(profile.depth)
    if early.all() or not early.any():
        return _UNKNOWN, "the decomposed layers do not cover the first third and what follows it"
    if statement.unit == "share":
        joint = profile.estimate(lambda values, _: quantity_of(values, "mi_joint")[..., -1])
        if not joint.interval()[0] > 0:
            return _UNKNOWN, f"the joint information at the last layer ({joint.value:.3f} bits) is not above zero"
    found, notes = profile.estimate(statement.of), _warned(profile)
    if statement.unit == "share" and found.se < stats.ROUNDING:
        # Clipped to its bound in every replicate, an atom shows no error of its own.
        found = replace(found, se=joint.se / joint.value)
        notes.append("the atom is clipped, its error is that of the joint information")
    if statement.of is _peak_contrast:
        vision = profile.course("unique_vision")
        notes.insert(0, f"largest at layer {profile.layers[int(vision.argmax())]} ({vision.max():.3f} bits)")
    return found, "; ".join(notes)


def _changed(statement: Statement, intact: Profile, cut: Profile) -> _Evidence:
    """The number of a statement under the cut minus the same number intact."""
    if intact.layers != cut.layers or intact.layers == [0]:
        return _UNKNOWN, "the two conditions were not decomposed at the same layers behind the embedding"
    return change(cut, intact, statement.of), "; ".join([*_warned(intact, "intact "), *_warned(cut, "cut ")])


def _over_tasks(lost: np.ndarray, effects: np.ndarray) -> _Evidence:
    """Fisher's z of the correlation of accuracy lost and effect over tasks, the tasks taken as a sample."""
    known = np.isfinite(lost) & np.isfinite(effects)
    if known.sum() < MIN_TASKS:
        return _UNKNOWN, f"{known.sum()} tasks have both numbers, a correlation needs {MIN_TASKS}"
    z = float(stats.fisher(stats.correlation(lost[known], effects[known])))
    return stats.Estimate(z, 1 / np.sqrt(known.sum() - 3), np.inf), f"over {known.sum()} tasks"


def _warned(profile: Profile, which: str = "") -> list[str]:
    flagged = sum(bool(cell.warning) for cell in profile.cells)
    return [f"{flagged} of {len(profile.cells)} {which}layers carry warnings"] if flagged else []


@dataclass(frozen=True)
class _Judged:
    """What is judged: the part all claims of one model share."""

    model: str
    route: str
    definition: str

    def tasks(self, statement: Statement, condition: str | None, evidence: Mapping[str, _Evidence]) -> list[Claim]:
        """One claim per task and one about their mean."""
        single = [self.claim(statement, task, condition, *found) for task, found in evidence.items()]
        known = {task: e for task, (e, _) in evidence.items() if np.isfinite(e.value) and np.isfinite(e.se)}
        if not evidence:
            missing = "no task was run intact" if condition == INTACT else "no task was run with this attention cut"
            return [self.claim(statement, ALL_TASKS, condition, _UNKNOWN, missing)]
        if not known:
            nowhere = f"defined in none of {len(evidence)} tasks: {next(iter(evidence.values()))[1]}"
            return [*single, self.claim(statement, ALL_TASKS, condition, _UNKNOWN, nowhere)]
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
        value, se = found.value, found.se
        if statement.unit == "correlation":
            value, low, high = (float(np.tanh(z)) for z in (value, low, high))
            se = (1 - value**2) * se
        verdict = stats.verdict(low, high, threshold=statement.threshold, above=statement.above)
        return Claim(
            id=statement.id,
            statement=statement.text,
            model=self.model,
            task=task,
            condition=condition or NO_CONDITION,
            route=self.route,
            definition=self.definition,
            estimate=value,
            se=se,
            low=low,
            high=high,
            unit=statement.unit,
            threshold=statement.threshold,
            side="above" if statement.above else "below",
            verdict=verdict,
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
