"""Families whose pictures need torchvision, end to end, in a process that has it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pidflow.models.families.phi4_multimodal import FAMILY
from pidflow.plugins import registry

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv" / "torchvision"  # beside the environment, in which every process would import it
FAMILIES = ("molmo2", "phi4_multimodal")


@pytest.fixture(scope="module")
def found():
    if not FOLDER.is_dir():
        pytest.skip(f"pip install --no-deps --target {FOLDER.relative_to(ROOT)} torchvision==0.28.0")
    path = os.pathsep.join(map(str, (ROOT / "workflow" / "lib", ROOT, FOLDER)))
    done = subprocess.run(
        [sys.executable, "-m", "tests.with_torchvision", "tests/torchvision_checks.py", *FAMILIES],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_does_what_the_others_do(found, name):
    each = found[name]
    assert max(each["row alone"], each["prefix"], each["lens"], each["entry"]) <= 1e-5
    assert each["questions"]
    assert each["objects"]
    assert each["places"] == "proven"  # by painted boxes
    assert each["swept"]
    assert each["moved"] > 0


def test_who_sees_whom_is_found(found):
    assert (found["molmo2"]["sees"], found["phi4_multimodal"]["sees"]) == ("image-span", "causal")
    assert found["molmo2"]["above"] > 0 == found["phi4_multimodal"]["above"]


def test_every_family_that_is_tried_here_has_a_file():
    assert {name.replace("_", "-") for name in FAMILIES} <= set(registry.available("models.families"))


def test_weights_for_pictures_beside_the_others_are_refused(tmp_path):
    assert FAMILY.check_folder(tmp_path) is None
    (tmp_path / "vision-lora").mkdir()
    assert "merge them first" in FAMILY.check_folder(tmp_path)
