"""The edges that a sweep found effective, as a pathway that conditions can keep (arXiv 2510.13251).

    python -m pidflow.analysis.pathways results/tables/transfer-windows.parquet MODEL TASK

prints two entries of `interventions`: the pathway, which keeps those edges in the blocks where they carry the answer
and cuts the other edges of the sweep, and its control, which keeps as many pairs at random.
"""

from __future__ import annotations

import sys
from typing import Any

import pandas as pd
import yaml

from pidflow.analysis.edge_changes import ALL
from pidflow.analysis.transfer_windows import YES
from pidflow.errors import DataError


def effective_pathway(transfer_windows: pd.DataFrame, *, model: str, task: str) -> dict[str, dict[str, Any]]:
    """Entries ``pathway`` and ``pathway-control`` from a table of transfer windows.

    Parameters
    ----------
    transfer_windows
        As target `sweeps` writes it. An edge is kept in the blocks of its transfer window, where it has one.
    model, task
        Of the rows that count; all questions, not only those answered correctly.

    Raises
    ------
    DataError
        If the table has no such rows, or no edge of them was found effective.
    """
    rows = transfer_windows
    rows = rows[(rows["model"] == model) & (rows["task"] == task) & (rows["subset"] == ALL)]
    rows = rows[rows["edge"].str.contains("->", regex=False)]
    if not len(rows):
        raise DataError(f"no transfer windows of model '{model}' on task '{task}', expected some; run the sweep first")
    kept = [
        {"edge": row.edge, "blocks": [int(row.first_block), int(row.last_block)]}
        for row in rows[rows["present"] == YES].itertuples()
    ]
    if not kept:
        raise DataError(
            f"no edge of model '{model}' on task '{task}' carries the answer, so there is no pathway to keep"
        )
    among = list(dict.fromkeys(rows["edge"]))
    return {
        name: {"kind": kind, "kept": kept, "among": among}
        for name, kind in (("pathway", "pathway"), ("pathway-control", "pathway-random"))
    }


if __name__ == "__main__":
    path, model, task = sys.argv[1:]
    found = effective_pathway(pd.read_parquet(path), model=model, task=task)
    print(yaml.safe_dump({"interventions": found}, sort_keys=False), end="")
