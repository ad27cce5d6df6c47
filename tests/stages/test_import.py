"""Stage ``import_predictions``: the published pipeline's JSON and VLM-Lens databases as this program's predictions."""

import io
import json
import sqlite3
from copy import deepcopy

import numpy as np
import pytest
import torch

from pidflow.errors import DataError
from pidflow.files import store
from pidflow.spectrum.predictions_file import read_predictions
from pidflow.spectrum.records import from_json
from pidflow.spectrum.scores import option_mass, right, right_published, scored
from pidflow.spectrum.words import BARE, JOINT
from pidflow.stages import estimate_spectrum, import_predictions

# Written by hand after the fields that the pipeline's stages write; probabilities cover four letters throughout.
QUESTION = {
    "image": "aGVsbG8=",
    "num_options": 3,
    "conversations": [
        {"from": "human", "value": "What is it?\nA. a cat\nB. a dog\nC. a horse\nAnswer with the option's letter."},
        {
            "from": "gpt",
            "label": "B",
            "value": "B",
            "v_feature": [0.5, 1.5],
            "l_feature": [2.0, 3.0, 4.0],
            "v_prob": [0.25, 0.5, 0.25, 0.0],
            "l_prob": [1 / 3, 1 / 3, 1 / 3, 0.0],
            "vl_prob": [0.1, 0.8, 0.1, 0.0],
            "v_orig_prob": [0.2, 0.4, 0.2, 0.01],
            "l_orig_prob": [0.05, 0.1, 0.05, 0.0],
            "vl_orig_prob": [0.09, 0.72, 0.09, 0.0],
        },
    ],
}
PAIR = {
    "image": "b3RoZXI=",
    "num_options": 2,
    "conversations": [
        {"from": "human", "value": "Is there a cat?"},
        QUESTION["conversations"][1] | {"label": "A", "value": "No, there is none"},
    ],
}


@pytest.fixture
def read(tmp_path):
    """``read(training, held_out)``: the import of two lists of questions."""

    def run(training, held_out):
        paths = {}
        for name, content in (("training", training), ("held_out", held_out)):
            paths[name] = str(tmp_path / f"{name}.json")
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / f"{name}.json").write_text(text)
        output = tmp_path / "out.h5"
        import_predictions.run(**paths, output=str(output), model_id="other", task="theirs", format="pid-lvlm")
        return read_predictions(output)

    return run


def test_the_published_json_is_read_as_it_was_meant(read):
    found = read([QUESTION, PAIR], [PAIR | {"image": "x"}])
    assert found.training.tolist() == [True, True, False]
    assert found.options == (("a cat", "a dog", "a horse"), ("A", "B"), ("A", "B"))
    assert found.answer.tolist() == [1, 0, 0]
    assert len(set(found.image_id)) == 3
    assert (found.vision.shape, found.language.shape) == ((3, 2), (3, 3))
    np.testing.assert_allclose(np.exp(found[JOINT].begins[0, 0]), [0.09, 0.72, 0.09], rtol=1e-6)
    np.testing.assert_allclose(option_mass(found, found["vision-only/noise"])[0], [0.8, 0.6, 0.6], rtol=1e-6)
    said = scored(found, "language-only/noise", score=BARE)
    np.testing.assert_allclose(said.probabilities[0], 1 / 3, rtol=1e-6)  # a mass of 0.2 lies below the threshold
    assert said.fired.tolist() == [1, 1, 1]
    raw = scored(found, "language-only/noise", score=BARE, threshold=0.0).probabilities
    np.testing.assert_allclose(raw[0], [0.25, 0.5, 0.25], rtol=1e-6)
    # Published: the joint pass by what was said, the others by the letters above the threshold.
    assert right_published(found, JOINT)[0].tolist() == [True, False, False]
    assert right_published(found, "vision-only/noise")[0].tolist() == [True, False, False]
    assert right(found, JOINT)[0].tolist() == [True, False, False]
    assert found.about["masses_known"] is True


def test_files_without_raw_probabilities_say_that_the_mass_is_not_known(read):
    old = deepcopy([QUESTION, PAIR])
    for question in old:
        for name in ("v_orig_prob", "l_orig_prob", "vl_orig_prob"):
            question["conversations"] = [
                {k: v for k, v in turn.items() if k != name} for turn in question["conversations"]
            ]
    old[1]["conversations"][1] |= {"vl_prob": [0.2, 0.8, 0, 0], "v_prob": [0.5, 0.5, 0, 0], "l_prob": [0.9, 0.1, 0, 0]}
    found = read(old, [old[0] | {"image": "x"}])
    assert found.about["masses_known"] is False
    np.testing.assert_allclose(np.exp(found[JOINT].begins[0, 1, :2]), [0.2, 0.8], rtol=1e-6)


def test_probabilities_that_half_precision_made_zero_are_below_every_threshold(read):
    found = read([QUESTION, changed(v_orig_prob=[0.0, 0.0, 0.0, 0.4])], [PAIR])
    said = scored(found, "vision-only/noise", score=BARE, threshold=1e-6)
    assert said.fired.tolist() == [0, 1, 0]
    np.testing.assert_allclose(said.probabilities[1], 1 / 3)


def changed(**fields):
    question = deepcopy(QUESTION)
    for name, value in fields.items():
        if name in ("image", "num_options", "conversations"):
            question[name] = value
        elif value is None:
            del question["conversations"][1][name]
        else:
            question["conversations"][1][name] = value
    return question


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (changed(num_options=1), "question 1 has num_options 1 .* expected at least 2 options"),
        (changed(num_options=5), "num_options 5 and probabilities of 4 letters"),
        (changed(num_options="3"), "num_options '3'"),
        (changed(conversations=[]), "no turn from 'gpt'"),
        (changed(image=None), "question 1 has no 'image'"),
        (changed(l_feature=None, v_prob=None), "lacks l_feature, v_prob"),
        (changed(label="D"), "label 'D', expected one of the letters A, B, C"),
        (changed(v_feature=[1.0]), "v_feature has 2 numbers in question training-0 and 1 in training-1"),
        (changed(v_feature=[1.0, float("nan")]), "v_feature is empty or holds NaN"),
        (changed(v_feature="cat"), "v_feature is no list of numbers"),
        (changed(vl_orig_prob=[0.9, 0.9, 0.1, 0.0]), "expected numbers from 0, at most 1 together"),
        (changed(vl_orig_prob=None, vl_prob=[0.0, 0.0, 0.0, 1.0]), "expected numbers from 0, at most 1 together"),
        (changed(vl_orig_prob=[-0.1, 0.9, 0.1, 0.0]), "expected numbers from 0, at most 1 together"),
        ("cat", "no turn from 'gpt'"),
    ],
)
def test_what_is_wrong_with_a_question_is_said(read, question, message):
    with pytest.raises(DataError, match=f"other, theirs: .*{message}"):
        read([QUESTION, question], [PAIR])


@pytest.mark.parametrize(
    ("training", "held_out", "message"),
    [
        ("{not json", [PAIR], "not JSON"),
        ([], [PAIR], "expected a list of questions, found an empty one"),
        ([QUESTION], {"a": 1}, "expected a list of questions, found dict"),
        ([QUESTION], [QUESTION], "hold the same"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(read, training, held_out, message):
    with pytest.raises(DataError, match=message):
        read(training, held_out)


VISION, LANGUAGE = "vision_tower.last", "language_model.0"


@pytest.fixture
def database(tmp_path):
    """``database(name, n, …)``: a database as VLM-Lens writes it, whose label is read off both layers' states."""

    def write(name, n, *, seed, drop=None, labels=None, blob=None, width=4, pooled=True):
        rng = np.random.default_rng(seed)
        path = tmp_path / f"{name}.db"
        with sqlite3.connect(path) as connection:
            connection.execute(
                "CREATE TABLE tensors (id INTEGER PRIMARY KEY, name TEXT NOT NULL, architecture TEXT NOT NULL, "
                "timestamp DATETIME DEFAULT CURRENT_TIMESTAMP, image_path TEXT NULL, image_id INTEGER NULL, "
                "prompt TEXT NOT NULL, label TEXT NULL, layer TEXT NOT NULL, pooling_method TEXT NULL, "
                "tensor_dim INTEGER NOT NULL, tensor BLOB NOT NULL)"
            )
            for row in range(n):
                one, two = rng.integers(2, size=2)
                label = ("both" if one and two else "not both") if labels is None else labels[row]
                for layer, sign in ((VISION, one), (LANGUAGE, two)):
                    if (row, layer) == drop:
                        continue
                    state = torch.randn(
                        1, width, generator=torch.Generator().manual_seed(seed * 999 + 2 * row + len(layer))
                    )
                    state[0, 0] = 3.0 * float(sign)
                    saved = io.BytesIO()
                    torch.save(state if pooled else state[:, None].expand(1, 5, width).contiguous(), saved)
                    connection.execute(
                        "INSERT INTO tensors (name, architecture, image_path, image_id, prompt, label, layer, "
                        "pooling_method, tensor_dim, tensor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (
                            "m",
                            "llava",
                            f"/im{row // 2}.png",
                            row,
                            "what ?",
                            label,
                            layer,
                            "mean",
                            width,
                            saved.getvalue() if blob is None else blob,
                        ),
                    )
        connection.close()
        return str(path)

    return write


@pytest.fixture
def read_databases(tmp_path):
    def run(training, held_out, **layers):
        output = tmp_path / "lens.h5"
        layers = {"vision": VISION, "language": LANGUAGE} | layers
        import_predictions.run(
            training=training,
            held_out=held_out,
            output=str(output),
            model_id="lens",
            task="t",
            format="vlm-lens",
            **layers,
        )
        return read_predictions(output)

    return run


@pytest.mark.parametrize("pooled", [True, False])
def test_states_of_vlm_lens_are_read_by_classifiers(database, read_databases, pooled):
    found = read_databases(database("a", 200, seed=0, pooled=pooled), database("b", 60, seed=1, pooled=pooled))
    assert found.options[0] == ("not both", "both")
    assert found.about["predicted_by"].startswith("linear classifiers")
    held_out = ~found.training
    assert held_out.sum() == 60
    accuracy = {key: right(found, key)[0][held_out].mean() for key in found.passes}
    assert accuracy[JOINT] > 0.95
    assert max(accuracy["vision-only"], accuracy["language-only"]) < 0.9
    # The training part is predicted from others: no better than what was never seen.
    assert abs(right(found, JOINT)[0][found.training].mean() - accuracy[JOINT]) < 0.05
    assert len(set(found.image_id)) < len(found)


def spectrum_of(predictions, folder, **about):
    output = folder / "spectrum.json"
    settings = {"modes": ["repaired"], "lenses": []}
    estimate_spectrum.run(
        predictions=str(predictions), spectrum=str(output), settings=settings, threads=1, seed=0, **about
    )
    return from_json(store.read_json(output), where="spectrum").spectra[0].bits


def test_imports_are_decomposed_like_any_predictions(database, read_databases, read, tmp_path):
    """AND of two fair coins, read off states by classifiers: about 0.3 bit redundant, 0.5 synergy."""
    read_databases(database("a", 300, seed=0), database("b", 100, seed=1))
    bits = spectrum_of(tmp_path / "lens.h5", tmp_path, model="lens", task="t")
    assert bits["redundancy"] == pytest.approx(0.31, abs=0.12)
    assert bits["synergy"] == pytest.approx(0.5, abs=0.15)
    rng = np.random.default_rng(0)
    questions = []
    for n in range(120):  # the picture decides, the words say nothing
        sure = [0.85, 0.05] if rng.random() < 0.5 else [0.05, 0.85]
        fields = {"label": "A", "value": "A", "v_feature": sure, "l_feature": [rng.random()]}
        for short, p in (("v", sure), ("l", [0.45, 0.45]), ("vl", sure)):
            fields |= {f"{short}_prob": (np.array(p) / 0.9).tolist(), f"{short}_orig_prob": p}
        turns = [{"from": "human", "value": "?"}, {"from": "gpt"} | fields]
        questions.append({"image": str(n), "num_options": 2, "conversations": turns})
    read(questions[:60], questions[60:])
    bits = spectrum_of(tmp_path / "out.h5", tmp_path, model="other", task="theirs")
    assert bits["unique_vision"] == pytest.approx(bits["mi_joint"], abs=0.02)
    assert bits["mi_joint"] > 0.5


@pytest.mark.parametrize(
    ("changes", "layers", "message"),
    [
        ({}, {"vision": "nothing"}, "has no layer 'nothing', it has: language_model.0, vision_tower.last"),
        ({"drop": (3, VISION)}, {}, "unequal numbers of rows"),
        ({"labels": [None] * 40}, {}, "has no label"),
        ({"labels": ["one"] * 40}, {}, r"1 different label\(s\)"),
        ({"blob": b"not a tensor"}, {}, "tensor 0 of layer 'vision_tower.last' is no archive of torch"),
        ({"width": 5}, {}, "numbers in the two parts"),
    ],
)
def test_what_is_wrong_with_a_database_is_said(database, read_databases, changes, layers, message):
    training, held_out = database("a", 40, seed=0, **changes), database("b", 10, seed=1)
    with pytest.raises(DataError, match=message):
        read_databases(training, held_out, **layers)


def test_a_tensor_that_would_build_something_else_is_refused(database, read_databases):
    import pickle

    class Sneaky:
        def __reduce__(self):
            return (print, ("built",))

    blob = io.BytesIO()
    torch.save(Sneaky(), blob, pickle_module=pickle)
    with pytest.raises(DataError, match="cannot be read"):
        read_databases(database("a", 4, seed=0, blob=blob.getvalue()), database("b", 4, seed=1))


def test_another_file_is_no_database(tmp_path, database, read_databases):
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at")
    with pytest.raises(DataError, match="not a readable SQLite database"):
        read_databases(str(tmp_path / "text.db"), database("b", 4, seed=1))
    with sqlite3.connect(tmp_path / "empty.db") as connection:
        connection.execute("CREATE TABLE other (a TEXT)")
    connection.close()
    with pytest.raises(DataError, match="expected one table with the columns"):
        read_databases(str(tmp_path / "empty.db"), database("c", 4, seed=1))
