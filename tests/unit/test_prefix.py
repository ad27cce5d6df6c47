"""The prefix cache gives what full passes give: families, padding, tiles, long answers, every edge, kind and window."""

import pytest
import torch

from pidflow.edges import DEFAULT_EDGES, Edge
from pidflow.knockout import Cut, Plan
from pidflow.models.inputs import encode
from pidflow.prefix import full_pass, read_prefix, recompute

EDGES = (*DEFAULT_EDGES, Edge("image", "options"), Edge("options", "last"), Edge("image+options", "text"))
LAYERS = (None, (0,), (1,), (1, 2), (2,))


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
    for which, found in recompute(loaded, prefix, plans, **settings):
        assert logits[which].isnan().all()  # every plan once
        logits[which] = found
    return logits


def assert_equal(found, expected, mask):
    scale = expected[mask].abs().max()
    torch.testing.assert_close(found[mask] / scale, expected[mask] / scale, rtol=0, atol=2e-6)


@pytest.mark.parametrize("answer_tokens", [1, 4])
def test_equals_full_passes(loaded, batch, answer_tokens):
    plans = [Plan((Cut(edge.source, edge.target, layers),)) for edge in EDGES for layers in LAYERS]
    prefix = read_prefix(loaded, batch, plans, answer_tokens=answer_tokens)
    found = recomputed(loaded, prefix, plans)
    for plan, logits in zip(plans, found, strict=True):
        assert_equal(logits, full_pass(loaded, prefix, plan), prefix.answer_mask)
