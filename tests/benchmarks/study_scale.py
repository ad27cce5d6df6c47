"""Published studies on paper: their jobs, the time to plan them, GPU hours, processor hours and disk.

Jobs and planning times are those of dry runs. Processor hours come from the benchmark files of a finished run: a rule's
seconds for each question and layer there, times the questions and layers of the study; principal components, whose cost
grows with the width of the states, are timed here at the study's width. GPU hours are arithmetic: the operations of all
passes over an assumed speed. Disk follows from the shapes of the files, and the finished run says how well.

    make demo
    python tests/benchmarks/study_scale.py --run results
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # as rules have it, and before NumPy asks

import argparse
import csv
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from pidflow.flows.pca import fit_pca

ROOT = Path(__file__).resolve().parents[2]
PLANNING_BAR, JOBS_BAR = 10.0, 5000  # seconds, jobs of one target

# ASSUME: a card of the A100 class reaches a third of its 312 TFLOP/s in bfloat16, and 1.5 TB/s when it answers.
OPERATIONS, BANDWIDTH = 100e12, 1.5e12
# ASSUME: an answer takes four tokens.
ANSWER = 4
# Share of a plain pass that a condition beside the intact one costs: 0.54 for six (docs/interventions.md).
CONDITION = 0.09
# ASSUME: tokens of a question with its picture; LLaVA-1.6 in tiles, other models on average.
TOKENS = {"llava-1.5-7b": 640, "llava-1.6-vicuna-7b": 2400}
OTHERS = 1000
FAMILIES = {
    "qwen2-vl": "qwen2-vl",
    "qwen2.5-vl": "qwen2-5-vl",
    "internvl2.5": "internvl",
    "internvl3": "internvl",
    "llava-onevision": "llava-onevision",
    "llama-3.2-vision": "mllama",
    "instructblip": "instructblip",
    "fuyu": "fuyu",
    "gemma-3": "gemma3",
    "cambrian": "generic",
    "llava-1.5": "llava",
}
DATA_SETS = ["mmbench", "pope-coco-random", "reefknot-multiple-choice", "pmc-vqa"]
# Rules whose work on a unit grows with its questions and layers, and folders whose size does.
RULES = ("train_flow", "plant_twin", "bound_information", "estimate_pid")
FOLDERS = ("flows", "twins", "bounds", "pid", "answers")
COMPONENTS, BLOCKS = 10, 4  # most components of a block; blocks whose states are stored


def many_models() -> dict:
    """A study of the 26 models of the catalogue on four data sets. Commits are invented: nothing is loaded."""
    study = yaml.safe_load((ROOT / "config" / "breadth.yaml").read_text())
    models = {
        name: {"family": FAMILIES[each["group"]], "path": each["hub"], "revision": "0" * 40, "blocks": each["blocks"]}
        | {"dtype": "bfloat16", "batch_size": 8, "group": each["group"], "size": each["size"]}
        for name, each in study["breadth"]["catalogue"].items()
    }
    study["run"] = {"models": list(models), "tasks": DATA_SETS, "conditions": ["intact"]}
    study["claims"] = {"knockout": None, "blind": None, "unasked": None}
    return study | {"models": models}


def planned(study: Path, target: str) -> tuple[Counter, float, float]:
    """Jobs of a dry run in an empty folder by rule, its seconds and its processor seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "snakemake", target, "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [*command, "--dry-run", "--configfile", str(study)], cwd=folder, capture_output=True, text=True
        )
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    jobs = Counter(re.findall(r"^(?:local)?rule ([\w.-]+):", done.stdout + done.stderr, flags=re.MULTILINE))
    return jobs, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@dataclass(frozen=True)
class Run:
    """What a finished run took: seconds and bytes for each question and layer of a unit, by rule and by folder."""

    seconds: dict[str, float]
    bytes: dict[str, float]
    activations: float  # bytes on disk over those that the shapes say


def measured(results: Path) -> Run:
    """Rates of a finished run of the shipped model."""
    pid = pd.read_parquet(results / "tables" / "pid.parquet")
    cells = pid[["model", "task", "condition", "layer", "n"]].drop_duplicates(["model", "task", "condition", "layer"])
    work = float(cells["n"].sum())
    seconds = {rule: taken(results / "benchmarks" / rule) / work for rule in RULES}
    answers = pd.read_parquet(results / "tables" / "answers.parquet")
    files = list((results / "activations").rglob("*.h5"))
    width = 128  # of the shipped model
    layers = cells["layer"].nunique()
    shaped = sum(
        size(layers, width, n)
        for (model, task, condition), n in answers.set_index(["model", "task", "condition"])["n"].items()
        if (results / "activations" / model / task / f"{condition}.h5").exists()
    )
    return Run(
        seconds,
        {name: held(results / name) / work for name in FOLDERS},
        sum(path.stat().st_size for path in files) / shaped,
    )


def taken(folder: Path) -> float:
    """Seconds of all jobs of a rule."""
    seconds = 0.0
    for path in folder.rglob("*.tsv"):
        with open(path, newline="") as file:
            seconds += sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
    return seconds


def held(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def size(layers: int, width: int, n: int) -> int:
    """Bytes of an activation file in float16: states of every layer and block, and the target."""
    return n * width * 2 * (layers * BLOCKS + 1)


def components_seconds(width: int, n: int) -> float:
    """Processor seconds to fit the components of one block of one layer."""
    states = np.random.default_rng(0).standard_normal((n, width)) * np.geomspace(10, 0.1, width)
    started = time.process_time()
    fit_pca(states, variance=0.95, max_components=COMPONENTS)
    return time.process_time() - started


def gpu_hours(*, parameters: float, tokens: float, questions: int, passes: float, answers: int, batch: int) -> float:
    """Hours of one card: the passes by their operations, the tokens of answers by reading the weights."""
    forward = 2 * parameters * tokens * passes / OPERATIONS
    spoken = answers * ANSWER * 2 * parameters / BANDWIDTH / batch
    return questions * (forward + spoken) / 3600


def states(run: Run) -> None:
    """Two LLaVA, six tasks, three conditions: what it takes beside the jobs."""
    layers, width, questions, tasks, conditions, unread = 33, 4096, 1000, 6, 3, 2
    units = 2 * tasks * conditions
    print("\n2602.15580: 2 models x 6 tasks x 3 conditions, 1,000 questions a task, answers without image and question")
    for model, tokens in TOKENS.items():
        passes = 1 + CONDITION * (conditions - 1 + unread)
        hours = gpu_hours(
            parameters=7.06e9,
            tokens=tokens,
            questions=tasks * questions,
            passes=passes,
            answers=conditions + unread,
            batch=16 if tokens < 1000 else 4,
        )
        print(f"  GPU hours, {model} at {tokens} tokens: {hours:.1f}")
    work = units * layers * questions
    total = 0.0
    for rule, rate in run.seconds.items():
        print(f"  processor hours, {rule}: {rate * work / 3600:.2f}")
        total += rate * work / 3600
    each = components_seconds(width, questions)
    reduced = each * (layers * 2 + 1) * units / 3600
    print(f"  processor hours, fit_pca at width {width}: {reduced:.2f} ({each:.2f} s a block)")
    print(f"  processor hours in all: {total + reduced:.1f}")
    gigabytes = {name: rate * work / 1e9 for name, rate in run.bytes.items()}
    gigabytes["activations"] = run.activations * units * size(layers, width, questions) / 1e9
    gigabytes["pca"] = units * layers * 2 * 8 * COMPONENTS * (width + questions) / 1e9
    print("  GB on disk: " + ", ".join(f"{name} {value:.2f}" for name, value in sorted(gigabytes.items())))
    print(f"  GB on disk in all: {sum(gigabytes.values()):.1f}")
    print(f"  activation files of the finished run have {run.activations:.2f} times the bytes that their shapes say")


def predictions(study: dict) -> None:
    """26 models, four data sets: what it takes beside the jobs."""
    prepared = yaml.safe_load((ROOT / "config" / "prepared.yaml").read_text())["tasks"]
    spectrum = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())["spectrum"]
    questions = sum(prepared[task]["items"] for task in DATA_SETS)
    passes = 1 + len(spectrum["passes"]) * spectrum["draws"] * len(spectrum["replacements"])
    hours = {
        name: gpu_hours(
            parameters=each["size"] * 1e9, tokens=OTHERS, questions=questions, passes=passes, answers=0, batch=8
        )
        for name, each in study["models"].items()
    }
    weights = sum(each["size"] for each in study["models"].values()) * 2
    small = sum(value for name, value in hours.items() if study["models"][name]["size"] < 20)
    print(f"\n6WsBGk4Iag: 26 models x 4 data sets, {questions:,} questions of {OTHERS:,} tokens, {passes} passes each")
    print(f"  GPU hours: {sum(hours.values()):.0f}, of them {small:.0f} for models below 20 billion parameters")
    print(f"  GB of weights in bfloat16: {weights:.0f}; a model of 72 billion needs more than one card of 80 GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="results folder of a finished run of the default configuration")
    asked = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        breadth = Path(folder, "26-models.yaml")
        breadth.write_text(yaml.safe_dump(many_models(), sort_keys=False))
        for name, path, target in (
            ("2602.15580", ROOT / "config" / "2602.15580.yaml", "reproduction"),
            ("2602.15580", ROOT / "config" / "2602.15580.yaml", "sweeps"),
            ("6WsBGk4Iag", breadth, "spectrum"),
            ("6WsBGk4Iag", breadth, "systems"),
        ):
            jobs, wall, processor = planned(path, target)
            count = sum(jobs.values())
            missed = processor > PLANNING_BAR or count > JOBS_BAR
            failed |= missed
            took = f"{processor:.1f} s of processor time, {wall:.1f} s on the clock"
            print(f"{name}, target {target}: {count:,} jobs, planned in {took}" + " BAR MISSED" * missed)
            print("  " + ", ".join(f"{rule} {number}" for rule, number in jobs.most_common(8)))
    if asked.run:
        states(measured(asked.run))
    predictions(many_models())
    sys.exit(failed)


if __name__ == "__main__":
    main()
