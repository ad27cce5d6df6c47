"""Stage ``compare_systems``: parts of what states hold beside parts of what models predict."""

import logging
from collections.abc import Sequence

from pidflow.analysis.two_systems import agreement_of, two_systems_table
from pidflow.errors import DataError
from pidflow.files.store import read_table, write_table

log = logging.getLogger(__name__)


def run(
    *, pid: str, spectrum: str, two_systems: Sequence[str], agreement: Sequence[str], estimator: str, definition: str
) -> None:
    """Put the two decompositions of a run side by side.

    Parameters
    ----------
    pid, spectrum
        Tables of stages ``collect_tables`` and ``collect_spectrum``.
    two_systems, agreement
        Files to write, a parquet and a csv each.
    estimator, definition
        Which decomposition of the states.

    Raises
    ------
    DataError
        When the two tables have no model and task in common.
    """
    table = two_systems_table(read_table(pid), read_table(spectrum), estimator=estimator, definition=definition)
    if table.empty:
        raise DataError(f"{pid} and {spectrum} have no model and task in common; run both targets on the same tasks")
    found = agreement_of(table)
    for row in found.itertuples():
        log.info("%s/%s: shares correlate with %.2f; largest %s in states, %s in predictions", *row[1:])
    for paths, frame in ((two_systems, table), (agreement, found)):
        for path in paths:
            write_table(path, frame)
