"""Many conditions of a batch: each equals a full pass under it, and costs no more than it must."""

import pytest
import torch
from tests.captured import captured_under, on_edge
from transformers import DynamicCache

from pidflow.interventions.conditions import earlier_states_stand, language_inputs, passes
from pidflow.interventions.intervention import entered, intervention_of
from pidflow.models.continuous_time import continuous_attention
from pidflow.models.dynamics import Dynamics
from pidflow.models.inputs import encode

WAVE = intervention_of({"kind": "pde", "equation": "wave", "steps": 3, "size": 0.5, "blocks": [1, 2]}, depth=3)
CONDITIONS = {
    "intact": [],
    "cut": [on_edge("image", "question")],
    "late": [on_edge("image", "question", (1, 2))],
    "into-last": [on_edge("question", "last", (2,))],
    "blind": [on_edge("image", "text")],
    "keep": [on_edge("image", "question", None, "keep")],
    "keep-image": [on_edge("object", "image", None, "keep")],  # changes the picture's own states
    "random": [on_edge("image", "question", None, "random", seed=3)],
    "within-image": [on_edge("object", "other")],
    "wave": [WAVE],
    "two": [on_edge("image", "question", (0,)), on_edge("image", "last", (1, 2))],
    "wave-and-cut": [WAVE, on_edge("image", "last")],
    "nothing-there": [on_edge("options", "last", (0,))],
}


@pytest.fixture(params=["tiny_llava", "tiny_llava_next"])
def loaded(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def batch(loaded, asked):
    examples, pictures, _ = asked(6)
    found = encode(loaded, examples, pictures)
    assert len(set(found.spans.valid.sum(1).tolist())) > 1  # so rows are padded
    return found


NAMES = list("abcdef")


def near(found, expected):
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-6)


def all_passes(loaded, batch, conditions=CONDITIONS, **settings):
    found = list(passes(loaded, batch, list(conditions.values()), names=NAMES, **settings))
    assert sorted(each.condition for each in found) == list(range(len(conditions)))
    return {list(conditions)[each.condition]: each for each in found}


@pytest.mark.parametrize("stands", [True, False])
def test_every_condition_equals_a_full_pass(loaded, batch, stands):
    found = all_passes(loaded, batch, prefix_stands=stands)
    for name, interventions in CONDITIONS.items():
        expected = captured_under(interventions, loaded, batch, NAMES)
        for layer in range(loaded.depth + 1):
            for block in range(4):
                near(found[name].captured.states[layer, block], expected.states[layer, block])
        near(found[name].captured.final, expected.final)
        near(found[name].captured.logits, expected.logits)
    intact = found["intact"].captured
    assert all(
        (found[name].captured.states[-1] - intact.states[-1]).abs().max() > 1e-5
        for name in CONDITIONS
        if name != "intact"
    )


def test_earlier_states_are_the_intact_ones_to_the_bit(loaded, batch):
    found = all_passes(loaded, batch, {name: CONDITIONS[name] for name in ("intact", "cut", "into-last", "random")})
    for name in ("cut", "into-last", "random"):
        assert torch.equal(found[name].captured.states[:, 0], found["intact"].captured.states[:, 0])
    assert torch.equal(found["into-last"].captured.states[:, 1], found["intact"].captured.states[:, 1])


def test_rows_that_a_condition_does_not_reach_are_intact_to_the_bit(loaded, batch):
    found = all_passes(loaded, batch, {name: CONDITIONS[name] for name in ("intact", "nothing-there")})
    intact, cut = found["intact"].captured, found["nothing-there"].captured
    reached = batch.spans["options"].any(1)
    assert 0 < int(reached.sum()) < 6
    for one, other in ((intact.logits, cut.logits), (intact.final, cut.final), (intact.last[-1], cut.last[-1])):
        assert [torch.equal(*pair) for pair in zip(one, other, strict=True)] == (~reached).tolist()


def test_the_cache_of_a_condition_goes_on_as_its_full_pass_would(loaded, batch):
    for name, found in all_passes(loaded, batch).items():
        cache = DynamicCache()
        with torch.inference_mode(), entered(loaded, CONDITIONS[name], batch.spans, NAMES):
            loaded.model(**batch.inputs, past_key_values=cache, use_cache=True)
        for mine, other in zip(found.cache.layers, cache.layers, strict=True):
            real = batch.spans.valid[:, None, :, None].expand_as(other.keys)
            near(mine.keys[real], other.keys[real])
            near(mine.values[real], other.values[real])


def test_a_cache_that_grows_leaves_the_others_as_they_are(tiny_llava, asked):
    examples, pictures, _ = asked(6)
    batch = encode(tiny_llava, examples, pictures)
    conditions = {name: CONDITIONS[name] for name in ("intact", "cut", "late")}
    expected = all_passes(tiny_llava, batch, conditions)
    for each in passes(tiny_llava, batch, list(conditions.values()), names=NAMES):
        other = expected[list(conditions)[each.condition]]
        assert torch.equal(each.captured.states, other.captured.states)
        for block, layer in enumerate(each.cache.layers):
            each.cache.update(layer.keys[:, :, -1:] * 9, layer.values[:, :, -1:] * 9, block)
        each.cache.crop(-9)


def test_a_model_with_attention_of_its_own_keeps_it(loaded, batch):
    conditions = {name: CONDITIONS[name] for name in ("intact", "cut", "wave", "two")}
    with continuous_attention(loaded.text_model, Dynamics("diffusion", 2, 0.25)):
        found = all_passes(loaded, batch, conditions)
        for name, interventions in conditions.items():
            near(found[name].captured.states, captured_under(interventions, loaded, batch, NAMES).states)


def test_pictures_are_seen_once_and_only_what_can_change_is_computed(loaded, batch):
    towers, work = [], []
    hooks = [loaded.model.model.vision_tower.register_forward_hook(lambda *_: towers.append(1))]
    hooks += [
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: work.append((args[0] if args else kwargs["hidden_states"]).shape[:2].numel()),
            with_kwargs=True,
        )
        for layer in loaded.layers
    ]
    try:
        all_passes(loaded, batch, {name: CONDITIONS[name] for name in ("cut", "late", "into-last", "wave")})
    finally:
        for hook in hooks:
            hook.remove()
    length = batch.spans.valid.shape[1]
    asks = length - int(torch.nonzero(batch.spans["question"].any(0))[0])
    assert len(towers) == 1
    assert sum(work) == 6 * (3 * length + 3 * asks + 2 * asks + 1 + 3 * length)


def test_causal_models_keep_earlier_states(loaded, batch):
    assert earlier_states_stand(loaded, batch)


@pytest.mark.parametrize("where", ["image", "everywhere"])
def test_models_that_look_ahead_are_found_out(tiny_llava, asked, where, monkeypatch):
    """Image tokens that see each other both ways, as in Gemma 3; a whole prompt that does, as in PaliGemma."""
    examples, pictures, _ = asked(6)
    batch = encode(tiny_llava, examples, pictures)
    image, valid = batch.spans["image"], batch.spans.valid
    ahead = image[:, :, None] & image[:, None, :] if where == "image" else valid[:, :, None] & valid[:, None, :]
    real = torch.nn.functional.scaled_dot_product_attention

    def looking_ahead(query, key, value, attn_mask=None, is_causal=False, **settings):
        if query.shape[2] == ahead.shape[1]:
            causal = torch.ones(ahead.shape[1:], dtype=torch.bool).tril() & valid[:, None, :]
            attn_mask, is_causal = (causal | ahead | torch.eye(ahead.shape[1], dtype=torch.bool))[:, None], False
        return real(query, key, value, attn_mask=attn_mask, is_causal=is_causal, **settings)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", looking_ahead)
    assert not earlier_states_stand(tiny_llava, batch)


def test_a_sliding_window_keeps_the_prefix(tiny_llava_next, asked, monkeypatch):
    examples, pictures, _ = asked(6)
    batch = encode(tiny_llava_next, examples, pictures)
    monkeypatch.setattr(tiny_llava_next.text_model.config, "sliding_window", 16)
    assert earlier_states_stand(tiny_llava_next, batch)
    found = all_passes(tiny_llava_next, batch, {"intact": [], "cut": CONDITIONS["cut"]})
    near(found["cut"].captured.states, captured_under(CONDITIONS["cut"], tiny_llava_next, batch).states)


def test_what_the_language_model_is_fed_gives_its_logits_again(loaded, batch):
    with torch.inference_mode(), language_inputs(loaded) as fed:
        expected = loaded.model(**batch.inputs, use_cache=False).logits
        again = loaded.logits_of(loaded.text_model(**fed.arguments).last_hidden_state)
    assert torch.equal(again, expected)
