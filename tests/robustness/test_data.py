"""Tables, rows and dataset entries that cannot be used, each with the sentence that says why."""

import json
from functools import partial
from pathlib import Path

import pytest
from tests.question_tables import ROWS, entry, prepare

from pidflow.data.datasets import dataset_of
from pidflow.errors import ConfigError, DataError

SCENES = {"reader": "scenes", "language_prior": 0.25}
EASY = {"reader": "easy-vqa", "split": "test"}
TABLE = {"reader": "table", "table": "q.csv", "images": "."}


@pytest.fixture
def table(tmp_path):
    """``table(name, rows)``: the dataset entry of a table beside six pictures."""
    return partial(entry, tmp_path)


LONG = "x" * 100_000
GOOD = {"image": "0.png", "question": "?", "answer": "a"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "0.png", "question": "?"}, "entry 2: 'answer' is missing"),
        ({**GOOD, "question": ""}, "entry 2: 'question' is '', expected text"),
        ({**GOOD, "question": " \n"}, "entry 2: 'question' is ' \\n', expected text"),
        ({**GOOD, "answer": 3}, "entry 2: 'answer' is 3, expected text"),
        ({**GOOD, "answer": [LONG]}, "entry 2: 'answer' is ['xxx"),
        ({**GOOD, "question": "a\0b"}, "entry 2: 'question' is 'a\\x00b', which holds characters that are no text"),
        ({**GOOD, "answer": "\ud800"}, "which holds characters that are no text"),
        ({**GOOD, "image": LONG}, "cannot be followed (File name too long)"),
        ({**GOOD, "image": None}, "entry 2: 'image' is None, expected text"),
        ({**GOOD, "options": 3}, "'options' is 3, expected a list of answers"),
        ({**GOOD, "options": "red"}, "'options' is 'red', expected a list of answers"),
        ({**GOOD, "options": '"red"'}, "'options' is '\"red\"', expected a list of answers"),
        ({**GOOD, "options": "[" * 99_999}, "'options' is '[[["),
        ({**GOOD, "options": {"A": "red"}}, "'options' is {'A': 'red'}, expected a list of answers"),
        ({**GOOD, "options": ["red", None]}, "'options' has the option None, expected text"),
        ({**GOOD, "options": ["red", " "]}, "'options' has the option ' ', expected text"),
        ({**GOOD, "options": ["red", 0.5]}, "'options' has the option 0.5, expected text"),
        ({**GOOD, "options": ["red", " red"]}, "'options' offers ' red' twice; the options of a question must differ"),
        ({**GOOD, "boxes": [[10**400, 1, 1, 1]]}, "expected [x, y, width, height]"),
        ({**GOOD, "boxes": [[1, 2]]}, "'boxes' has the box [1, 2], expected [x, y, width, height]"),
        ({**GOOD, "boxes": [1, 2, 3, 4]}, "'boxes' has the box 1, expected [x, y, width, height]"),
        ({**GOOD, "boxes": ["1234"]}, "'boxes' has the box '1234', expected"),
        ({**GOOD, "boxes": [[1, 2, 3, True]]}, "'boxes' has the box [1, 2, 3, True], expected"),
        ({**GOOD, "boxes": [[1, 2, 3, "a"]]}, "'boxes' has the box [1, 2, 3, 'a'], expected"),
        ({**GOOD, "boxes": [[1, 2, 3, float("nan")]]}, "in finite numbers"),
        ({**GOOD, "boxes": [[1, 2, 3, float("inf")]]}, "in finite numbers"),
        ({**GOOD, "boxes": [[-1, 2, 3, 4]]}, "with x and y of 0 or more and a positive width and height"),
        ({**GOOD, "boxes": [[1, 2, 0, 4]]}, "with x and y of 0 or more and a positive width and height"),
        ({**GOOD, "boxes": [[1, 2, 3, -4]]}, "with x and y of 0 or more and a positive width and height"),
        ({**GOOD, "boxes": [[0.1, 0.2, 0.3, 0.4]]}, "which looks like shares of the picture"),
        (["0.png", "?", "a"], "entry 2 is ['0.png', '?', 'a'], expected an object with the columns as keys"),
        (None, "entry 2 is None, expected an object"),
    ],
)
def test_bad_rows_are_named(tmp_path, table, row, message):
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, table("q.json", [GOOD, row]))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 800
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"C": "c"}, "line 3: 'B' is empty, but a later option is not"),
        ({"x": "1", "y": "2", "w": "3"}, "line 3: 'h' is empty, but the other sides of its box are not"),
        (
            {"x": "1", "y": "2", "w": "3", "h": "nan"},
            "line 3: 'x, y, w, h' has the box ['1', '2', '3', 'nan'], expected",
        ),
        ({"x": "1", "y": "2", "w": "3", "h": "4 px"}, "line 3: 'x, y, w, h' has the box"),
    ],
)
def test_pieces_that_do_not_fit_together(tmp_path, table, cells, message):
    whole = GOOD | dict.fromkeys(["A", "B", "C", "x", "y", "w", "h"], "") | {"A": "a"}
    pieces = {"options": ["A", "B", "C"], "boxes": ["x", "y", "w", "h"]}
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, table("q.csv", [whole, whole | cells], columns=pieces))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "q.csv",
            "image,question,answer\n0.png,?,a\n\n0.png,left, or right?,a\n",
            "line 4 has 4 cells, the header has 3",
        ),
        ("q.csv", 'image,question,answer\n0.png,"a\nb\nc",a\n0.png,?\n', "line 5 has 2 cells, the header has 3"),
        ("q.csv", 'image,question,answer\n0.png,"a\nb\nc",a\n0.png,,a\n', "line 5: 'question' is '', expected text"),
        (
            "q.csv",
            'image,question,answer\n0.png,?,a\n0.png,"never closed,a\n0.png,?,a\n',
            "line 3: unexpected end of data",
        ),
        ("q.csv", "image,image,question,answer\n", "line 1: two columns are called 'image'"),
        (
            "q.csv",
            "image;question;answer\n0.png;?;a\n",
            "has no column 'question', it has 'image;question;answer'; cells of .csv are parted by commas",
        ),
        ("q.csv", b"image,question,answer\n0.png,caf\xe9,a\n", "is not UTF-8 text (byte "),
        (
            "q.tsv",
            "image,question,answer\n0.png,?,a\n",
            "it has 'image,question,answer'; cells of .csv are parted by commas",
        ),
        (
            "q.jsonl",
            '{"image": "0.png"}\n\n\n"text"\n',
            "line 4 is 'text', expected an object with the columns as keys",
        ),
        ("q.jsonl", json.dumps(GOOD) + "\n{}\n", "line 2: 'image' is missing"),
        ("q.jsonl", json.dumps(GOOD) + '\n\n{"image": \n', "line 3 is not a JSON object by itself"),
        ("q.jsonl", json.dumps(GOOD, indent=1), "line 1 is not a JSON object by itself"),
        ("q.jsonl", json.dumps(GOOD) + "\n" + '{"a":' * 50_000 + "\n", "line 2 is nested too deeply"),
        (
            "q.jsonl",
            json.dumps(GOOD) + '\n{"a": ' + "9" * 5000 + "}\n",
            "line 2 is not a JSON object by itself (Exceeds",
        ),
        ("q.jsonl", json.dumps(GOOD) + '\n{"answer": "a", "answer": "b"}\n', "the key 'answer' occurs twice"),
        ("q.json", "[" * 50_000, "is nested too deeply"),
        ("q.json", '[{"image": 1},', "is not an array of JSON objects"),
        ("q.json", '[{"answer": "a", "answer": "b"}]', "the key 'answer' occurs twice"),
        ("q.parquet", "not parquet", "cannot be read as .parquet"),
    ],
)
def test_files_that_are_not_what_their_suffix_says(tmp_path, table, name, content, message):
    entry = table(name, ROWS)
    Path(entry["table"]).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, entry)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["no.csv", "x" * 3000 + ".csv", "folder.csv", "a\0b.csv"])
def test_tables_that_are_not_there(tmp_path, table, place):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"is missing|cannot be read as .csv") as caught:
        prepare(tmp_path, table("q.csv", ROWS) | {"table": str(tmp_path / place)})
    assert len(str(caught.value)) < 600


def test_other_kinds_of_files(tmp_path, table):
    (tmp_path / "table.xlsx").touch()
    with pytest.raises(ConfigError, match=r"expected a .csv, .tsv, .jsonl, .json or .parquet file, found '.xlsx'"):
        prepare(tmp_path, table("q.csv", ROWS) | {"table": str(tmp_path / "table.xlsx")})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"options": "opts"},
            "has no column 'opts', it has 'image', 'question', 'answer', 'options', 'boxes'; name the column of yours",
        ),
        ({"boxes": ["x", "y", "w", "h"]}, "has no column 'x'"),
        ({"id": "question_id"}, "has no column 'question_id'"),
        ({"id": "answer"}, "line 3: 'answer' is 'red', as in line 2; ids must be unique"),
    ],
)
def test_columns_that_are_named_must_be_there(tmp_path, table, columns, message):
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, table("q.csv", ROWS, columns=columns))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (SCENES | {"language_prior": 2}, "reader 'scenes'.language_prior: found 2, expected a number from 0 to 1"),
        (SCENES | {"split": "test"}, "reader 'scenes': unknown key 'split', expected one of: language_prior"),
        (EASY | {"split": "dev"}, "reader 'easy-vqa'.split: found 'dev', expected one of: train, test"),
        ({"reader": "table", "images": "."}, "reader 'table': 'table' is missing, expected text (A .csv, .tsv, .json,"),
        (
            TABLE | {"columns": {"boxes": ["x", "y", "w"]}},
            "columns.boxes: found ['x', 'y', 'w'], expected the name of a",
        ),
        (TABLE | {"columns": {"boxes": [["x", "y", "w", 3]]}}, "columns.boxes"),
        (
            TABLE | {"columns": {"options": ["A"]}},
            "columns.options: found ['A'], expected the name of a column with lists",
        ),
        (TABLE | {"columns": {"option": "A"}}, "columns: unknown key 'option', expected one of: id, image"),
        (TABLE | {"box_pixels": "turned"}, "box_pixels: found 'turned', expected one of: stored, upright"),
        (TABLE | {"same_picture": True}, "same_picture: found True, expected one of: file, content"),
        ({"reader": "video"}, "unknown reader 'video', expected one of: easy-vqa, gqa, gqa-tasks, pmc-vqa, pope"),
    ],
)
def test_settings_that_make_no_sense(entry, message):
    with pytest.raises(ConfigError) as caught:
        dataset_of(entry)
    assert message in str(caught.value)
