"""Questions from every reader arrive whole, or one sentence says why not."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image
from tests.question_tables import ROWS, entry, prepare, six_pictures

from pidflow.data.datasets import dataset_of
from pidflow.data.pictures import content_digest
from pidflow.data.readers import easy_vqa
from pidflow.errors import ConfigError, DataError, NumericsError
from pidflow.models.images import read_image
from pidflow.stages._questions import examples_of, image_files

SCENES = {"reader": "scenes", "language_prior": 0.25}
EASY = {"reader": "easy-vqa", "split": "test"}
SHARED = Path(__file__).resolve().parents[3] / "shared/data"


@pytest.mark.parametrize("task", ["logical-obj", "query-attr", "choose-rel", "compare-attr"])
def test_scene_answers_are_balanced(tmp_path, task):
    frame = prepare(tmp_path, SCENES, select=task, count=12)
    assert frame["answer"].value_counts().nunique() == 1
    assert set(frame["fold"]) == {0, 1, 2}


def test_drawn_pictures_are_in_the_table(tmp_path):
    frame = prepare(tmp_path, SCENES, select="choose-attr", count=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.dropped.csv", "items.parquet"]
    for picture, content in zip(image_files(frame, None), frame["picture"], strict=True):
        assert read_image(picture).size == (48, 48)
        assert picture.digest == content_digest(content)


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
    assert len(image_files(frame, dataset_of(EASY).folder)) == 50


def test_all_tasks_of_easy_vqa_at_once(tmp_path):
    frame = prepare(tmp_path, EASY, select=None, count=300)
    closed = frame["answer"].isin(["yes", "no"])
    asked = easy_vqa.questions("test")
    share = np.mean([each.task == easy_vqa.TASKS["yesno"] for each in asked])
    assert closed.mean() == pytest.approx(share, abs=0.08)
    assert frame["answer"].nunique() == len({each.answer for each in asked})
    assert {tuple(each) for each in frame["options"]} == {()}, "an offer would tell which task a question is of"
    alone = prepare(tmp_path, EASY, select="easy-yesno", count=20)
    assert {tuple(each) for each in alone["options"]} == {("yes", "no")}


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


@pytest.fixture
def images(tmp_path):
    """A folder of six pictures, 0.png … 5.png, no two alike."""
    return six_pictures(tmp_path)


@pytest.fixture
def table(tmp_path):
    """``table(name, rows)``: the dataset entry of a table beside the pictures."""
    return partial(entry, tmp_path)


FORMATS = ["q.csv", "q.tsv", "q.json", "q.jsonl", "q.parquet"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_of_ones_own(tmp_path, table, name):
    rows = [{"q" if key == "question" else key: value for key, value in row.items()} for row in ROWS]
    frame = prepare(tmp_path, table(name, rows, columns={"question": "q"}))
    assert list(frame["question"]) == ["red or blue?"] * 6
    assert [list(options) for options in frame["options"]] == [["red", "blue"]] * 6
    assert [[list(box) for box in boxes] for boxes in frame["boxes"]] == [[[1.0, 2.0, 3.0, 4.0]]] * 6
    assert list(frame["item_id"]) == list("012345")
    assert examples_of(frame)[3].boxes == ((1.0, 2.0, 3.0, 4.0),)


@pytest.mark.parametrize("name", FORMATS)
def test_what_joins_results_to_their_source(tmp_path, table, name):
    rows = [row | {"question_id": f"00{index}7"} for index, row in enumerate(ROWS)]
    frame = prepare(tmp_path, table(name, rows, columns={"id": "question_id"}), count=4, seed=3)
    assert set(frame["item_id"]) <= {row["question_id"] for row in rows}
    assert list(frame["image_path"]) == [f"{item[2]}.png" for item in frame["item_id"]]


def test_numbers_are_ids_too(tmp_path, table):
    rows = [row | {"id": 1000 + index} for index, row in enumerate(ROWS)]
    assert list(prepare(tmp_path, table("q.json", rows))["item_id"]) == [str(1000 + index) for index in range(6)]
    gaps = [*rows, {**ROWS[0], "id": None}]
    with pytest.raises(DataError, match=r"row 7: 'id' is None|row 7: 'id' is nan"):
        prepare(tmp_path, table("q.parquet", gaps))


@pytest.mark.parametrize("name", FORMATS)
def test_options_and_boxes_in_pieces(tmp_path, table, name):
    rows = [
        {"image": "0.png", "question": "which?", "answer": "cat", "A": "cat", "B": "dog", "C": "", "D": "-"}
        | {"o1 w": "5", "o1 h": "6", "o1 x": "1", "o1 y": "2", "o2 w": "-", "o2 h": "-", "o2 x": "-", "o2 y": "-"},
        {"image": "1.png", "question": "which?", "answer": "猫", "A": "猫", "B": "犬", "C": "鸟", "D": ""}
        | {"o1 w": "5", "o1 h": "6", "o1 x": "1", "o1 y": "2", "o2 w": "3", "o2 h": "4", "o2 x": "0", "o2 y": "9.5"},
    ]
    sides = [[f"{which} {side}" for side in "xywh"] for which in ("o1", "o2")]
    entry = table(name, rows, columns={"options": ["A", "B", "C", "D"], "boxes": sides})
    frame = prepare(tmp_path, entry, folds=2)
    assert [list(options) for options in frame["options"]] == [["cat", "dog"], ["猫", "犬", "鸟"]]
    assert [example.boxes for example in examples_of(frame)] == [((1, 2, 5, 6),), ((1, 2, 5, 6), (0, 9.5, 3, 4))]
    one = prepare(tmp_path, entry | {"columns": {"options": ["A", "B"], "boxes": sides[0]}}, folds=2)
    assert [example.boxes for example in examples_of(one)] == [((1, 2, 5, 6),)] * 2
    none = prepare(tmp_path, table(name, ROWS, columns={"options": None, "boxes": None}))
    assert not any(len(cell) for column in ("options", "boxes") for cell in none[column])


def test_names_of_pictures_made_of_columns(tmp_path, table, images):
    for index in range(3):
        (images / f"{index}.png").rename(images / f"COCO_{index:012}.png")
    rows = [{"img": index, "question": "?", "answer": "a"} for index in range(3)]
    frame = prepare(tmp_path, table("q.json", rows, image_name="COCO_{img:012}.png"))
    assert list(frame["image_path"]) == [f"COCO_{index:012}.png" for index in range(3)]
    rows = [{"img id": f"00000000000{index}", "question": "?", "answer": "a"} for index in range(3)]
    assert len(prepare(tmp_path, table("q.csv", rows, image_name="COCO_{img id}.png"))) == 3
    with pytest.raises(DataError, match="has no column 'img', it has 'img id', 'question', 'answer'"):
        prepare(tmp_path, table("q.csv", rows, image_name="{img}.png"))


@pytest.mark.parametrize("template", ["{}.jpg", "{a!r}.jpg", "{a:>12}.jpg", "{a:12}.jpg", "{a", "{a}}"])
def test_templates_that_could_not_be_filled(tmp_path, table, template):
    with pytest.raises(ConfigError, match=r"reader 'table'.image_name: found '.*', expected columns in braces"):
        prepare(tmp_path, table("q.csv", ROWS, image_name=template))


@pytest.mark.parametrize("name", ["q.csv", "q.tsv", "q.json", "q.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path, table, name):
    entry = table(name, ROWS)
    path = Path(entry["table"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(prepare(tmp_path, entry)) == 6


def test_lines_of_objects_under_the_suffix_of_an_array_and_the_reverse(tmp_path, table):
    for name, other in [("q.json", "r.jsonl"), ("q.jsonl", "r.json")]:
        entry = table(name, ROWS)
        moved = Path(entry["table"]).rename(tmp_path / other)
        assert len(prepare(tmp_path, entry | {"table": str(moved)})) == 6


def test_a_suffix_in_capitals(tmp_path, table):
    entry = table("q.csv", ROWS)
    moved = Path(entry["table"]).rename(tmp_path / "q2.CSV")
    assert len(prepare(tmp_path, entry | {"table": str(moved)})) == 6


def test_parquet_whose_index_repeats_has_a_row_number_each(tmp_path, table):
    entry = table("q.parquet", ROWS)
    pd.DataFrame(ROWS, index=[0, 0, 0, 1, 1, 7]).to_parquet(entry["table"])
    assert list(prepare(tmp_path, entry)["item_id"]) == list("012345")


def test_the_home_folder_is_expanded(tmp_path, table, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    entry = table("q.csv", ROWS) | {"table": "~/q.csv", "images": "~/images"}
    assert len(prepare(tmp_path, entry)) == 6
    assert dataset_of(entry).tables == [tmp_path / "q.csv"]
    assert dataset_of(entry).folder == tmp_path / "images"


def test_one_picture_under_several_spellings_is_never_split(tmp_path, table, images):
    (images / "link.png").symlink_to("0.png")
    (tmp_path / "same").symlink_to(images)
    (images / "copy.png").write_bytes((images / "0.png").read_bytes())
    spellings = ["0.png", "./0.png", "../images/0.png", "link.png", str(images / "0.png"), str(tmp_path / "same/0.png")]
    rows = [{"image": name, "question": "?", "answer": "a"} for name in [*spellings, "copy.png", "1.png", "2.png"]]
    for folder in (images, tmp_path / "same"):
        frame = prepare(tmp_path, table("q.csv", rows) | {"images": str(folder)})
        assert list(frame["image_id"]) == ["0.png"] * 6 + ["copy.png", "1.png", "2.png"]
        assert list(frame["image_path"]) == list(frame["image_id"])
        assert frame["fold"][:6].nunique() == 1
        assert frame["fold"].nunique() == 3
    frame = prepare(tmp_path, table("q.csv", rows, same_picture="content"))
    assert frame["image_id"].nunique() == 3
    assert frame["image_id"][6] == frame["image_id"][0]
    assert frame["image_path"][6] == "copy.png"


@pytest.mark.parametrize("pixels", ["stored", "upright"])
def test_boxes_are_turned_with_their_picture(tmp_path, table, images, pixels):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # stored lying on its left side
    stored = np.zeros((24, 32, 3), dtype=np.uint8)
    stored[4:10, 20:30] = 255
    Image.fromarray(stored).save(images / "0.png", exif=exif)
    rows = [row | {"boxes": [[20, 4, 10, 6] if pixels == "stored" else [14, 20, 6, 10]]} for row in ROWS[:1]]
    frame = prepare(tmp_path, table("q.json", [*rows, *ROWS[1:]], box_pixels=pixels))
    ((x, y, width, height),) = examples_of(frame)[0].boxes
    seen = np.asarray(read_image(image_files(frame, images)[0]))[..., 0]
    assert seen.shape == (32, 24)
    assert (seen[int(y) : int(y + height), int(x) : int(x + width)] == 255).all()
    assert (seen == 255).sum() == width * height == 60


def test_missing_and_unreadable_pictures_stop_here(tmp_path, table, images):
    for index in (1, 2, 5):
        (images / f"{index}.png").unlink()
    with pytest.raises(
        DataError,
        match=r"task 'a-task': item '1': image .*1.png does not exist; .* the pictures of 2 more items are lost",
    ):
        prepare(tmp_path, table("q.csv", ROWS))
    whole = (images / "3.png").read_bytes()
    (images / "3.png").write_bytes(whole[:50])
    with pytest.raises(DataError, match=r"item '3': image .*3.png cannot be read .*; it is damaged, fetch it again"):
        prepare(tmp_path, table("q.csv", [ROWS[0], ROWS[4], ROWS[0], ROWS[3]]))
    assert not (tmp_path / "items.parquet").exists()
    with pytest.raises(DataError, match=r"image folder .*nowhere does not exist; correct images"):
        prepare(tmp_path, table("q.csv", ROWS) | {"images": str(tmp_path / "nowhere")})


def test_a_picture_changed_after_its_items_were_prepared(tmp_path, table, images):
    frame = prepare(tmp_path, table("q.csv", ROWS))
    Image.new("RGB", (32, 24), "blue").save(images / "3.png")
    for index, picture in enumerate(image_files(frame, images)):
        if index == 3:
            with pytest.raises(
                DataError, match=r"3.png changed after its items were prepared; run prepare_items again"
            ):
                read_image(picture)
        else:
            read_image(picture)


def test_boxes_are_cut_off_where_they_leave_their_picture(tmp_path, table):
    leaves = [row | {"boxes": [[30, 20, 10, 10]]} for row in ROWS]
    assert [example.boxes for example in examples_of(prepare(tmp_path, table("q.json", leaves)))] == [
        ((30, 20, 2, 4),)
    ] * 6


def test_boxes_outside_their_pictures_are_few_or_an_error(tmp_path, table, caplog):
    outside = ROWS[5] | {"boxes": [[1, 2, 3, 4], [32, 0, 10, 10]]}
    message = (
        r"boxes of 1 of 6 questions lie outside their pictures, first in item '5': \[\[1.0, .*\]\] in 5.png; expected"
    )
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, table("q.json", [*ROWS[:5], outside]))
    frame = prepare(tmp_path, table("q.json", [*ROWS * 20, outside]), count=200)
    assert "the boxes of 1 of 121 questions lie outside their pictures, first in item '120'" in caplog.text
    assert examples_of(frame)[120].boxes == ((1, 2, 3, 4),)


def test_answers_that_no_option_offers_are_counted(tmp_path, table, caplog):
    rows = [*ROWS[:4], *(row | {"answer": "green"} for row in ROWS[4:])]
    prepare(tmp_path, table("q.csv", rows))
    assert "the answers of 2 of 6 questions are not among their options" in caplog.text


def test_a_selection_that_nothing_matches_names_what_there_is(tmp_path, table):
    rows = [row | {"task": f"kind {index}", "question": "?"} for index, row in enumerate(ROWS)]
    with pytest.raises(
        DataError, match=r"no row whose column 'task' is 'size', it holds 'kind 0', 'kind 1', .*; correct"
    ):
        prepare(tmp_path, table("q.jsonl", rows), select="size")
    with pytest.raises(DataError, match=r"has no column 'task', it has 'image', 'question'"):
        prepare(tmp_path, table("q.jsonl", ROWS), select="size")
    assert not (tmp_path / "items.parquet").exists()


def test_a_selection_by_number(tmp_path, table):
    rows = [row | {"task": index // 3} for index, row in enumerate(ROWS)]
    frame = prepare(tmp_path, table("q.parquet", rows), select="1")
    assert list(frame["item_id"]) == list("345")


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_table_is_called_empty(tmp_path, table, name):
    entry = table(name, ROWS)
    if name.endswith("sv"):
        Path(entry["table"]).write_text("image,question,answer\n")
    elif name == "q.parquet":
        pd.DataFrame(ROWS)[:0].to_parquet(entry["table"])
    else:
        Path(entry["table"]).write_text("[]" if name == "q.json" else "\n")
    with pytest.raises(
        DataError,
        match=r"task 'a-task': table .* holds no rows, expected one question a row; fill it, or correct table",
    ):
        prepare(tmp_path, entry)


def test_more_folds_than_pictures(tmp_path, table):
    with pytest.raises(NumericsError, match="task 'a-task': 7 folds need at least 7 groups, found 6"):
        prepare(tmp_path, table("q.csv", ROWS), folds=7)


@pytest.mark.parametrize("dataset", [SCENES, EASY], ids=["scenes", "easy-vqa"])
def test_unknown_selections(tmp_path, dataset):
    with pytest.raises(ConfigError, match="'chess' in select, expected one of"):
        prepare(tmp_path, dataset, select="chess")


def needs(path):
    return pytest.mark.skipif(not (SHARED / path).exists(), reason=f"needs the shared data {path}")


@needs("photos")
def test_real_questions_about_real_photos(tmp_path):
    photos = SHARED / "photos"
    dataset = {"reader": "table", "table": str(photos / "questions.jsonl"), "images": str(photos / "images")}
    frame = prepare(tmp_path, dataset, count=1000)
    assert len(frame) == 92
    for picture in image_files(frame, photos / "images")[::10]:
        assert min(read_image(picture).size) > 100


def real(path, **columns):
    """All items of one of the shared tables, without its pictures."""
    entry = {"reader": "table", "table": str(SHARED / path), "images": ".", "columns": columns}
    name = {"image_name": "{img_id}.jpg"} if "gqa-tasks" in path or "slake" in path else {}
    name = {"image_name": "{image_id}.jpg"} if "reefknot" in path else name
    return dataset_of(entry | name).read(select=None, count=10**6, seed=0).items


GQA = "gqa-tasks/GQA_val_correct_question_with_"
ONE = [f"central object {side}" for side in "xywh"]
TWO = [[f"object{which} {side}" for side in "xywh"] for which in (1, 2)]
OFFERED = ["true option", "false option"]


@needs("gqa-tasks")
@pytest.mark.parametrize(
    ("table", "rows", "columns", "boxes"),
    [
        ("choose_ChooseAttr", 1000, {"options": OFFERED, "boxes": ONE}, {1: 1000}),
        ("categoryThatThisChoose_objThisChoose_ChooseCat", 1000, {"options": OFFERED, "boxes": ONE}, {1: 1000}),
        ("relChooser_ChooseRel", 964, {"options": OFFERED, "boxes": TWO}, {2: 964}),
        ("twoCommon_CompareAttr", 570, {"boxes": TWO}, {2: 570}),
        ("existThatOr_LogicalObj", 991, {"boxes": TWO}, {1: 910, 2: 81}),
        ("positionQuery_QueryAttr", 1000, {"boxes": ONE}, {1: 1000}),
    ],
)
def test_the_six_real_tables(table, rows, columns, boxes):
    items = real(f"{GQA}{table}.csv", id="question_id", **columns)
    assert len(items) == rows
    assert pd.Series([len(item.boxes) for item in items]).value_counts().to_dict() == boxes
    assert any(item.item_id.startswith("0") for item in items)
    if "options" in columns:
        assert all(item.answer in item.options and len(item.options) == 2 for item in items)


@needs("pope")
@pytest.mark.parametrize("name", ["coco_pope_random", "aokvqa_pope_seem_random"])
def test_lines_and_arrays_under_one_suffix(name):
    items = real(f"pope/{name}.json", id="question_id", question="text", answer="label")
    assert len(items) == 3000
    assert {item.answer for item in items} == {"yes", "no"}
    assert items[-1].item_id == "3000"


@needs("reefknot")
def test_questions_without_ids():
    items = real("reefknot/YESNO.jsonl", question="query_prompt", answer="label")
    assert [item.item_id for item in items] == [str(index) for index in range(9740)]


@needs("slake")
def test_questions_about_scans():
    assert len({item.image_path for item in real("slake/test_close.csv")}) > 50
