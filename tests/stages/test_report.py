"""The report is one page that holds the run's numbers, escapes what it is given and works without a network."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests import browser
from tests.stages.test_spectrum import MODELS, collected, estimated

from pidflow.analysis.report import as_columns, embedded
from pidflow.files.store import write_json, write_table
from pidflow.stages import write_report
from pidflow.stages.show_questions import chosen_rows

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "workflow/report/page"
EVIL = "<img src=x onerror=alert(1)></script>"
RECORD = {
    "seed": 7,
    "repository": {"commit": "c" * 40, "changed": True},
    "machine": {"processor": EVIL, "cores": 2, "system": "Linux x86_64", "gpus": []},
    "inputs": {"units": {"m/a": {"model": "m", "revision": "sha256:ab"}}},
    "versions": {"numpy": "2.0"},
    "tables": {"pid": "d" * 64},
}


@pytest.fixture(scope="module")
def spectrum(tmp_path_factory):
    """Tables of the spectrum as its stages make them, by name; one of the models is the report's, another an import."""
    folder = tmp_path_factory.mktemp("spectrum")
    spectra = [estimated(folder, model, "synergy", certainty=certainty) for model, certainty in MODELS.items()]
    collected(folder, [*spectra, estimated(folder, "one", "and")])
    return {name: str(folder / "tables" / f"{name}.parquet") for name in ("spectrum", "training", "spectrum-claims")}


@pytest.fixture
def tables(tmp_path, spectrum):
    """A run of two tasks with three layers, one claim each; predictions of four models."""
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
        {"statement": EVIL, "model": "m", "task": task, "condition": "intact", "verdict": verdict}
        | {"verdict_holm": "undetermined", "reason": EVIL}
        for task, verdict in (("a", "supported"), ("b", "not supported"))
    ]
    sweeps = [
        {"model": "m", "task": "a", "kind": "cut", "window": 3, "subset": "all", "edge": edge, "centre": block}
        | {"change_first": -0.1 * block, "n": 900, "images": 900}
        for edge in ("image->last", "image->question")
        for block in range(3)
    ]
    found = {}
    for name, rows in (("pid", pid), ("answers", answers), ("claims", claims), ("sweeps", sweeps)):
        found[name] = str(tmp_path / f"{name}.parquet")
        write_table(found[name], pd.DataFrame(rows))
    return found | spectrum


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
def report(tmp_path, tables, questions):
    """``report(path)``: the page of these tables, written there."""
    configuration = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    configuration["run"] = {"models": ["m"], "tasks": ["a", "b"], "conditions": ["intact", "image-question"]}
    configuration["claims"]["estimators"] = ["flow"]
    record = tmp_path / "provenance.json"
    write_json(record, RECORD)

    def write(path):
        write_report.run(
            output=str(path),
            tables=tables,
            questions=questions,
            page=str(PAGE / "page.html.j2"),
            style=str(PAGE / "style.css"),
            script=str(PAGE / "page.js"),
            configuration=configuration,
            titles={
                "task": {"a": "first task", "b": EVIL, "synergy": "first task of predictions"},
                "model": {"m": "my model", "one": "my model of predictions"},
                "condition": {"image-question": "question blind", "cut": "question blind"},
                "estimator": {"flow": "normalizing flow"},
                "definition": {"broja": "BROJA"},
            },
            provenance=str(record),
        )
        return path

    return write


@pytest.fixture
def page(report, tmp_path):
    return report(tmp_path / "report.html")


def test_nothing_is_fetched_and_everything_is_escaped(page):
    text = page.read_text()
    written, *_ = text.split('<script type="application/json"')
    assert "<img" not in text.split("<script>")[0]
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", written)
    assert "&lt;img src=x onerror=alert(1)&gt;" in written
    assert "default-src 'none'" in written, "the page itself forbids every connection"


def test_methods_have_the_run_s_own_numbers(page):
    text = page.read_text()
    assert "1 model (my model) 1,800 questions of 2 tasks (first task, " in text
    assert "normalizing flow" in text
    assert "States of 3 layers" in text
    assert "33% of the numbers carry a warning" in text
    assert "2 edges of attention were cut around each block in turn, in windows of 3 blocks" in text
    assert "Predictions of 4 models on 2 tasks were decomposed as well" in text


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
const id = (name) => document.getElementById(name);
const choose = (name, value) => { id(name).value = value; id(name).dispatchEvent(new Event("change")); };
const drawn = (name) => document.querySelectorAll(`#${name}-chart svg path`).length;
const said = {};
await until(() => document.documentElement.dataset.ready === "yes", "ready");
said.curves = drawn("explorer");
said.first = id("explorer-slice").textContent;
said.estimator = id("explorer-estimator").value;
said.titles = [...document.querySelectorAll("#explorer-choices option")].map((each) => each.textContent);
choose("explorer-quantities", "informations");
choose("explorer-estimator", "gaussian");
const labels = () => (document.querySelector("#explorer-chart svg") || {}).textContent || "";
await until(() => labels().includes("both and answer"), "the other quantities drawn");
said.then = id("explorer-slice").textContent;
said.hash = location.hash;
said.table = id("explorer-table").textContent;
URL.createObjectURL = (blob) => { said.blob = blob; return "blob:x"; };
HTMLAnchorElement.prototype.click = () => {};
id("explorer-download").click();
said.csv = await said.blob.text();
said.heat = drawn("sweeps");
said.edges = document.querySelector("#sweeps-chart svg").textContent;
said.lens = drawn("lens");
said.training = drawn("training");
const compared = () => document.querySelector("#predictions-chart svg").textContent;
said.models = compared();
choose("predictions-compare", "task");
await until(() => compared().includes("first task"), "tasks compared");
const buttons = () => [...document.querySelectorAll("#questions-list button")];
const listed = () => buttons().map((each) => each.textContent.slice(0, 7));
said.all = listed();
buttons()[0].focus();
buttons()[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
said.focused = document.activeElement.textContent.slice(0, 7);
choose("questions-show", "wrong");
said.wrong = listed();
choose("questions-show", "changed by an intervention");
said.changed = listed();
said.detail = id("questions-detail").textContent;
said.marks = document.querySelectorAll("#questions-detail rect").length;
said.markup = document.querySelectorAll("#questions-detail img").length;
said.scrolled = [...document.querySelectorAll(".scroll")].filter((each) => each.tabIndex < 0).length;
said.wider = document.documentElement.scrollWidth - window.innerWidth;
say(said);
"""


@browser.needed
@pytest.mark.parametrize("window", ["1200,900", "390,800"])
def test_a_reader_clicks_through(page, tmp_path, window):
    url = f"{browser.scripted(page, CLICKS).as_uri()}#explorer?explorer.task=b"
    said, complaints = browser.visit(url, tmp_path / "chromium", f"--window-size={window}")
    assert not complaints
    assert said.get("waited", said.get("failed")) is None, said
    assert said["curves"] > 8, "four lines, four bands and their points"
    assert said["first"] == "12 numbers, 4 of them with a warning."
    assert said["estimator"] == "flow", "the run's own estimator is chosen first"
    assert {"my model", "first task", "question blind"} <= set(said["titles"]), "people read titles"
    assert said["then"] == "9 numbers, 3 of them with a warning."
    assert "explorer.task=b" in said["hash"], "the address keeps the choice it was opened with"
    assert "explorer.estimator=gaussian" in said["hash"]
    assert "0.25 (0 to 0.5)" in said["table"], "the numbers of the chart are reached without a mouse"
    header, *rows = said["csv"].splitlines()
    assert header.startswith("model,task,condition,target,estimator,definition,layer,atom,bits")
    assert len(rows) == 9
    assert [text.strip() for text in said["all"]] == ["✓ one <", "✗ two <", "✓ three"]
    assert said["focused"] == "✗ two <", "arrow keys go through the list"
    assert said["wrong"] == ["✗ two <"]
    assert [text.strip() for text in said["changed"]] == ["✓ three"]
    assert "<image> × 2" in said["detail"]
    assert said["marks"] == 3, "two patches and a box"
    assert said["markup"] == 0, "what a model says is text"
    assert said["heat"] >= 6, "three blocks of two edges"
    assert "image → question" in said["edges"]
    assert said["lens"] > 8
    assert said["training"] > 8
    assert "my model" in said["models"]
    assert said["scrolled"] == 0, "what scrolls is reached without a mouse"
    assert said["wider"] <= 0, "nothing hangs out of the window"


def test_the_spectrum_is_shown_where_the_run_has_it(page, tables, report, tmp_path):
    with_it = page.read_text()
    assert '<section id="spectrum"' in with_it
    assert "more are about models, tasks, families or sizes that this run lacks" in with_it
    assert "synergy comes in the order written down before" in with_it
    for name in ("spectrum", "training", "spectrum-claims"):
        del tables[name]
    without = report(tmp_path / "without.html").read_text()
    assert '<section id="spectrum"' not in without
    assert "#spectrum" not in without


def test_wrong_answers_and_large_effects_are_shown():
    right = [True] * 8 + [False] * 2
    intact = pd.DataFrame({"correct": right, "answer_probability": [0.9] * 10})
    moved = [0.9, 0.1, 0.9, 0.5, 0.9, 0.9, float("nan"), 0.9, 0.9, 0.9]
    said = {"intact": intact, "cut": pd.DataFrame({"correct": right, "answer_probability": moved})}
    assert chosen_rows(said, 4).tolist() == [0, 1, 3, 8]
    assert chosen_rows(said, 100).tolist() == list(range(10))
