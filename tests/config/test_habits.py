"""What runs elsewhere (continuous integration, hooks, forms of issues) is what runs here."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_continuous_integration_runs_targets_of_make_and_nothing_else():
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["make"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make ${{ matrix.target }}"]
    targets = set(re.findall(r"^([\w-]+):", MAKEFILE, flags=re.MULTILINE))
    assert {"lint", "test", "test-clusters", "docs"} == set(job["strategy"]["matrix"]["target"]) <= targets


def test_hooks_run_what_make_format_runs():
    recipe = re.search(r"^format:.*\n((?:\t.*\n)+)", MAKEFILE, flags=re.MULTILINE)[1]
    made = [" ".join(line.replace("$(BIN)", ".venv/bin").split()) for line in recipe.splitlines()]
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"] for hook in repo["hooks"]]
    assert len(hooks) == len(made)
    assert all(line.startswith(hook) for hook, line in zip(hooks, made, strict=True))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_of_issues_are_forms(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    assert {each["type"] for each in form["body"]} <= {"input", "textarea", "dropdown"}
    assert len({each["id"] for each in form["body"]}) == len(form["body"])
    assert any(each.get("validations", {}).get("required") for each in form["body"])
    for target in re.findall(r"\b((?:docs|results)/[\w-]+\.md)", path.read_text()):
        assert (ROOT / target).exists()


def test_the_catalogue_names_a_page_that_exists():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert (ROOT / re.search(r"docs/[\w-]+\.md", usage["mandatory-flags"]["desc"])[0]).exists()
    assert usage["report"]
