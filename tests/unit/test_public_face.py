"""``from pidflow import …`` offers what notebooks use, and loads a library only where it computes with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pidflow
from pidflow.versions import library_versions, own_version, required

LIBRARY = Path(__file__).resolve().parents[2] / "workflow" / "lib"
HEAVY = ["torch", "transformers", "pandas", "h5py", "matplotlib", "snakemake", "zuko", "PIL"]


# A module that is None in sys.modules is blocked too, but scipy takes it for one that is there.
BLOCKING = """
import sys
class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def in_a_fresh_interpreter(code, *, blocked):
    code = BLOCKING.format(blocked=list(blocked)) + code
    environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", [name for name in pidflow.__all__ if name != "__version__"])
def test_everything_offered_is_there_and_documented(name):
    offered = getattr(pidflow, name)
    assert offered.__doc__
    assert isinstance(offered, tuple) or offered.__module__.startswith("pidflow.")


def test_the_numerics_run_without_torch_transformers_and_files():
    done = in_a_fresh_interpreter(
        """
import numpy as np
from pidflow import discrete_pid, estimate_mi, estimate_pid, gaussian_mi, gaussian_pid, paired_difference
cov = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.5, 0.5, 1.0]])
atoms = gaussian_pid(cov, (1, 1, 1))
rng = np.random.default_rng(0)
x1, x2, noise = rng.normal(size=(3, 300, 2))
y = x1 + x2 + noise
for estimator in ("gaussian", "copula"):
    first = estimate_pid(x1, x2, y, estimator=estimator)["broja"]
pmf = np.zeros((2, 2, 2)); pmf[0, 0, 0] = pmf[1, 1, 1] = 0.5
assert abs(discrete_pid(pmf).redundancy - 1) < 1e-6
print(float(atoms.synergy) > 0)
""",
        blocked=HEAVY,
    )
    assert done.stdout.strip() == "True", done.stderr


def test_importing_pidflow_imports_nothing_else():
    done = in_a_fresh_interpreter(
        "import pidflow; print(sorted(set(sys.modules) & {'numpy', 'scipy', 'torch'}))", blocked=[]
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_what_is_not_installed_is_named():
    done = in_a_fresh_interpreter("import pidflow; pidflow.read_tables", blocked=["h5py"])
    assert "ImportError: pidflow.read_tables needs h5py, which is not installed; pip install" in done.stderr


def test_what_is_not_offered():
    with pytest.raises(AttributeError, match="no attribute 'gausian_pid'; it offers"):
        _ = pidflow.gausian_pid


def test_versions_are_those_of_the_requirements():
    found = library_versions()
    assert pidflow.__version__ == own_version() == found["pidflow"]
    assert {"numpy", "scipy", "torch", "transformers", "h5py", "safetensors", "zuko"} <= set(found)
    assert set(found) - {"pidflow"} <= set(required())
    assert not {"pytest", "ruff", "hypothesis"} & set(required())


def test_an_installation_says_what_its_clone_says(monkeypatch, tmp_path):
    """Without its own pyproject.toml beside it the library asks the metadata of the installation."""
    from pidflow import versions

    lines = ["numpy>=2.0", 'h5py>=3.11; extra == "workflow"', 'pytest>=8; extra == "dev"']
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "another"\nversion = "1"\n')
    monkeypatch.setattr(versions, "_PROJECT", tmp_path / "pyproject.toml")
    monkeypatch.setattr(versions, "_project", versions._project.__wrapped__)
    monkeypatch.setattr(versions, "requires", lambda name: lines)
    monkeypatch.setattr(versions, "version", lambda name: "9")
    assert versions.required.__wrapped__() == ("h5py", "numpy")
    assert versions.own_version.__wrapped__() == "9"


def test_rules_of_another_version_are_refused(tmp_path):
    from pidflow.errors import ConfigError
    from pidflow.versions import check

    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "9.1"\n')
    with pytest.raises(ConfigError, match=f"rules are of pidflow 9.1, the installed library is {own_version()}"):
        check(tmp_path / "pyproject.toml")


def test_tables_of_a_run_by_name(tmp_path):
    import pandas as pd

    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "claims.parquet")
    assert pidflow.read_tables(tmp_path)["claims"]["x"].tolist() == [1]
    with pytest.raises(pidflow.files.store.DataError, match="holds no tables"):
        pidflow.read_tables(tmp_path / "none")
