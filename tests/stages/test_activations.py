"""Stage ``extract_activations`` from items on disk to both results, and every fault a dataset or model can have."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tests.captured import captured_under, on_edge

from pidflow.data.pictures import Picture, content_digest
from pidflow.errors import ConfigError, DataError, NumericsError
from pidflow.files import store
from pidflow.models.answers import judge
from pidflow.models.inputs import encode
from pidflow.models.standin.architecture import PROMPT
from pidflow.stages import _extraction as stage
from pidflow.stages import _extractor, extract_activations

MODEL = {"family": "llava", "batch_size": 4, "dtype": "float32", "prompt": PROMPT}
CUT = {"kind": "cut", "source": "image", "target": "question", "blocks": [1, 2]}


@pytest.fixture
def extract(tmp_path, saved_model):
    """``extract(items, ...)``: run the stage under one condition; gives the paths of both results."""

    def run(items, name="intact", *, intervention=None, **changed):
        settings = {
            "model": MODEL | {"path": str(saved_model)},
            "model_id": "tiny",
            "task": "mixed",
            "storage": "float32",
            "seed": 3,
        } | changed
        h5, parquet = tmp_path / f"{name}.h5", tmp_path / f"{name}.parquet"
        wanted = {name: {"intervention": intervention, "activations": str(h5), "answers": str(parquet)}}
        stage.run(items=str(items), conditions=wanted, **settings)
        return h5, parquet

    return run


def results(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "dataset")


@pytest.mark.parametrize("intervention", [None, CUT], ids=["intact", "cut"])
def test_results_hold_what_capture_gives_in_the_order_of_the_items(
    tiny_llava, asked, write_items, extract, intervention
):
    h5, parquet = extract(write_items(11), intervention=intervention)
    examples, pictures, questions = asked(11)
    plan = [on_edge("image", "question", (1, 2))] if intervention else []
    captured = captured_under(plan, tiny_llava, encode(tiny_llava, examples, pictures))
    with store.reading_activations(h5) as data:
        assert data.item_id.tolist() == [f"q{index}" for index in range(11)]
        assert data.fold.tolist() == [index % 5 for index in range(11)]
        for layer in range(4):
            for index, block in enumerate(store.BLOCKS):
                np.testing.assert_allclose(data.state(layer, block), captured.states[layer, index], atol=2e-5)
        np.testing.assert_allclose(data.target(), captured.final, atol=2e-5)
        assert {name: data.attrs[name] for name in ("model", "task", "condition", "seed", "layers", "width")} == {
            "model": "tiny",
            "task": "mixed",
            "condition": "intact",
            "seed": 3,
            "layers": 3,
            "width": 32,
        }
        assert json.loads(data.attrs["intervention"]) == intervention
        assert data.attrs["revision"].startswith("sha256:")
        check = json.loads(data.attrs["model_check"])
        assert (check["family"], check["sees"], check["prefix"], check["places"]) == ("llava", "causal", True, "proven")
        assert check["moved"] > 0
        assert "/" not in data.attrs["source"]  # a folder's place differs between machines
    assert store.table_about(parquet)["model_check"] == check
    frame = store.read_table(parquet)
    assert list(frame) == [
        *("item_id", "image_id", "answer", "spoken", "truncated", "blanks", "correct", "correct_published"),
        *("predicted", "probability", "answer_probability"),
        *("uncut", "control", "pairs"),
        *(f"lens_{layer:02d}" for layer in range(4)),
    ]
    probabilities = captured.logits.softmax(-1)
    np.testing.assert_allclose(frame["probability"], probabilities.amax(1), atol=1e-5)
    np.testing.assert_allclose(frame["lens_03"], frame["probability"], atol=1e-5)
    vocabulary = tiny_llava.tokenizer.get_vocab()
    gold = [float(probabilities[row, vocabulary[question.answer]]) for row, question in enumerate(questions)]
    np.testing.assert_allclose(frame["answer_probability"], gold, atol=1e-6)
    assert frame["predicted"].tolist() == [
        tiny_llava.tokenizer.decode([index]) for index in probabilities.argmax(1).tolist()
    ]
    assert [text.split()[0] for text in frame["spoken"]] == frame["predicted"].tolist()
    assert frame["correct"].tolist() == [
        judge(spoken, question.answer, options=question.options)
        for spoken, question in zip(frame["spoken"], questions, strict=True)
    ]


def test_a_tiled_model_is_loaded_and_read(tmp_path, tiny_llava_next, asked, write_items, extract):
    folder = tmp_path / "dataset" / "model"
    tiny_llava_next.model.save_pretrained(folder)
    tiny_llava_next.processor.save_pretrained(folder)
    items = write_items(6)
    examples, pictures, _ = asked(6)
    sizes = [(48, 48), (100, 24), (24, 60), (48, 48), (30, 31), (24, 100)]
    shaped = [picture.resize(size) for picture, size in zip(pictures, sizes, strict=True)]
    for index, picture in enumerate(shaped):
        picture.save(items.parent / "images" / f"{index}.png")
    model = {"family": "llava-next", "path": str(folder), "batch_size": 4, "prompt": tiny_llava_next.prompt}
    h5, _ = extract(items, model=model, intervention=CUT | {"source": "tiles", "blocks": "all"})
    batch = encode(tiny_llava_next, examples, shaped)
    captured = captured_under([on_edge("tiles", "question")], tiny_llava_next, batch)
    with store.reading_activations(h5) as data:
        assert data.attrs["family"] == "llava-next"
        for index, block in enumerate(store.BLOCKS):
            np.testing.assert_allclose(data.state(3, block), captured.states[3, index], atol=2e-5)


def test_batch_size_and_blocks_do_not_matter(write_items, extract, monkeypatch, saved_model):
    items = write_items(11)
    first = store.read_table(extract(items, "first")[1])
    monkeypatch.setattr(_extractor, "_CHUNK", 4)
    model = MODEL | {"path": str(saved_model), "batch_size": 3, "blocks": 3}
    h5, parquet = extract(items, "second", model=model)
    second = store.read_table(parquet)
    assert (first["item_id"] == second["item_id"]).all()
    np.testing.assert_allclose(first["probability"], second["probability"], atol=1e-5)
    with store.reading_activations(h5) as data, store.reading_activations(h5.with_name("first.h5")) as other:
        np.testing.assert_allclose(data.state(2, "text"), other.state(2, "text"), atol=2e-5)


def test_a_rerun_gives_the_same_bytes(write_items, extract):
    items = write_items(5)
    first, second = extract(items), None
    contents = [path.read_bytes() for path in first]
    second = extract(items)
    assert [path.read_bytes() for path in second] == contents


def test_half_storage_is_the_rounded_state(write_items, extract):
    items = write_items(5)
    with (
        store.reading_activations(extract(items, "half", storage="float16")[0]) as half,
        store.reading_activations(extract(items, "full")[0]) as full,
    ):
        assert half.file["layer-01/text"].dtype == np.float16
        np.testing.assert_array_equal(half.state(1, "text"), full.state(1, "text").astype(np.float16))


@pytest.mark.parametrize(("kind", "width"), [("logits", None), ("answer-embedding", 32)])
def test_other_targets(write_items, extract, kind, width):
    items = write_items(6)
    h5, _ = extract(items, target_kind=kind)
    answers = sorted(set(pd.read_parquet(items)["answer"]))
    with store.reading_activations(h5) as data:
        assert data.target().shape == (6, width or len(answers))
        assert data.attrs["target"] == kind
        if kind == "logits":
            assert json.loads(data.file["target"].attrs["candidates"]) == answers


@pytest.mark.parametrize("kind", ["cut", "keep", "random"])
def test_a_condition_that_reaches_nothing_is_refused(tmp_path, write_items, extract, kind):
    items = write_items(6, boxes=[None] * 6, options=[None] * 6)
    with pytest.raises(DataError, match=r"reaches nothing in any of 6 items, .* the spans object, question is empty"):
        extract(items, intervention=CUT | {"kind": kind, "source": "object", "blocks": "all"})
    assert results(tmp_path) == []
    extract(items, intervention=CUT | {"kind": kind, "source": "other", "blocks": "all"})


def test_items_that_a_condition_does_not_reach_are_counted_and_named(write_items, extract, caplog):
    boxes = [[[4.0, 4.0, 8.0, 8.0]]] * 4 + [[]] * 2
    _, answers = extract(write_items(6, boxes=boxes), intervention=CUT | {"source": "object"})
    assert "2 of 6 items have nothing to cut" in caplog.text
    frame = store.read_table(answers)
    assert frame["uncut"].tolist() == [False] * 4 + [True] * 2
    assert frame["control"].isna().all()


def test_what_stands_for_a_cut_at_random_is_written_down(write_items, extract):
    items = write_items(6)
    _, cut = extract(items, "cut", intervention=CUT)
    _, control = extract(items, "control", intervention=CUT | {"kind": "random"})
    cut, control = store.read_table(cut), store.read_table(control)
    assert set(control["control"]) == {"half"}
    for whole, half in zip(cut["pairs"].map(json.loads), control["pairs"].map(json.loads), strict=True):
        assert set(whole) == set(half) == {"image->question"}
        assert whole["image->question"] == 2 * half["image->question"]
    _, intact = extract(items)
    assert not store.read_table(intact)["uncut"].any()
    with pytest.raises(DataError, match="reaches nothing in any of 6 items"):
        extract(items, "never", intervention=CUT | {"kind": "random", "match": "other-targets"})


def test_words_and_answers_the_model_cannot_tell_are_counted(write_items, extract, caplog):
    questions = ["is the zebra red or blue ?"] * 2 + ["is the circle red or blue ?"] * 2
    items = write_items(4, question=questions, answer=["red", "blue", "mauve", "red"], options=[["red", "Red"]] * 4)
    extract(items)
    assert "2 of 4 items ask with words that the tokenizer does not know" in caplog.text
    assert "1 of 4 items have an answer that no token tells from the others" in caplog.text
    assert "4 of 4 items offer options that are one answer by the rule 'normalised'" in caplog.text


def break_image(items, how):
    path = items.parent / "images" / "2.png"
    if how == "missing":
        path.unlink()
    elif how == "text":
        path.write_text("no picture")
    elif how == "cut short":
        Image.effect_noise((300, 300), 50).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        side = {"large": 9000, "larger": 12_000, "bomb": 16_000}[how]
        Image.new("1", (side, side)).save(path)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "image .*2.png does not exist; fetch the dataset's images"),
        ("text", "image .*2.png cannot be read .*; it is damaged, fetch it again or remove its items"),
        ("cut short", "image .*2.png cannot be read"),
        ("empty", "image .*2.png cannot be read"),
        ("large", "image .*2.png has 9000 x 9000 pixels, more than the 64,000,000 allowed; scale it down"),
        ("larger", "image .*2.png is too large to open safely"),
        ("bomb", "image .*2.png is too large to open safely"),
    ],
)
def test_bad_pictures_are_named_and_nothing_is_written(tmp_path, write_items, extract, how, message):
    items = write_items(5)
    break_image(items, how)
    with pytest.raises(DataError, match=f"tiny, mixed: item q2: {message}"):
        extract(items)
    assert results(tmp_path) == []


@pytest.mark.parametrize("path", ["../secret.png", "/etc/hostname", "images/../../secret.png"])
def test_pictures_outside_the_dataset_are_refused(tmp_path, write_items, extract, path):
    items = write_items(5)
    shutil.copy(items.parent / "images" / "0.png", tmp_path / "secret.png")
    table = pd.read_parquet(items)
    table.loc[1, "image_path"] = path
    table.to_parquet(items)
    with pytest.raises(DataError, match=f"item q1: image path '{path}' leaves the dataset's folder"):
        extract(items)


def test_how_pictures_become_square_is_followed_and_recorded(write_items, extract, saved_model):
    items = write_items(3)
    for index in range(3):
        wide = Image.new("RGB", (96, 48), "white")
        wide.paste(Image.open(items.parent / "images" / f"{index}.png"), (0, 0))
        wide.save(items.parent / "images" / f"{index}.png")
    states = {}
    for how in (None, "pad"):
        model = MODEL | {"path": str(saved_model), "image": how}
        with store.reading_activations(extract(items, str(how), model=model)[0]) as data:
            states[how] = data.state(1, "vision")
            assert data.attrs["image"] == (how or "processor")
    assert np.abs(states[None] - states["pad"]).max() > 1e-3


def test_absolute_paths_inside_the_root_are_welcome(tmp_path, write_items, extract):
    items = write_items(3)
    table = pd.read_parquet(items)
    table["image_path"] = [str(items.parent / path) for path in table["image_path"]]
    moved = tmp_path / "dataset" / "elsewhere" / "items.parquet"
    store.write_table(moved, table)
    h5, _ = extract(moved, image_root=str(items.parent))
    assert h5.exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item_id": ["a", "a", "b"]}, "item_id 'a' occurs more than once"),
        ({"question": ["is it red ?", None, "x"]}, "row 1 has no text in 'question'"),
        ({"answer": ["red", "blue", " "]}, "row 2 has no text in 'answer'"),
        ({"boxes": [[], [[1.0, 2.0]], []]}, "item q1: boxes must be a list of"),
        ({"fold": [0.5, 1.0, 2.0]}, "column 'fold' holds float64"),
        ({"question": ["is the <image> red ?"] * 3}, "item q0: the question .* holds '<image>'"),
    ],
)
def test_bad_items_are_named(write_items, extract, columns, message):
    with pytest.raises(DataError, match=message):
        extract(write_items(3, **columns))


def test_missing_columns_are_named(write_items, extract):
    items = write_items(3)
    pd.read_parquet(items).drop(columns=["fold", "boxes"]).to_parquet(items)
    with pytest.raises(DataError, match="lacks the columns boxes, fold"):
        extract(items)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"family": "bert"}, "unknown model family 'bert', expected one of: aya-vision, blip-2"),
        (
            {"family": "llava-next"},
            "is of type 'llava', but family 'llava-next' means 'llava_next or llava_next_video'",
        ),
        ({"blocks": 32}, "has 3 decoder blocks, the configuration says 32"),
        ({"path": "llava-hf/llava-1.5-7b-hf"}, "'revision' must be a full commit hash .* found None"),
        ({"path": "llava-hf/llava-1.5-7b-hf", "revision": "main"}, "full commit hash .* found 'main'"),
        ({"path": "no/such/folder"}, "neither an existing folder nor a hub id"),
        ({"revision": "a" * 40}, "is a local folder, which has no revision"),
        ({"dtype": "int8"}, "unknown dtype 'int8', expected auto, float32, float16, bfloat16"),
        ({"device": "tpu-7"}, "unknown device 'tpu-7'"),
        ({"prompt": "{question} <image>"}, "a prompt must hold '<image>' once and, after it"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, or auto, found 0"),
        ({"colour": "red"}, "found family, batch_size, dtype, prompt, path, colour"),
    ],
)
def test_impossible_models_are_refused(write_items, extract, saved_model, model, message):
    settings = MODEL | {"path": str(saved_model)} | model
    with pytest.raises(ConfigError, match=message):
        extract(write_items(3), model=settings)


def test_a_checkpoint_without_all_its_weights_is_refused(write_items, extract, saved_model, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(saved_model, folder)
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "layers.1.mlp.up_proj" in name))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = MODEL | {"path": str(folder)}
    with pytest.raises(DataError, match="1 weights are missing"):
        extract(write_items(3), model=model)
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="its weights cannot be loaded"):
        extract(tmp_path / "dataset" / "items.parquet", model=model)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"holds no weights; expected model\.safetensors"):
        extract(tmp_path / "dataset" / "items.parquet", model=model)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"intervention": {"kind": "static"}}, "unknown kind of intervention 'static', expected one of: cut, keep"),
        ({"intervention": {"source": "image"}}, "unknown kind of intervention 'None'"),
        ({"intervention": {"kind": "cut", "source": "image"}}, "intervention of kind 'cut': 'target' is missing"),
        ({"intervention": CUT | {"blocks": [0, 3]}}, "blocks must be 'all' or \\[first, last\\] within 0 and 2"),
        ({"intervention": CUT | {"blocks": "some"}}, "kind 'cut'.blocks: found 'some', expected all, or the first"),
        ({"intervention": CUT | {"source": "question", "target": "image"}}, "'question->image' runs against causality"),
        ({"intervention": CUT | {"source": "picture"}}, "unknown span 'picture'"),
        ({"target_kind": "answer"}, "unknown target 'answer', expected one of: state"),
        ({"storage": "float8"}, "unknown storage 'float8', expected one of: float16, float32"),
        ({"rule": "strict"}, "unknown rule for right answers 'strict', expected one of: published, lenient"),
        ({"answer_tokens": 0}, "an answer has at least 1 token, found 0"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, write_items, extract, changed, message):
    with pytest.raises(ConfigError, match=message):
        extract(write_items(3), **changed)
    assert results(tmp_path) == []


@pytest.fixture
def spoiled(monkeypatch):
    """``spoiled(change)``: the captured states of one row of every batch go through ``change``."""

    def apply(change):
        real = _extractor.passes

        def wrapped(loaded, batch, *args, **kwargs):
            for found in real(loaded, batch, *args, **kwargs):
                with torch.inference_mode():
                    change(found.captured.states)
                yield found

        monkeypatch.setattr(_extractor, "passes", wrapped)

    return apply


def test_states_that_are_not_finite_are_named_by_item_and_layer(tmp_path, write_items, extract, spoiled):
    spoiled(lambda states: states[2, 1, 0].fill_(float("nan")))
    with pytest.raises(DataError, match=r"item q\d: layer 2 holds NaN or infinity in float32; set the model's dtype"):
        extract(write_items(3))
    assert results(tmp_path) == []


def test_states_too_large_for_half_storage_are_named(tmp_path, write_items, extract, spoiled):
    spoiled(lambda states: states[1, 0, 0].fill_(1e5))
    items = write_items(3)
    with pytest.raises(DataError, match=r"layer 1 reaches 1e\+05, more than float16 can hold; set storage to float32"):
        extract(items, storage="float16")
    extract(items, storage="float32")


def test_batches_are_halved_when_the_gpu_runs_out_of_memory(write_items, extract, monkeypatch, caplog):
    items = write_items(11)
    expected = store.read_table(extract(items)[1])
    real, sizes = _extractor.passes, []

    def cramped(loaded, batch, *args, **kwargs):
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(loaded, batch, *args, **kwargs)

    monkeypatch.setattr(_extractor, "passes", cramped)
    found = store.read_table(extract(items, "cramped")[1])
    assert sizes == [4, 2] + [1] * 11
    assert "going on with batches of 1" in caplog.text
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=1e-5)


def test_no_room_for_a_single_item_is_said(tmp_path, write_items, extract, monkeypatch):
    def full(loaded, batch, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(_extractor, "passes", full)
    with pytest.raises(ConfigError, match=r"no room for a single item \(CUDA out of memory. Tried to allocate 2 GiB\)"):
        extract(write_items(3))
    assert results(tmp_path) == []


def test_a_failed_self_check_stops_the_stage(tmp_path, write_items, extract, monkeypatch):
    monkeypatch.setattr(
        "pidflow.interventions.knockout.State.allowed", lambda state, layer, queries, keys, base, causal: base
    )
    with pytest.raises(NumericsError, match="tiny, mixed: knockout self-check: a cut edge kept weight"):
        extract(write_items(3))
    assert results(tmp_path) == []


def test_earlier_results_survive_a_failure(write_items, extract, monkeypatch):
    items = write_items(3)
    paths = extract(items)
    before = [path.read_bytes() for path in paths]

    def fails(path, frame, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "save_table", fails)
    with pytest.raises(DataError, match=r"could not be written .*No space left on device"):
        extract(items)
    assert [path.read_bytes() for path in paths] == before


def test_a_picture_edited_while_the_model_runs_is_noticed(tmp_path, write_items, extract, monkeypatch):
    items = write_items(9)  # three batches
    frame, images = store.read_table(items), items.parent / "images"
    frame["image_digest"] = [content_digest((images / f"{index}.png").read_bytes()) for index in range(9)]
    store.write_table(items, frame)
    read = Picture.read

    def read_and_edit(picture):
        content = read(picture)
        if picture.name.endswith("4.png"):
            shutil.copy(images / "0.png", images / "8.png")
        return content

    monkeypatch.setattr(Picture, "read", read_and_edit)
    with pytest.raises(DataError, match=r"8.png changed after its items were prepared; run prepare_items again"):
        extract(items)
    assert results(tmp_path) == []


def test_the_progress_bar_is_for_terminals(write_items, extract, capfd):
    items = write_items(3)
    extract(items)
    assert "item/s" not in capfd.readouterr().err
    extract(items, progress=True)
    assert "3/3" in capfd.readouterr().err


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "I;16", "1", "CMYK"])
def test_pictures_of_every_mode_are_read(write_items, extract, mode):
    items = write_items(2)
    suffix = "tiff" if mode == "CMYK" else "png"
    Image.new(mode, (60, 40)).save(items.parent / "images" / f"odd.{suffix}")
    table = pd.read_parquet(items)
    table.loc[0, "image_path"] = f"images/odd.{suffix}"
    table.to_parquet(items)
    extract(items)


@pytest.fixture
def asked_along(tmp_path, saved_model, write_items):
    """``asked_along(condition, along)``: run the stage as the rule does; gives its files and its arguments."""
    items = str(write_items(5))

    def run(condition, *, states=True, along=None, key=0):
        files = {"answers": str(tmp_path / "answers" / f"{condition}.parquet")}
        if states:
            files["activations"] = str(tmp_path / "activations" / f"{condition}.h5")
        for path in files.values():
            Path(path).parent.mkdir(exist_ok=True)
        entry = CUT if condition == "cut" else None
        settings = {"model": MODEL | {"path": str(saved_model)}, "model_id": "tiny", "task": "mixed", "seed": 3}
        given = {"condition": condition, "intervention": entry, "key": [condition, key], "along": along or {}}
        extract_activations.run(items=items, **files, **given, **settings, storage="float32")
        return files

    return run


ALONG = {
    "cut": {"intervention": CUT, "key": ["cut", 0], "states": True},
    "blind": {"intervention": CUT, "key": ["blind", 0], "states": False},
}


def test_what_was_run_along_is_taken_and_equals_a_run_of_its_own(asked_along, monkeypatch, tmp_path):
    asked_along("intact", along=ALONG)
    assert len(list((tmp_path / "answers" / ".waiting").iterdir())) == 3
    with monkeypatch.context() as broken:
        broken.setattr(stage, "run", None)
        taken = asked_along("cut")
        asked_along("blind", states=False)
    assert not list((tmp_path / "answers" / ".waiting").iterdir())
    content = [Path(path).read_bytes() for path in taken.values()]
    alone = asked_along("cut")
    with store.reading_activations(alone["activations"]) as data:
        expected = data.state(2, "text")
    Path(alone["activations"]).write_bytes(content[1])
    with store.reading_activations(alone["activations"]) as data:
        np.testing.assert_allclose(data.state(2, "text"), expected, atol=1e-5)


def test_what_was_made_from_something_else_keeps_waiting_for_nobody(asked_along, tmp_path):
    asked_along("intact", along=ALONG)
    asked_along("cut", key=1)  # other settings: runs by itself
    assert len(list((tmp_path / "answers" / ".waiting").iterdir())) == 3
    asked_along("intact", along={"cut": ALONG["cut"] | {"key": ["cut", 2]}})  # makes room for the new one
    assert len(list((tmp_path / "answers" / ".waiting").glob("cut-*"))) == 2
