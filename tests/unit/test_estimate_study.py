"""Simulation studies of the estimates, minutes long: no information in null data, intervals that hold the truth."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

_SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "study_finite_samples.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location(_SCRIPT.stem, _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.study


@pytest.mark.slow
@pytest.mark.parametrize("definition", ["broja", "dep"])
@pytest.mark.parametrize(("d", "sets"), [(5, 20), (20, 10), (50, 6)])
def test_independent_data_hold_no_information(study, d, sets, definition):
    """900 rows; the plug-in atoms of independent data are up to 1.3 bit at d = 50."""
    found = study("independent", d, rows=900, sets=sets, definition=definition)
    assert np.abs(found.corrected.mean(axis=0)).max() < 0.1
    if d == 50:
        assert found.plug_in.mean(axis=0).max() > 1.0


@pytest.mark.slow
@pytest.mark.parametrize("system", ["generic", "tied", "graded"])
@pytest.mark.parametrize("d", [5, 10])
def test_intervals_hold_the_truth(study, d, system):
    """200 data sets; errors are conservative where sources nearly tie, so coverage has a floor and no ceiling."""
    found = study(system, d, rows=900, sets=200)
    assert found.covered.mean(axis=0).min() >= 0.90
    # Wide intervals would hold anything.
    assert (found.se.mean(axis=0) < 1.8 * found.corrected.std(axis=0) + 0.01).all()


@pytest.mark.slow
def test_permutations_alone_would_not_do(study):
    """Sources that tie: what remains after the permutation correction, against what remains after cross-fitting."""
    found = study("tied", 10, rows=900, sets=30)
    assert np.abs(found.permutation.mean(axis=0) - found.truth).max() > 0.25
    assert np.abs(found.corrected.mean(axis=0) - found.truth).max() < 0.12
