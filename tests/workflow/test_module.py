"""The workflow as a module of another one, in a folder that knows nothing of this repository."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "as-a-module.md").read_text()
SNAKEFILE = re.search(r"```snakemake\n(.*?)```", PAGE, flags=re.DOTALL)[1]
STUDY = """
run: {tasks: [choose-attr, choose-rel], conditions: [intact]}
tasks: {choose-attr: {items: 60}, choose-rel: {items: 60}}
pca: {max_components: 2, target_components: 1}
flow: {max_steps: 4}
"""


@pytest.fixture
def other(tmp_path):
    """Another workflow, as the page shows it; gives a function that runs Snakemake there."""
    (tmp_path / "pidflow").symlink_to(ROOT)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"pidflow": yaml.safe_load(STUDY)}))
    (tmp_path / "Snakefile").write_text(SNAKEFILE)

    def run(*arguments):
        command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def jobs(output):
    return Counter(re.findall(r"^(?:local)?rule ([\w.-]+):", output, flags=re.MULTILINE))


def test_the_rules_of_the_page_are_planned_below_its_prefix(other, tmp_path):
    assert jobs(other("--dry-run", "--quiet", "host"))["summary"] == 1, "its own rule is the target"
    output = other("summary", "pidflow_all", "pidflow_report", "pidflow_sweeps", "--dry-run", "--quiet", "host")
    found = jobs(output)
    assert found["pidflow_prepare_items"] == found["pidflow_train_flow"] == found["pidflow_estimate_pid_standin"] == 2
    assert all(rule.startswith("pidflow_") for rule in set(found) - {"summary"})
    report = re.search(r"^rule pidflow_write_report:\n    input: (.*)", output, flags=re.MULTILINE)[1]
    assert "vlm/results/tables/sweeps.parquet" in report  # made by the same call
    assert "spectrum" not in report
    files = set(re.findall(r"[\w./-]*results/[\w./-]+", output)) - {"results/summary.csv"}
    assert files
    assert all(file.startswith("vlm/results/") for file in files)
    assert not (tmp_path / ".snakemake" / "processes").exists(), "the lock is the other workflow's"


def test_jobs_run_there(other, tmp_path):
    other("vlm/results/twins/standin/choose-attr/intact.h5")
    logs = tmp_path / "vlm" / "results" / "logs"
    assert "60 questions" in (logs / "prepare_items/choose-attr.log").read_text()
    assert "taken from there" in (logs / "plant_twin/standin/choose-attr/intact.log").read_text()
    assert not (tmp_path / "results").exists()


def test_the_whole_configuration_may_be_handed_over_and_nothing_be_put_apart(other, tmp_path):
    text = SNAKEFILE.replace('config["pidflow"]', "config").replace('    prefix:\n        "vlm"\n', "")
    (tmp_path / "Snakefile").write_text(text.split("rule summary")[0])
    (tmp_path / "study.yaml").write_text(STUDY)
    output = other("pidflow_activations", "--dry-run", "--quiet", "host")
    assert jobs(output)["pidflow_extract_activations"] == 2
    assert "output: results/activations/standin/choose-attr/intact.h5" in output


def test_rules_come_from_a_server_and_the_library_from_an_installation(other, tmp_path, monkeypatch):
    """As the page shows it last: git takes a local repository for the one on the server."""
    server = tmp_path / "server"
    for name in ("Snakefile", "pyproject.toml", "config", "envs", "scripts", "workflow/rules", "workflow/report"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (server / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, server / name)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t", "-C", str(server)]
    for arguments in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "all"], ["tag", "v0"]):
        subprocess.run([*git, *arguments], check=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{server}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/owner/pidflow")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "workflow" / "lib"))
    from_server = 'github("owner/pidflow", path="Snakefile", tag="v0")'
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace('"pidflow/Snakefile"', from_server))
    study = yaml.safe_load(STUDY)
    study["run"]["models"] = ["mine"]
    study["models"] = {
        "mine": {"family": "llava", "path": str(ROOT / "workflow/resources/standin"), "blocks": 8, "dtype": "float32"}
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"pidflow": study}))
    other("vlm/results/items/choose-attr.parquet")
    assert "60 questions" in (tmp_path / "vlm/results/logs/prepare_items/choose-attr.log").read_text()
