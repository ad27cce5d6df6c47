"""Target ``predictions``: which jobs it has, what leaves it alone, and predictions of another program through a job."""

import json
import re
from collections import Counter

import pytest

from pidflow.spectrum.predictions_file import read_predictions


def jobs_of(done):
    return Counter(re.findall(r"^rule ([\w.-]+):", done.stdout, flags=re.MULTILINE))


def test_the_default_run_makes_no_predictions(snakemake, tmp_path):
    done = snakemake("--dry-run", "--quiet", "host", cwd=tmp_path)
    assert not {"probe_statistics", "extract_predictions", "import_predictions"} & set(jobs_of(done))


def test_every_task_has_its_statistics_and_predictions_and_imports_are_read(snakemake, tmp_path, imported):
    found = jobs_of(
        snakemake("predictions", "--dry-run", "--quiet", "host", "--configfile", str(imported), cwd=tmp_path)
    )
    assert found == {
        "prepare_items": 1,
        "probe_statistics": 1,
        "extract_predictions": 1,
        "import_predictions": 1,
        "predictions": 1,
    }


def test_predictions_of_another_program_are_read_by_a_job(snakemake, tmp_path, imported):
    target = "results/predictions/theirs/mmbench.h5"
    snakemake(target, "--quiet", "host", "--configfile", str(imported), cwd=tmp_path)
    found = read_predictions(tmp_path / target)
    assert found.training.tolist() == [True] * 3 + [False] * 3
    assert "imported" in (tmp_path / "results/logs/import_predictions/theirs/mmbench.log").read_text()


@pytest.mark.parametrize(
    ("spectrum", "target", "message"),
    [
        (
            {"training": []},
            "predictions",
            "config spectrum.training: [] must be some, but not all, of the folds 0 to 2",
        ),
        ({"answers": "loudest"}, "all", "config spectrum.answers: found 'loudest', expected one of"),
        ({"draws": 0}, "all", "config spectrum.draws: found 0, expected a whole number from 1 to 100"),
        ({"passes": ["joint"]}, "all", "config spectrum.passes"),
        (
            {"imports": [{"model": "standin", "task": "t", "format": "pid-lvlm", "training": "a", "held_out": "b"}]},
            "all",
            "config spectrum.imports: 'standin/t' is an id of models too",
        ),
        (
            {"imports": [{"model": "m", "task": "t", "format": "vlm-lens", "training": "a", "held_out": "b"}]},
            "all",
            "format vlm-lens needs layers 'vision' and 'language'",
        ),
    ],
)
def test_what_the_configuration_may_not_say(snakemake, tmp_path, spectrum, target, message):
    (tmp_path / "study.yaml").write_text(json.dumps({"spectrum": spectrum}))
    arguments = ("--dry-run", "--configfile", str(tmp_path / "study.yaml"))
    done = snakemake(target, *arguments, cwd=tmp_path, check=False)
    assert done.returncode
    assert message in done.stdout + done.stderr
