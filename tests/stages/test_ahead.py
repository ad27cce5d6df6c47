"""Pictures and batches are made ahead of the model; a batch is as large as there is room for."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.stages.test_activations import MODEL

from pidflow.errors import ConfigError
from pidflow.models.inputs import encode
from pidflow.models.room import fitting
from pidflow.stages import _questions
from pidflow.stages._ahead import ahead
from pidflow.stages._questions import Questions, image_files, load_model, read_items


def test_values_are_made_ahead_in_order_and_errors_come_in_their_place():
    made, let = [], threading.Semaphore(0)

    def values():
        for value in range(1, 6):
            made.append(value)
            let.release()
            if value == 5:
                raise ValueError("at the fifth")
            yield value

    found = ahead(values(), count=2)
    assert next(found) == 1
    for _ in range(3):
        assert let.acquire(timeout=30)  # two more were made, though nobody asked
    assert made[:3] == [1, 2, 3]
    assert [next(found), next(found), next(found)] == [2, 3, 4]
    with pytest.raises(ValueError, match="at the fifth"):
        next(found)


@pytest.mark.parametrize(
    ("one", "two", "free", "size"),
    [(100, 150, 1000, 16), (100, 150, 90, 1), (100, 100, 10**9, 256), (900, 1700, 10_000, 10), (0, 1, 10, 9)],
)
def test_a_batch_is_as_large_as_there_is_room_for(one, two, free, size):
    assert fitting(one, two, free=free) == size
    assert one + (size - 1) * max(two - one, 1) <= 0.85 * free or size == 1


@pytest.fixture
def questions_of(write_items, saved_model):
    def make(batch_size):
        loaded, size = load_model(MODEL | {"path": str(saved_model), "batch_size": batch_size})
        items = write_items(9)
        table = read_items(items)
        return Questions(loaded, table, image_files(table, items.parent), batch_size=size)

    return make


def test_the_automatic_size_is_measured_with_the_work_itself(questions_of, monkeypatch):
    questions, sizes = questions_of("auto"), []
    monkeypatch.setattr(_questions, "free_memory", lambda _: [1000])

    def peak(work, _):
        work()
        return [200 * sizes[-1]]

    monkeypatch.setattr(_questions, "peak_of", peak)
    found = list(questions.run(lambda batch, rows: sizes.append(len(batch)) or len(rows), np.arange(9)))
    assert sizes == [1, 2, 4, 4, 1]
    assert sorted(row for rows, _ in found for row in rows) == list(range(9))
    assert questions.batch_size == 4


def test_elsewhere_the_automatic_size_is_the_usual_one(questions_of):
    questions = questions_of("auto")
    sizes = [count for _, count in questions.run(lambda batch, rows: len(batch), np.arange(9))]
    assert (sizes, questions.batch_size) == ([9], 16)
    with pytest.raises(ConfigError, match="batch_size must be a whole number of at least 1, or auto, found 'many'"):
        load_model(MODEL | {"path": "x", "batch_size": "many"})


def test_pixels_are_staged_in_the_precision_of_the_model_and_pinned_for_a_gpu(tiny_llava, asked, monkeypatch):
    examples, pictures, _ = asked(3)
    batch = encode(tiny_llava, examples, pictures)
    half = replace(tiny_llava, dtype=torch.float16)
    staged = batch.staged(half)
    assert staged.inputs["pixel_values"].dtype == torch.float16
    assert torch.equal(staged.inputs["pixel_values"], batch.to(half).inputs["pixel_values"])
    assert torch.equal(staged.inputs["input_ids"], batch.inputs["input_ids"])
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor.shape) or tensor)
    batch.staged(half)
    assert pinned == []
    batch.staged(replace(half, devices=(torch.device("cuda"),)))
    assert len(pinned) == len(batch.inputs)
