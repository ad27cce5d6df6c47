"""The record of predictions: what contradicts itself is refused, and a file gives back what was written."""

from dataclasses import replace

import numpy as np
import pytest
from tests.synthetic_predictions import synthetic_predictions

from pidflow.errors import DataError
from pidflow.files import store
from pidflow.spectrum.predictions import checked
from pidflow.spectrum.predictions_file import read_predictions, write_predictions
from pidflow.spectrum.words import JOINT


def fewer_options(predictions, row):
    """The same predictions, the question of a row without its last option."""
    options = list(predictions.options)
    options[row] = options[row][:-1]
    passes = {}
    for key, each in predictions.passes.items():
        arrays = {name: values.copy() for name, values in each.arrays().items()}
        for values in arrays.values():
            values[..., row, -1] = np.nan
        scores = {name: arrays[name] for name in ("begins", "sequence", "bare")}
        lens = {name.removeprefix("lens/"): values for name, values in arrays.items() if name.startswith("lens/")}
        passes[key] = replace(each, **scores, lens=lens)
    ids, bare = predictions.token_ids.copy(), predictions.bare_ids.copy()
    ids[row, -1], bare[row, -1] = -1, -1
    return replace(predictions, options=tuple(options), passes=passes, token_ids=ids, bare_ids=bare)


def test_a_file_gives_back_what_was_written(tmp_path):
    predictions = fewer_options(synthetic_predictions(60, options=3), row=5)
    identity = store.Identity(model="synthetic", task="synergy")
    write_predictions(tmp_path / "p.h5", predictions, identity=identity)
    found = read_predictions(tmp_path / "p.h5", expected=identity)
    for name in ("item_id", "image_id", "fold", "training", "answer", "token_ids", "bare_ids", "counts", "offered"):
        np.testing.assert_array_equal(getattr(found, name), getattr(predictions, name))
    assert (found.options, found.about, found.vocabulary) == (predictions.options, predictions.about, 1000)
    assert found.counts[5] == 2
    np.testing.assert_allclose(found.vision, predictions.vision, rtol=1e-6)
    assert set(found.passes) == set(predictions.passes)
    for key, each in predictions.passes.items():
        assert (found[key].name, found[key].replacement, found[key].draws) == (each.name, each.replacement, each.draws)
        np.testing.assert_array_equal(found[key].greedy, each.greedy)
        for name, values in each.arrays().items():
            np.testing.assert_allclose(found[key].arrays()[name], values, rtol=1e-6)
    with pytest.raises(DataError, match="other"):
        read_predictions(tmp_path / "p.h5", expected=replace(identity, model="other"))


def test_rows_can_be_taken():
    predictions = synthetic_predictions(60, options=3)
    part = checked(predictions.take(predictions.training), where="part")
    assert part.training.all()
    assert len(part) == predictions.training.sum() == 40
    key = "vision-only/noise"
    np.testing.assert_array_equal(part[key].begins, predictions[key].begins[:, predictions.training])
    narrow = fewer_options(predictions, row=7).take(np.array([7]))
    assert checked(narrow, where="narrow")[JOINT].begins.shape == (1, 1, 2)


def joint(predictions, **arrays):
    return replace(predictions, passes=dict(predictions.passes) | {JOINT: replace(predictions[JOINT], **arrays)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: replace(p, options=(("yes",), *p.options[1:])), r"item q0 has 1 option\(s\), expected at least 2"),
        (lambda p: replace(p, options=(("yes", "yes"), *p.options[1:])), "item q0 offers an option twice"),
        (lambda p: replace(p, options=(("yes", " "), *p.options[1:])), "or an empty one"),
        (lambda p: replace(p, answer=p.answer + 2), "says that option 2 is right, of 2"),
        (lambda p: replace(p, vision=p.vision[1:]), "vision has 19 rows, item_id has 20"),
        (lambda p: replace(p, language=p.language * np.nan), "finite numbers"),
        (lambda p: replace(p, passes={"no-image": p["no-image"]}), "has no pass 'joint'"),
        (lambda p: replace(p, passes=dict(p.passes) | {"sound": p[JOINT]}), "unknown pass 'sound'"),
        (lambda p: joint(p, greedy=p[JOINT].greedy[:, 1:]), "greedy has shape"),
        (lambda p: joint(p, begins=p[JOINT].begins[:, :, :1]), r"shape \(1, 20, 1\), expected \(1, 20, 2\)"),
        (lambda p: joint(p, begins=-p[JOINT].begins), "which is no log-probability"),
        (lambda p: joint(p, lens={"norm": p[JOINT].lens["norm"][:, :, 1:]}), "lens/norm has shape"),
    ],
)
def test_contradictions_are_refused_before_they_are_written(tmp_path, change, message):
    predictions = change(synthetic_predictions(20))
    with pytest.raises(DataError, match=message):
        write_predictions(tmp_path / "p.h5", predictions)
    assert not (tmp_path / "p.h5").exists()


def test_an_unknown_pass_is_answered_with_those_there_are():
    with pytest.raises(DataError, match=r"no pass 'vision-only/mean'.*vision-only/noise"):
        synthetic_predictions(20)["vision-only/mean"]
