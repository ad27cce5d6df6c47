"""Through which edges the answer travels: the two-stage picture of arXiv 2411.18620 as statements about one model.

There, the question's tokens read the image in earlier blocks (first stage) and the last position reads the question in
later ones (second stage), while it reads the image directly little or not at all. Here, of the tasks of a run:

- *the image reaches the last position directly*, *the question needs the image*, *the last position needs the
  question*: ``yes``, ``no`` or ``undetermined``, from the edge of that name (see
  :func:`pidflow.analysis.transfer_windows.presence`). For all tasks together: yes when it is yes
  in some task, no when it is no in each, and the intervals hold for all tasks at once;
- *the first stage precedes the second*: middle of the transfer window of ``question->last`` minus that of
  ``image->question``, in blocks; ``supported``, ``not supported`` or ``undetermined``. For all tasks together: the mean
  over the tasks that have both windows. Both curves come from the same resamples, so the difference is paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.analysis.edge_changes import ALL, Resampled
from pidflow.analysis.transfer_windows import NO, YES, Presence, TransferWindow, presence
from pidflow.errors import DataError

FIRST_STAGE, SECOND_STAGE, DIRECT = "image->question", "question->last", "image->last"
# Centres are whole blocks, so an interval of them, which may have no width, means up to half a block more.
_ROUNDED = 0.5


@dataclass(frozen=True)
class Statement:
    """One statement about a model, judged.

    Attributes
    ----------
    model, task
        Of what; `task` is ``all`` for all tasks of the run together.
    id, statement
        What is said.
    verdict
        ``yes``, ``no`` or ``undetermined`` of an edge; ``supported``, ``not supported`` or ``undetermined`` of the
        order.
    value, low, high
        The number behind it and its 95 % interval: of an edge, its largest effect, with an interval that holds for all
        windows (and tasks) at once; of the order, the difference of the middles. NaN where there is none.
    unit
        ``relative change`` or ``blocks``.
    threshold
        What the number is compared with: of an edge, the least change that counts, in either direction.
    reason
        One sentence with the numbers.
    """

    model: str
    task: str
    id: str
    statement: str
    verdict: str
    value: float
    low: float
    high: float
    unit: str
    threshold: float
    reason: str


_OF_EDGES = (
    ("question-needs-image", "the question needs the image", FIRST_STAGE),
    ("last-needs-question", "the last position needs the question", SECOND_STAGE),
    ("image-reaches-last", "the image reaches the last position directly", DIRECT),
)
_ORDER = ("first-stage-precedes-second", f"{FIRST_STAGE} comes before {SECOND_STAGE}")


def statements(
    model: str,
    found: Mapping[str, Mapping[str, Resampled]],
    windows: Mapping[str, Mapping[str, TransferWindow]],
    *,
    least: float,
) -> list[Statement]:
    """The four statements about one model, for each task and for all of them.

    Parameters
    ----------
    model
        Its id.
    found, windows
        For each task and edge, of all questions: its changes with their resamples, and its transfer window.
    least
        The least relative change that counts as an effect.

    Raises
    ------
    DataError
        When tasks were swept in different windows.
    """
    _same_windows(model, found)
    judged = []
    for id_, text, edge in _OF_EDGES:
        known = {task: edges[edge] for task, edges in found.items() if edge in edges}
        groups = [(task, {task: known[task]} if task in known else {}) for task in found] + [(ALL, known)]
        judged += [_of_edge(model, task, id_, text, edge, group, least) for task, group in groups]
    differences = {task: _difference(edges) for task, edges in windows.items()}
    both = {task: part for task, part in differences.items() if part is not None}
    judged += [_of_order(model, task, {task: part} if part else {}, windows) for task, part in differences.items()]
    return [*judged, _of_order(model, ALL, both, windows)]


def two_stages_table(found: Sequence[Statement]) -> pd.DataFrame:
    """One row per statement, columns as the fields of :class:`Statement`."""
    return pd.DataFrame([asdict(each) for each in found], columns=list(Statement.__annotations__))


def _same_windows(model: str, found: Mapping[str, Mapping[str, Resampled]]) -> None:
    spans = {task: {each.changes.windows for each in edges.values()} for task, edges in found.items()}
    (first, expected), *others = spans.items()
    for task, windows in others:
        if windows != expected:
            raise DataError(
                f"{model}: task '{task}' was swept in other windows than '{first}'; the sweeps come from different "
                "runs, delete them and run again"
            )


def _of_edge(
    model: str, task: str, id_: str, text: str, edge: str, group: Mapping[str, Resampled], least: float
) -> Statement:
    if not group:
        numbers = stats.UNDETERMINED, np.nan, np.nan, np.nan
        reason = f"{edge} was not swept."
    else:
        there = presence(list(group.values()), least=least)
        numbers = there.verdict, there.change, there.low, there.high
        reason = _sentence(edge, there, list(group.values()), list(group), least)
    return Statement(model, task, id_, text, *numbers, "relative change", least, reason)


def _sentence(edge: str, there: Presence, group: Sequence[Resampled], tasks: Sequence[str], least: float) -> str:
    """Why an edge got its verdict."""
    where = group[there.which].changes.windows[there.place]
    in_task = f" in {tasks[there.which]}" if len(tasks) > 1 else ""
    said = (
        f"Cutting {edge} changes the answer's probability most{in_task} around block {where.centre}: by "
        f"{there.change:+.1%} ({there.low:+.1%} to {there.high:+.1%})"
    )
    if np.isnan(there.excess):
        said += "; no random control was run"
    else:
        said += f", beyond random edges by {there.excess:+.1%} ({there.excess_low:+.1%} to {there.excess_high:+.1%})"
    if len(tasks) > 1:
        said += f"; yes in {there.verdicts.count(YES)}, no in {there.verdicts.count(NO)} of {len(tasks)} tasks"
    return f"{said}; {least:.0%} counts."


def _difference(windows: Mapping[str, TransferWindow]) -> tuple[float, np.ndarray] | None:
    """Middle of the second stage minus that of the first, and the same in each resample; None if one has no window."""
    first, second = (windows.get(edge) for edge in (FIRST_STAGE, SECOND_STAGE))
    if first is None or second is None or (first.present, second.present) != (YES, YES):
        return None
    return second.midpoint - first.midpoint, (second.replicates - first.replicates).mean(axis=1)


def _of_order(
    model: str,
    task: str,
    group: Mapping[str, tuple[float, np.ndarray]],
    windows: Mapping[str, Mapping[str, TransferWindow]],
) -> Statement:
    if not group:
        lacking = [edge for edge in (FIRST_STAGE, SECOND_STAGE) if not _has_window(windows, task, edge)]
        reason = f"No transfer window of {' and '.join(lacking)}{' in the same task' if task == ALL else ''}."
        return Statement(model, task, *_ORDER, stats.UNDETERMINED, np.nan, np.nan, np.nan, "blocks", 0.0, reason)
    value = float(np.mean([part for part, _ in group.values()]))
    replicates = np.mean([part for _, part in group.values()], axis=0)
    tails = ((1 - stats.LEVEL) / 2, (1 + stats.LEVEL) / 2)
    low, high = (
        float(np.quantile(replicates, tail, method=method)) + side * _ROUNDED
        for tail, method, side in zip(tails, ("lower", "higher"), (-1, 1), strict=True)
    )
    verdict = stats.verdict(low, high, threshold=0.0, above=True)
    over = f" (mean of {len(group)} of {len(windows)} tasks)" if task == ALL else ""
    reason = (
        f"The middle of {SECOND_STAGE} lies {value:+.1f} blocks from that of {FIRST_STAGE} "
        f"({low:+.1f} to {high:+.1f}){over}."
    )
    return Statement(model, task, *_ORDER, verdict, value, low, high, "blocks", 0.0, reason)


def _has_window(windows: Mapping[str, Mapping[str, TransferWindow]], task: str, edge: str) -> bool:
    of_task = windows.get(task, {})
    return edge in of_task and of_task[edge].present == YES
