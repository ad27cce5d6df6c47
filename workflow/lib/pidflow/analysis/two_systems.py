"""The two systems on the same models and tasks: parts of what the states hold, parts of what the model predicts.

PID Flow decomposes what pooled states at a layer tell about the state that becomes the answer; the spectrum decomposes
how the answer's probabilities depend on having the picture and the words at all. Bits of the two cannot be compared,
one target is continuous and the other a label; shares can, and so can the order of tasks or layers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.names import ATOMS, INTACT

STATES, PREDICTIONS = "states", "predictions"


def two_systems_table(pid: pd.DataFrame, spectrum: pd.DataFrame, *, estimator: str, definition: str) -> pd.DataFrame:
    """Shares of the four atoms in both systems, at each layer that both have and in the end.

    Columns ``model, task, layer, last, system, atom, bits, share``: ``layer`` is NaN for what the model says in the
    end, which the decomposition of states meets at its last layer.
    """
    states = pid[
        (pid["condition"] == INTACT)
        & (pid["estimator"] == estimator)
        & (pid["definition"] == definition)
        & pid["atom"].isin(ATOMS)
    ]
    states = states.assign(last=states.groupby(["model", "task"])["layer"].transform("max"), system=STATES)
    said = spectrum[
        (spectrum["mode"] == "repaired") & (spectrum["method"] == "coupling") & spectrum["atom"].isin(ATOMS)
    ]
    said = said.assign(system=PREDICTIONS)
    both = set(zip(states["model"], states["task"], strict=True)) & set(zip(said["model"], said["task"], strict=True))
    rows = []
    for model, task in sorted(both):
        mine = states[(states["model"] == model) & (states["task"] == task)]
        last = int(mine["last"].max())
        theirs = said[(said["model"] == model) & (said["task"] == task)]
        end = theirs[theirs["layer"].isna()].assign(layer=np.nan)
        through = theirs[theirs["layer"].notna() & (theirs["lens"] == _first_lens(theirs))]
        for frame in (mine, mine[mine["layer"] == last].assign(layer=np.nan), through, end):
            rows += [
                [model, task, row.layer, last, row.system, row.atom, row.bits, row.share] for row in frame.itertuples()
            ]
    columns = ["model", "task", "layer", "last", "system", "atom", "bits", "share"]
    return pd.DataFrame(rows, columns=columns)


def agreement_of(table: pd.DataFrame) -> pd.DataFrame:
    """Per model and task: correlation of the four shares between the systems in the end, the largest atom of each.

    Where predictions tell nothing, they have no shares, and neither number.
    """
    end = (
        table[table["layer"].isna()].set_index(["model", "task", "system", "atom"])["share"].unstack("atom", sort=False)
    )
    rows = []
    for model, task in dict.fromkeys((model, task) for model, task, _ in end.index):
        one, two = (end.loc[(model, task, system), list(ATOMS)].to_numpy() for system in (STATES, PREDICTIONS))
        largest = [ATOMS[int(np.argmax(each))] if np.isfinite(each).all() else None for each in (one, two)]
        rows.append([model, task, float(stats.correlation(one, two)), *largest])
    return pd.DataFrame(rows, columns=["model", "task", "correlation", "largest_states", "largest_predictions"])


def _first_lens(rows: pd.DataFrame) -> str | None:
    return next(iter(rows["lens"].dropna()), None)
