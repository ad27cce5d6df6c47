"""Heavy tails and far rows: monotone warps of single columns change little of what the flow finds, and words say it."""

import importlib.util
import sys
from pathlib import Path

import pytest

from pidflow.pid.estimate import estimate_pid
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.pid.gaussian import ATOMS

_SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "study_tails.py"
_SPEC = importlib.util.spec_from_file_location(_SCRIPT.stem, _SCRIPT)
study = importlib.util.module_from_spec(_SPEC)
sys.modules[_SCRIPT.stem] = study
_SPEC.loader.exec_module(study)


@pytest.mark.parametrize("warp", study.WARPS)
def test_the_flow_does_not_feel_monotone_warps_of_columns(warp):
    rows = study.WARPS[warp](study.rows(11, 600))
    copula, flow = (
        estimate_pid(*rows, estimator=estimator, definitions="broja")["broja"] for estimator in ("copula", "flow")
    )
    for atom in ATOMS:
        assert getattr(flow, atom) == pytest.approx(getattr(copula, atom), abs=study.BAR), atom
    assert not any("heavy tails" in warning for warning in flow.warnings)


@pytest.mark.parametrize("far", [8.0, 100.0])
def test_latents_with_heavy_tails_are_named(far):
    x1, x2, y = study.rows(0, 900)
    quiet = estimate_pid_from_latents(x1, x2, y)["broja"].warnings
    assert not any("heavy tails" in warning for warning in quiet)
    x2[17, 1] = far * x2.std()
    (word,) = (w for w in estimate_pid_from_latents(x1, x2, y)["broja"].warnings if "heavy tails" in w)
    assert word.startswith("x2 has heavy tails (kurtosis ")
    assert "copula" in word
