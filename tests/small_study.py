"""The tiny study on one task, in a folder of its own: for tests of where it can run."""

from pathlib import Path

import yaml
from tests.workflow.test_end_to_end import STUDY

from pidflow.models.standin.architecture import build_model, build_processor

TASK = "easy-yesno"
SMALL = STUDY | {"run": STUDY["run"] | {"tasks": [TASK]}}

# Tables and two of the figures: all kinds of jobs but the calibration.
TARGETS = ["results/tables/pid.csv", "results/figures/tiny/logit-lens.svg", "results/figures/tiny/layer-profiles.svg"]
# The first two jobs: questions read, the model run.
ANSWERS = f"results/answers/tiny/{TASK}/intact.parquet"


def make(folder: Path) -> Path:
    """Write the study and its model into a new folder."""
    folder.mkdir()
    build_model(seed=0, width=32, depth=2).save_pretrained(folder / "tiny")
    build_processor().save_pretrained(folder / "tiny")
    (folder / "study.yaml").write_text(yaml.safe_dump(SMALL))
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    """Every result of a run, logs and benchmarks left out."""
    kept = [path.relative_to(folder) for path in (folder / "results").rglob("*") if path.is_file()]
    return {path: (folder / path).read_bytes() for path in kept if path.parts[1] not in ("logs", "benchmarks")}


def differing(found: dict[Path, bytes], expected: dict[Path, bytes]) -> list[str]:
    """Names of results that are in one run only or differ between two."""
    return sorted(str(path) for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
