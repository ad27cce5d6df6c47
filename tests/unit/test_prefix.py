"""The prefix cache gives what full passes give: families, padding, tiles, long answers, every edge, kind and window."""

import copy
from dataclasses import replace

import pytest
import torch
from tests.captured import on_edge

from pidflow.errors import ConfigError
from pidflow.interventions.edges import DEFAULT_EDGES, Edge
from pidflow.interventions.prefix import read_prefix
from pidflow.interventions.recompute import full_pass, recompute
from pidflow.models.inputs import encode

EDGES = (*DEFAULT_EDGES, Edge("image", "options"), Edge("options", "last"), Edge("image+options", "text"))
LAYERS = (None, (1,), (1, 2))


@pytest.fixture(params=["tiny_llava", "tiny_llava_next"])
def loaded(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def batch(loaded, asked):
    examples, pictures, _ = asked(7)
    if loaded.family.name == "llava-next":  # pictures of other shapes are tiled otherwise
        sizes = [(48, 48), (48, 24), (24, 48), (70, 40), (48, 48), (100, 30), (60, 60)]
        pictures = [picture.resize(size) for picture, size in zip(pictures, sizes, strict=True)]
    found = encode(loaded, examples, pictures)
    assert len(set(found.spans.valid.sum(1).tolist())) > 2  # so rows are padded
    assert len(set(found.spans["question"].sum(1).tolist())) > 1
    return found


def recomputed(loaded, prefix, plans, **settings):
    logits = torch.full((len(plans), *prefix.logits.shape), torch.nan)
    for found in recompute(loaded, prefix, plans, **settings):
        assert logits[found.which].isnan().all()  # every plan once
        logits[found.which] = found.logits
    return logits


def assert_equal(found, expected, mask):
    scale = expected[mask].abs().max()
    torch.testing.assert_close(found[mask] / scale, expected[mask] / scale, rtol=0, atol=2e-6)


@pytest.mark.parametrize("answer_tokens", [1, 3])
def test_equals_full_passes(loaded, batch, answer_tokens):
    plans = [(on_edge(edge.source, edge.target, layers),) for edge in EDGES for layers in LAYERS]
    prefix = read_prefix(loaded, batch, plans, answer_tokens=answer_tokens)
    found = recomputed(loaded, prefix, plans)
    for plan, logits in zip(plans, found, strict=True):
        assert_equal(logits, full_pass(loaded, prefix, plan), prefix.answer_mask)


@pytest.mark.parametrize("kind", ["keep", "random"])
def test_controls_equal_full_passes(loaded, batch, kind):
    edges = [("image", "question"), ("question", "last"), ("object", "question"), ("image+question", "last")]
    plans = [(on_edge(*edge, layers, kind, seed=5),) for edge in edges for layers in (None, (1,))]
    names = [f"q{row}" for row in range(len(batch))]
    prefix = read_prefix(loaded, batch, plans, names=names, answer_tokens=3)
    found = recomputed(loaded, prefix, plans, names=names)
    for plan, logits in zip(plans, found, strict=True):
        assert_equal(logits, full_pass(loaded, prefix, plan, names=names), prefix.answer_mask)
        assert not torch.allclose(logits, prefix.logits, atol=1e-5)


def test_plans_of_several_cuts_equal_full_passes(loaded, batch):
    plans = [
        (on_edge("image", "question", (0,)), on_edge("image", "last", (2,))),
        (
            on_edge("image", "last", (1, 2)),
            on_edge("question", "last", (2,)),
            on_edge("image+question", "text", (0,), "keep"),
        ),
    ]
    prefix = read_prefix(loaded, batch, plans)
    for plan, logits in zip(plans, recomputed(loaded, prefix, plans), strict=True):
        assert_equal(logits, full_pass(loaded, prefix, plan), prefix.answer_mask)


def test_answers_that_end_at_different_lengths(loaded, batch):
    plans = [(on_edge(*edge),) for edge in (("image", "question"), ("question", "last"), ("last", "last"))]
    loaded = replace(loaded, model=copy.deepcopy(loaded.model))
    for weight in loaded.layers.parameters():  # small random weights say one word to everything
        weight.mul_(10 if weight.ndim == 2 else 1)
    said = read_prefix(loaded, batch, plans, answer_tokens=4).answer_ids
    ends = [int(said[0, 1]), next(int(token) for token in said[:, 0] if token not in said[0])]
    loaded.model.generation_config.eos_token_id = ends
    prefix = read_prefix(loaded, batch, plans, answer_tokens=4)
    lengths = prefix.answer_mask.sum(1)
    assert len(set(lengths.tolist())) > 1
    kept = said[:, : prefix.answer_ids.shape[1]]
    assert torch.equal(prefix.answer_ids[prefix.answer_mask], kept[prefix.answer_mask])
    for row, length in enumerate(lengths.tolist()):
        assert length == 4 or int(kept[row, length - 1]) in ends
        assert not set(kept[row, : length - 1].tolist()) & set(ends)
    for plan, logits in zip(plans, recomputed(loaded, prefix, plans), strict=True):
        assert_equal(logits, full_pass(loaded, prefix, plan), prefix.answer_mask)
    shortest = int(lengths.argmin())
    alone = read_prefix(loaded, batch.take(slice(shortest, shortest + 1)), plans, answer_tokens=4)
    assert_equal(alone.logits[0], prefix.logits[shortest, : lengths[shortest]], alone.answer_mask[0])


def test_the_answer_is_what_the_model_generates(loaded, batch):
    prefix = read_prefix(loaded, batch, [], answer_tokens=3)
    inputs = {name: values for name, values in batch.inputs.items() if name != "position_ids"}
    said = loaded.model.generate(**inputs, max_new_tokens=3, do_sample=False, pad_token_id=0)
    assert torch.equal(said[:, -3:], prefix.answer_ids)


@pytest.mark.parametrize("tokens_at_once", [1, 60, 10**6])
def test_chunks_do_not_matter(tiny_llava, asked, tokens_at_once):
    examples, pictures, _ = asked(4)
    batch = encode(tiny_llava, examples, pictures)
    plans = [(on_edge("image", "question", layers),) for layers in LAYERS]
    prefix = read_prefix(tiny_llava, batch, plans)
    found = recomputed(tiny_llava, prefix, plans, tokens_at_once=tokens_at_once)
    assert_equal(found, recomputed(tiny_llava, prefix, plans), torch.ones(found.shape[:3], dtype=torch.bool))


def test_only_what_can_change_is_computed(tiny_llava, asked):
    """Into the last position one token a block, from the first cut block on; the image never again."""
    examples, pictures, _ = asked(4)
    batch = encode(tiny_llava, examples, pictures)
    work = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: work.append(args[0].shape[:2].numel()))
        for layer in tiny_llava.layers
    ]
    try:
        for edge, longest in ((("image", "last"), 1), (("image", "question"), int(batch.spans["text"].sum(1).max()))):
            plans = [(on_edge(*edge, layers),) for layers in ((0,), (1, 2), (2,))]
            prefix = read_prefix(tiny_llava, batch, plans)
            work.clear()
            recomputed(tiny_llava, prefix, plans)
            assert sum(work) == (3 + 2 + 1) * 4 * longest
    finally:
        for hook in hooks:
            hook.remove()


def asked_for(loaded, batch, plans):
    return recomputed(loaded, read_prefix(loaded, batch, plans), plans)


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        ([], "a plan without cuts has nothing to recompute"),
        ([on_edge("image", "question", (3,))], "the model has the blocks 0 to 2"),
        ([on_edge("question", "image")], "cannot cut question -> image: 'image' ends before 'question' begins"),
        ([on_edge("picture", "last")], "unknown span 'picture', expected one of"),
        ([on_edge("image", "picture")], "unknown span 'picture', expected one of"),
        (
            [on_edge("image", "last", None, "keep"), on_edge("image+last", "last")],
            "nothing to attend to, not even itself",
        ),
    ],
)
def test_impossible_plans_are_refused(tiny_llava, asked, cuts, message):
    examples, pictures, _ = asked(2)
    batch = encode(tiny_llava, examples, pictures)
    with pytest.raises(ConfigError, match=message):
        asked_for(tiny_llava, batch, [tuple(cuts)])


def test_a_sliding_window_is_followed(tiny_llava_next, asked, monkeypatch):
    examples, pictures, _ = asked(3)
    batch = encode(tiny_llava_next, examples, pictures)
    plans = [(on_edge("image", "question"),), (on_edge("question", "last", (1,)),)]
    full = read_prefix(tiny_llava_next, batch, plans, answer_tokens=3)
    monkeypatch.setattr(tiny_llava_next.text_model.config, "sliding_window", 16)
    prefix = read_prefix(tiny_llava_next, batch, plans, answer_tokens=3)
    assert not torch.allclose(prefix.logits[:, 0], full.logits[:, 0], atol=1e-4)
    for plan, logits in zip(plans, recomputed(tiny_llava_next, prefix, plans), strict=True):
        assert_equal(logits, full_pass(tiny_llava_next, prefix, plan), prefix.answer_mask)
