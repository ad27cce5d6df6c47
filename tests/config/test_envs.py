"""The conda environments ask for the versions that pyproject.toml asks for."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml

from pidflow import provenance
from pidflow.provenance import modules_behind

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


def jobs():
    """Stage and environment of every rule that has a script."""
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for text in re.split(r"\n *rule ", path.read_text()):
            env, script = re.search(r"envs/(\w+)\.yaml", text), re.search(r"scripts/(\w+\.py)", text)
            if env and script:
                code = (ROOT / "scripts" / script[1]).read_text()
                for stage in re.findall(r"^from pidflow\.stages import (\w+)", code, flags=re.MULTILINE):
                    yield stage, env[1]


# What only some models need, and a message names (models.<id>.quantize); tensors on disk, which no figure is made from.
NEVER_REACHED = {"extract": {"accelerate", "bitsandbytes"}, "figures": {"torch", "safetensors"}, "analysis": set()}


distribution_of = cache(packages_distributions)


@cache
def installed_by(env):
    """Distributions that an environment has, those included that come with what it names."""
    *_, pip = yaml.safe_load((ROOT / "envs" / f"{env}.yaml").read_text())["dependencies"]
    found, waiting = set(), [re.match(r"[\w.-]+", entry)[0] for entry in pip["pip"]]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found.add(name)
            waiting += [re.match(r"[\w.-]+", each)[0] for each in requires(name) or () if ";" not in each]
    return found


@pytest.mark.parametrize(("stage", "env"), sorted(set(jobs())))
def test_an_environment_has_all_that_its_stages_import(stage, env):
    """Imports inside functions too: what a stage needs on its way must be there when it gets there."""
    imported = set()
    for module in modules_behind(f"pidflow.stages.{stage}"):
        for node in ast.walk(ast.parse(provenance._source(module))):
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    needed = {distribution_of()[name][0].lower() for name in imported - sys.stdlib_module_names - {"pidflow"}}
    assert {re.sub(r"[-_.]+", "-", name) for name in needed} - installed_by(env) - NEVER_REACHED[env] == set()


def test_the_lock_pins_every_dependency():
    locked = {
        line.split("==")[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    }
    tools = [entry for name in ("dev", "docs") for entry in PROJECT["optional-dependencies"][name]]
    assert {re.match(r"[\w.-]+", entry)[0].lower() for entry in (*WANTED, *tools)} <= locked
    assert "torch==2.13.0" in (ROOT / "requirements.lock").read_text().splitlines()
