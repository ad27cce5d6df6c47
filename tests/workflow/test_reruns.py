"""What reruns after data, pictures or weights change, and what does not: settings of speed, places, copies."""

import csv
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from pidflow.models.standin.architecture import build_model, build_processor

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("workflow", "scripts", "config", "envs", "profiles", "Snakefile", "pyproject.toml")
MODEL = {"family": "llava", "blocks": 2, "dtype": "float32", "batch_size": 8, "prompt": "plain"}
STUDY = {
    "run": {"models": ["one", "two"], "tasks": ["photos", "logical-obj"], "conditions": ["intact"]},
    "models": {name: MODEL | {"path": name} for name in ("one", "two")},
    "datasets": {"mine": {"reader": "table", "table": "mine/questions.csv", "images": "mine/images"}},
    "tasks": {"photos": {"dataset": "mine", "items": 20}, "logical-obj": {"items": 12}},
    "sweep": {"window": 2},
}


def write_questions(work, asked):
    (work / "mine/images").mkdir(parents=True)
    _, pictures, questions = asked(12)
    for index, picture in enumerate(pictures):
        picture.save(work / f"mine/images/{index}.png")
    with open(work / "mine/questions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "question", "answer"])
        writer.writerows([f"{index}.png", each.text, each.answer] for index, each in enumerate(questions))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, snakemake, asked):
    """A copy of the repository beside a finished extraction: two models, a table of pictures and drawn scenes."""
    folder = tmp_path_factory.mktemp("reruns")
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / "repository" / name)
    work = folder / "work"
    write_questions(work, asked)
    for seed, name in enumerate(("one", "two")):
        build_model(seed=seed, width=32, depth=2).save_pretrained(work / name)
        build_processor().save_pretrained(work / name)
    (work / "study.yaml").write_text(yaml.safe_dump(STUDY))
    run_in(folder, snakemake, "activations")
    return folder


def run_in(folder, snakemake, *arguments, changes=None, **settings):
    (folder / "work/changes.yaml").write_text(yaml.safe_dump(changes or {}))
    files = ("--configfile", "study.yaml", "changes.yaml")
    return snakemake(*arguments, *files, cwd=folder / "work", root=folder / "repository", **settings)


@pytest.fixture
def planned(finished, snakemake):
    """Jobs of a dry run, as (rule, what it is about): ``planned(changes=...)``."""

    def plan(*, folder=finished, target="activations", changes=None):
        done = run_in(folder, snakemake, target, "--dry-run", changes=changes)
        text = done.stdout + done.stderr
        found = re.findall(
            r"^rule (\w+):.*?^    log: results/logs/\w+/(\S+)\.log", text, flags=re.MULTILINE | re.DOTALL
        )
        assert bool(found) != ("Nothing to be done" in text)
        return Counter(found)

    return plan


@pytest.fixture
def kept(finished):
    """A file that comes back as it was: ``kept(path)``."""
    saved = {}

    def keep(path):
        saved[path] = path.read_bytes()
        return path

    yield keep
    for path, content in saved.items():
        path.write_bytes(content)


PHOTOS = Counter(
    [
        ("prepare_items", "photos"),
        ("extract_activations", "one/photos/intact"),
        ("extract_activations", "two/photos/intact"),
    ]
)


def nudge(weights):
    """Change one weight of a checkpoint."""
    tensors = load_file(weights)
    tensors[min(tensors)].flatten()[0] += 1
    save_file(tensors, weights, metadata={"format": "pt"})


def test_a_finished_run_has_nothing_to_do(planned):
    assert planned() == {}


def test_an_edited_table_reruns_its_task(finished, planned, kept):
    table = kept(finished / "work/mine/questions.csv")
    table.write_text(table.read_text().replace("0.png", "1.png", 1))
    assert planned() == PHOTOS


def test_an_edited_picture_reruns_its_task(finished, planned, kept):
    shutil.copy(finished / "work/mine/images/3.png", kept(finished / "work/mine/images/4.png"))
    assert planned() == PHOTOS


def test_an_edited_weight_reruns_its_model(finished, planned, kept):
    nudge(kept(finished / "work/two/model.safetensors"))
    expected = Counter(("extract_activations", f"two/{task}/intact") for task in STUDY["run"]["tasks"])
    assert planned() == expected


def test_an_edited_tokenizer_reruns_its_model(finished, planned, kept):
    tokenizer = kept(finished / "work/one/tokenizer.json")
    tokenizer.write_text(tokenizer.read_text() + "\n")
    assert {about.split("/")[0] for _, about in planned()} == {"one"}


def test_a_condition_added_after_the_weights_changed_takes_the_intact_one_along(finished, planned, kept):
    nudge(kept(finished / "work/two/model.safetensors"))
    found = planned(target="results/pca/two/photos/image-question.h5")
    assert {("extract_activations", f"two/photos/{name}") for name in ("intact", "image-question")} <= set(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"models": {"one": {"batch_size": 3}, "two": {"device": "cpu"}}},
        {"models": {"one": {"path": "link-to-one"}, "two": {"path": "./two"}}},
        {"datasets": {"mine": {"table": "./mine/questions.csv", "images": "link-to-images"}}},
    ],
)
def test_speed_and_other_paths_to_the_same_files_rerun_nothing(finished, planned, changes):
    for name, target in (("link-to-one", "one"), ("link-to-images", "mine/images")):
        if not (finished / "work" / name).exists():
            (finished / "work" / name).symlink_to(finished / "work" / target)
    assert planned(changes=changes) == {}


def test_what_shapes_results_reruns(planned):
    assert set(planned(changes={"models": {"one": {"dtype": "float16"}}})) == {
        ("extract_activations", f"one/{task}/intact") for task in STUDY["run"]["tasks"]
    }


def test_a_condition_added_is_run_alone(planned):
    found = planned(changes={"run": STUDY["run"] | {"conditions": ["intact", "image-question"]}})
    units = [f"{model}/{task}" for model in STUDY["run"]["models"] for task in STUDY["run"]["tasks"]]
    assert found == Counter(("extract_activations", f"{unit}/image-question") for unit in units)


def test_touched_files_rerun_nothing(finished, planned):
    later = time.time() + 60
    for place in ("repository/scripts", "repository/workflow", "work/mine", "work/one", "work/results/items"):
        for path in (finished / place).rglob("*"):
            os.utime(path, (later, later))
    assert planned() == {}


def test_a_copy_without_times_reruns_nothing(finished, planned, tmp_path):
    for name in ("repository", "work"):
        shutil.copytree(finished / name, tmp_path / name, copy_function=shutil.copyfile, symlinks=True)
    assert planned(folder=tmp_path) == {}


def test_a_clone_reruns_nothing(finished, planned, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "origin", symlinks=True)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(copy)]
    for command in (["init", "--quiet"], ["add", "--force", "--all"], ["commit", "--quiet", "--message", "a run"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(["git", "clone", "--quiet", copy, tmp_path / "clone"], check=True)
    assert planned(folder=tmp_path / "clone") == {}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"models": {"one": {"path": "no/such/model"}}},
            "model path 'no/such/model' is neither an existing folder nor",
        ),
        (
            {"models": {"one": {"path": "a/b"}}},
            "'revision' must be a full commit hash (40 hexadecimal digits), found None",
        ),
        ({"models": {"one": {"path": "mine"}}}, "model 'mine': no config.json, so the folder holds no model"),
        ({"datasets": {"mine": {"table": "no.csv"}}}, "table no.csv does not exist; correct the dataset's entry"),
        ({"datasets": {"mine": {"images": "nowhere"}}}, "image folder nowhere does not exist; correct images"),
    ],
)
def test_what_is_missing_is_named_before_anything_runs(finished, snakemake, changes, sentence):
    done = run_in(finished, snakemake, "activations", "--dry-run", changes=changes, check=False)
    assert sentence in done.stdout + done.stderr
    if "datasets" in changes:  # a study can be planned where its data are not; a run stops
        assert "A run would stop here: task 'photos'" in done.stdout + done.stderr
        done = run_in(finished, snakemake, "activations", changes=changes, check=False)
        assert sentence in done.stdout + done.stderr
    assert done.returncode != 0
