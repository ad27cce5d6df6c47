"""Files between stages that must not be used, each with the sentence that says why, and nothing left half written."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
from tests.sealed import reseal

from pidflow.errors import DataError, PidflowError
from pidflow.files import store
from pidflow.files.writing import BLANK
from pidflow.stages import collect_tables, estimate_pid, fit_pca, train_flow
from pidflow.stages._questions import COLUMNS, read_items

UNIT = {"model": "m", "task": "t", "condition": "intact"}
MADE = store.Identity(**UNIT, revision="r", prompt="p", dtype="float32", items="i", settings="s")
ROWS, LAYERS = 60, 1
PCA = {"correct_only": False, "language": "text", "variance": 0.9, "max_components": 2, "target_components": 2}


def write_activations(path, *, rows=ROWS, identity=MADE, kind="activations"):
    rng = np.random.default_rng(0)
    attrs = {"layers": LAYERS, "model": "m", "task": "t", "condition": "intact"}
    with store.writing_h5(path, kind=kind, identity=identity, attrs=attrs) as file:
        for layer in range(LAYERS + 1):
            for block in store.BLOCKS:
                store.put(file, f"layer-{layer:02d}/{block}", rng.normal(size=(rows, 4)))
        store.put(file, "target", rng.normal(size=(rows, 3)))
        for name in ("item_id", "image_id"):
            store.put(file, name, [f"q{row}" for row in range(rows)])
        store.put(file, "fold", np.arange(rows) % 3)


def write_answers(path, *, rows=ROWS, identity=MADE, correct=True, **columns):
    frame = {"item_id": [f"q{row}" for row in range(rows)], "correct": [correct] * rows}
    store.write_table(path, pd.DataFrame(frame | columns), identity=identity)


@pytest.fixture
def files(tmp_path):
    """Activations, answers and principal scores of one unit."""
    write_activations(tmp_path / "activations.h5")
    write_answers(tmp_path / "answers.parquet")
    reduce(tmp_path)
    return tmp_path


def reduce(folder, **changes):
    fit_pca.run(
        activations=str(folder / "activations.h5"),
        answers=str(folder / "answers.parquet"),
        output=str(folder / "pca.h5"),
        seed=0,
        **{"unit": UNIT} | PCA | changes,
    )


def train(folder):
    train_flow.run(
        pca=str(folder / "pca.h5"),
        output=str(folder / "flow.h5"),
        weights=str(folder / "flow.safetensors"),
        settings={"max_steps": 2},
        seed=0,
        threads=1,
        unit=UNIT,
    )


def estimate(folder, *, layers=2):
    estimate_pid.run(
        pca=str(folder / "pca.h5"),
        flow=str(folder / "flow.h5"),
        twin=str(folder / "twin.h5"),
        bound=str(folder / "bound.h5"),
        outputs=[str(folder / f"layer-{layer:02d}.json") for layer in range(layers)],
        estimators=["gaussian"],
        definitions=["mmi"],
        permutations=20,
        jackknife_groups=20,
        seed=0,
        unit=UNIT,
    )


def items(folder):
    read_items(folder / "items.parquet")


def collect(folder):
    place = folder / "m/t/intact/layer-00.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder / "layer-00.json", place)
    tables = ("pid", "differences", "answers", "lens", "gaussianity", "dependence", "claims")
    collect_tables.run(
        pid=[str(place)],
        answers=[],
        flows=[],
        knockout=None,
        **{f"{name}_table": [str(folder / f"{name}.csv")] for name in tables},
    )


def cut(name, share=0.5):
    def spoil(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return spoil


def text(name, content="not what it says"):
    return lambda folder: (folder / name).write_text(content)


def gone(name):
    return lambda folder: (folder / name).unlink()


def folder_instead(name):
    def spoil(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return spoil


def edited(name, change):
    """The change made and the checksum fitted again: what a defect or a hand could write."""

    def spoil(folder):
        with h5py.File(folder / name, "r+") as file:
            change(file)
        reseal(folder / name)

    return spoil


def without(*places):
    def change(file):
        for place in places:
            del file[place]

    return change


def answered(**options):
    return lambda folder: write_answers(folder / "answers.parquet", **options)


def activated(**options):
    return lambda folder: write_activations(folder / "activations.h5", **options)


def foreign_answers(folder):
    pd.DataFrame({"item_id": ["q0"], "correct": [True]}).to_parquet(folder / "answers.parquet")


def plain_h5(name):
    def spoil(folder):
        with h5py.File(folder / name, "w") as file:
            file["x"] = 1

    return spoil


def flow_file(identity=None, twin=None, **arrays):
    """A flow file beside the scores, by default one that was made from them, with a twin and a bound that are empty."""

    def spoil(folder):
        made = replace(MADE, made_from=store.checksum_of(folder / "pca.h5")) if identity is None else identity
        store.write_h5(folder / "flow.h5", arrays, kind="flow", identity=made)
        beside = replace(MADE, made_from=store.checksum_of(folder / "flow.h5"))
        store.write_h5(folder / "twin.h5", {"layer-00/x1": np.zeros((60, 1))}, kind="twin", identity=twin or beside)
        store.write_h5(folder / "bound.h5", {"layer-00/rows": np.zeros(60)}, kind="bound", identity=beside)

    return spoil


def record(value):
    return lambda folder: store.write_json(folder / "layer-00.json", value, identity=store.Identity(**UNIT))


def question_table(**columns):
    def spoil(folder):
        table = {name: ["a", "b"] for name in ("item_id", "image_id", "image_path", "question", "answer")}
        table |= {"options": [[], []], "boxes": [[], []], "fold": [0, 1], "image_digest": ["x", "y"]} | columns
        store.write_table(folder / "items.parquet", pd.DataFrame(table))

    return spoil


UNSEALED = "carries no checksum, so pidflow did not write it"
CHANGED = "changed since it was written"
FAULTS = {
    "activations cut short": (reduce, cut("activations.h5"), CHANGED),
    "activations of nothing": (reduce, cut("activations.h5", 0), UNSEALED),
    "activations that are text": (reduce, text("activations.h5"), UNSEALED),
    "activations that are a folder": (reduce, folder_instead("activations.h5"), "could not be read (Is a directory)"),
    "activations missing": (reduce, gone("activations.h5"), "no such file; run the step that makes it"),
    "HDF5 of another program": (reduce, plain_h5("activations.h5"), UNSEALED),
    "another kind": (reduce, activated(kind="pca"), "holds 'pca', expected 'activations'"),
    "another version": (
        reduce,
        edited("activations.h5", lambda file: file.attrs.__setitem__("schema_version", 1)),
        "schema version 1, this version of pidflow reads 2",
    ),
    "no identity": (
        reduce,
        edited("activations.h5", lambda file: file.attrs.__delitem__("identity")),
        "has no readable identity",
    ),
    "an identity that is a list": (
        reduce,
        edited("activations.h5", lambda file: file.attrs.__setitem__("identity", "[1]")),
        "its identity is '[1]', expected text for some of model, task, condition",
    ),
    "activations of another condition": (
        reduce,
        activated(identity=replace(MADE, condition="image-question")),
        "was made for condition 'image-question', asked for is condition 'intact'",
    ),
    "activations of another model": (
        reduce,
        activated(identity=replace(MADE, model="other")),
        "was made for model 'other', asked for is model 'm'",
    ),
    "a layer too few": (
        reduce,
        edited("activations.h5", without("layer-01")),
        "and layers 0 to 1, but holds 1",
    ),
    "a block missing": (reduce, edited("activations.h5", without("layer-01/last")), "'layer-01/last' holds nothing"),
    "a group for a block": (
        reduce,
        edited("activations.h5", lambda file: (without("layer-00/vision")(file), file.create_group("layer-00/vision"))),
        "'layer-00/vision' holds nothing, expected",
    ),
    "the target missing": (reduce, edited("activations.h5", without("target")), "no dataset '/target'; the file has"),
    "layers that are no number": (
        reduce,
        edited("activations.h5", lambda file: file.attrs.__setitem__("layers", "one")),
        "attribute 'layers' is 'one', expected a whole number",
    ),
    "layers below zero": (
        reduce,
        edited("activations.h5", lambda file: file.attrs.__setitem__("layers", -1)),
        "attribute 'layers' is -1, expected a whole number",
    ),
    "answers cut short": (reduce, cut("answers.parquet"), CHANGED),
    "answers of another program": (reduce, foreign_answers, UNSEALED),
    "answers without a column": (
        reduce,
        lambda folder: store.write_table(folder / "answers.parquet", pd.DataFrame({"item_id": ["q0"]}), identity=MADE),
        "lacks the columns correct; it has item_id",
    ),
    "answers to fewer questions": (
        reduce,
        answered(rows=5),
        "the same questions in the same order (5 and 60",
    ),
    "answers of another condition": (
        reduce,
        answered(identity=replace(MADE, condition="no-image")),
        "was made for condition 'no-image', asked for is condition 'intact'",
    ),
    **{
        f"answers of another {field}": (
            reduce,
            answered(identity=replace(MADE, **{field: "other"})),
            f"cannot be compared: one was made with {field} 'other'",
        )
        for field in ("revision", "prompt", "dtype", "items", "settings")
    },
    "a block nobody stored": (
        lambda folder: reduce(folder, language="words"),
        lambda folder: None,
        "asked for block 'words' of layer 0; the file has the blocks vision, question, text, last of layers 0 to 1",
    ),
    "no right answer": (
        lambda folder: reduce(folder, correct_only=True),
        answered(correct=False),
        "none of 60 questions was answered correctly",
    ),
    "scores cut short": (train, cut("pca.h5", 0.99), CHANGED),
    "scores without layers": (
        train,
        edited("pca.h5", lambda file: file.attrs.__delitem__("layers")),
        "lacks attribute: 'layers', which a file of kind 'pca' has",
    ),
    "scores of a layer missing": (
        train,
        edited("pca.h5", without("layer-01/language")),
        "no dataset '/layer-01/language/scores'; '/layer-01' has vision",
    ),
    "scores of another task": (
        train,
        lambda folder: store.write_h5(folder / "pca.h5", {}, kind="pca", identity=replace(MADE, task="u")),
        "was made for task 'u', asked for is task 't'",
    ),
    "latents missing": (estimate, lambda folder: None, "flow.h5: no such file; run the step that makes it"),
    "latents of other scores": (
        estimate,
        flow_file(replace(MADE, made_from="0" * 64)),
        "of its source '000",
    ),
    "latents of another condition": (
        estimate,
        flow_file(replace(MADE, condition="no-image")),
        "was made for condition 'no-image'",
    ),
    "latents of no layer": (estimate, flow_file(), "no dataset '/layer-00/z1'; the file has nothing"),
    "latents of fewer rows": (
        estimate,
        flow_file(**{"layer-00/z1": np.zeros((3, 2))}),
        "'/layer-00/z1' has shape (3, 2), expected (60, 'any')",
    ),
    "a layer beyond the last": (
        lambda folder: estimate(folder, layers=8),
        flow_file(),
        "pca.h5: has 2 layers, expected the 8 that the configuration says; correct the number of blocks of model 'm'",
    ),
    "twins of other latents": (
        estimate,
        flow_file(twin=replace(MADE, made_from="0" * 64)),
        "of its source '000",
    ),
    "a decomposition that is a list": (collect, text("layer-00.json", "[]"), UNSEALED),
    "a decomposition cut short": (
        collect,
        lambda folder: (record({"schema_version": 2})(folder), cut("layer-00.json", 0.6)(folder)),
        UNSEALED,
    ),
    "a decomposition nested too deep": (
        collect,
        lambda folder: (
            (folder / "layer-00.json").write_text("[" * 100_000 + json.dumps(BLANK)),
            reseal(folder / "layer-00.json"),
        ),
        "not a result in JSON",
    ),
    "a decomposition of another version": (collect, record({"schema_version": 1}), "schema version"),
    "a decomposition of nothing": (collect, record({}), "schema version"),
    "a decomposition of another unit": (
        collect,
        lambda folder: store.write_json(folder / "layer-00.json", {}, identity=store.Identity("m", "t", "no-image")),
        "was made for condition 'no-image', asked for is condition 'intact'",
    ),
    "a decomposition of no unit": (
        collect,
        lambda folder: store.write_json(folder / "layer-00.json", {}),
        "was made for no model, no task, no condition, asked for is model 'm'",
    ),
    "no questions": (
        items,
        lambda folder: store.write_table(folder / "items.parquet", pd.DataFrame({name: [] for name in COLUMNS})),
        "holds no items",
    ),
    "questions of the same name": (items, question_table(item_id=["a", "a"]), "item_id 'a' occurs more than once"),
    "questions without text": (items, question_table(question=["a", None]), "row 1 has no text in 'question'"),
    "folds that are no whole numbers": (items, question_table(fold=[0.5, 1.0]), "column 'fold' holds float64"),
    "a question table that is text": (items, text("items.parquet"), "not a readable parquet table"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_file_is_refused_with_one_sentence_and_leaves_nothing(files, name):
    run, spoil, sentence = FAULTS[name]
    spoil(files)
    (files / "pca.h5").rename(files / "kept") if run is reduce else None
    with pytest.raises(PidflowError) as refused:
        run(files)
    said = str(refused.value)
    assert sentence in said
    assert "\n" not in said
    assert len(said) < 700
    made = {reduce: "pca.h5", train: "flow.h5", estimate: "layer-00.json"}.get(run)
    assert made is None or not (files / made).exists()
    assert list(files.rglob("*.tmp")) == []


def test_there_are_twenty_five_and_more():
    assert len(FAULTS) >= 50


def test_whole_files_pass(files):
    reduce(files)
    with store.reading_h5(files / "pca.h5", kind="pca", expected=store.Identity(**UNIT)) as file:
        identity = store.identity_of(file)
    assert identity.made_from == store.checksum_of(files / "activations.h5")
    assert identity.revision == "r"
    assert identity.settings != "s"


def test_damage_that_appears_while_a_file_is_read_is_named(files):
    """The checksum of a dataset stands behind that of the file."""
    with store.reading_h5(files / "activations.h5", kind="activations") as file:
        place = file["target"].id.get_chunk_info(0).byte_offset
        with open(files / "activations.h5", "rb+") as raw:
            raw.seek(place + 5)
            byte = raw.read(1)
            raw.seek(place + 5)
            raw.write(bytes([byte[0] ^ 4]))
        with pytest.raises(DataError, match="'/target' cannot be read"):
            store.take(file, "target")
