"""Stage ``reproduce``: is this run the same as another, and if not, what differs?"""

import logging
from collections.abc import Sequence
from pathlib import Path

from pidflow.analysis.comparison import record_differences, table_differences
from pidflow.errors import DataError, shown_path
from pidflow.files.store import checksum_of, read_json, read_table

log = logging.getLogger(__name__)


def run(*, records: Sequence[str], tables: str, other: str) -> None:
    """Compare this run with another and say what differs, one line each, the other's value first.

    Parameters
    ----------
    records
        Records of this run's provenance, one a set of tables.
    tables
        Folder of this run's tables.
    other
        Results folder of the other run.

    Raises
    ------
    DataError
        If a table differs in any number or word; also if a table is not the one that its record tells of.
    """
    there = Path(other).expanduser()
    same, differ = [], []
    for path in map(Path, records):
        this, that = read_json(path), read_json(there / "provenance" / path.name)
        for line in record_differences(that, this):
            log.info("%s: %s", path.stem, line)
        for name in dict.fromkeys([*that["tables"], *this["tables"]]):
            lines = _compared(name, that["tables"], this["tables"], there=there / "tables", here=Path(tables))
            for line in lines:
                log.info("%s: %s", path.stem, line)
            (differ if lines else same).append(name)
    if differ:
        raise DataError(
            f"not reproduced: {len(differ)} of {len(same) + len(differ)} tables differ from those in "
            f"{shown_path(there)}: {', '.join(differ)}; the lines above say in what, and what was made differently"
        )
    log.info("reproduced: all %d tables hold the same as those in %s", len(same), shown_path(there))


def _compared(name: str, that: dict[str, str], this: dict[str, str], *, there: Path, here: Path) -> list[str]:
    """What differs in one table."""
    if name not in that or name not in this:
        return [f"table {name}: {'made' if name in that else 'not made'} → {'made' if name in this else 'not made'}"]
    paths = [folder / f"{name}.parquet" for folder in (there, here)]
    for path, record in zip(paths, (that, this), strict=True):
        if checksum_of(path) != record[name]:
            raise DataError(f"{path}: is not the table that its provenance tells of; run the workflow there once more")
    if that[name] == this[name]:
        return []
    lines = table_differences(name, *map(read_table, paths))
    if not lines:
        log.info("table %s: the same values in other bytes, as other versions of libraries write them", name)
    return lines
