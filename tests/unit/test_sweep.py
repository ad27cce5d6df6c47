"""Sweeps: the numbers are those of full passes, read out independently; summaries are cluster means per subset."""

import numpy as np
import pytest
import torch

from pidflow.errors import ConfigError, NumericsError
from pidflow.interventions.edges import DEFAULT_EDGES, Edge
from pidflow.interventions.intervention import entered
from pidflow.interventions.prefix import _with_spoken, read_prefix
from pidflow.interventions.probes import Probe, probes
from pidflow.interventions.recompute import full_pass
from pidflow.interventions.sweep import SUBSETS, Outcome, measure, summarise
from pidflow.interventions.windows import Window
from pidflow.models.answers import Expected
from pidflow.models.inputs import encode
from pidflow.models.speech import end_tokens

EDGES = (*DEFAULT_EDGES, Edge("image", "options"), Edge("options", "last"))


def test_probes_put_controls_beside_the_main_window_only():
    found = probes(EDGES[:2], depth=8, window=3, controls=["random", "keep"], other_windows=[1, "all"])
    kinds = {(probe.kind, probe.window.size) for probe in found}
    assert kinds == {("cut", 3), ("random", 3), ("keep", 3), ("cut", 1), ("cut", 8)}
    assert len(found) == 2 * (3 * 8 + 8 + 1)
    assert len(probes([EDGES[0], EDGES[0]], depth=8, window=3, other_windows=[3])) == 8  # nothing is measured twice


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"edges": []}, "a sweep needs at least one edge"),
        ({"controls": ["shuffle"]}, "unknown control 'shuffle', expected keep, random"),
        ({"window": 9}, "a window of 9 blocks reaches beyond"),
    ],
)
def test_impossible_sweeps_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        probes(**{"edges": EDGES, "depth": 3, "window": 1} | settings)


@pytest.fixture(params=["tiny_llava", "tiny_llava_next"])
def loaded(request):
    return request.getfixturevalue(request.param)


def spoken_to_the_end(loaded, batch, interventions, answer_tokens, names=("",) * 6):
    """Greedy answers from one whole pass a token, no cache and no short cut."""
    ends, ids = end_tokens(loaded), [[] for _ in range(len(batch))]
    fed, ended = batch, [False] * len(batch)
    for _ in range(answer_tokens):
        with torch.inference_mode(), entered(loaded, interventions, fed.spans, names):
            best = loaded.model(**fed.inputs, use_cache=False, logits_to_keep=1).logits[:, -1].argmax(-1)
        for row, index in enumerate(best.tolist()):
            ended[row] = ended[row] or index in ends
            ids[row] += [] if ended[row] else [index]
        fed = _with_spoken(fed, best, torch.ones(len(batch), dtype=torch.bool))
    return [loaded.tokenizer.decode(row).strip() for row in ids]


@pytest.mark.parametrize("answer_tokens", [1, 3])
def test_numbers_are_those_of_full_passes(loaded, asked, answer_tokens):
    examples, pictures, _ = asked(6)
    batch = encode(loaded, examples, pictures)
    wanted = probes(EDGES, depth=loaded.depth, window=2, controls=["random"])
    prefix = read_prefix(loaded, batch, [], answer_tokens=answer_tokens)
    intact_texts = spoken_to_the_end(loaded, batch, (), answer_tokens)
    # Right without a cut, or only under one, or never; some begin as the intact answer does.
    expected = [Expected(text if row % 2 else text.split()[0]) for row, text in enumerate(intact_texts)]
    names = [f"q{row}" for row in range(6)]
    found = measure(loaded, batch, wanted, expected=expected, names=names, seed=4, answer_tokens=answer_tokens)
    intact = prefix.logits.double().softmax(-1).numpy()
    assert found.intact_spoken.tolist() == intact_texts
    assert found.intact_right.tolist() == [one.right(text) for one, text in zip(expected, intact_texts, strict=True)]
    np.testing.assert_allclose(found.intact_first, intact[:, 0].max(-1), rtol=1e-5)
    for place, probe in enumerate(wanted[::7]):
        place = wanted.index(probe)
        texts = spoken_to_the_end(loaded, batch, [probe.intervention(seed=4)], answer_tokens, names)
        cut = full_pass(loaded, prefix, [probe.intervention(seed=4)], names=names).double().softmax(-1).numpy()
        for row in range(6):
            real = int(prefix.answer_mask[row].sum())
            ratio = [
                cut[row, t, said_at] / intact[row, t, said_at]
                for t, said_at in enumerate(prefix.answer_ids[row, :real])
            ]
            assert found.change_first[place, row] == pytest.approx(ratio[0] - 1, abs=1e-5)
            assert found.change_answer[place, row] == pytest.approx(np.prod(ratio) - 1, abs=1e-5)
            assert found.right[place, row] == expected[row].right(texts[row])
            assert texts[row].startswith(found.spoken[place, row])
            kl = (intact[row, 0] * np.log2(intact[row, 0] / cut[row, 0])).sum()
            assert found.kl_bits[place, row] == pytest.approx(kl, abs=1e-5)
    options = wanted.index(next(probe for probe in wanted if probe.edge == Edge("image", "options")))
    assert found.present[options].tolist() == batch.spans["options"].any(1).tolist()
    assert found.present[wanted.index(next(p for p in wanted if p.edge == EDGES[0]))].all()


def test_an_answer_that_only_the_cut_makes_right_is_heard_to_its_end(tiny_llava, asked):
    """It leaves the intact answer before its end, so what follows was never scored: it has to be spoken."""
    examples, pictures, _ = asked(6)
    batch, names = encode(tiny_llava, examples, pictures), [f"q{row}" for row in range(6)]
    wanted = probes([Edge("image", "last"), Edge("question", "last")], depth=3, window="all", controls=["random"])
    intact, turned = spoken_to_the_end(tiny_llava, batch, (), 4), 0
    for place, probe in enumerate(wanted):
        texts = spoken_to_the_end(tiny_llava, batch, [probe.intervention(seed=4)], 4, names)
        expected = [Expected(text) for text in texts]
        found = measure(tiny_llava, batch, wanted, expected=expected, names=names, seed=4, answer_tokens=4)
        assert found.spoken[place].tolist() == texts
        assert found.right[place].all()
        assert found.intact_right.tolist() == [text == own for text, own in zip(texts, intact, strict=True)]
        turned += sum(not right for right in found.intact_right)
    assert turned


def test_where_nothing_is_there_to_cut_nothing_changes(tiny_llava, asked):
    examples, pictures, _ = asked(12)
    batch = encode(tiny_llava, examples, pictures)
    wanted = probes([Edge("object", "question")], depth=3, window="all", controls=["random", "keep"])
    found = measure(tiny_llava, batch, wanted, expected=[Expected("red")] * 12, names=[""] * 12)
    assert 0 < found.present[0].sum() < 12
    assert np.abs(found.change_first[~found.present]).max() < 1e-6
    assert (np.abs(found.change_first[found.present]) > 1e-6).all()


def test_infinite_logits_are_refused(tiny_llava, asked, monkeypatch):
    examples, pictures, _ = asked(1)
    batch = encode(tiny_llava, examples, pictures)
    batch.inputs["pixel_values"][:] = torch.nan
    with pytest.raises(NumericsError, match="the sweep's logits hold NaN or infinity"):
        measure(tiny_llava, batch, probes(EDGES[:1], depth=3, window=1), expected=[Expected("red")], names=[""])


def planted(n=400, seed=0):
    """Two probes on n questions about n / 4 pictures; changes share a picture's effect."""
    random = np.random.default_rng(seed)
    images = np.repeat(np.arange(n // 4), 4)
    effect = random.normal(size=n // 4)[images] + 0.1 * random.normal(size=n)
    change = np.stack([effect - 0.5, np.zeros(n)])
    right = random.random(n) < 0.7
    outcome = Outcome(
        present=np.stack([np.ones(n, bool), np.arange(n) % 2 == 0]),
        control=np.array([[None] * n, ["other-sources"] * (n - 1) + ["half"]], dtype=object),
        pairs=np.full((2, n), '{"image->last": 3}', dtype=object),
        change_first=change,
        change_answer=2 * change,
        spoken=np.full((2, n), "red", dtype=object),
        right=np.stack([right & (np.arange(n) % 10 > 0), right]),
        right_published=np.stack([right, right]),
        kl_bits=np.abs(change),
        intact_first=np.full(n, 0.5),
        intact_answer=np.full(n, 0.4),
        intact_spoken=np.full(n, "red", dtype=object),
        intact_right=right,
        intact_right_published=right,
    )
    wanted = [Probe(Edge("image", "last"), kind, Window(3, 1, 0, 2)) for kind in ("cut", "random")]
    return wanted, outcome, [f"im{index}" for index in images]


def test_summaries_are_cluster_means_of_each_subset():
    wanted, outcome, images = planted()
    rows = {(row["kind"], row["subset"]): row for row in summarise(wanted, outcome, images=images)}
    assert set(rows) == {(kind, subset) for kind in ("cut", "random") for subset in SUBSETS}
    right = outcome.intact_right
    row = rows["cut", "right"]
    assert (row["edge"], row["window"], row["centre"], row["first"], row["last"]) == ("image->last", 3, 1, 0, 2)
    assert row["n"] == right.sum()
    assert row["change_first"] == pytest.approx(outcome.change_first[0, right].mean())
    assert row["accuracy"] == pytest.approx(outcome.right[0, right].mean())
    assert row["accuracy_change"] == pytest.approx(outcome.right[0, right].mean() - 1)
    assert rows["cut", "wrong"]["accuracy"] == 0
    assert rows["random", "all"]["n"] == 200
    assert rows["random", "all"]["images"] == 100
    assert rows["random", "all"]["change_first_se"] == 0
    # All variance is between pictures, so the error is that of 100 pictures, twice that of 400 loose questions.
    loose = outcome.change_first[0].std() / 20
    assert rows["cut", "all"]["change_first_se"] == pytest.approx(2 * loose, rel=0.02)


def test_errors_hold_the_truth_as_often_as_they_say():
    found = []
    for seed in range(200):
        wanted, outcome, images = planted(80, seed)
        row = summarise(wanted, outcome, images=images)[2]
        found.append(abs(row["change_first"] + 0.5) < 2.09 * row["change_first_se"])
    assert 0.9 < np.mean(found) < 0.99


def test_subsets_can_come_from_elsewhere_and_be_empty():
    wanted, outcome, images = planted(8)
    rows = summarise(wanted, outcome, images=images, right=np.ones(8))
    wrong = [row for row in rows if row["subset"] == "wrong"]
    assert [row["n"] for row in wrong] == [0, 0]
    assert np.isnan(wrong[0]["change_first"])
    assert np.isnan(wrong[0]["kl_bits_se"])


def test_outcomes_join_and_reorder():
    _, outcome, _ = planted(40)
    halves = [outcome.take(np.arange(20, 40)), outcome.take(np.arange(20))]
    again = Outcome.joined(halves).take(np.argsort([*range(20, 40), *range(20)]))
    for name in Outcome.__annotations__:
        assert np.array_equal(getattr(again, name), getattr(outcome, name)), name


def test_an_answer_without_room_for_another_word_takes_no_pass(tiny_llava, asked, monkeypatch):
    examples, pictures, _ = asked(3)
    batch = encode(tiny_llava, examples, pictures)
    wanted = probes([Edge("image", "last")], depth=tiny_llava.depth, window=1)
    monkeypatch.setattr(Expected, "still_open", lambda *_: True)
    monkeypatch.setattr("pidflow.interventions.heard.run", None)
    found = measure(tiny_llava, batch, wanted, expected=[Expected("red")] * 3, names=list("abc"), answer_tokens=1)
    assert found.spoken.shape == (3, 3)
