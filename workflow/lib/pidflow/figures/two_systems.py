"""States and predictions of one model, decomposed: shares of the four atoms by both systems, task by task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.names import ATOMS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TITLE = "states and predictions"
TARGET = "systems"
CAPTION = """
Two systems on the same questions of *{{ called.model }}*: what pooled states at the last layer tell about
the state that becomes the answer (upper bar of each pair), and how predictions depend on having the picture and the
words (lower bar), as shares of each system's own joint information. The first follows information that is *present*,
wherever attention has moved it: what words have taken up from the picture counts as language-unique. The second
follows what is *needed*: it takes an input away and cannot say in which layer or token it was used. Bits of the two
are not comparable, one target being continuous and the other a label. Parts below zero are left out of the bars.
"""
_NAMES = {"states": "states", "predictions": "predictions"}


@look.styled
def draw(two_systems: pd.DataFrame, *, model: str) -> Figure:
    rows = parts.select(two_systems, model=model)
    end = rows[rows["layer"].isna()]
    tasks = parts.in_order(end["task"])
    figure = look.new_figure(look.PAGE, 0.42 * len(tasks) + 1.0)
    axes = figure.subplots()
    for place, task in enumerate(tasks):
        for offset, system in zip((-0.2, 0.2), _NAMES, strict=True):
            here = end[(end["task"] == task) & (end["system"] == system)].set_index("atom")
            left = 0.0
            for atom in ATOMS:
                share = float(np.nan_to_num(max(here.loc[atom, "share"], 0.0)))
                axes.barh(place + offset, share, left=left, height=0.36, color=look.ATOM_COLORS[atom])
                left += share
    axes.set_yticks(
        [place + offset for place in range(len(tasks)) for offset in (-0.2, 0.2)],
        [f"{task}: {name}" for task in tasks for name in _NAMES.values()],
    )
    axes.invert_yaxis()
    axes.set_xlabel("share of the joint information")
    axes.set_xlim(0, 1)
    look.legend_below(figure, look.atom_patches(ATOMS))
    return figure
