"""Figures as files and as pictures: equal input gives equal bytes, nothing is clipped, nothing covers the data."""

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from docutils.core import publish_string
from jinja2 import Environment, StrictUndefined
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text

from pidflow import figure_style, figures, tables
from pidflow.errors import DataError
from pidflow.stages import figures as stage
from pidflow.store import write_table
from tests import synthetic_run as run

EARLY = "image-question-early"
REPORT = Path(__file__).resolve().parents[2] / "workflow" / "report"


def made(tasks, *, layers=9, conditions=("intact", run.CUT)):
    """All tables of a made-up run."""
    records = run.records(tasks=tasks, layers=layers, conditions=conditions, routes=("flow",), definitions=("broja",))
    cells = [cell for record in records for cell in tables.cells(record, where="x.json")]
    units = [("standin", task, condition) for task in tasks for condition in conditions]
    answers = {unit: run.answers(unit[1], unit[2], layers=layers) for unit in units}
    diagnostics = ((unit, *entry) for unit in units for entry in run.diagnostics(layers=layers))
    return SimpleNamespace(
        pid=tables.pid_table(cells),
        differences=tables.difference_table(cells),
        lens=tables.lens_table(answers),
        gaussianity=tables.gaussianity_table(diagnostics),
        scorecard=run.calibration(),
        knockout=conditions[-1],
    )


@pytest.fixture(scope="module")
def one_task():
    return made(run.TASKS[:1])


@pytest.fixture(scope="module")
def four_tasks():
    return made(run.TASKS[2:6])


FIGURES = {
    "layer-profiles": lambda t: figures.layer_profiles(t.pid, model="standin"),
    "fingerprint": lambda t: figures.fingerprint(t.pid, model="standin"),
    "knockout-changes": lambda t: figures.knockout_changes(t.differences, model="standin", condition=t.knockout),
    "lens-courses": lambda t: figures.lens_courses(t.lens, model="standin"),
    "calibration": lambda t: figures.calibration(t.scorecard),
    "latent-gaussianity": lambda t: figures.latent_gaussianity(t.gaussianity, model="standin"),
    "overview": lambda t: figures.overview(t.pid, t.differences, model="standin", knockout=t.knockout),
}


def assert_readable(figure):
    """No text leaves the figure or lies on other text, and legends do not touch the panels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = figure.bbox.padded(0.5)
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    boxes = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in texts if drawn(t)]
    for text, box in boxes:
        assert page.x0 <= box.x0 <= box.x1 <= page.x1, f"{text!r} is cut off at a side"
        assert page.y0 <= box.y0 <= box.y1 <= page.y1, f"{text!r} is cut off above or below"
    for (one, a), (two, b) in combinations(boxes, 2):
        assert not a.padded(-1).overlaps(b.padded(-1)), f"{one!r} lies on {two!r}"
    for legend in figure.legends:
        for axes in figure.axes:
            assert not legend.get_window_extent().overlaps(axes.get_window_extent()), "the legend covers a panel"


def drawn(text):
    """Tick labels outside the limits exist as objects but are not drawn."""
    axes = text.axes
    if axes is None or text.get_transform().contains_branch(axes.transAxes) is False:
        return True
    labels = {id(label): tick for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_major_ticks()
              for label in (tick.label1, tick.label2)}
    return id(text) not in labels or labels[id(text)] in (*axes.xaxis._update_ticks(), *axes.yaxis._update_ticks())


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("size", ["one_task", "four_tasks"])
def test_figures_are_readable(name, size, request):
    assert_readable(FIGURES[name](request.getfixturevalue(size)))


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_large_figures_are_readable(name):
    assert_readable(FIGURES[name](made(run.TASKS, layers=33, conditions=("intact", run.CUT, EARLY))))
