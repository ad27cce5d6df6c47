"""Extraction killed by force: the next job goes on at the last whole chunk and ends with the same bytes."""

import os
import signal
from pathlib import Path

import pytest
from tests.stages.test_activations import CUT, MODEL

from pidflow.errors import DataError
from pidflow.files import journal, store
from pidflow.stages import _extraction as stage
from pidflow.stages import _extractor, _states, _work

N, CHUNK = 11, 4
UNFINISHED = {"cut.h5", "intact.h5", "journal.jsonl"}
CALM = {}  # results of jobs that nobody kills


@pytest.fixture
def job(tmp_path, write_items, saved_model, monkeypatch):
    """``job(folder, ...)``: extract intact and a cut into a folder, four questions a chunk; gives its results."""
    items = str(write_items(N))
    monkeypatch.setattr(_extractor, "_CHUNK", CHUNK)

    def run(folder="killed", *, made_from=0, **changed):
        place = tmp_path / folder
        conditions = {
            name: {"intervention": entry, "answers": str(place / f"{name}.parquet")}
            for name, entry in {"intact": None, "cut": CUT}.items()
        }
        conditions["intact"]["activations"] = str(place / "intact.h5")
        conditions["cut"]["activations"] = str(place / "waiting" / "cut.h5")
        model = MODEL | {"path": str(saved_model)}
        settings = {"model": model, "model_id": "tiny", "task": "mixed", "made_from": made_from} | changed
        stage.run(items=items, conditions=conditions, **settings)
        return contents(place)

    def calm(**changed):
        if repr(changed) not in CALM:
            CALM[repr(changed)] = run("calm", **changed)
        return CALM[repr(changed)]

    run.calm, run.place = calm, tmp_path / "killed"
    return run


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def killed(run, patch):
    """Run in a child process that kills itself at a moment that ``patch(monkeypatch)`` chooses."""
    child = os.fork()
    if child == 0:
        with pytest.MonkeyPatch.context() as inside:
            patch(inside)
            try:
                run()
            finally:
                os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def dying(inside, where, name, *, calls, then=None):
    """Kill the process at one of the calls of a function, before it or in the middle of it."""
    real, count = getattr(where, name), [0]

    def wrapped(*args, **kwargs):
        count[0] += 1
        if count[0] == calls:
            if then is not None:
                then(*args, **kwargs)
            die()
        return real(*args, **kwargs)

    inside.setattr(where, name, wrapped)


def half_a_line(self, entry):
    self._file.write(b'{"rows": [4, 8], "col')
    self._file.flush()


# What is on the disk when the process dies, and how many questions that spares the next job.
MOMENTS = {
    "in the first chunk": (lambda m: dying(m, _extractor, "passes", calls=1), 0),
    "the first chunk written": (
        lambda m: dying(m, _extractor.Work, "commit", calls=2),
        4,
    ),
    "all chunks written": (lambda m: dying(m, _work.Work, "finish", calls=1), 11),
    "half of a chunk's states written": (lambda m: dying(m, _states, "_put", calls=50), 4),
    "half of a chunk's note written": (lambda m: dying(m, journal.Journal, "append", calls=3, then=half_a_line), 4),
    "results half sealed": (lambda m: dying(m, store, "seal_h5", calls=2), 11),
    "one result in place": (lambda m: dying(m, _work, "put_in_place", calls=2), 0),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_job_is_gone_on_with_and_ends_with_the_same_bytes(job, monkeypatch, moment):
    expected = job.calm()
    patch, spared = MOMENTS[moment]
    killed(job, patch)
    assert not list(job.place.glob("*.parquet"))
    real, asked = _extractor.passes, []

    def counted(loaded, batch, *args, **kwargs):
        asked.append(len(batch))
        return real(loaded, batch, *args, **kwargs)

    monkeypatch.setattr(_extractor, "passes", counted)
    assert job() == expected
    assert sum(asked) == N - spared


CHANGED = {
    "code or settings": {"made_from": 1},
    "storage": {"storage": "float32"},
    "batches": {"model": {"batch_size": 3}},
    "layers": {"layers": [1]},
}


@pytest.mark.parametrize("what", CHANGED)
def test_work_on_something_else_is_thrown_away(job, monkeypatch, caplog, saved_model, what):
    changed = dict(CHANGED[what])
    if "model" in changed:
        changed["model"] = MODEL | {"path": str(saved_model)} | changed["model"]
    expected = job.calm(**changed)
    killed(job, lambda m: dying(m, _work.Work, "finish", calls=1))
    with caplog.at_level("INFO"):
        assert job(**changed) == expected
    assert "unfinished work is about something else (" in caplog.text


def test_changed_questions_are_asked_anew(job, write_items, tmp_path):
    killed(job, lambda m: dying(m, _work.Work, "finish", calls=1))
    items = tmp_path / "dataset" / "items.parquet"
    table = store.read_table(items)
    store.write_table(items, table.assign(question=table["question"].str.replace("red", "blue")))
    assert job() == job("calm")


def test_a_job_that_fails_keeps_what_is_done_and_one_that_cannot_be_told_apart_keeps_nothing(job, monkeypatch):
    real = _extractor.Work.finish
    monkeypatch.setattr(_extractor.Work, "finish", lambda *_: (_ for _ in ()).throw(DataError("no")))
    with pytest.raises(DataError):
        job()
    assert {str(name) for name in contents(job.place)} == {f".work/intact/{name}" for name in UNFINISHED}
    monkeypatch.setattr(_extractor.Work, "finish", real)
    killed(lambda: job(made_from=None), lambda m: dying(m, _extractor, "passes", calls=3))
    assert job(made_from=None) == job.calm(made_from=None)
    monkeypatch.setattr(_extractor.Work, "finish", lambda *_: (_ for _ in ()).throw(DataError("no")))
    with pytest.raises(DataError):
        job("other", made_from=None)
    assert contents(job.place.with_name("other")) == {}


def flipped(path, place):
    """One bit of a file changed."""
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def test_states_that_changed_while_nobody_worked_are_never_taken_for_results(job):
    expected = job.calm()
    killed(job, lambda m: dying(m, _work.Work, "finish", calls=1))
    unfinished = job.place / ".work" / "intact" / "cut.h5"
    last = unfinished.read_bytes()
    flipped(unfinished, max(place for place in range(len(last)) if last[place]))  # in the last numbers of the file
    with pytest.raises(DataError, match="of condition 'cut', questions 8 to 10, changed since they were written"):
        job()
    assert contents(job.place) == {}, "results or work of a damaged state"
    assert job() == expected


@pytest.mark.parametrize("content", [b"", b"no HDF5", "half"])
def test_an_unfinished_file_that_is_cut_short_or_foreign_is_begun_anew(job, caplog, content):
    expected = job.calm()
    killed(job, lambda m: dying(m, _work.Work, "finish", calls=1))
    unfinished = job.place / ".work" / "intact" / "cut.h5"
    whole = unfinished.read_bytes()
    unfinished.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    assert job() == expected
    assert "cut.h5: no file of states that can be gone on with" in caplog.text


@pytest.mark.parametrize("line", [0, 1, 3])
def test_a_damaged_note_is_no_note(job, line):
    expected = job.calm()
    killed(job, lambda m: dying(m, _work.Work, "finish", calls=1))
    notes = job.place / ".work" / "intact" / "journal.jsonl"
    before = b"\n".join(notes.read_bytes().split(b"\n")[:line])
    flipped(notes, len(before) + 30)
    assert job() == expected


def test_two_jobs_do_not_work_on_the_same_results(job):
    killed(job, lambda m: dying(m, _work.Work, "finish", calls=1))
    folder = job.place / ".work" / "intact"
    with journal.Journal(folder / "journal.jsonl"), pytest.raises(DataError, match="another process is at this work"):
        job()
    assert set(map(str, contents(folder))) == UNFINISHED


def test_a_journal_gives_back_what_was_noted(tmp_path):
    path = Path(tmp_path / "j")
    with journal.Journal(path) as notes:
        assert (notes.first, notes.last, notes.length) == (None, None, 0)
        for entry in ({"a": 1}, {"b": [0.1, None, "ü"]}, {"c": float("inf")}):
            notes.append(entry)
        assert (notes.first, notes.last, notes.length) == ({"a": 1}, {"c": float("inf")}, 3)
    with open(path, "ab") as file:
        file.write(b'{"d": 4}')  # without the end of its line: it may be longer
    with journal.Journal(path) as notes:
        assert (notes.last, notes.length) == ({"c": float("inf")}, 3)
        notes.append({"e": 5})
    assert list(journal.entries(path))[1:] == [{"b": [0.1, None, "ü"]}, {"c": float("inf")}, {"e": 5}]
