"""Questions from every reader arrive whole, or one sentence says why not."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pidflow.data.readers import easy_vqa
from pidflow.errors import ConfigError, DataError
from pidflow.stages import prepare_items

SCENES = {"reader": "scenes", "language_prior": 0.25}
EASY = {"reader": "easy-vqa", "split": "test"}


def prepare(tmp_path, dataset, *, select=None, count=30, folds=3, seed=0):
    settings = {"dataset": dataset, "items": count} | ({"select": select} if select else {})
    output = tmp_path / "items.parquet"
    prepare_items.run(
        output=str(output), images=str(tmp_path / "images"), task="a-task", settings=settings, folds=folds, seed=seed
    )
    return pd.read_parquet(output)


@pytest.mark.parametrize("task", ["logical-obj", "query-attr", "choose-rel", "compare-attr"])
def test_scene_answers_are_balanced(tmp_path, task):
    frame = prepare(tmp_path, SCENES, select=task, count=12)
    assert frame["answer"].value_counts().nunique() == 1
    assert all((tmp_path / "images" / path).is_file() for path in frame["image_path"])
    assert set(frame["fold"]) == {0, 1, 2}


def test_scenes_follow_the_seed(tmp_path):
    first = prepare(tmp_path, SCENES, select="choose-attr", seed=1)
    assert first.equals(prepare(tmp_path, SCENES, select="choose-attr", seed=1))
    assert list(first["question"]) != list(prepare(tmp_path, SCENES, select="choose-attr", seed=2)["question"])


@pytest.mark.parametrize("task", ["easy-shape", "easy-colour", "easy-yesno"])
def test_easy_vqa(tmp_path, task):
    frame = prepare(tmp_path, EASY, select=task, count=50)
    assert len(frame) == 50
    assert frame["item_id"].is_unique
    assert frame.groupby("image_id")["fold"].nunique().max() == 1


def test_the_box_of_an_easy_vqa_shape_holds_all_of_it_and_no_more(tmp_path):
    frame = prepare(tmp_path, EASY, select="easy-shape", count=40)
    for path, boxes in zip(frame["image_path"], frame["boxes"], strict=True):
        pixels = np.asarray(Image.open(easy_vqa.root() / "test" / "images" / path).convert("RGB"))
        ((x, y, width, height),) = np.array([list(box) for box in boxes], dtype=int)
        drawn = (pixels != pixels[0, 0 if x > 0 or y > 0 else -1]).any(axis=2)
        inside = np.zeros_like(drawn)
        inside[y : y + height, x : x + width] = True
        assert not (drawn & ~inside).any()
        assert drawn[y].any()
        assert drawn[:, x].any()
        assert drawn[y + height - 1].any()
        assert drawn[:, x + width - 1].any()


def table(tmp_path, name, rows):
    path = tmp_path / name
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        text = [
            {key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()} for row in rows
        ]
        pd.DataFrame(text).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return {"reader": "table", "table": str(path), "images": str(tmp_path)}


ROWS = [
    {"image": f"{index}.png", "q": "red or blue?", "answer": "red", "options": ["red", "blue"], "boxes": [[1, 2, 3, 4]]}
    for index in range(6)
]


@pytest.mark.parametrize("name", ["questions.csv", "questions.jsonl", "questions.parquet"])
def test_a_table_of_ones_own(tmp_path, name):
    dataset = table(tmp_path, name, ROWS) | {"columns": {"question": "q"}}
    frame = prepare(tmp_path, dataset)
    assert list(frame["question"]) == ["red or blue?"] * 6
    assert [list(options) for options in frame["options"]] == [["red", "blue"]] * 6
    assert [[list(box) for box in boxes] for boxes in frame["boxes"]] == [[[1.0, 2.0, 3.0, 4.0]]] * 6


def test_a_task_without_rows(tmp_path):
    dataset = table(tmp_path, "q.jsonl", [row | {"task": "colour", "question": "?"} for row in ROWS])
    with pytest.raises(DataError, match="task 'a-task' has no rows"):
        prepare(tmp_path, dataset, select="size")
    assert not (tmp_path / "items.parquet").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image": "a.png", "question": "?"}], "no column 'answer', found: image, question; set columns"),
        ([{"image": "a.png", "question": "", "answer": "red"}], "row 0: 'question' is '', expected text"),
        ([{"image": "a.png", "question": "?", "answer": 3}], "row 0: 'answer' is 3, expected text"),
        (
            [{"image": "a", "question": "?", "answer": "b", "boxes": [[1, 2]]}],
            "box [1, 2], expected [x, y, width, height]",
        ),
        ([{"image": "a", "question": "?", "answer": "b", "options": 3}], "'options' is 3, expected a list"),
    ],
)
def test_bad_tables_are_named(tmp_path, rows, message):
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, table(tmp_path, "q.jsonl", rows))
    assert message in str(caught.value)


def test_missing_and_unreadable_tables(tmp_path):
    missing = {"reader": "table", "table": str(tmp_path / "no.csv"), "images": "."}
    with pytest.raises(DataError, match="is missing"):
        prepare(tmp_path, missing)
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match=r"cannot be read as \.parquet"):
        prepare(tmp_path, {**missing, "table": str(tmp_path / "bad.parquet")})
    (tmp_path / "table.xlsx").touch()
    with pytest.raises(ConfigError, match=r"expected a .csv, .jsonl or .parquet file"):
        prepare(tmp_path, {**missing, "table": str(tmp_path / "table.xlsx")})


@pytest.mark.parametrize("dataset", [SCENES, EASY], ids=["scenes", "easy-vqa"])
def test_unknown_selections(tmp_path, dataset):
    with pytest.raises(ConfigError, match="'chess' in select, expected one of"):
        prepare(tmp_path, dataset, select="chess")


@pytest.mark.skipif(
    not (Path(__file__).resolve().parents[3] / "shared/data/photos/questions.jsonl").is_file(),
    reason="needs the shared photo questions",
)
def test_real_questions_about_real_photos(tmp_path):
    photos = Path(__file__).resolve().parents[3] / "shared/data/photos"
    dataset = {"reader": "table", "table": str(photos / "questions.jsonl"), "images": str(photos / "images")}
    frame = prepare(tmp_path, dataset, count=1000)
    assert len(frame) == 92
    assert all((photos / "images" / path).is_file() for path in frame["image_path"])
