"""Published question files become items: small files of every format, and the real ones where they are at hand."""

import base64
import csv
import io
import json
from pathlib import Path
from string import ascii_uppercase

import pandas as pd
import pytest
from PIL import Image

from pidflow.data.datasets import dataset_of
from pidflow.data.items import in_question_order
from pidflow.errors import ConfigError, DataError

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
EVERYTHING = 10**6


def read(select=None, count=EVERYTHING, **entry):
    return dataset_of(entry).read(select=select, count=count, seed=0)


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def table(path, header, *rows, delimiter=","):
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


def by_id(reading):
    return {item.item_id: item for item in reading.items}


def reasons(reading):
    return [(row.reason, row.detail) for row in reading.dropped]


# GQA's six tables

HEADER = [
    "question_id",
    "img_id",
    "question",
    "answer",
    "true option",
    "false option",
    "object1 name",
    "object2 name",
    "type_detailed",
    "object1 w",
    "object1 h",
    "object1 x",
    "object1 y",
    "object2 w",
    "object2 h",
    "object2 x",
    "object2 y",
]


@pytest.fixture
def gqa_tasks(tmp_path):
    rel = ["02", "7", "Is the cat left or right of the dog?", "right", "right", "left", "cat", "dog", "relChooser"]
    table(
        tmp_path / "GQA_val_correct_question_with_relChooser_ChooseRel.csv",
        HEADER,
        [*rel, 3, 4, 1, 2, 30, 40, 10, 20],
    )
    without = [name for name in HEADER if "option" not in name]
    either = ["03", "7", "Is there a cat or a mat?", "no", "cat", "mat", "no", 3, 4, 1, 2, "-", "-", "-", "-"]
    table(tmp_path / "GQA_val_correct_question_with_existThatOr_LogicalObj.csv", without, either)
    return {"reader": "gqa-tasks", "folder": str(tmp_path), "images": str(tmp_path)}


def test_gqa_tasks(gqa_tasks):
    (item,) = read("ChooseRel", **gqa_tasks).items
    assert (item.item_id, item.image_path) == ("02", "7.jpg"), "leading zeros are part of an id"
    assert item.options == ("left", "right"), "in the order of the question, which does not tell the answer"
    assert item.boxes == ((1, 2, 3, 4), (10, 20, 30, 40)), "the table has w, h, x, y"
    assert item.objects == ("cat", "dog")
    (item,) = read("LogicalObj", **gqa_tasks).items
    assert (item.options, item.boxes, item.objects) == (("yes", "no"), ((1, 2, 3, 4),), ("cat", "mat"))


def test_gqa_tasks_refuses(gqa_tasks):
    with pytest.raises(ConfigError, match=r"has no 'choose-rel' in select, expected one of: ChooseAttr, ChooseCat"):
        read("choose-rel", **gqa_tasks)
    with pytest.raises(DataError, match=r"twoCommon_CompareAttr\.csv'? does not exist; fetch it"):
        read("CompareAttr", **gqa_tasks)


def test_options_stand_in_the_order_of_the_question():
    assert in_question_order("Is it red or dark red?", ["dark red", "red"]) == ("red", "dark red")
    assert in_question_order("Is this a catfish or a cat?", ["cat", "catfish"]) == ("catfish", "cat"), "whole words"
    assert in_question_order("Which one?", ["b", "a"]) == ("b", "a")


# official GQA


def question(detailed, program, text, answer, **more):
    steps = [{"operation": step, "argument": argument, "dependencies": []} for step, argument in program]
    types = {"detailed": detailed, "semantic": "", "structural": ""}
    return {"imageId": "7", "question": text, "answer": answer, "types": types, "semantic": steps} | more


OFFICIAL = {
    "01": question(
        "relChooser",
        [("select", "dog (12)"), ("choose rel", "cat,to the left of|to the right of,s (11)")],
        "Is the cat to the right or to the left of the dog?",
        "left",
    ),
    "02": question(
        "chooseAttr",
        [("select", "cat (11)"), ("filter color", "black"), ("choose", "fat|thin")],
        "Is the black cat thin or fat?",
        "fat",
    ),
    "03": question("positionChoose", [("select", "cat (11)"), ("choose hposition", "left|right")], "Left?", "left"),
    "04": question(
        "existThatOr",
        [("select", "cat (11)"), ("exist", "?"), ("select", "mat (-) "), ("exist", "?"), ("or", "")],
        "Is there a cat or a mat?",
        "yes",
    ),
    "05": question("twoCommon", [("select", "cat (11)"), ("select", "dog (12) "), ("common", "")], "What?", "color"),
}
SCENES = {
    "7": {
        "width": 100,
        "height": 80,
        "objects": {
            "11": {"name": "cat", "x": 1, "y": 2, "w": 3, "h": 4, "relations": []},
            "12": {"name": "dog", "x": 10, "y": 20, "w": 30, "h": 40, "relations": [{"name": "near", "object": "11"}]},
        },
    }
}


@pytest.fixture
def gqa(tmp_path):
    (tmp_path / "questions.json").write_text(json.dumps(OFFICIAL))
    (tmp_path / "scenes.json").write_text(json.dumps(SCENES))
    files = {name: str(tmp_path / f"{name}.json") for name in ("questions", "scenes")}
    return {"reader": "gqa", **files, "images": str(tmp_path)}


def test_gqa_tasks_are_computed_from_types_and_programs(gqa):
    (item,) = read("ChooseRel", **gqa).items
    assert item.options == ("right", "left")
    assert item.boxes == ((10, 20, 30, 40), (1, 2, 3, 4))
    assert item.objects == ("dog", "cat")
    (item,) = read("ChooseAttr", **gqa).items
    assert (item.item_id, item.options, item.boxes) == ("02", ("thin", "fat"), ((1, 2, 3, 4),))
    (item,) = read("LogicalObj", **gqa).items
    assert (item.options, item.boxes) == (("yes", "no"), ((1, 2, 3, 4),))
    (item,) = read("CompareAttr", **gqa).items
    assert item.options == ()
    assert len(read(**gqa).items) == 5


def test_gqa_without_scenes_and_answers(gqa):
    (item,) = read("ChooseRel", **gqa | {"scenes": None}).items
    assert item.boxes == ()
    path = Path(gqa["questions"])
    path.write_text(json.dumps(OFFICIAL | {"06": {k: v for k, v in OFFICIAL["02"].items() if k != "answer"}}))
    assert reasons(read("ChooseAttr", **gqa)) == [("the source gives no answer", "")]
    path.write_text("[]")
    with pytest.raises(DataError, match="holds list, expected one object by id"):
        read("ChooseRel", **gqa)


# POPE

POPE = [
    {"question_id": 1, "image": "a.jpg", "text": "Is there a traffic light in the image?", "label": "yes"},
    {"question_id": 2, "image": "a.jpg", "text": "Is there an oven in the image?", "label": "no"},
]


@pytest.fixture
def pope(tmp_path):
    lines(tmp_path / "coco_pope_random.json", POPE)
    (tmp_path / "gqa_pope_seem_random.json").write_text(json.dumps([row | {"image": "b.jpg"} for row in POPE]))
    return {"reader": "pope", "folder": str(tmp_path), "images": str(tmp_path)}


def test_pope_reads_lines_and_arrays_under_one_suffix(pope):
    found = by_id(read("coco_pope_random", **pope))
    assert list(found) == ["coco_pope_random-1", "coco_pope_random-2"]
    assert found["coco_pope_random-1"].objects == ("traffic light",)
    assert found["coco_pope_random-2"].objects == ("oven",)
    assert len(read(**pope).items) == 4, "numbers repeat in every file"
    with pytest.raises(ConfigError, match="expected one of: coco_pope_random, gqa_pope_seem_random"):
        read("random", **pope)


def test_pope_refuses_another_label(pope, tmp_path):
    lines(tmp_path / "coco_pope_random.json", [*POPE, POPE[0] | {"question_id": 3, "label": "maybe"}])
    with pytest.raises(DataError, match=r"coco_pope_random.json line 3: 'label' is 'maybe', expected one of: yes, no"):
        read("coco_pope_random", **pope)


# Reefknot


def record(prompt, label, kind="perception", image="7"):
    return {"image_id": image, "query_prompt": prompt, "label": label, "relation_type": kind, "response": ""}


@pytest.fixture
def reefknot(tmp_path):
    yes = "Is the cat on mat in this photo? Please answer yes or no."
    lines(
        tmp_path / "YESNO.jsonl",
        [
            record(yes + " ", "yes"),
            record("Is the cat eating the mat in this photo? Please answer yes or no.", "no", "cognitive"),
            record(yes.replace("mat", "hat"), "yes"),
            record(yes.replace("mat", "hat"), "no"),
            record(yes, "yes"),
        ],
    )
    four = "What is the relation with cat and mat in this photo? A. on B. in C. under a D. of, please choose."
    lines(tmp_path / "Multichoice.jsonl", [record(four, "C")])
    form = "What is the relation with cat and mat. in this photo? Please answer in the following format:"
    lines(tmp_path / "VQA.jsonl", [record(form + "cat is <relation> mat..", "cat is on mat..")])
    return {"reader": "reefknot", "folder": str(tmp_path), "images": str(tmp_path)}


def test_reefknot(reefknot):
    found = read("YESNO", **reefknot)
    assert [(item.item_id, item.question, item.answer) for item in found.items] == [
        ("YESNO-1", "Is the cat on mat in this photo?", "yes"),
        ("YESNO-2", "Is the cat eating the mat in this photo?", "no"),
    ]
    several = "the source gives several answers", "no, yes"
    assert reasons(found) == [several, several, ("asked before of the same picture", "YESNO.jsonl line 1")]
    assert len(read("YESNO-cognitive", **reefknot).items) == 1
    (item,) = read("Multichoice", **reefknot).items
    assert (item.answer, item.options, item.offered) == ("C", ("A", "B", "C", "D"), ("on", "in", "under a", "of"))
    assert item.question.splitlines()[0] == "What is the relation with cat and mat in this photo?"
    assert item.question.splitlines()[3] == "C. under a"
    assert item.objects == ("cat", "mat")
    (item,) = read("VQA", **reefknot).items
    assert item.answer == "cat is on mat."


# VQAv2


def test_vqav2(tmp_path):
    asked = {
        "data_subtype": "val2014",
        "questions": [
            {"image_id": 42, "question": "Is it a cat?", "question_id": 42000},
            {"image_id": 42, "question": "How many?", "question_id": 42001},
            {"image_id": 42, "question": "What?", "question_id": 42002},
        ],
    }
    said = {
        "data_subtype": "val2014",
        "annotations": [
            {"question_id": 42002, "answers": [{"answer": "net"}, {"answer": "net"}, {"answer": "hat"}]},
            {"question_id": 42000, "multiple_choice_answer": "yes", "answer_type": "yes/no"},
            {"question_id": 42001, "answers": [{"answer": "2"}, {"answer": "3"}]},
        ],
    }
    for name, value in (("questions", asked), ("annotations", said)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    entry = {"reader": "vqav2", "images": str(tmp_path)}
    entry |= {name: str(tmp_path / f"{name}.json") for name in ("questions", "annotations")}
    found = read(**entry)
    assert [(item.answer, item.options) for item in found.items] == [("yes", ("yes", "no")), ("net", ())]
    assert found.items[0].image_path == "COCO_val2014_000000000042.jpg"
    assert reasons(found) == [("no answer was given most often", "")]
    assert [item.answer for item in read("other", **entry).items] == ["net"]
    said["annotations"].pop()
    (tmp_path / "annotations.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=r"entry 2: question 42001 has no annotation in annotations\.json"):
        read(**entry)


# PMC-VQA

CHOICES = ["Choice A", "Choice B", "Choice C", "Choice D"]


@pytest.mark.parametrize("answer", ["Answer", "Anwser"])
def test_pmc_vqa_of_version_1(tmp_path, answer):
    path = tmp_path / "test.csv"
    header = ["Figure_path", "Question", answer, *CHOICES, "Answer_label"]
    table(path, header, ["f.jpg", "What?", " B:the lung", " A:the liver", " B:the lung", " C:a", " D:b", "B"])
    (item,) = read(reader="pmc-vqa", table=str(path), images=str(tmp_path)).items
    assert (item.answer, item.offered) == ("B", ("the liver", "the lung", "a", "b"))
    assert item.question == "What?\nA. the liver\nB. the lung\nC. a\nD. b"


def test_pmc_vqa_of_version_2(tmp_path):
    path = tmp_path / "test_2.csv"
    header = ["index", "Figure_path", "Caption", "Question", *CHOICES, "Answer", "split"]
    rows = [
        ["0", "f.jpg", "it is the lung", "What?", "A: x", "B: y", "C: z", "D: w", "D", "test"],
        ["1", "f.jpg", "it is the lung", "Where?", "A: x", "B: x", "C: z", "D: w", "D", "test"],
        ["2", "f.jpg", "it is the lung", "When?", "A: x", "B: y", "C: z", "D: ", "A", "train"],
    ]
    table(path, header, *rows)
    found = read("test", reader="pmc-vqa", table=str(path), images=str(tmp_path))
    assert [item.answer for item in found.items] == ["D"]
    assert "lung" not in found.items[0].question, "the caption is not part of a prompt"
    assert reasons(found) == [("two choices are the same", "")]
    assert ("a choice is empty", "D") in reasons(read(reader="pmc-vqa", table=str(path), images=str(tmp_path)))


# VLMEvalKit

MMBENCH = [
    "index",
    "question",
    "hint",
    "A",
    "B",
    "C",
    "D",
    "answer",
    "category",
    "image",
    "source",
    "l2-category",
    "comment",
    "split",
]


def picture(color):
    stored = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(stored, "PNG")
    return base64.b64encode(stored.getvalue()).decode()


def test_mmbench(tmp_path):
    path = tmp_path / "MMBench.tsv"
    red = picture("red")
    rows = [
        ["1", "Which?", "The hint\nhas lines.", "cat", "dog", "", "", "B", "animals", red, "s", "l2", "", "dev"],
        ["1000001", "Which?", "The hint\nhas lines.", "dog", "cat", "", "", "A", "animals", red, "s", "l2", "", "dev"],
        ["2", "Where?", "nan", "here", "there", "up", "", "C", "places", "1", "s", "l2", "", "dev"],
        ["3", "When?", "", "now", "", "then", "", "A", "places", red, "s", "l2", "", "dev"],
        ["4", "Why?", "", "so", "not", "", "", "", "places", red, "s", "l2", "", "test"],
    ]
    table(path, MMBENCH, *rows, delimiter="\t")
    entry = {"reader": "vlmevalkit", "table": str(path)}
    found = read(**entry)
    one, two = found.items
    assert one.question == "The hint\nhas lines.\nWhich?\nA. cat\nB. dog"
    assert (one.answer, one.options, one.offered) == ("B", ("A", "B"), ("cat", "dog"))
    assert two.question == "Where?\nA. here\nB. there\nC. up"
    assert one.picture == two.picture == base64.b64decode(red)
    assert one.image_id == two.image_id, "an index in place of a picture means that row's"
    assert [reason for reason, _ in reasons(found)] == [
        "a circular copy",
        "an option is empty, but a later one is not",
        "the source gives no answer",
    ]
    assert len({item.image_id for item in read(**entry, circular=True).items}) == 1
    assert len(read(**entry, circular=True).items) == 3
    assert [item.item_id for item in read("places", **entry).items] == ["2"]
    with pytest.raises(DataError, match="no row's 'l2-category' is 'places', found l2"):
        read("places", **entry, select_by="l2-category")


def test_tables_of_vlmevalkit_with_files_and_without_options(tmp_path):
    path = tmp_path / "Open.tsv"
    rows = [
        ["7", "Is it?", "Yes", "a.jpg"],
        ["8", "What?", "a cat", "b.jpg"],
        ["9", "Both?", "no", "['a.jpg', 'b.jpg']"],
    ]
    table(path, ["index", "question", "answer", "image_path"], *rows, delimiter="\t")
    found = read(reader="vlmevalkit", table=str(path), images=str(tmp_path))
    assert [(item.answer, item.options, item.picture) for item in found.items] == [
        ("yes", ("yes", "no"), None),
        ("a cat", (), None),
    ]
    assert reasons(found) == [("it shows several pictures", "")]
    with pytest.raises(DataError, match="line 2: the picture is a file"):
        read(reader="vlmevalkit", table=str(path))


def test_every_letter_of_vlmevalkit_is_an_option(tmp_path):
    path, offered = tmp_path / "Many.tsv", [f"word {letter}" for letter in ascii_uppercase[:17]]
    table(
        path,
        ["index", "question", *ascii_uppercase[:17], "answer", "image"],
        ["1", "Which?", *offered, "Q", picture("red")],
        delimiter="\t",
    )
    (item,) = read(reader="vlmevalkit", table=str(path)).items
    assert (item.answer, item.offered) == ("Q", tuple(offered))


def test_damaged_pictures_of_vlmevalkit(tmp_path):
    path = tmp_path / "Damaged.tsv"
    header = ["index", "question", "answer", "image"]
    table(path, header, ["1", "Is it?", "yes", "x" * 70 + "!"], delimiter="\t")
    with pytest.raises(DataError, match="line 2: 'image' is not base64"):
        read(reader="vlmevalkit", table=str(path))
    table(path, header, ["1", "Is it?", "yes", "2"], ["2", "Is it?", "yes", "1"], delimiter="\t")
    with pytest.raises(DataError, match="'image' refers to row '2', which has no picture"):
        read(reader="vlmevalkit", table=str(path))


# Tables with pictures inside


def test_a_folder_of_parquet_files_with_pictures(tmp_path):
    one, two = base64.b64decode(picture("red")), base64.b64decode(picture("blue"))
    for name, content in (("b", two), ("a", one)):
        row = {"image": {"bytes": content, "path": None}, "question": f"What is {name}?", "answer": name}
        pd.DataFrame([row]).to_parquet(tmp_path / f"test-{name}.parquet")
    found = read(reader="table", table=str(tmp_path)).items
    assert [(item.answer, item.picture) for item in found] == [("a", one), ("b", two)]
    assert found[0].image_id != found[1].image_id
    row = {"image": {"bytes": None, "path": "a.jpg"}, "question": "What?", "answer": "a"}
    pd.DataFrame([row]).to_parquet(tmp_path / "test-c.parquet")
    with pytest.raises(DataError, match=r"test-c\.parquet row 1: 'image' names the file 'a\.jpg'; set images"):
        read(reader="table", table=str(tmp_path))
    assert read(reader="table", table=str(tmp_path), images=str(tmp_path)).items[-1].image_path == "a.jpg"


# The real files


def needs(folder):
    return pytest.mark.skipif(not (SHARED / folder).exists(), reason=f"needs shared/data/{folder}, not in this clone")


@needs("gqa-tasks")
@pytest.mark.parametrize(
    ("task", "rows"),
    [
        ("ChooseAttr", 1000),
        ("ChooseCat", 1000),
        ("ChooseRel", 964),
        ("CompareAttr", 570),
        ("LogicalObj", 991),
        ("QueryAttr", 1000),
    ],
)
def test_all_rows_of_the_gqa_tables(task, rows):
    found = read(task, reader="gqa-tasks", folder=str(SHARED / "gqa-tasks"), images=".")
    assert len(found.items) + len(found.dropped) == rows
    assert {row.reason for row in found.dropped} <= {
        "asked before of the same picture",
        "the source gives several answers",
    }
    for item in found.items:
        assert item.boxes
        assert not item.options or item.answer in item.options
        assert item.image_path == f"{item.image_path[:-4]}.jpg"
    named = sum(bool(item.objects) for item in found.items) / len(found.items)
    assert named > 0.97, "the rest have another word for it: telephone for phone"
    if "Choose" in task:
        first = sum(item.options[0] == item.answer for item in found.items) / len(found.items)
        assert 0.4 < first < 0.6, "the order of options tells the answer"


@needs("pope")
@pytest.mark.parametrize("source", ["coco_pope", "aokvqa_pope_seem", "gqa_pope_seem"])
@pytest.mark.parametrize("kind", ["random", "popular", "adversarial"])
def test_all_rows_of_pope(source, kind):
    found = read(f"{source}_{kind}", reader="pope", folder=str(SHARED / "pope"), images=".")
    assert len(found.items) + len(found.dropped) == 3000
    assert len(found.dropped) <= 1
    assert all(item.objects for item in found.items)


@needs("reefknot")
@pytest.mark.parametrize(("file", "rows"), [("YESNO", 9740), ("Multichoice", 6950), ("VQA", 4870)])
def test_all_rows_of_reefknot(file, rows):
    found = read(file, reader="reefknot", folder=str(SHARED / "reefknot"), images=".")
    assert len(found.items) + len(found.dropped) == rows
    assert len(found.dropped) < 0.03 * rows
    parts = [
        read(f"{file}-{kind}", reader="reefknot", folder=str(SHARED / "reefknot"), images=".")
        for kind in ("perception", "cognitive")
    ]
    assert sum(len(part.items) + len(part.dropped) for part in parts) == rows


@needs("official")
def test_official_examples():
    folder = SHARED / "official"
    (item,) = read(reader="gqa", questions=str(folder / "gqa/questions.json"), images=".").items
    assert (item.answer, item.objects) == ("picture", ("chalkboard",))
    vqa = {name: str(folder / f"vqav2/{name}.json") for name in ("questions", "annotations")}
    found = read(reader="vqav2", **vqa, images=".")
    assert len(found.items) + len(found.dropped) == len(json.loads(Path(vqa["questions"]).read_text())["questions"])
