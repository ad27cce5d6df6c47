"""The self-check of a model is made once for all jobs, found again by what it depends on, and stored with results."""

import json
from dataclasses import asdict, replace

import pytest

from pidflow.errors import NumericsError
from pidflow.files import store
from pidflow.interventions.model_check import check_model, own_questions
from pidflow.stages import _checked, extract_predictions, probe_statistics, sweep_knockout
from pidflow.stages._checked import checked

PROMPT = "USER: <image>\n{question} ASSISTANT:"


@pytest.fixture
def counted(monkeypatch):
    """How often the check itself runs."""
    calls = []
    monkeypatch.setattr(_checked, "check_model", lambda *args: calls.append(args) or check_model(*args))
    return calls


def test_its_own_questions_pad_a_row(tiny_llava, tiny_llava_next):
    for loaded in (tiny_llava, tiny_llava_next):
        batch, *alone = own_questions(loaded)
        assert (len(batch), [len(each) for each in alone]) == (2, [1, 1])
        assert not batch.spans.valid.all()


def test_it_runs_once_until_something_that_it_depends_on_changes(tiny_llava, tmp_path, counted, caplog):
    kept = {"folder": str(tmp_path / "checks"), "code": "a"}
    first = checked(tiny_llava, kept=kept)
    with caplog.at_level("INFO"):
        assert checked(tiny_llava, kept=kept) == first
    assert sum("self-check: " in line for line in caplog.messages) == len(first.lines())
    assert len(counted) == 1
    checked(tiny_llava, kept=kept | {"code": "b"})
    checked(replace(tiny_llava, revision="another"), kept=kept)
    checked(replace(tiny_llava, prompting=replace(tiny_llava.prompting, template="<image> {question}")), kept=kept)
    assert len(counted) == 4
    checked(tiny_llava)
    assert len(counted) == 5


def test_a_damaged_note_is_made_anew(tiny_llava, tmp_path, counted):
    kept = {"folder": str(tmp_path), "code": "a"}
    first = checked(tiny_llava, kept=kept)
    (note,) = tmp_path.iterdir()
    note.write_text(note.read_text().replace('"causal"', '"prefix"'))
    assert checked(tiny_llava, kept=kept) == first
    store.write_json(note, {"family": "llava"})  # of another version
    assert checked(tiny_llava, kept=kept) == first
    assert len(counted) == 3


def test_what_fails_is_not_kept(tiny_llava, tmp_path, monkeypatch):
    def fails(*_):
        raise NumericsError("rows do not sum to 1")

    monkeypatch.setattr(_checked, "check_model", fails)
    for _ in range(2):
        with pytest.raises(NumericsError, match="rows do not sum"):
            checked(tiny_llava, kept={"folder": str(tmp_path), "code": "a"})
    assert not list(tmp_path.iterdir())


def test_sweeps_probes_and_predictions_hold_it(write_items, saved_model, tmp_path, counted):
    kept = {"folder": str(tmp_path / "checks"), "code": "a"}
    job = {"items": str(write_items(12)), "model_id": "tiny", "task": "mixed", "kept_check": kept}
    job["model"] = {"family": "llava", "path": str(saved_model), "prompt": PROMPT}
    places = {name: str(tmp_path / name) for name in ("sweep.parquet", "details.parquet", "probes.h5", "said.h5")}
    sweep_knockout.run(
        **job, output=places["sweep.parquet"], details=places["details.parquet"], edges=["image->last"], window=3
    )
    probe_statistics.run(**job, output=places["probes.h5"], training=[0, 1], donors=2)
    extract_predictions.run(
        **job,
        statistics=places["probes.h5"],
        output=places["said.h5"],
        training=[0, 1],
        passes=["language-only"],
        replacements=["mean"],
        draws=1,
    )
    assert len(counted) == 1
    (note,) = (tmp_path / "checks").iterdir()
    expected = store.read_json(note)
    assert expected["moved"] > 0
    for name in ("sweep.parquet", "details.parquet"):
        assert store.table_about(places[name])["model_check"] == expected
    with store.reading_h5(places["probes.h5"], kind="probe statistics") as file:
        assert json.loads(file.attrs["model_check"]) == expected
    with store.reading_h5(places["said.h5"], kind="predictions") as file:
        assert json.loads(store.take(file, "about", shape=(1,))[0])["model_check"] == expected
    assert expected.keys() == asdict(checked(*[counted[0][0]])).keys()
