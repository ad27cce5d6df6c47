"""What docs/extending.md says is done in a copy of the library: its files are written there and used."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, flags=re.DOTALL)
DIFFS = re.findall(r"```diff\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the library with the files of the page in it."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "workflow" / "lib", root / "workflow" / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config", "workflow/resources"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(ROOT / name)
    for path, text in BLOCKS:
        assert not (root / path).exists(), "a file of the page must not be there already"
        (root / path).write_text(text)
    for number, diff in enumerate(DIFFS):
        patch = root / f"{number}.patch"
        patch.write_text(diff)
        subprocess.run(["git", "apply", patch.name], cwd=root, check=True)
    return root


CONFIGURATION = """
import yaml
from pidflow.config import design
config = yaml.safe_load(open({path!r}))
def checked(section, name, entry):
    config[section][name] = entry
    return design.check(config)[section][name]
""".format(path=str(ROOT / "config" / "config.yaml"))

# What is done with the files of the page, by test; each prints what the test expects.
DONE = {
    "family": """
entry = {"family": "vip-llava", "path": "here", "blocks": 2, "dtype": "float32", "batch_size": 1}
print(checked("models", "mine", entry)["family"])
from pidflow.models.loading import wrap
from pidflow.models.standin.architecture import build_model, build_processor
loaded = wrap("vip-llava", build_model(seed=0, width=32, depth=2), build_processor(), prompt="<image> {question}")
print(loaded.depth, len(loaded.layout((48, 48))))
""",
    "reader": """
from pidflow.data.datasets import dataset_of
entry = {"reader": "named-folders", "images": "photos", "question": "What is it?"}
dataset = dataset_of(checked("datasets", "mine", entry))
print([(item.item_id, item.answer) for item in dataset.read(select=None, count=9, seed=0).items])
print(len(dataset.read(select="cat", count=1, seed=0).items))
""",
    "intervention": """
entry = {"kind": "every-second", "source": "image", "target": "question", "blocks": "all"}
checked("interventions", "half", entry)
import numpy as np, torch
from pidflow import Example, draw_question, draw_scene, encode
from pidflow.plugins import registry
from pidflow.models.loading import wrap
from pidflow.models.standin.architecture import build_model, build_processor
loaded = wrap("llava", build_model(seed=0, width=32, depth=2), build_processor(), prompt="<image> {question}")
scene, question = draw_question("choose-attr", np.random.default_rng(0), language_prior=0.0, answer=None)
batch = encode(loaded, [Example(question.text, question.options, question.boxes)], [draw_scene(scene)])
kinds = [registry.load("interventions.kinds", name) for name in ("cut", "every-second")]
cut, half = (kind.Intervention.on("image", "question", None) for kind in kinds)
blocked = [int(each.blocked(batch.spans).sum()) for each in (cut, half)]
print(blocked[0] == 2 * blocked[1] > 0)
with torch.inference_mode():
    intact = loaded.model(**batch.inputs).logits
    with half.entered(loaded, batch.spans):
        changed = loaded.model(**batch.inputs).logits
print(bool((intact != changed).any()))
""",
    "estimator": """
config["pid"]["estimators"] = ["gaussian", "winsorised"]
config["claims"]["estimators"] = ["winsorised"]
design.check(config)
import numpy as np
from pidflow import estimate_pid
x1, x2, noise = np.random.default_rng(0).standard_normal((3, 400, 1))
y = x1 + noise
y[0] = 100
def clipped(block):
    return np.clip(block, block.mean() - 3 * block.std(), block.mean() + 3 * block.std())
rows = {"winsorised": (x1, x2, y), "gaussian": [clipped(block) for block in (x1, x2, y)]}
found = [estimate_pid(*blocks, estimator=name)["broja"].mi_1 for name, blocks in rows.items()]
print(found[0] == found[1] != estimate_pid(x1, x2, y, estimator="gaussian")["broja"].mi_1)
""",
    "figure": """
from tests import synthetic_run
from tests.stages.test_figures import made
from pidflow.figures._registry import all_figures
from pidflow.stages import plot
from pidflow.files.store import write_table
figure = next(each for each in all_figures() if each.id == "joint-information")
print(figure.rule, figure.path, figure.tables)
write_table("pid.parquet", made(synthetic_run.TASKS[:2]).pid)
given = {"model": "standin", "estimator": "flow", "definition": "broja"}
tasks = dict.fromkeys(synthetic_run.TASKS[:2], "") | {synthetic_run.TASKS[0]: "one", synthetic_run.TASKS[1]: "two"}
titles = {"task": tasks}
plot.run(figure="joint-information", tables={"pid": "pid.parquet"}, output=["a.svg"], titles=titles, given=given)
""",
    "column": """
from tests import synthetic_run
from tests.stages.test_figures import made
table = made(synthetic_run.TASKS[:1]).pid
print(table["rows_per_column"].unique().tolist())
""",
}

# All in one process, which imports the libraries once; what one does wrong is printed in its place.
RUNNER = """
import contextlib, io, json, sys, traceback
for name, code in json.load(sys.stdin).items():
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            exec(compile(code, name, "exec"), {})
        except Exception:
            traceback.print_exc(file=sys.stdout)
    print(json.dumps([name, printed.getvalue().strip()]))
"""


def run(repository, code, *, cwd, given=""):
    """What code prints that has the copy as its library."""
    path = os.pathsep.join([str(repository / "workflow" / "lib"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        cwd=cwd,
        input=given,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where that is done: a folder with pictures in folders."""
    folder = tmp_path_factory.mktemp("done")
    for name in ("cat/1", "cat/2", "dog/3"):
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "photos" / f"{name}.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def printed(repository, folder):
    """What each prints, by name."""
    codes = {name: CONFIGURATION + code for name, code in DONE.items()}
    return dict(map(json.loads, run(repository, RUNNER, cwd=folder, given=json.dumps(codes)).splitlines()))


def test_the_page_has_one_file_for_each_kind():
    folders = [path.removeprefix("workflow/lib/pidflow/").rsplit("/", 1)[0] for path, _ in BLOCKS]
    assert folders == ["models/families", "data/readers", "interventions/kinds", "pid/estimators", "figures"]
    files = {path for diff in DIFFS for path in re.findall(r"^\+\+\+ b/(\S+)", diff, flags=re.MULTILINE)}
    assert 1 <= len(files) <= 2


def test_the_family_is_known(printed):
    assert printed["family"].split("\n") == ["vip-llava", "2 36"]


def test_the_reader_reads(printed):
    items = "[('cat/1.png', 'cat'), ('cat/2.png', 'cat'), ('dog/3.png', 'dog')]"
    assert printed["reader"].split("\n") == [items, "1"]


def test_the_intervention_is_entered(printed):
    assert printed["intervention"].split("\n") == ["True", "True"]


def test_the_estimator_estimates(printed):
    assert printed["estimator"] == "True"


def test_the_figure_is_drawn(printed, folder):
    assert printed["figure"] == "plot_joint_information {model}/joint-information ('pid',)"
    assert (folder / "a.svg").stat().st_size > 1000


def test_the_column_is_in_the_table(printed):
    assert printed["column"] == f"[{900 / 25}]"


def test_nothing_that_stands_runs_again(repository, tmp_path):
    code = """
from pidflow.provenance import code_digest
print(*(code_digest(stage) for stage in ("prepare_items", "extract_activations", "fit_pca", "train_flow", "plot")))
"""
    here = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow" / "lib")},
        capture_output=True,
        text=True,
    )
    assert run(repository, code, cwd=tmp_path) == here.stdout.strip()
