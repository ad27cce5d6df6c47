"""Pathways: what stays and what goes, block by block, against as many pairs at random."""

import pandas as pd
import pytest
import torch
from tests.captured import captured_under

from pidflow.analysis.pathways import effective_pathway
from pidflow.errors import DataError
from pidflow.interventions.conditions import passes
from pidflow.interventions.intervention import intervention_of, recomputable
from pidflow.interventions.prefix import read_prefix
from pidflow.interventions.recompute import full_pass, recompute
from pidflow.models.inputs import encode

NAMES = list("abcdef")
EDGES = ["image->question", "image->last", "question->last"]
KEPT = [{"edge": "image->question", "blocks": [0, 1]}, {"edge": "question->last", "blocks": [1, 2]}]


@pytest.fixture
def batch(tiny_llava, asked):
    examples, pictures, _ = asked(6)
    return encode(tiny_llava, examples, pictures)


def parts(kind="pathway", *, among=EDGES, kept=KEPT, seed=3):
    return intervention_of({"kind": kind, "kept": kept, "among": among}, depth=3, seed=seed).parts()


def gone(plan, spans, block):
    return torch.stack([each.blocked(spans, NAMES) for each in plan if each.acts_in(block)]).any(0)


def pairs(spans, source, target):
    return spans[target][:, :, None] & spans[source][:, None]


def test_only_what_is_kept_stays_of_the_edges_named(batch):
    spans, plan = batch.spans, parts()
    edges = {edge: pairs(spans, *edge.split("->")) for edge in EDGES}
    stays = {0: {"image->question"}, 1: {"image->question", "question->last"}, 2: {"question->last"}}
    for block, kept in stays.items():
        expected = torch.stack([edges[edge] for edge in EDGES if edge not in kept]).any(0)
        assert torch.equal(gone(plan, spans, block), expected)


def test_of_all_pairs_each_position_keeps_itself(batch):
    plan = parts(among=None)
    for block in range(3):
        lost = gone(plan, batch.spans, block)
        assert not lost.diagonal(dim1=1, dim2=2).any()
        causal = torch.ones(lost.shape[1:], dtype=torch.bool).tril()
        assert not (lost & ~causal).any()
    kept = pairs(batch.spans, "question", "last")
    assert not (gone(plan, batch.spans, 2) & kept).any()


@pytest.mark.parametrize("among", [EDGES, None])
def test_the_control_keeps_as_many_pairs_of_the_same_edges(batch, among):
    spans, plan, control = batch.spans, parts(among=among), parts("pathway-random", among=among)
    lost = [torch.stack([gone(each, spans, block) for block in range(3)]) for each in (plan, control)]
    assert torch.equal(lost[0].sum((0, 2, 3)), lost[1].sum((0, 2, 3)))
    assert not torch.equal(*lost)
    by_block = lost[1].sum((2, 3))
    assert (by_block.max(0).values - by_block.min(0).values <= 1).all()
    everything = plan[0].candidates(spans)
    assert not (lost[1] & ~everything).any()
    other = parts("pathway-random", among=among, seed=4)
    assert not torch.equal(lost[1], torch.stack([gone(other, spans, block) for block in range(3)]))


@pytest.mark.parametrize("kind", ["pathway", "pathway-random"])
def test_both_are_conditions_from_the_prefix(tiny_llava, batch, kind):
    plan = parts(kind)
    assert recomputable(plan)
    (found,) = passes(tiny_llava, batch, [plan], names=NAMES)
    expected = captured_under(plan, tiny_llava, batch, NAMES)
    torch.testing.assert_close(found.captured.logits, expected.logits, rtol=0, atol=1e-5)
    prefix = read_prefix(tiny_llava, batch, [plan], names=NAMES, answer_tokens=2)
    (again,) = recompute(tiny_llava, prefix, [plan], names=NAMES)
    full = full_pass(tiny_llava, prefix, plan, names=NAMES)
    mask = prefix.answer_mask
    torch.testing.assert_close(again.logits[0][mask], full[mask], rtol=0, atol=1e-5)


def test_a_draw_does_not_depend_on_the_batch(batch):
    control = parts("pathway-random")
    for row in (0, 4):
        alone = batch.spans.take([row])
        length = int(alone.valid.sum())
        for part in control:
            together = part.blocked(batch.spans, NAMES)[row, -length:, -length:]
            assert torch.equal(part.blocked(alone, [NAMES[row]])[0, -length:, -length:], together)


def test_a_sweep_names_its_pathway():
    row = {"model": "m", "task": "t", "subset": "all", "present": "yes", "first_block": 2.0, "last_block": 5.0}
    rows = [
        row | {"edge": "image->question"},
        row | {"edge": "image->last", "present": "no"},
        row | {"edge": "question->last", "task": "other"},
        row | {"edge": "question->last", "subset": "right"},
        row | {"edge": "no-mlp"},
    ]
    found = effective_pathway(pd.DataFrame(rows), model="m", task="t")
    assert found["pathway"] == {
        "kind": "pathway",
        "kept": [{"edge": "image->question", "blocks": [2, 5]}],
        "among": ["image->question", "image->last"],
    }
    assert found["pathway-control"] == found["pathway"] | {"kind": "pathway-random"}
    assert all(intervention_of(entry, depth=8).parts() for entry in found.values())
    for model, task, message in (("x", "t", "no transfer windows of model 'x'"), ("m", "t", "no edge of model 'm'")):
        with pytest.raises(DataError, match=message):
            effective_pathway(pd.DataFrame(rows[1:]), model=model, task=task)
