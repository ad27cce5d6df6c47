"""Questions of one task asked in several jobs: what is joined holds the same bytes as results of one job."""

import shutil

import pytest
from tests.stages.test_activations import CUT, MODEL
from tests.stages.test_resume import contents, dying, flipped, killed

from pidflow.errors import DataError
from pidflow.files import journal, store
from pidflow.stages import _extractor, _work, extract_activations

ALONG = {
    "cut": {"intervention": CUT, "key": ["cut", 0], "states": True},
    "blind": {"intervention": CUT, "key": ["blind", 0], "states": False},
}


@pytest.fixture
def unit(tmp_path, write_items, saved_model, monkeypatch):
    """``unit(folder, shards)``: extract eleven questions, four a chunk, in one job or joined; gives its results."""
    items = str(write_items(11))
    monkeypatch.setattr(_extractor, "_CHUNK", 4)
    model = MODEL | {"path": str(saved_model)}

    def run(folder, *, key=0, along=ALONG, **changed):
        place = tmp_path / folder
        results = {"answers": str(place / "answers/intact.parquet"), "activations": str(place / "states/intact.h5")}
        results = {} if "shard" in changed else results
        same = {"model": model, "model_id": "tiny", "task": "mixed", "condition": "intact", "seed": 3}
        extract_activations.run(items=items, key=key, along=along, **same, **results, **changed)
        return contents(place)

    def ask(count, *numbers, **changed):
        shards = [str(tmp_path / "shards" / str(number)) for number in range(count)]
        for number in numbers or range(count):
            run("shards", shard=shards[number], part=(number, count), **changed)
        return shards

    run.ask, run.items = ask, items
    return run


@pytest.mark.parametrize("count", [2, 5])
def test_joined_shards_hold_the_bytes_of_one_job(unit, tmp_path, count):
    expected = unit("whole")
    shards = unit.ask(count)
    assert unit("joined", shards=shards) == expected
    rows = [next(journal.entries(f"{shard}/journal.jsonl"))["rows"] for shard in shards]
    assert rows == {2: [[0, 4], [4, 11]], 5: [[0, 0], [0, 4], [4, 4], [4, 8], [8, 11]]}[count]
    assert not (tmp_path / "shards" / ".work").exists()


def test_a_killed_shard_and_a_killed_join_are_gone_on_with(unit, monkeypatch):
    expected = unit("whole")
    killed(lambda: unit.ask(2, 1), lambda m: dying(m, _work.Work, "hand_over", calls=1))
    with monkeypatch.context() as broken:
        broken.setattr(_extractor, "passes", None)  # all of it was asked before
        shards = unit.ask(2, 1)
    unit.ask(2, 0)
    killed(lambda: unit("joined", shards=shards), lambda m: dying(m, _work, "put_in_place", calls=1))
    assert unit("joined", shards=shards) == expected


def test_shards_of_something_else_are_refused(unit, tmp_path):
    shards = unit.ask(2)
    for changed in ({"key": 1}, {"along": {}}):
        with pytest.raises(DataError, match="was made from other questions, settings or code; delete it"):
            unit("joined", shards=shards, **changed)
    with pytest.raises(DataError, match="shards are not about all 11 questions"):
        unit("joined", shards=shards[:1])
    with pytest.raises(DataError, match="shards are not about all 11 questions"):
        unit("joined", shards=shards[::-1])
    notes = tmp_path / "shards" / "1" / "journal.jsonl"
    whole = notes.read_bytes()
    notes.write_bytes(whole[:-5])
    with pytest.raises(DataError, match="its questions were not all asked"):
        unit("joined", shards=shards)
    notes.write_bytes(whole)
    states = tmp_path / "shards" / "1" / "intact.h5"
    content = states.read_bytes()
    flipped(states, max(place for place in range(len(content)) if content[place]))
    with pytest.raises(DataError, match=r"shards/1: states of condition 'intact', questions 8 to 10, changed since"):
        unit("joined", shards=shards)
    states.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"shards/1/intact.h5: no file of states that can be gone on with"):
        unit("joined", shards=shards)
    states.write_bytes(content)
    shutil.rmtree(shards[0])
    unit.ask(2, 0, key=1)
    with pytest.raises(DataError, match="differ in made_from; delete both"):
        unit("joined", shards=shards)
    shutil.rmtree(shards[1])
    unit.ask(2, 1, key=1)
    table = store.read_table(unit.items)
    store.write_table(unit.items, table.assign(answer=table["answer"].iloc[::-1].to_numpy()))
    with pytest.raises(DataError, match="was made from other questions"):
        unit("joined", shards=shards, key=1)
    shutil.rmtree(shards[0])
    with pytest.raises(DataError, match="holds no work of an extraction"):
        unit("joined", shards=shards)
