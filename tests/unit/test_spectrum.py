"""The spectrum of predictions: known systems, errors over images, checks, lenses, records."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.benchmarks.study_spectrum import entropy, known, shown_in
from tests.synthetic_predictions import TRUTH, synthetic_predictions

from pidflow.data.readers import easy_vqa
from pidflow.errors import DataError
from pidflow.names import ATOMS, QUANTITIES
from pidflow.spectrum.clustered import clustered_predictions, decompose_sources, merged_predictions, source_table
from pidflow.spectrum.decompose import PredictedRows, decompose_predictions
from pidflow.spectrum.estimate import How, estimate_spectrum
from pidflow.spectrum.labels import labels_of
from pidflow.spectrum.planted import planted_rows
from pidflow.spectrum.records import from_json, to_json
from pidflow.spectrum.tuned_lens import calibrated, fit_lens, through_lens
from pidflow.stats import jackknife_se

SURE = 1 - 1e-6


def rows_of(system, n=240, **options):
    predictions = synthetic_predictions(n, system=system, **options)
    found = estimate_spectrum(predictions, How(lenses=()), model="m", task="t")
    return found.spectra[0]


@pytest.mark.parametrize("system", TRUTH)
def test_known_systems(system):
    found = rows_of(system, certainty=SURE)
    expected = TRUTH[system] if system != "and" else None
    atoms = [found.bits[atom] for atom in ATOMS]
    if expected is None:  # the coins of the sample are not quite fair
        np.testing.assert_allclose(atoms, TRUTH["and"], atol=0.06)
    else:
        np.testing.assert_allclose(atoms, expected, atol=0.01)
    assert found.gap_bits <= 0.002
    assert sum(atoms) == pytest.approx(found.bits["mi_joint"])
    for name in QUANTITIES:
        assert found.check.bits[name] == pytest.approx(found.bits[name], abs=0.01)


def soft_rows(n, labels, *, seed, per_image=2):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((2, n, labels)) * 1.5
    given = [np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (*logits, 2 * logits.sum(0))]
    return PredictedRows(*given, np.arange(n) // per_image)


def test_errors_are_those_of_solving_again_without_each_group():
    """The slopes of the dual stand for twenty more descents."""
    rows = soft_rows(80, 3, seed=0)
    found = decompose_predictions(rows, tolerance_bits=1e-4)
    from pidflow.spectrum.decompose import image_groups

    groups = image_groups(rows.images, seed=0)
    again = [decompose_predictions(rows.take(groups != g), tolerance_bits=1e-4).bits for g in range(groups.max() + 1)]
    for name in QUANTITIES:
        solved = float(jackknife_se(np.array([each[name] for each in again])))
        assert float(jackknife_se(found.replicates[name])) == pytest.approx(solved, rel=0.2, abs=2e-3)


def test_questions_about_one_image_are_one_piece_of_evidence():
    alone, pairs = soft_rows(120, 2, seed=1, per_image=1), soft_rows(120, 2, seed=1, per_image=1)
    doubled = PredictedRows(
        *(np.repeat(getattr(alone, name), 4, axis=0) for name in ("vision", "language", "joint")),
        np.repeat(pairs.images, 4),
    )
    one, four = decompose_predictions(alone), decompose_predictions(doubled)
    for name in ("mi_vision", "mi_language", "mi_joint"):
        assert float(jackknife_se(four.replicates[name])) == pytest.approx(
            float(jackknife_se(one.replicates[name])), rel=0.3
        )


def test_offsets_are_reported_and_taken_off():
    n = 100
    constant, even = np.tile([0.9, 0.1], (n, 1)), np.tile([0.5, 0.5], (n, 1))
    found = decompose_predictions(PredictedRows(constant, even, even, np.arange(n)))
    assert found.offset["vision"] == pytest.approx(0.531, abs=1e-3)
    assert found.moved["vision"] == pytest.approx(0.4, abs=1e-6)
    assert max(abs(value) for value in found.bits.values()) < 1e-6
    assert "contradict" in found.warnings[0]


def test_negative_synergy_is_told_and_not_clipped():
    n = 200
    sure = np.eye(2)[np.arange(n) % 2] * 0.98 + 0.01
    found = decompose_predictions(PredictedRows(sure, np.full((n, 2), 0.5), np.full((n, 2), 0.5), np.arange(n)))
    assert found.bits["synergy"] < -0.8
    assert found.clipped_sum > sum(found.bits[atom] for atom in ATOMS) + 0.8
    assert any("negative: synergy" in each for each in found.warnings)


def test_easy_vqa_has_its_exact_information():
    """Real questions of train, a model that is right in 99 % of its answers: the exact information comes out."""
    asked = easy_vqa.questions("train")
    shown = shown_in(asked)
    told = [q for q in asked if len(shown[q.image_index]) == 2]  # of pictures whose shape and colour are known
    answer, text, seen = zip(*((q.answer, q.text, shown[q.image_index]) for q in told), strict=True)
    h_a = entropy(answer)
    i_q = h_a + entropy(text) - entropy(text, answer)
    i_v = h_a + entropy(seen) - entropy(seen, answer)
    both = h_a + entropy(text, seen) - entropy(text, seen, answer)
    # Known numbers of this split, of a hundred more pictures than whose shape and colour the answers tell.
    assert [h_a, i_q, i_v, both - i_q] == pytest.approx([2.49, 1.38, 0.64, 1.11], abs=0.025)
    assert both == pytest.approx(h_a)
    some = np.random.default_rng(0).choice(len(told), 700, replace=False)
    rows = known([told[row] for row in some], told)
    sure = 0.99 * rows.joint + 0.01 / rows.joint.shape[1]
    rows = replace(rows, joint=sure)
    found, check = decompose_predictions(rows, tolerance_bits=5e-3), clustered_predictions(rows)
    assert found.gap_bits <= 0.01
    assert found.bits["mi_joint"] == pytest.approx(h_a, abs=0.1)  # less what one answer in a hundred leaves open
    assert found.bits["mi_vision"] == pytest.approx(i_v, abs=0.06)
    assert found.bits["mi_language"] == pytest.approx(i_q, abs=0.06)
    for name in QUANTITIES:
        assert check.bits[name] == pytest.approx(found.bits[name], abs=0.02)


def test_coupling_and_exact_solution_are_one_of_the_same_clusters():
    rows = soft_rows(150, 3, seed=3)
    exact, merged, whole = clustered_predictions(rows), merged_predictions(rows), decompose_predictions(rows)
    found = decompose_predictions(merged)
    assert exact.clusters == tuple(len(np.unique(each, axis=0)) for each in (merged.vision, merged.language))
    assert 1e-4 < exact.lost_bits <= 0.01
    for name in QUANTITIES:
        assert exact.bits[name] == pytest.approx(found.bits[name], abs=found.gap_bits + 1e-4)
        assert exact.bits[name] == pytest.approx(whole.bits[name], abs=0.02)


def test_sources_are_clustered_and_their_bias_is_taken_off():
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 4, (2, 600))
    joint = np.eye(2)[(one // 2) ^ (two // 2)] * 0.98 + 0.01
    sources = [np.eye(4)[each] + 0.02 * rng.standard_normal((600, 4)) for each in (one, two)]
    found = decompose_sources(source_table(*sources, joint, clusters=4), joint, np.arange(600))
    assert found.bits["synergy"] == pytest.approx(0.92, abs=0.03)
    assert abs(found.bits["mi_vision"]) < 0.01 < found.raw["mi_vision"] + 0.01


@pytest.mark.parametrize("atom", ATOMS)
def test_planted_predictions_have_the_atoms_they_are_planted_with(atom):
    bits = dict.fromkeys(ATOMS, 0.05) | {atom: 0.6}
    rows, truth = planted_rows(bits, 2, 2000, seed=0)
    assert max(ATOMS, key=truth.get) == atom
    found = decompose_predictions(rows)
    for name in QUANTITIES:
        assert found.bits[name] == pytest.approx(truth[name], abs=0.06)


def test_labels_are_words_or_places():
    options = [("red", "blue"), ("blue", "green", "red")]
    words, places = labels_of(options), labels_of(options, "place")
    assert (words.kind, words.names) == ("word", ("blue", "green", "red"))
    p = np.array([[0.7, 0.3, 0.0], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(words.spread(p), [[0.3, 0.0, 0.7], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(places.spread(p), p)
    many = [(f"a{i}", f"b{i}") for i in range(40)]
    assert labels_of(many).kind == "place"
    with pytest.raises(DataError, match=r"80 different options.*spectrum\.labels to place"):
        labels_of(many, "word")


def test_a_tuned_lens_reads_what_the_logit_lens_reads_wrongly():
    rng = np.random.default_rng(0)
    answer = rng.integers(0, 3, 400)
    final = np.eye(3)[answer] * 0.94 + 0.02
    turned = np.log(final[:, [1, 2, 0]]) + np.array([3.0, 0, 0])  # the layer writes another label, and prefers one
    lens = fit_lens(turned[:200], final[:200])
    found = through_lens(turned[200:], lens)
    assert (found.argmax(1) == answer[200:]).mean() > 0.99
    assert (turned[200:].argmax(1) == answer[200:]).mean() < 0.1


def test_layers_published_mode_and_what_cannot_be_done():
    predictions = synthetic_predictions(240, system="and", layers=3)
    how = How(modes=("repaired", "published"), lenses=("norm", "tuned"))
    found = estimate_spectrum(predictions, how, model="m", task="t")
    by_layer = {(s.lens, s.layer): s for s in found.spectra if s.lens}
    assert set(by_layer) == {(lens, layer) for lens in ("norm", "tuned") for layer in range(4)}
    assert by_layer["norm", 0].bits["mi_joint"] < 0.01 < 0.6 < by_layer["norm", 3].bits["mi_joint"]
    assert by_layer["tuned", 3].questions == (~predictions.training).sum()
    assert [each.what for each in found.skipped] == ["as published"]
    assert "256 questions or more" in found.skipped[0].why
    assert from_json(json.loads(json.dumps(to_json(found))), where="x.json") == found
    untrained = replace(predictions, training=np.zeros(len(predictions), dtype=bool))
    skipped = estimate_spectrum(untrained, replace(how, lenses=("tuned",)), model="m", task="t").skipped
    assert "training part" in skipped[1].why
    unread = estimate_spectrum(predictions, How(lenses=("no-norm",)), model="m", task="t")
    assert "not read through lens 'no-norm'" in unread.skipped[0].why


def test_an_open_answer_may_be_something_else():
    """Of six in ten answers both signs tell which; four in ten are something else, which nothing tells."""
    predictions = synthetic_predictions(240, mass=0.6, certainty=SURE)
    given = {"answers": "clusters", "truncation": {"first_token_rest": 0.4, "bound_bits": 0.7}}
    predictions = replace(predictions, about=predictions.about | given)
    found = estimate_spectrum(predictions, How(lenses=("norm", "tuned")), model="m", task="t")
    assert found.labels == ("no", "yes", "something else")
    assert (found.truncated, found.truncated_bits) == (0.4, 0.7)
    assert not any(each.fired for each in found.passes)
    said = found.spectra[0]
    assert said.entropy == pytest.approx(0.971 + 0.6, abs=1e-3)
    last = [each for each in found.spectra if each.layer == 4]
    assert [each.lens for each in last] == ["norm", "tuned"]
    for each in (said, *last):
        assert each.bits["synergy"] == pytest.approx(0.6, abs=0.02)
    # A picture that decides whether the model answers otherwise tells something, which a closed choice would not show.
    sign = predictions.vision[:, 0] > 0.5

    def quieter(each, rows):
        return replace(each, begins=each.begins - np.where(rows, 0.0, 3.0)[None, :, None])

    passes = {key: quieter(each, sign) for key, each in predictions.passes.items() if "language" not in key}
    passes |= {key: each for key, each in predictions.passes.items() if "language" in key}
    mixed = replace(predictions, passes=passes)
    assert estimate_spectrum(mixed, How(lenses=()), model="m", task="t").spectra[0].bits["unique_vision"] > 0.2
    closed = replace(mixed, about=synthetic_predictions(20).about)
    assert estimate_spectrum(closed, How(lenses=(), threshold=0), model="m", task="t").spectra[0].bits[
        "unique_vision"
    ] == pytest.approx(0, abs=0.01)


def test_imports_lack_passes_and_layers():
    full = synthetic_predictions(120, system="and")
    few = {key: replace(full[key], lens={}) for key in ("joint", "vision-only/noise", "language-only/noise")}
    found = estimate_spectrum(replace(full, passes=few), model="m", task="t")
    assert found.vision == "vision-only/noise"
    assert [each.what for each in found.skipped] == ["layers through lens norm"]
    plain = {key.partition("/")[0]: replace(each, replacement=None) for key, each in few.items()}
    how = How(modes=("repaired", "published"), lenses=())
    of_states = estimate_spectrum(replace(full, passes=plain), how, model="m", task="t")
    assert (of_states.vision, of_states.language) == ("vision-only", "language-only")
    assert "no pass 'vision-only/noise'" in of_states.skipped[0].why
    with pytest.raises(DataError, match="no pass 'question-masked/noise'"):
        estimate_spectrum(replace(full, passes={"joint": few["joint"]}), model="m", task="t")


def test_too_few_questions_or_images_are_refused():
    with pytest.raises(DataError, match="at least 20 questions about 5 images, found 16 about 8"):
        estimate_spectrum(synthetic_predictions(16), How(lenses=()), model="m", task="t")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("spectra", 0, "bits", "synergy"), 5.0, "spectra.0 has atoms that add up to"),
        (("spectra", 0, "entropy"), None, "spectra.0.entropy: Input should be a valid number"),
        (("spectra", 0, "task"), "other", "is about m/other"),
        (("passes", 0, "right"), [2.0, 0.1], "shares of right answers"),
        (("spectra", 0, "layer"), 3, "a layer without a lens"),
    ],
)
def test_records_that_contradict_themselves_are_refused(path, value, message):
    record = json.loads(
        json.dumps(to_json(estimate_spectrum(synthetic_predictions(40), How(lenses=()), model="m", task="t")))
    )
    place = record["found"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(DataError, match=message):
        from_json(record, where="x.json")
    with pytest.raises(DataError, match="schema version 2, found 7"):
        from_json(record | {"schema_version": 7}, where="x.json")


def test_a_confident_guess_tells_nothing_once_it_is_held_against_the_joint_prediction():
    rng = np.random.default_rng(0)
    answer, guess = rng.integers(0, 2, (2, 300))
    sure = np.eye(2) * 0.96 + 0.02
    rows = PredictedRows(sure[guess], sure[answer], sure[answer], np.arange(300))
    assert decompose_predictions(rows).bits["mi_vision"] > 0.8
    found = decompose_predictions(calibrated(rows))
    assert abs(found.bits["mi_vision"]) < 0.03
    assert found.bits["unique_language"] == pytest.approx(found.bits["mi_joint"], abs=0.05)
    turned = PredictedRows(sure[1 - answer], sure[guess], sure[answer], np.arange(300))
    assert decompose_predictions(calibrated(turned)).bits["unique_vision"] == pytest.approx(0.86, abs=0.06)


def test_a_model_that_guesses_without_the_question_is_held_against_its_answers():
    predictions, key = synthetic_predictions(240, system="synergy"), "question-masked/noise"
    guess = np.eye(2)[np.random.default_rng(0).integers(0, 2, 240)] * 0.97 + 0.015
    masked = replace(predictions[key], begins=np.tile(np.log(0.9 * guess), (3, 1, 1)))
    guessing = replace(predictions, passes=dict(predictions.passes) | {key: masked})
    held, given = (
        estimate_spectrum(guessing, How(lenses=(), calibrate=c), model="m", task="t").spectra[0] for c in (True, False)
    )
    assert held.bits["synergy"] > 0.85 > 0.4 > given.bits["synergy"]
    assert held.raw["mi_vision"] == pytest.approx(given.raw["mi_vision"])
    assert held.raw["mi_vision"] > 0.8
    assert held.moved["vision"] > 0.4  # what was done to the predictions is told
    assert not held.warnings


def test_parts_of_next_to_nothing_have_no_shares():
    even = np.full((40, 2), 0.5)
    found = rows_of("synergy", n=40)
    assert found.shares["synergy"] == pytest.approx(found.bits["synergy"] / found.bits["mi_joint"])
    nothing = replace(found, bits=decompose_predictions(PredictedRows(even, even, even, np.arange(40))).bits)
    assert np.isnan(list(nothing.shares.values())).all()
