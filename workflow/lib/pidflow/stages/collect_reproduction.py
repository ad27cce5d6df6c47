"""Stage ``collect_reproduction``: what a published study reports beside what the run of its kit finds."""

import logging
from collections.abc import Sequence

from pidflow.analysis.reproduction import AGREES, reproduction
from pidflow.errors import PidflowError
from pidflow.files.store import read_table, write_table

log = logging.getLogger(__name__)


def run(*, study: str, claims: Sequence[str], outputs: Sequence[str]) -> None:
    """Write one row for each published result and each model and task it was looked for in.

    Parameters
    ----------
    study
        The study, one of :data:`pidflow.analysis.reproduction.REPORTED`.
    claims
        Tables of judged statements.
    outputs
        Where the table goes, usually one parquet and one csv file.

    Raises
    ------
    ConfigError, DataError
        If there is no such study or a table is no table of statements.
    """
    try:
        found = reproduction(study, [read_table(path) for path in claims])
    except PidflowError as err:
        raise type(err)(f"reproduction of {study}: {err}") from err
    for path in outputs:
        write_table(path, found)
    log.info("%s: %d of %d published results agree", study, (found["agrees"] == AGREES).sum(), len(found))
