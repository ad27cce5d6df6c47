"""What is built and installed is the library and no more, and works without a clone, torch or transformers."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "workflow" / "lib"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SDIST = """
import os, sys
from setuptools import build_meta
os.chdir(sys.argv[1])
build_meta.build_sdist(sys.argv[2])
"""
# Two sources that say the same, and nothing heavy at hand.
USE = """
import sys
sys.modules.update(dict.fromkeys(("torch", "transformers", "snakemake")))
import numpy as np
import pidflow
cov = np.array([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])
atoms = pidflow.gaussian_pid(cov, (1, 1, 1))
print(pidflow.__file__, pidflow.__version__, round(float(atoms.unique_1), 9), float(atoms.redundancy) > 0.1)
"""


def tracked(*patterns):
    """Files of the clone, new ones too."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a clone, so what belongs to it is not known")
    return {line for line in done.stdout.splitlines() if (ROOT / line).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What a source distribution of the clone holds, and a wheel made from it."""
    folder = tmp_path_factory.mktemp("built")
    clone = folder / "clone"
    for name in tracked():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name)
    run(sys.executable, "-c", SDIST, clone, folder)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    held = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, unpacked)
    (wheel,) = folder.glob("*.whl")
    return held, wheel


def run(*command, cwd=None, env=None):
    done = subprocess.run([str(each) for each in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*arguments):
    return run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def test_the_source_distribution_is_the_clone(built):
    held, _ = built
    hidden = {name for name in tracked() if name.startswith(".")}
    assert tracked() - hidden <= held
    assert not {name for name in held - tracked() if not re.search(r"egg-info/|^PKG-INFO$|^setup.cfg$", name)}


def test_the_wheel_holds_the_library_and_no_more(built):
    _, wheel = built
    assert wheel.name == f"pidflow-{VERSION}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {name.removeprefix("workflow/lib/") for name in tracked("workflow/lib")}
    information = {name for name in names if name.startswith(f"pidflow-{VERSION}.dist-info/")}
    assert names - information == modules
    assert f"pidflow-{VERSION}.dist-info/licenses/LICENSE" in information


def test_it_works_where_it_is_installed(built, tmp_path):
    _, wheel = built
    target = tmp_path / "there"
    pip("install", "--no-deps", "--no-index", "--target", target, wheel)
    # Another project's pyproject.toml where that of the clone would lie.
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "another"\nversion = "9"\n')
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    printed = run(sys.executable, "-c", USE, cwd=tmp_path, env=environment | {"PYTHONPATH": str(target)}).split()
    assert printed == [str(target / "pidflow" / "__init__.py"), VERSION, "0.0", "True"]


def test_every_version_is_that_of_the_project():
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\S+)", changes, flags=re.MULTILINE)[0] == VERSION
    assert not re.search(r"^version:", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    written = {path for path in tracked("*.py", "*.toml", "*.cfg") if VERSION in (ROOT / path).read_text()}
    assert written == {"pyproject.toml"}
