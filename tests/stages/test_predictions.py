"""Stages ``probe_statistics`` and ``extract_predictions`` from items on disk to predictions of every pass."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pidflow.errors import ConfigError, DataError
from pidflow.files import store
from pidflow.models.inputs import encode
from pidflow.models.probe_inputs import enter
from pidflow.models.standin.architecture import PROMPT
from pidflow.pid.predicted import entropy
from pidflow.spectrum.estimate import How, estimate_spectrum
from pidflow.spectrum.predictions_file import read_predictions
from pidflow.spectrum.scores import right, scored
from pidflow.spectrum.words import JOINT
from pidflow.stages import extract_predictions, probe_statistics
from pidflow.stages._probes import read_statistics
from pidflow.stages._questions import load_model

ROOT = Path(__file__).resolve().parents[2]
N = 15
PASSES = ("vision-only", "language-only", "question-masked", "options-only", "no-image")
TRAINING = [0, 1, 2]


@pytest.fixture
def model(saved_model):
    return {"family": "llava", "path": str(saved_model), "batch_size": 4, "dtype": "float32", "prompt": PROMPT}


@pytest.fixture
def probe(tmp_path, model):
    """``probe(items, …)``: both stages; gives the predictions."""

    def run(items, name="tiny", **changed):
        common = {"items": str(items), "model": model, "model_id": "tiny", "task": "mixed", "training": TRAINING}
        common |= {"seed": 5} | {key: changed.pop(key) for key in ("training", "model", "answers") if key in changed}
        statistics = str(tmp_path / f"{name}-statistics.h5")
        probe_statistics.run(output=statistics, donors=changed.pop("donors", 6), **common)
        settings = {"passes": PASSES, "replacements": ["noise"], "draws": 2, "lens": ["norm"]} | changed
        output = tmp_path / f"{name}.h5"
        extract_predictions.run(statistics=statistics, output=str(output), progress=False, **common, **settings)
        return read_predictions(output)

    return run


def test_predictions_of_every_pass_are_what_the_model_says(tiny_llava, asked, write_items, probe):
    found = probe(write_items(N))
    assert len(found) == N
    assert found.training.tolist() == [index % 5 in TRAINING for index in range(N)]
    assert set(found.passes) == {JOINT, "no-image", *(f"{name}/noise" for name in PASSES[:4])}
    examples, pictures, questions = asked(N)
    assert found.options == tuple(question.options for question in questions)
    for row, question in enumerate(questions):
        assert found.options[row][found.answer[row]] == question.answer
    batch = encode(tiny_llava, examples, pictures)
    with torch.inference_mode():
        logits = tiny_llava.model(**batch.inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
    log_probabilities = logits.log_softmax(-1).numpy()
    vocabulary = tiny_llava.tokenizer.get_vocab()
    ids = np.array([[vocabulary[option] for option in options] for options in found.options])
    np.testing.assert_array_equal(found.token_ids[:, :, 0], ids)
    expected = np.take_along_axis(log_probabilities, ids, 1)
    for name in ("begins", "sequence", "bare"):
        np.testing.assert_allclose(getattr(found[JOINT], name)[0], expected, atol=1e-5)
    np.testing.assert_array_equal(found[JOINT].greedy[0], log_probabilities.argmax(1))
    assert (right(found, JOINT)[0] == (expected.argmax(1) == found.answer)).all()
    depth = tiny_llava.depth
    for each in found.passes.values():  # the lens at the last layer is the model's own output
        assert each.lens["norm"].shape == (each.draws, depth + 1, N, 2)
        np.testing.assert_allclose(each.lens["norm"][:, -1], each.begins, atol=1e-5)
    sources = enter(tiny_llava, batch).sources()
    np.testing.assert_allclose(found.vision, sources["vision"], atol=1e-6)
    np.testing.assert_allclose(found.language, sources["language"], atol=1e-6)
    assert found.about["entry_difference"] < 1e-5
    rest = found.about["truncation"]["first_token_rest"]
    np.testing.assert_allclose(rest, 1 - scored(found, JOINT).mass.mean(), atol=1e-5)


def test_statistics_are_those_of_the_training_folds(tiny_llava, asked, write_items, probe, tmp_path):
    items = write_items(N)
    probe(items)
    examples, pictures, _ = asked(N)
    rows = [row for row in range(N) if row % 5 in TRAINING]
    batch = encode(tiny_llava, [examples[row] for row in rows], [pictures[row] for row in rows])
    statistics, checks = read_statistics(tmp_path / "tiny-statistics.h5")
    for name, part in enter(tiny_llava, batch).parts().items():
        if name == "question":
            continue
        values = part.values.double().numpy()
        np.testing.assert_allclose(statistics.parts[name].mean, values.mean(0), atol=1e-9)
        np.testing.assert_allclose(statistics.parts[name].deviation, values.std(0), atol=1e-9)
        assert statistics.parts[name].tokens == len(values)
    assert {each.item_id for each in statistics.donors} <= {f"q{row}" for row in rows}
    assert {each["part"] for each in checks} == {"image", "language"}
    for each in checks:
        assert each["nearest_noise"] > 0
        assert 0 <= each["accuracy"] <= 1


def test_predictions_depend_on_no_batch_and_draws_differ(write_items, probe, model):
    items = write_items(N)
    one, two = probe(items), probe(items, name="other", model=model | {"batch_size": 7})
    for key, each in one.passes.items():
        np.testing.assert_allclose(each.begins, two[key].begins, atol=1e-5)
    draws = one["vision-only/noise"].begins
    assert (np.abs(draws[0] - draws[1]).max(1) > 1e-4).all()


def test_the_mean_and_another_questions_tokens_stand_in_too(write_items, probe):
    found = probe(write_items(N), replacements=["mean", "shuffle"], passes=["language-only"], lens=[])
    assert set(found.passes) == {JOINT, "language-only/mean", "language-only/shuffle"}
    assert (found["language-only/mean"].draws, found["language-only/shuffle"].draws) == (1, 2)
    assert not found["language-only/mean"].lens


def test_letters_are_scored_and_their_lines_asked(write_items, probe):
    items = write_items(N)
    with pytest.raises(
        DataError, match="letters A, B are not one known token"
    ):  # the stand-in's tokenizer knows neither
        probe(items, answers="letters")


def test_questions_without_options_take_all_answers_of_the_task_or_the_models_own(write_items, probe):
    items = write_items(N, options=[[] for _ in range(N)])
    table = store.read_table(items)
    everything = probe(items, lens=[], passes=["vision-only"])
    assert set(everything.options) == {everything.options[0]}
    assert set(everything.options[0]) == set(table["answer"])
    with pytest.raises(ConfigError, match=r"more than spectrum\.most"):
        probe(items, most=2)
    own = probe(items, answers="top", most=4, lens=[], passes=["vision-only"], name="top")
    assert set(map(len, own.options)) <= {2, 3, 4}
    # The likeliest first token begins the first answer, and what is left over is told.
    assert 0 < own.about["truncation"]["first_token_rest"] < 1
    assert own.about["truncation"]["bound_bits"] > 0


def test_open_answers_are_the_models_own_most_frequent_ones(write_items, probe):
    shipped = {"family": "llava", "path": str(ROOT / "workflow" / "resources" / "standin"), "prompt": PROMPT}
    items = write_items(N, options=[[] for _ in range(N)])

    def probed(**settings):
        return probe(items, model=shipped, lens=[], passes=[], **settings)

    found = probed(answers="clusters", most=3, name="clusters")
    assert set(found.options) == {found.options[0]}  # the same for all questions
    assert 2 <= len(found.options[0]) <= 3
    said = probed(answers="top", most=2, name="own")
    first = [options[0] for options, training in zip(said.options, said.training, strict=True) if training]
    assert max(first, key=first.count) in found.options[0]
    other = probed(answers="clusters", most=3, training=[3, 4], name="others")
    last = [options[0] for options, training in zip(said.options, said.training, strict=True) if not training]
    assert set(other.options[0]) <= set(last)  # answers come from the training folds alone


@pytest.mark.parametrize("answers", ["top", "clusters"])
def test_what_truncating_open_answers_hides_is_bounded(answers, asked, write_items, probe):
    """Against the information of all first tokens of the vocabulary of the shipped model, which is small enough."""
    n = 24
    shipped = {"family": "llava", "path": str(ROOT / "workflow" / "resources" / "standin"), "prompt": PROMPT}
    items = write_items(n, options=[[] for _ in range(n)])
    settings = {"most": 2, "answer_tokens": 1, "lens": [], "passes": ["question-masked", "language-only"]}
    found = probe(items, model=shipped, answers=answers, **settings | {"draws": 1})
    spectrum = estimate_spectrum(found, How(lenses=(), labels="word"), model="tiny", task="mixed")
    assert spectrum.labels[-1] == "something else"
    examples, pictures, _ = asked(n)
    loaded, _ = load_model(shipped)
    with torch.inference_mode():
        batch = encode(loaded, examples, pictures)
        p = loaded.model(**batch.inputs, use_cache=False, logits_to_keep=1).logits[:, -1].softmax(-1).numpy()
    whole = entropy(p.mean(0)) - np.mean([entropy(row) for row in p])
    hidden = whole - spectrum.spectra[0].bits["mi_joint"]
    assert hidden <= spectrum.truncated_bits + 1e-4
    assert spectrum.truncated_bits < entropy(p.mean(0))
    if answers == "clusters":  # the same answers for all questions: merging the rest can only hide
        assert hidden > 1e-4


def test_letters_are_read_where_the_tokenizer_has_them(tmp_path, write_items, probe):
    from tests.tiny_cases import CASES
    from tests.tiny_families import save

    tiny = CASES["qwen2-5-vl"]
    save(tiny, tmp_path / "checkpoint")
    model = {"family": tiny.family, "path": str(tmp_path / "checkpoint"), "prompt": tiny.prompt, "batch_size": 3}
    words = probe(write_items(N), model=model, lens=[], passes=[])
    items = tmp_path / "dataset" / "items.parquet"
    found = probe(items, model=model, answers="letters", passes=["question-masked"], name="letters")
    assert found.options == words.options  # the texts behind the letters
    np.testing.assert_array_equal(found.answer, words.answer)
    assert set(found.about["spellings"]) == {"A", "B"}
    assert found.lengths.max() == 1
    assert (found.token_ids[:, 0] != found.token_ids[:, 1]).all()


@pytest.mark.parametrize("family", ["qwen2-5-vl", "qwen3-vl", "mllama", "instructblip"])
def test_families_in_which_the_picture_enters_otherwise(family, tmp_path, write_items, probe):
    """Positions on three axes; a picture that enters again, or by cross-attention, or is read with the question."""
    from tests.tiny_cases import CASES
    from tests.tiny_families import save

    (tiny,) = [tiny for name, tiny in CASES.items() if name == family]
    save(tiny, tmp_path / "checkpoint")
    model = {"family": tiny.family, "path": str(tmp_path / "checkpoint"), "prompt": tiny.prompt, "batch_size": 3}
    found = probe(write_items(N), model=model, replacements=["noise", "shuffle"], draws=1)
    assert found.about["entry_difference"] < 1e-4
    for each in found.passes.values():
        assert np.isfinite(each.sequence).all()
        assert (np.abs(each.begins - found[JOINT].begins).max() > 0) == (each.key != JOINT)
    statistics, _ = read_statistics(tmp_path / "tiny-statistics.h5")
    enters = {"qwen3-vl": "image-deepstack-0", "mllama": "image-cross_attention_states"}
    assert enters.get(family, "image") in statistics.parts


@pytest.mark.parametrize(
    ("training", "message"),
    [([], "none is chosen"), ([7], r"\[7\] are none of them"), ([0, 1, 2, 3, 4], "none is left over")],
)
def test_training_folds_must_be_some_but_not_all(write_items, probe, training, message):
    with pytest.raises(ConfigError, match=message):
        probe(write_items(N), training=training)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["red"], "offers 1 option"),
        (["red", "red"], "offers an option twice"),
        (["red", " "], "offers .* or an empty one"),
    ],
)
def test_a_question_that_is_no_choice_is_refused(write_items, probe, options, message):
    every = [["red", "blue"]] * N
    every[3] = options
    with pytest.raises(DataError, match=rf"tiny, mixed: item q3 {message}"):
        probe(write_items(N, options=every))


def test_statistics_of_other_questions_are_refused(write_items, probe, tmp_path, model):
    items = write_items(N)
    probe(items, lens=[])
    table = store.read_table(items)
    store.write_table(items, table.assign(answer=table["answer"].iloc[::-1].to_numpy()))
    with pytest.raises(DataError, match="items"):
        extract_predictions.run(
            items=str(items),
            statistics=str(tmp_path / "tiny-statistics.h5"),
            output=str(tmp_path / "again.h5"),
            model=model,
            model_id="tiny",
            task="mixed",
            training=TRAINING,
            passes=PASSES,
            replacements=["noise"],
        )
    assert not (tmp_path / "again.h5").exists()


def test_what_was_done_is_written_down(write_items, probe):
    about = probe(write_items(N)).about
    assert json.dumps(about)
    assert {"prompt_digest", "seed", "spellings", "noise_checks", "draws", "revision"} <= set(about)
    assert all(about["spellings"].values())
