"""Knockout against the decoder written out with an explicit mask, and what it must refuse or leave alone."""

import threading

import pytest
import torch
from tests.captured import captured_under, on_edge
from torch import nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, repeat_kv

from pidflow.errors import ConfigError, NumericsError
from pidflow.interventions import knockout as module
from pidflow.interventions.intervention import entered, reach_of
from pidflow.interventions.knockout import CutPairs, pairs_cut
from pidflow.interventions.self_check import self_check
from pidflow.models import attention
from pidflow.models.capture import capture
from pidflow.models.inputs import encode
from pidflow.models.spans import Spans

PAIRS = [
    ("image", "question"),
    ("image", "last"),
    ("question", "last"),
    ("last", "last"),
    ("object", "question"),
    ("other", "question"),
    ("image", "options"),
    ("options", "last"),
    ("image", "text"),
    ("object", "object"),
]


@pytest.fixture(params=["tiny_llava", "tiny_llava_next"])
def loaded(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def batch(loaded, asked):
    examples, pictures, _ = asked(6)
    return encode(loaded, examples, pictures)


def logits(loaded, batch):
    with torch.inference_mode():
        return loaded.model(**batch.inputs, use_cache=False).logits


def last(loaded, batch, *interventions):
    return captured_under(interventions, loaded, batch).logits


def recomputed_states(loaded, batch, cuts):
    """The decoder written out: eager attention in float32 with a 4-D mask, one edge after the other set to -inf."""
    decoder = loaded.text_model
    captured = []
    handle = loaded.layers[0].register_forward_pre_hook(lambda _, args: captured.append(args[0]))
    logits(loaded, batch)
    handle.remove()
    hidden = captured[0]
    rows, length = batch.inputs["input_ids"].shape
    rotary = decoder.rotary_emb(hidden, batch.inputs["position_ids"])
    states = [hidden]
    real = batch.inputs["attention_mask"].tolist()
    spans = {name: batch.spans[name].tolist() for cut in cuts for name in cut[:2]}
    for index, block in enumerate(loaded.layers):
        here = [(spans[source], spans[target]) for source, target, layers in cuts if index in layers]
        mask = torch.full((rows, 1, length, length), -torch.inf)
        for row in range(rows):
            for query in range(length):
                for key in range(query + 1):
                    if real[row][key] and not any(target[row][query] and source[row][key] for source, target in here):
                        mask[row, 0, query, key] = 0.0
        attention = block.self_attn
        normed = block.input_layernorm(hidden)
        shape = (rows, length, -1, attention.head_dim)
        query, key, value = (
            projection(normed).view(shape).transpose(1, 2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, *rotary)
        key, value = (repeat_kv(each, attention.num_key_value_groups) for each in (key, value))
        weights = nn.functional.softmax(query @ key.transpose(2, 3) * attention.scaling + mask, dim=-1)
        mixed = (weights.nan_to_num() @ value).transpose(1, 2).reshape(rows, length, -1)
        hidden = hidden + attention.o_proj(mixed)
        hidden = hidden + block.mlp(block.post_attention_layernorm(hidden))
        states.append(hidden)
    return torch.stack(states)


def pooled(states, mask):
    return torch.stack([states[:, row, mask[row]].mean(1) for row in range(len(mask))], 1)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(pair))
def test_a_cut_equals_the_decoder_written_out_with_an_explicit_mask(tiny_llava, asked, pair):
    examples, pictures, _ = asked(2)
    batch = encode(tiny_llava, examples, pictures)
    states = recomputed_states(tiny_llava, batch, [(*pair, (0, 2))])
    found = captured_under([on_edge(*pair, (0, 2))], tiny_llava, batch)
    for index, span in enumerate(("image", "question", "text", "last")):
        torch.testing.assert_close(found.states[:, index], pooled(states, batch.spans[span]), atol=1e-5, rtol=1e-5)
    intact = capture(tiny_llava, batch)
    assert not torch.equal(intact.states[1], found.states[1])


def test_two_cuts_and_grouped_heads_equal_the_written_out_decoder(tiny_llava_next, asked):
    examples, pictures, _ = asked(2)
    batch = encode(tiny_llava_next, examples, pictures)
    cuts = [("tiles", "question", (1,)), ("question", "last", (1, 2)), ("separators", "text", (0,))]
    states = recomputed_states(tiny_llava_next, batch, cuts)
    found = captured_under([on_edge(*cut) for cut in cuts], tiny_llava_next, batch)
    torch.testing.assert_close(found.last, states[:, :, -1], atol=1e-5, rtol=1e-5)


def test_an_empty_plan_and_untouched_blocks_are_bit_equal(loaded, batch):
    intact = logits(loaded, batch)
    with pairs_cut(loaded, [], batch.spans.valid):
        assert torch.equal(logits(loaded, batch), intact)
    late = captured_under([on_edge("image", "question", (2,))], loaded, batch)
    whole = capture(loaded, batch)
    assert torch.equal(late.states[:3], whole.states[:3])
    assert not torch.equal(late.states[3], whole.states[3])


def test_states_before_the_target_never_move(loaded, batch):
    whole, cut = capture(loaded, batch), captured_under([on_edge("image", "question")], loaded, batch)
    assert torch.equal(whole.states[:, 0], cut.states[:, 0])
    assert not torch.equal(whole.states[1:, 1], cut.states[1:, 1])


def test_interventions_entered_together_are_those_entered_one_inside_the_other(loaded, batch):
    first, second = on_edge("image", "question", (0, 1)), on_edge("question", "last", (1,))
    together = last(loaded, batch, first, second)
    with second.entered(loaded, batch.spans), first.entered(loaded, batch.spans):
        assert torch.equal(last(loaded, batch), together)
    for alone in (first, second):
        assert (last(loaded, batch, alone) - together).abs().max() > 1e-6
    pairs = [each.blocked(batch.spans) for each in (first, second)]
    by_hand = [CutPairs(pairs[0], (0,)), CutPairs(pairs[0] | pairs[1], (1,))]
    with pairs_cut(loaded, by_hand, batch.spans.valid):
        assert torch.equal(last(loaded, batch), together)


@pytest.mark.parametrize("early", [0, 1, 5])
def test_only_the_suffix_may_be_fed_against_cached_keys(tiny_llava, asked, early):
    examples, pictures, _ = asked(1)
    batch = encode(tiny_llava, examples, pictures)
    chosen = [on_edge("image", "question", (1,)), on_edge("question", "last")]
    expected = last(tiny_llava, batch, *chosen)
    split = int(batch.spans["question"][0].int().argmax())
    first = max(0, split - early) if early else 0  # pairs may be made for the last positions alone
    inputs, ids = dict(batch.inputs), batch.inputs["input_ids"]
    with torch.inference_mode():
        prefix = {**inputs, "input_ids": ids[:, :split], "position_ids": inputs["position_ids"][:, :split]}
        prefix["attention_mask"] = inputs["attention_mask"][:, :split]
        cache = tiny_llava.model(**prefix, use_cache=True).past_key_values
        with entered(tiny_llava, chosen, batch.spans, first=first):
            found = tiny_llava.model(
                input_ids=ids[:, split:],
                attention_mask=inputs["attention_mask"],
                position_ids=inputs["position_ids"][:, split:],
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_the_vision_tower_keeps_its_attention(loaded, batch):
    tower = loaded.model.model.vision_tower
    before = tower.config._attn_implementation
    with on_edge("image", "question").entered(loaded, batch.spans):
        assert tower.config._attn_implementation == before
        assert loaded.text_model.config._attn_implementation == attention.ATTENTION


def test_the_plan_ends_with_its_block_even_after_an_exception(loaded, batch):
    intact = logits(loaded, batch)
    with pytest.raises(ZeroDivisionError), on_edge("image", "question").entered(loaded, batch.spans):
        raise ZeroDivisionError
    assert torch.equal(logits(loaded, batch), intact)


def test_other_threads_and_other_models_never_see_the_plan(tiny_llava, tiny_llava_next, asked):
    examples, pictures, _ = asked(2)
    batch, other = encode(tiny_llava, examples, pictures), encode(tiny_llava_next, examples, pictures)
    intact, intact_other = logits(tiny_llava, batch), logits(tiny_llava_next, other)
    seen = []
    with on_edge("image", "question").entered(tiny_llava, batch.spans):
        thread = threading.Thread(target=lambda: seen.append(logits(tiny_llava, batch)))
        thread.start()
        thread.join()
        assert torch.equal(logits(tiny_llava_next, other), intact_other)
        assert not torch.equal(logits(tiny_llava, batch), intact)
    assert torch.equal(seen[0], intact)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (on_edge("question", "image"), "cannot cut question -> image: 'image' ends before 'question' begins"),
        (on_edge("question", "image", kind="random"), "cannot cut question -> image"),
        (on_edge("picture", "question"), "unknown span 'picture', expected one of"),
        (on_edge("image", "question", (3,)), "the model has the blocks 0 to 2"),
        (on_edge("image", "question", (-1,)), "the model has the blocks 0 to 2"),
        (on_edge("image", "question", ()), "the model has the blocks 0 to 2"),
    ],
)
def test_impossible_cuts_are_refused(tiny_llava, asked, chosen, message):
    examples, pictures, _ = asked(6)
    batch = encode(tiny_llava, examples, pictures)
    with pytest.raises(ConfigError, match=message), chosen.entered(tiny_llava, batch.spans):
        pass


def test_a_position_with_nothing_left_to_attend_to_is_refused(tiny_llava, asked):
    examples, pictures, _ = asked(6)
    spans = encode(tiny_llava, examples, pictures).spans
    everything = Spans({**spans.masks, "all": spans.valid}, spans.valid)
    with (
        pytest.raises(ConfigError, match="nothing to attend to"),
        on_edge("all", "last").entered(tiny_llava, everything),
    ):
        pass
    before = spans.valid & ~spans["image"] & ~spans["text"]
    pieces = Spans({**spans.masks, "before": before}, spans.valid)
    parts = [on_edge(source, "last", (1,)) for source in ("before", "image", "text")]
    with pytest.raises(ConfigError, match="nothing to attend to"), entered(tiny_llava, parts, pieces):
        pass
    with entered(tiny_llava, parts[1:], pieces):  # the text before the image remains
        pass


def test_a_batch_of_another_size_is_refused(tiny_llava, asked):
    examples, pictures, _ = asked(4)
    batch = encode(tiny_llava, examples, pictures)
    with (
        pytest.raises(ConfigError, match="fed a batch of 2 rows"),
        on_edge("image", "question").entered(tiny_llava, batch.spans),
    ):
        logits(tiny_llava, batch.take(slice(0, 2)))


def test_rows_without_options_have_nothing_to_cut(tiny_llava, asked):
    examples, pictures, _ = asked(12)
    batch = encode(tiny_llava, examples, pictures)
    plan = on_edge("image", "options")
    some = torch.tensor([each.changed for each in reach_of([plan], batch.spans)])
    assert some.tolist() == batch.spans["options"].any(1).tolist()
    assert 0 < int(some.sum()) < 12
    moved = (last(tiny_llava, batch) - last(tiny_llava, batch, plan)).abs().amax(1)
    assert (moved[some] > 1e-6).all()
    assert (moved[~some] < 1e-6).all()


def test_the_self_check_passes_and_says_how_well(loaded, batch):
    found = self_check(loaded, batch)
    assert found.row_error < 1e-6
    assert found.moved > 1e-6


def test_a_model_of_a_single_block_is_checked_by_what_its_last_position_reads(asked):
    from pidflow.models import loading
    from pidflow.models.standin import architecture

    model = architecture.build_model(seed=0, width=32, depth=1)
    shallow = loading.wrap("llava", model, architecture.build_processor(), prompt=architecture.PROMPT)
    examples, pictures, _ = asked(2)
    assert self_check(shallow, encode(shallow, examples, pictures)).moved > 1e-6


original = module.State.allowed


def soft(state, layer, queries, keys, base, *, causal=True):
    """Subtract a large number instead of forbidding: the commonest mistake."""
    blocked = state.blocked(layer, queries, keys)
    return base if blocked is None else torch.where(base & ~blocked, 0.0, torch.where(base, -5.0, -torch.inf))


def ignored(state, layer, queries, keys, base, *, causal=True):
    return base


def off_by_one(state, layer, queries, keys, base, *, causal=True):
    return base if base is None else original(state, layer, queries, keys, base & torch.ones_like(base).tril(-1))


def last_block_only(state, layer, queries, keys, base, *, causal=True):
    return original(state, layer, queries, keys, base) if layer == 2 else base


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (soft, "a cut edge kept weight"),
        (ignored, "a cut edge kept weight"),
        (last_block_only, "a cut edge kept weight"),
        (off_by_one, "a cut of nothing moved the logits"),
    ],
)
def test_the_self_check_notices_broken_masks(tiny_llava, asked, monkeypatch, fault, message):
    examples, pictures, _ = asked(6)
    batch = encode(tiny_llava, examples, pictures)
    monkeypatch.setattr(module.State, "allowed", fault)
    with pytest.raises(NumericsError, match=message):
        self_check(tiny_llava, batch)


def test_the_self_check_notices_spans_that_hold_nothing_the_model_reads(tiny_llava, asked):
    examples, pictures, _ = asked(2)
    batch = encode(tiny_llava, examples, pictures)
    batch.spans.masks["image"][:] = False
    with pytest.raises(NumericsError, match="moved the logits by 0"):
        self_check(tiny_llava, batch)
