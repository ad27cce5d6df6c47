"""The report is one page that holds the run's numbers, escapes what it is given and works without a network."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from pidflow.analysis.report import as_columns, embedded
from pidflow.files.store import write_json, write_table
from pidflow.stages import write_report
from pidflow.stages.show_questions import chosen_rows

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "workflow/report/page"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EVIL = "<img src=x onerror=alert(1)></script>"
RECORD = {
    "seed": 7,
    "repository": {"commit": "c" * 40, "changed": True},
    "machine": {"processor": EVIL, "cores": 2, "system": "Linux x86_64", "gpus": []},
    "inputs": {"units": {"m/a": {"model": "m", "revision": "sha256:ab"}}},
    "versions": {"numpy": "2.0"},
    "tables": {"pid": "d" * 64},
}


@pytest.fixture
def tables(tmp_path):
    """A run of two tasks with three layers, one claim each."""
    units = [("m", task, condition) for task in ("a", "b") for condition in ("intact", "cut")]
    place = ["model", "task", "condition"]
    pid = [
        dict(zip(place, unit, strict=True))
        | {"estimator": estimator, "definition": "broja", "layer": layer, "atom": atom, "target": target}
        | {"bits": layer + 0.25, "low": layer, "high": layer + 0.5, "share": 0.5, "share_low": 0.4, "share_high": 0.6}
        | {"warning": "clipped" if layer == 1 else ""}
        for unit in units
        for target in ("own", "intact")
        for estimator in ("flow", "gaussian")
        for layer in range(3)
        for atom in (
            "redundancy",
            "unique_vision",
            "unique_language",
            "synergy",
            "mi_vision",
            "mi_language",
            "mi_joint",
        )
    ]
    answers = [
        dict(zip(place, unit, strict=True)) | {"n": 900, "accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}
        for unit in units
    ]
    claims = [
        {"statement": EVIL, "model": "m", "task": task, "condition": "intact", "verdict": verdict, "reason": EVIL}
        for task, verdict in (("a", "supported"), ("b", "not supported"))
    ]
    sweeps = [
        {"model": "m", "task": "a", "kind": "cut", "window": 3, "subset": "all", "edge": edge, "centre": block}
        | {"change_first": -0.1 * block}
        for edge in ("image->last", "image->question")
        for block in range(3)
    ]
    found = {}
    for name, rows in (("pid", pid), ("answers", answers), ("claims", claims), ("sweeps", sweeps)):
        found[name] = str(tmp_path / f"{name}.parquet")
        write_table(found[name], pd.DataFrame(rows))
    return found


def shown(item, *, right, after):
    """A question as stage ``show_questions`` describes it."""
    said = [
        {"condition": "intact", "spoken": "red", "correct": right, "probability": 0.9},
        {"condition": "cut", "spoken": EVIL, "correct": after, "probability": None},
    ]
    tokens = [{"text": text, "spans": spans} for text, spans in (("<s>", []), ("<image>", ["image"]))]
    tokens += [tokens[1], {"text": EVIL, "spans": ["question", "text"]}]
    return {
        "item": item,
        "question": f"{item} {EVIL}",
        "answer": "red",
        "picture": "data:image/jpeg;base64,",
        "size": [40, 30],
        "boxes": [[1, 2, 3, 4]],
        "patches": [[0, 0, 20, 30], [20, 0, 40, 30]],
        "tokens": tokens,
        "lens": [[["red", 0.5]], [["red", 0.9]]],
        "effect": 0.5,
        "said": said,
    }


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "a.json"
    entries = [shown("one", right=True, after=True), shown("two", right=False, after=False)]
    entries += [shown("three", right=True, after=False)]
    write_json(path, {"model": "m", "task": "a", "questions": entries})
    return [str(path)]


@pytest.fixture
def page(tmp_path, tables, questions):
    configuration = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    configuration["run"] = {"models": ["m"], "tasks": ["a", "b"], "conditions": ["intact", "image-question"]}
    record = tmp_path / "provenance.json"
    write_json(record, RECORD)
    write_report.run(
        output=str(tmp_path / "report.html"),
        tables=tables,
        questions=questions,
        page=str(PAGE / "page.html.j2"),
        style=str(PAGE / "style.css"),
        script=str(PAGE / "page.js"),
        configuration=configuration,
        titles={
            "task": {"a": "first task", "b": EVIL},
            "model": {"m": "my model"},
            "condition": {"image-question": "question blind"},
        },
        provenance=str(record),
    )
    return tmp_path / "report.html"


def test_nothing_is_fetched_and_everything_is_escaped(page):
    text = page.read_text()
    written, *_ = text.split('<script type="application/json"')
    assert "<img" not in text.split("<script>")[0]
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", written)
    assert "&lt;img src=x onerror=alert(1)&gt;" in written
    assert "default-src 'none'" in written, "the page itself forbids every connection"


def test_methods_have_the_run_s_own_numbers(page):
    text = page.read_text()
    assert "1 model (m) 1,800 questions of 2 tasks" in text
    assert "States of 3 layers" in text
    assert "33% of the numbers carry a warning" in text


def test_provenance_is_that_of_the_record(page):
    text = page.read_text()
    for said in ("c" * 40 + ", changed since", "sha256:ab", "d" * 64, "2 cores, Linux x86_64"):
        assert said in text


def test_data_survive_the_way_into_the_page():
    frame = pd.DataFrame({"word": ["</script>", "b", "</script>"], "number": [1.0, float("nan"), 1 / 3]})
    text = embedded(as_columns(frame, ["word", "number"]))
    assert "<" not in text
    found = json.loads(text)
    assert [found["words"]["word"][place] for place in found["columns"]["word"]] == ["</script>", "b", "</script>"]
    assert found["columns"]["number"] == [1.0, None, 0.33333]


CLICKS = """
<script>
const step = (wait) => new Promise((done) => setTimeout(done, wait));
(async () => {
  const said = {};
  await step(500);
  said.ready = document.documentElement.dataset.ready;
  said.curves = document.querySelectorAll("#chart svg path").length;
  said.first = document.getElementById("slice").textContent;
  const select = document.getElementById("explorer-quantities");
  select.value = "informations";
  select.dispatchEvent(new Event("change"));
  const estimator = document.getElementById("explorer-estimator");
  said.estimator = estimator.value;
  estimator.value = "gaussian";
  estimator.dispatchEvent(new Event("change"));
  await step(500);
  said.then = document.getElementById("slice").textContent;
  said.hash = location.hash;
  said.labels = document.querySelector("#chart svg").textContent;
  URL.createObjectURL = (blob) => { said.blob = blob; return "blob:x"; };
  HTMLAnchorElement.prototype.click = () => {};
  document.getElementById("download").click();
  said.csv = await said.blob.text();
  said.heat = document.querySelectorAll("#sweeps-chart svg path").length;
  const show = document.getElementById("questions-show");
  const buttons = () => [...document.querySelectorAll("#questions-list button")];
  const listed = () => buttons().map((each) => each.textContent.slice(0, 7));
  said.all = listed();
  show.value = "wrong";
  show.dispatchEvent(new Event("change"));
  said.wrong = listed();
  show.value = "changed by an intervention";
  show.dispatchEvent(new Event("change"));
  said.changed = listed();
  said.detail = document.getElementById("questions-detail").textContent;
  said.marks = document.querySelectorAll("#questions-detail rect").length;
  said.markup = document.querySelectorAll("#questions-detail img").length;
  const pre = Object.assign(document.createElement("pre"), { id: "said", textContent: JSON.stringify(said) });
  document.body.replaceChildren(pre);
})();
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
def test_a_reader_clicks_through(page, tmp_path):
    clicked = tmp_path / "clicked.html"
    before, _, after = page.read_text().rpartition("</body>")
    clicked.write_text(before + CLICKS + after)
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    switches += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'c'}"]
    switches += ["--enable-logging=stderr"]  # what the page reports of itself
    command = [
        CHROMIUM,
        *switches,
        "--virtual-time-budget=20000",
        "--dump-dom",
        f"{clicked.as_uri()}#explorer?explorertask=b",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    said = json.loads(html.unescape(found[1]))
    assert said["ready"] == "yes"
    assert said["curves"] > 8, "four lines, four bands and their points"
    assert said["first"] == "12 numbers, 4 of them with a warning."
    assert said["estimator"] == "flow", "the run's own estimator is chosen first"
    assert said["then"] == "9 numbers, 3 of them with a warning."
    assert "explorertask=b" in said["hash"], "the address keeps the choice it was opened with"
    assert "explorerestimator=gaussian" in said["hash"]
    assert "both and answer" in said["labels"]
    header, *rows = said["csv"].splitlines()
    assert header.startswith("model,task,condition,estimator,definition,layer,atom,bits")
    assert len(rows) == 9
    assert [text.strip() for text in said["all"]] == ["✓ one <", "✗ two <", "✓ three"]
    assert said["wrong"] == ["✗ two <"]
    assert said["changed"] == ["✓ three"]
    assert "<image> × 2" in said["detail"]
    assert said["marks"] == 3, "two patches and a box"
    assert said["markup"] == 0, "what a model says is text"
    assert said["heat"] >= 6, "three blocks of two edges"


def test_wrong_answers_and_large_effects_are_shown():
    right = [True] * 8 + [False] * 2
    intact = pd.DataFrame({"correct": right, "answer_probability": [0.9] * 10})
    moved = [0.9, 0.1, 0.9, 0.5, 0.9, 0.9, float("nan"), 0.9, 0.9, 0.9]
    said = {"intact": intact, "cut": pd.DataFrame({"correct": right, "answer_probability": moved})}
    assert chosen_rows(said, 4).tolist() == [0, 1, 3, 8]
    assert chosen_rows(said, 100).tolist() == list(range(10))
