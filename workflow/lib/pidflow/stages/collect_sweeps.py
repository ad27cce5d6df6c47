"""Stage ``collect_sweeps``: all sweeps as tidy tables, their transfer windows, and the two-stage statements."""

import logging
from collections.abc import Sequence

import pandas as pd

from pidflow.analysis import edge_changes, sweep_tables, transfer_windows, two_stages
from pidflow.errors import DataError, PidflowError
from pidflow.files.store import read_table, table_identity, write_table

log = logging.getLogger(__name__)


def run(
    *,
    summaries: Sequence[str],
    details: Sequence[str],
    sweeps_table: Sequence[str],
    transfer_windows_table: Sequence[str],
    two_stages_table: Sequence[str],
    heads: Sequence[str] = (),
    heads_table: Sequence[str] = (),
    window: int | str | Sequence[int],
    least: float = 0.05,
    seed: int = 0,
    resamples: int = edge_changes.RESAMPLES,
) -> None:
    """Collect sweeps into tables.

    Parameters
    ----------
    summaries, details
        The two tables of each model and task, as stage ``sweep_knockout`` writes them, in the same order.
    sweeps_table, transfer_windows_table, two_stages_table
        Where each table goes, usually one parquet and one csv file; docs/interventions.md says what the columns mean.
    window
        The windows that the sweeps are about (see :func:`pidflow.interventions.windows.windows`); transfer windows are
        looked for in these.
    least
        The least relative change of the answer's probability that counts as an effect.
    heads, heads_table
        What single heads do, a table of each model and task, and where all of them together go.
    seed
        Of the resampled images.
    resamples
        How many times images are resampled.

    Raises
    ------
    DataError
        When a file is damaged or given twice, or when files come from different runs.
    """
    if len(summaries) != len(details):
        raise DataError(f"every sweep has a summary and details; found {len(summaries)} and {len(details)} files")
    collected, windows, judged = [], [], []
    found: dict[str, dict[str, dict[str, edge_changes.Resampled]]] = {}
    located: dict[str, dict[str, dict[str, transfer_windows.TransferWindow]]] = {}
    for summary_path, details_path in zip(summaries, details, strict=True):
        summary = read_table(summary_path, columns=sweep_tables.SUMMARY_COLUMNS)
        each = read_table(details_path, columns=sweep_tables.DETAIL_COLUMNS, expected=table_identity(summary_path))
        model, task = _same_unit(summary_path, summary, details_path, each)
        if task in found.get(model, {}):
            raise DataError(f"{details_path}: a sweep of {model}, {task} was given already; pass each once")
        try:
            collected.append(sweep_tables.sweep_table(summary, each))
            changes = edge_changes.edge_changes(each, windows=sweep_tables.main_windows(each, window))
            sampled = [edge_changes.resample(part, seed=seed, resamples=resamples) for part in changes]
            here = [transfer_windows.locate(part, least=least) for part in sampled]
        except PidflowError as err:
            raise type(err)(f"{model}, {task}: {err}") from err
        windows.append(sweep_tables.transfer_windows_table(model, task, here))
        of_all = [place for place, part in enumerate(changes) if part.subset == edge_changes.ALL]
        found.setdefault(model, {})[task] = {changes[place].edge: sampled[place] for place in of_all}
        located.setdefault(model, {})[task] = {changes[place].edge: here[place] for place in of_all}
    for model in found:
        judged += two_stages.statements(model, found[model], located[model], least=least)
    for statement in judged:
        if statement.task == edge_changes.ALL:
            log.info("%s: %s: %s. %s", statement.model, statement.statement, statement.verdict, statement.reason)
    _write(sweeps_table, pd.concat(collected, ignore_index=True))
    _write(transfer_windows_table, pd.concat(windows, ignore_index=True))
    _write(two_stages_table, two_stages.two_stages_table(judged))
    if heads:
        _write(heads_table, pd.concat([read_table(path) for path in heads], ignore_index=True))


def _same_unit(summary_path: str, summary: pd.DataFrame, details_path: str, details: pd.DataFrame) -> tuple[str, str]:
    """Model and task that both tables are about."""
    units = []
    for path, frame in ((summary_path, summary), (details_path, details)):
        here = list(frame[["model", "task"]].drop_duplicates().itertuples(index=False, name=None))
        if len(here) != 1:
            raise DataError(f"{path}: expected the sweep of one model and task, found {len(here)}; run the sweep again")
        units += here
    if units[0] != units[1]:
        raise DataError(
            f"{summary_path} is about {', '.join(units[0])}, {details_path} about {', '.join(units[1])}; pass the two "
            "tables of each sweep in the same order"
        )
    return units[0]


def _write(paths: Sequence[str], frame: pd.DataFrame) -> None:
    for path in paths:
        write_table(path, frame)
        log.info("%s: %d rows", path, len(frame))
