"""States that are rewritten and heads that are cut: the prefix gives what full passes give, and both what they say."""

import pytest
import torch
from tests.captured import captured_under, on_edge

from pidflow.errors import ConfigError, DataError
from pidflow.interventions.conditions import passes
from pidflow.interventions.intervention import entered, intervention_of, recomputable
from pidflow.interventions.prefix import read_prefix
from pidflow.interventions.recompute import full_pass, recompute
from pidflow.interventions.rewriting import read_along, sublayer
from pidflow.models.forward import run
from pidflow.models.inputs import encode

NAMES = list("abcdef")
ENTRIES = {
    "noise": {"kind": "noise", "span": "question", "size": 3.0},
    "noise-late": {"kind": "noise", "span": "last", "size": 0.5, "blocks": [1, 2]},
    "noise-image": {"kind": "noise", "span": "image", "size": 1.0},
    "swap": {"kind": "swap", "span": "question", "blocks": [1, 1]},
    "swap-last": {"kind": "swap", "span": "last", "blocks": [2, 2]},
    "swap-image": {"kind": "swap", "span": "image", "blocks": [0, 0]},
    "no-mlp": {"kind": "sublayer", "part": "mlp", "span": "question", "blocks": [1, 2]},
    "no-attention": {"kind": "sublayer", "part": "attention", "span": "last", "blocks": "all"},
    "mean-mlp": {"kind": "sublayer", "part": "mlp", "span": "last", "value": "mean", "blocks": [0, 1]},
    "mean-attention": {"kind": "sublayer", "part": "attention", "span": "text", "value": "mean", "blocks": [1, 1]},
}


@pytest.fixture(params=["tiny_llava_heads", "tiny_llava_next"])
def loaded(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def tiny_llava_heads():
    """The tiny LLaVA-1.5 with four heads."""
    from pidflow.models import loading
    from pidflow.models.standin import architecture

    model = architecture.build_model(seed=1, width=128, depth=3)
    assert model.config.text_config.num_attention_heads == 4
    return loading.wrap("llava", model, architecture.build_processor(), prompt=architecture.PROMPT)


@pytest.fixture
def batch(loaded, asked):
    examples, pictures, _ = asked(6)
    found = encode(loaded, examples, pictures)
    assert len(set(found.spans.valid.sum(1).tolist())) > 1
    return found


@pytest.fixture
def donors(loaded, asked):
    examples, pictures, _ = asked(6, first=77)
    return encode(loaded, examples, pictures)


@pytest.fixture
def known(loaded, batch, donors):
    """Interventions by name, told what they need."""

    def of(entry):
        found = intervention_of(entry, depth=loaded.depth, seed=3)
        others = {"donors": donors, "sample": [batch, donors]}.get(found.needs)
        return found if others is None else found.informed(loaded, others)

    return {name: of(entry) for name, entry in ENTRIES.items()} | {
        "heads": on_edge("image", "question", (0, 1), heads=(0, 2)),
        "one-head": on_edge("question", "last", None, heads=(3,)),
        "pairs": on_edge("image", "text", (0, 2), pairs=((0, 1), (0, 3), (2, 0))),
        "keep-heads": on_edge("image", "question", None, "keep", heads=(1,)),
        "random-heads": on_edge("image", "question", (1,), "random", seed=3, heads=(1, 2)),
        "spared": on_edge("question", "last", None, "random", seed=3, spared="bos+system"),
    }


def near(found, expected):
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=3e-6)


@pytest.mark.parametrize("stands", [True, False])
def test_every_condition_equals_a_full_pass(loaded, batch, known, stands):
    conditions = {"intact": []} | {name: [each] for name, each in known.items()}
    conditions["several"] = [known["heads"], known["no-mlp"], known["noise"], known["pairs"]]
    conditions["with-a-cut"] = [known["one-head"], on_edge("image", "last", (1,))]
    found = list(passes(loaded, batch, list(conditions.values()), names=NAMES, prefix_stands=stands))
    found = {list(conditions)[each.condition]: each.captured for each in found}
    for name, interventions in conditions.items():
        expected = captured_under(interventions, loaded, batch, NAMES)
        near(found[name].states, expected.states)
        near(found[name].logits, expected.logits)
        assert name == "intact" or not torch.allclose(found[name].logits, found["intact"].logits, atol=1e-6), name


def test_sweeps_with_a_spoken_answer_equal_full_passes(loaded, batch, known):
    plans = [(each,) for each in known.values()] + [(known["heads"], known["swap"])]
    prefix = read_prefix(loaded, batch, plans, names=NAMES, answer_tokens=3)
    seen = []
    for found in recompute(loaded, prefix, plans, names=NAMES):
        for place, logits in zip(found.which, found.logits, strict=True):
            expected = full_pass(loaded, prefix, plans[place], names=NAMES)
            near(logits[prefix.answer_mask], expected[prefix.answer_mask])
            seen.append(place)
    assert sorted(seen) == list(range(len(plans)))


def test_a_row_alone_is_that_row_of_the_batch(loaded, batch, donors, known):
    for each in known.values():
        together = captured_under([each], loaded, batch, NAMES).logits
        for row in (0, 3):
            alone = captured_under([each.take([row])], loaded, batch.take([row]), [NAMES[row]]).logits
            near(alone, together[row : row + 1])


def states_under(loaded, batch, intervention, of, blocks):
    """By block the states at a place, as the model computes them under an intervention."""
    with (
        torch.inference_mode(),
        entered(loaded, [intervention], batch.spans, NAMES),
        read_along(loaded, of, blocks) as found,
    ):
        run(loaded, batch.inputs)
    return found


def test_what_is_rewritten_is_what_was_said(loaded, batch, donors, known):
    def at(name, of, block):
        return states_under(loaded, batch, known[name], of, [block])[block]

    question, last = batch.spans["question"], batch.spans["last"]
    assert not at("no-mlp", "mlp", 1)[question].any()
    assert at("no-mlp", "mlp", 1)[last].any()
    assert not at("no-attention", "attention", 2)[last].any()
    mean = at("mean-mlp", "mlp", 0)[last]
    with torch.inference_mode(), read_along(loaded, "mlp", [0]) as one:
        run(loaded, batch.inputs)
    with torch.inference_mode(), read_along(loaded, "mlp", [0]) as two:
        run(loaded, donors.inputs)
    expected = torch.cat([one[0][last], two[0][donors.spans["last"]]]).mean(0)
    near(mean, expected.expand_as(mean))
    with torch.inference_mode(), read_along(loaded, "input", [2]) as theirs:
        run(loaded, donors.inputs)
    assert torch.equal(at("swap-last", "input", 2)[last], theirs[2][donors.spans["last"]])
    with torch.inference_mode(), read_along(loaded, "input", [0]) as intact:
        run(loaded, batch.inputs)
    noise = at("noise", "input", 0)[question] - intact[0][question]
    size = intact[0][question].square().mean(-1).sqrt() * 3
    assert (noise.std(-1) / size).mean() == pytest.approx(1, abs=0.1)
    elsewhere = batch.spans.valid & ~question
    assert torch.equal(at("noise", "input", 0)[elsewhere], intact[0][elsewhere])


def test_a_swap_stretches_spans_of_other_lengths(loaded, batch, donors, known):
    with torch.inference_mode(), read_along(loaded, "input", [1]) as theirs:
        run(loaded, donors.inputs)
    found = states_under(loaded, batch, known["swap"], "input", [1])[1]
    for row in range(6):
        mine, other = (spans["question"][row] for spans in (batch.spans, donors.spans))
        taken = theirs[1][row][other]
        n, m = int(mine.sum()), int(other.sum())
        assert torch.equal(found[row][mine], taken[[place * m // n for place in range(n)]])


def test_a_question_whose_donor_lacks_the_span_stays_as_it_is(loaded, batch, donors):
    swap = intervention_of({"kind": "swap", "span": "options", "blocks": [0, 0]}, depth=loaded.depth)
    swap = swap.informed(loaded, donors)
    both = batch.spans["options"].any(1) & donors.spans["options"].any(1)
    assert [each.changed for each in swap.reach(batch.spans)] == both.tolist()
    intact = captured_under([], loaded, batch).logits
    assert torch.equal(captured_under([swap], loaded, batch).logits[~both], intact[~both])


def test_only_the_named_heads_lose_the_edge(tiny_llava_heads, asked):
    loaded = tiny_llava_heads
    examples, pictures, _ = asked(4)
    batch = encode(loaded, examples, pictures)
    projections = {}

    def keep(_, args):
        projections[0] = args[0].unflatten(-1, (4, -1))  # (B, T, heads, head width)

    hook = loaded.layers[0].self_attn.o_proj.register_forward_pre_hook(keep)
    try:
        found = []
        for interventions in ([], [on_edge("image", "question", (0,), heads=(1, 3))]):
            with torch.inference_mode(), entered(loaded, interventions, batch.spans):
                run(loaded, batch.inputs)
            found.append(projections[0])
    finally:
        hook.remove()
    question = batch.spans["question"]
    moved = (found[0] - found[1]).abs().amax(-1)
    assert (moved[..., [0, 2]] == 0).all()
    assert (moved[question][:, [1, 3]] > 0).all()
    assert (moved[~question & batch.spans.valid] == 0).all()


def test_all_heads_one_by_one_are_the_whole_cut(loaded, batch):
    heads = range(loaded.text_model.config.num_attention_heads)
    whole = captured_under([on_edge("image", "question", (1,))], loaded, batch).logits
    together = captured_under([on_edge("image", "question", (1,), heads=(head,)) for head in heads], loaded, batch)
    near(together.logits, whole)


def test_a_draw_spares_a_span(loaded, batch, known):
    spared = batch.spans["bos+system"]
    pairs = known["spared"].blocked(batch.spans, NAMES)
    free = on_edge("question", "last", None, "random", seed=3).blocked(batch.spans, NAMES)
    assert (free & spared[:, None]).any()
    assert not (pairs & (spared[:, None] | spared[:, :, None])).any()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "cut", "source": "image", "target": "last", "blocks": "all", "heads": [9]}, "heads 0 to 3"),
        ({"kind": "cut", "source": "image", "target": "last", "blocks": [0, 1], "heads": [[2, 0]]}, "block 2, which"),
        ({"kind": "cut", "source": "image", "target": "last", "blocks": "all", "heads": []}, "found"),
        ({"kind": "cut", "source": "image", "target": "last", "blocks": "all", "heads": [[1, 2], 3]}, "found"),
        ({"kind": "cut", "source": "image", "target": "last", "blocks": "all", "heads": [1, 1]}, "twice"),
        ({"kind": "noise", "span": "image", "size": 0.0}, "size"),
        ({"kind": "noise", "span": "picture", "size": 1.0}, "unknown span 'picture'"),
        ({"kind": "sublayer", "part": "norm", "span": "last", "blocks": "all"}, "part"),
        ({"kind": "swap", "span": "last", "blocks": [2, 3]}, "within 0 and 2"),
        ({"kind": "random", "source": "image", "target": "last", "blocks": "all", "spared": "x"}, "unknown span 'x'"),
    ],
)
def test_what_cannot_be_is_refused(tiny_llava_heads, asked, entry, message):
    examples, pictures, _ = asked(2)
    batch = encode(tiny_llava_heads, examples, pictures)
    with pytest.raises(ConfigError, match=message):
        captured_under([intervention_of(entry, depth=3)], tiny_llava_heads, batch)


def test_heads_that_a_model_lacks_are_refused_from_the_prefix_too(tiny_llava_heads, asked):
    examples, pictures, _ = asked(2)
    batch = encode(tiny_llava_heads, examples, pictures)
    plans = [(on_edge("image", "last", None, heads=(4,)),)]
    with pytest.raises(ConfigError, match="heads 0 to 3"):
        list(recompute(tiny_llava_heads, read_prefix(tiny_llava_heads, batch, plans), plans))


def test_a_mean_over_nothing_is_refused(loaded, batch):
    entry = {"kind": "sublayer", "part": "mlp", "span": "system", "value": "mean", "blocks": "all"}
    with pytest.raises(DataError, match="the span 'system' is empty in all questions"):
        intervention_of(entry, depth=loaded.depth).informed(loaded, [batch])


def test_a_block_without_such_a_sublayer_is_refused():
    with pytest.raises(ConfigError, match="a block of class Linear has no mlp sublayer"):
        sublayer(torch.nn.Linear(2, 2), "mlp")


def test_all_of_these_can_be_recomputed(known):
    assert all(recomputable([each]) for each in known.values())
