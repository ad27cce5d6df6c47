"""A run's results are found by name, read when asked for, and compared with what they say they are about."""

import numpy as np
import pandas as pd
import pytest

from pidflow import load_run
from pidflow.errors import DataError
from pidflow.files.store import Identity, write_table


@pytest.fixture
def results(tmp_path):
    for condition in ("intact", "cut"):
        folder = tmp_path / "answers/a-model/a-task"
        folder.mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame({"item_id": ["1", "2"], "correct": [True, False]})
        write_table(folder / f"{condition}.parquet", frame, identity=Identity("a-model", "a-task", condition))
    return tmp_path


def test_a_run_says_what_it_has(results):
    run = load_run(results)
    assert (run.models, run.tasks, run.conditions) == (["a-model"], ["a-task"], ["cut", "intact"])
    np.testing.assert_array_equal(run.unit("a-model", "a-task").answers()["correct"], [True, False])
    assert run.unit("a-model", "a-task", "cut").decompositions() == []


def test_what_a_run_does_not_have(results, tmp_path):
    run = load_run(results)
    with pytest.raises(DataError, match="no task 'b-task' in this run, it has a-task"):
        run.unit("a-model", "b-task")
    with pytest.raises(DataError, match="holds no activations and no answers"):
        load_run(tmp_path / "elsewhere")
    with pytest.raises(DataError), run.unit("a-model", "a-task").activations():
        pass


def test_a_file_that_was_moved_is_refused(results):
    folder = results / "answers/a-model/a-task"
    (folder / "cut.parquet").rename(folder / "intact.parquet")
    with pytest.raises(DataError, match="cut"):
        load_run(results).unit("a-model", "a-task").answers()
