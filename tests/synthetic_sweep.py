"""A made-up sweep: summary and details as stage ``sweep_knockout`` writes them, with known transfer windows."""

import numpy as np
import pandas as pd

from pidflow.interventions.edges import edge_of
from pidflow.interventions.probes import probes
from pidflow.interventions.sweep import Outcome, summarise
from pidflow.stages.sweep_knockout import _details

CUT, RANDOM = "cut", "random"
DEPTH = 12
# First and last centre of the plateau, and its height: the two stages, and a direct path that does nothing.
TWO_STAGES = {"image->question": (1, 3, -0.6), "question->last": (6, 8, -0.8), "image->last": (0, 0, 0.0)}


def sweep(
    *,
    model="standin",
    task="choose-attr",
    plateaus=TWO_STAGES,
    depth=DEPTH,
    window=3,
    controls=(RANDOM,),
    other_windows=(1, "all"),
    images=80,
    questions=2,
    noise=0.1,
    random_level=-0.02,
    right=0.8,
    absent=(),
    seed=0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summary and details. Effects vary between images with standard deviation `noise`, half as much within.

    `right` is the share of questions answered rightly; `absent` names edges that every other question lacks.
    """
    rng = np.random.default_rng([seed, *task.encode()])
    wanted = probes(
        [edge_of(e) for e in plateaus], depth=depth, window=window, controls=controls, other_windows=other_windows
    )
    n = images * questions
    member = np.repeat(np.arange(images), questions)
    values = np.zeros((len(wanted), n))
    for place, probe in enumerate(wanted):
        first, last, height = plateaus[str(probe.edge)]
        whole = probe.window.size == depth
        inside = probe.kind == CUT and (whole or first <= probe.window.centre <= last)
        level = height if inside else random_level if probe.kind == RANDOM else 0.0
        scatter = noise * (rng.standard_normal(images)[member] + 0.5 * rng.standard_normal(n))
        values[place] = np.maximum(level + scatter, -1)
    lacking = np.array([[str(probe.edge) in absent] for probe in wanted]) & (np.arange(n) % 2 == 0)
    intact_right = rng.random(n) < right
    outcome = Outcome(
        present=~lacking,
        control=np.array([["other-sources" if p.kind == RANDOM else None] * n for p in wanted], dtype=object),
        pairs=np.full((len(wanted), n), "{}", dtype=object),
        change_first=values,
        change_answer=np.maximum(1.2 * values, -1),
        spoken=np.full((len(wanted), n), "red", dtype=object),
        right=intact_right & (values > -0.5),
        right_published=intact_right & (values > -0.5),
        kl_bits=np.abs(values),
        intact_first=np.full(n, 0.9),
        intact_answer=np.full(n, 0.8),
        intact_spoken=np.full(n, "red", dtype=object),
        intact_right=intact_right,
        intact_right_published=intact_right,
    )
    table = pd.DataFrame({"item_id": [f"q{i}" for i in range(n)], "image_id": [f"{task}-im{i}" for i in member]})
    rows = pd.DataFrame(summarise(wanted, outcome, images=list(table["image_id"])))
    each = _details(wanted, outcome, table, right=intact_right)
    return tuple(frame.assign(model=model, task=task)[["model", "task", *frame.columns]] for frame in (rows, each))
