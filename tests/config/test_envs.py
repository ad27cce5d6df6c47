"""The conda environments ask for the versions that pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ENVS = sorted((ROOT / "envs").glob("*.yaml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WANTED = {
    re.match(r"[\w.-]+", entry)[0]: entry
    for entry in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["workflow"]
}


@pytest.mark.parametrize("path", ENVS, ids=lambda path: path.stem)
def test_environment_agrees_with_pyproject(path):
    *_, pip = yaml.safe_load(path.read_text())["dependencies"]
    for entry in pip["pip"]:
        assert WANTED[re.match(r"[\w.-]+", entry)[0]] == entry


@pytest.mark.parametrize("path", ENVS, ids=lambda path: path.stem)
def test_every_environment_is_used_by_a_rule(path):
    rules = "".join(rule.read_text() for rule in (ROOT / "workflow" / "rules").glob("*.smk"))
    assert f"envs/{path.name}" in rules


def test_the_lock_pins_every_dependency():
    locked = {
        line.split("==")[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    }
    tools = [entry for name in ("dev", "docs") for entry in PROJECT["optional-dependencies"][name]]
    assert {re.match(r"[\w.-]+", entry)[0].lower() for entry in (*WANTED, *tools)} <= locked
    assert "torch==2.13.0" in (ROOT / "requirements.lock").read_text().splitlines()
