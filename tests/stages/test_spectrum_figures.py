"""Figures of the spectrum are drawn from its tables, and say so where a run has nothing to show."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.synthetic_predictions import synthetic_predictions

from pidflow.analysis import breadth, emergence, spectrum_tables
from pidflow.analysis.spectrum_cells import ModelInfo, cells_of
from pidflow.figures import spectrum_atoms, spectrum_breadth, spectrum_layers, spectrum_training, two_systems
from pidflow.figures._registry import Run, declared
from pidflow.names import ATOMS
from pidflow.spectrum.estimate import How, estimate_spectrum

MODELS = {"one": 0.6, "two": 0.8, "three": 0.95, "four": 0.99}


@pytest.fixture(scope="module")
def found():
    return [
        estimate_spectrum(
            synthetic_predictions(90, system=system, certainty=certainty, layers=3),
            How(lenses=("norm", "tuned")),
            model=model,
            task=system,
        )
        for model, certainty in MODELS.items()
        for system in ("synergy", "and")
    ]


@pytest.fixture(scope="module")
def cells(found):
    info = {
        name: ModelInfo(
            group="g" if place < 2 else "h", series="s", step=100 * place, phase="align" if place < 2 else "tune"
        )
        for place, name in enumerate(MODELS)
    }
    return cells_of(found, info)


def test_atoms_are_readable(found, assert_readable):
    assert_readable(spectrum_atoms.draw(spectrum_tables.spectrum_table(found)))


def test_layers_are_readable(found, assert_readable):
    figure = spectrum_layers.draw(spectrum_tables.spectrum_table(found), model="four")
    assert_readable(figure)
    assert {"logit lens", "tuned lens"} <= {text.get_text() for text in figure.legends[0].get_texts()}


def test_training_is_readable(cells, assert_readable):
    assert_readable(spectrum_training.draw(emergence.training_table(cells), emergence.emergence_table(cells)))


def test_many_models_are_readable(cells, assert_readable):
    correlations = breadth.correlation_table(cells)  # these models are all right in every answer
    figure = spectrum_breadth.draw(breadth.breadth_table(cells), correlations.assign(rho=0.5, low=0.1, high=0.8))
    assert_readable(figure)
    assert figure.axes[0].get_title(loc="left") == "ρ 0.50 (0.10 to 0.80)"
    without = spectrum_breadth.draw(breadth.breadth_table(cells), correlations)
    assert without.axes[0].get_title(loc="left") == "no correlation"


def test_what_a_run_has_not_asked_for_is_not_drawn():
    run = Run(("one",), ("intact",), {"t": "T"}, None, None, "flow", "broja")
    for figure, changes, path in (
        ("spectrum-layers", {"lenses": ("norm",)}, "one/spectrum-layers"),
        ("spectrum-training", {"trainings": ("s",)}, "spectrum-training"),
    ):
        assert declared(figure).drawn(run) == []
        assert declared(figure).drawn(replace(run, **changes)) == [path]


def test_what_a_run_lacks_is_said(found):
    empty = emergence.training_table([])
    assert "series" in spectrum_training.draw(empty, emergence.emergence_table([])).axes[0].texts[0].get_text()
    table = spectrum_tables.spectrum_table(found)
    figure = spectrum_layers.draw(table[table["layer"].isna()], model="one")
    assert "spectrum_pid.lenses" in figure.axes[0].texts[0].get_text()


def test_two_systems_are_readable(assert_readable):
    rows = [
        ["one", task, np.nan, 8, system, atom, 0.25, 0.25]
        for task in ("a", "b")
        for system in ("states", "predictions")
        for atom in ATOMS
    ]
    columns = ["model", "task", "layer", "last", "system", "atom", "bits", "share"]
    assert_readable(two_systems.draw(pd.DataFrame(rows, columns=columns), model="one"))
