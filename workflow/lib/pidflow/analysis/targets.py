"""Against which target the rows of a table were decomposed, for what shows one of them: figures and the report."""

import pandas as pd

from pidflow.names import INTACT, OWN


def of_one_target(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a table that figures show: against what the intact model says where there are such, else the own ones."""
    own = rows["target"] == OWN
    return rows[own] if own.all() else rows[own == (rows["condition"] == INTACT)]
