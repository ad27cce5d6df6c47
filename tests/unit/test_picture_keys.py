"""Llama 3.2 Vision: edges from an object of the picture, whose patches are keys of cross-attention and no tokens."""

import numpy as np
import pytest
import torch
from tests.captured import captured_under, on_edge
from tests.tiny_cases import CASES
from tests.tiny_checks import asked_of, load_back

from pidflow.errors import ConfigError
from pidflow.interventions.draws import draw_patches
from pidflow.interventions.intervention import intervention_of, reach_of
from pidflow.interventions.pairs import unseen_of_picture
from pidflow.interventions.prefix import read_prefix
from pidflow.interventions.recompute import full_pass, recompute
from pidflow.models.attention import attend_across, plain_kernel
from pidflow.names import UNMATCHED

NAMES = ["a", "b", "c"]
EDGES = {
    "object": on_edge("object", "question"),
    "all but the object": on_edge("other", "question"),
    "one block": on_edge("object", "last", (1,)),
    "one head": on_edge("object", "question", heads=(0,)),
    "random": on_edge("object", "question", None, "random", seed=3),
    "keep": on_edge("object", "last", None, "keep"),
    "image": on_edge("image", "question"),
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_back(CASES["mllama"], tmp_path_factory.mktemp("mllama"))


@pytest.fixture(scope="module")
def batch(loaded):
    return asked_of(loaded)


def test_patches_are_told_apart_as_tokens_are_elsewhere(batch):
    patches = batch.spans.patches
    assert not (patches["object"] & patches["other"]).any()
    assert (patches["object"] | patches["other"]).all()
    assert patches["object"].any(1).all()
    assert not (patches["object"] & patches["separators"]).any()
    assert not batch.spans["object"].any()  # no token shows it
    assert torch.equal(batch.spans.patches_of("object+other"), patches["image"])
    assert batch.spans.patches_of("question+/red/") is None


def test_edges_of_patches_recomputed_equal_full_passes(loaded, batch):
    plans = [(each,) for each in EDGES.values()]
    prefix = read_prefix(loaded, batch, plans, names=NAMES, answer_tokens=2)
    seen = set()
    for found in recompute(loaded, prefix, plans, names=NAMES):
        for index, logits in zip(found.which, found.logits, strict=True):
            full = full_pass(loaded, prefix, plans[index], names=NAMES)
            assert float((logits - full)[prefix.answer_mask].abs().max()) < 1e-5, list(EDGES)[index]
            assert float((full - prefix.logits)[prefix.answer_mask].abs().max()) > 0
            seen.add(index)
    assert seen == set(range(len(plans)))


def test_without_all_its_patches_a_position_is_without_the_picture(loaded, batch):
    """The picture goes by its patches as it goes by the token that stands for it, in blocks of cross-attention."""
    apart = captured_under([on_edge("object+other", "text")], loaded, batch).logits
    token = batch.spans["image"]
    both = captured_under([on_edge("image", "text")], loaded, batch).logits
    # In blocks that attend to the text the token itself is left, which holds the picture too.
    assert token.sum(1).tolist() == [1, 1, 1]
    assert not torch.allclose(apart, both, atol=1e-3)
    cross = [on_edge("object+other", "text", (1,)), on_edge("image", "text", (1,))]
    found = [captured_under([each], loaded, batch).logits for each in cross]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)


def test_a_random_control_takes_as_many_other_patches(batch):
    cut, control = EDGES["object"], EDGES["random"]
    reached = [reach_of([each], batch.spans, NAMES) for each in (cut, control)]
    assert [each.pairs for each in reached[0]] == [each.pairs for each in reached[1]]
    assert {each.control for each in reached[1]} == {"other-sources"}
    lost = [each.lost(batch.spans, NAMES) for each in (cut, control)]
    assert not (lost[0] & lost[1]).any()
    assert not (lost[1] & batch.spans.patches["separators"][:, None]).any()
    assert not (lost[1] & batch.spans.patches["padding"][:, None]).any()


def test_patches_are_drawn_by_the_question_alone():
    source, shown = np.zeros(40, dtype=bool), np.ones(40, dtype=bool)
    source[3:9] = True
    first, control = draw_patches(source, shown, seed=1, match="auto")
    assert (first.sum(), control, (first & source).any()) == (6, "other-sources", False)
    assert (draw_patches(source, shown, seed=1, match="auto")[0] == first).all()
    assert (draw_patches(source, shown, seed=2, match="auto")[0] != first).any()
    half, control = draw_patches(~source, shown, seed=1, match="auto")  # 34 of 40: no room beside them
    assert (half.sum(), control, (half & source).any()) == (17, "half", False)
    assert draw_patches(source, shown, seed=1, match="other-targets")[1] == UNMATCHED


def test_weights_of_lost_patches_are_zero():
    torch.manual_seed(0)
    query, key = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4)
    value = torch.eye(5)[None, None].expand(1, 2, 5, 5)
    pairs = torch.zeros(1, 3, 4, dtype=torch.bool)
    pairs[0, 2, 1] = True  # the token that stands for the picture
    image = torch.tensor([[False, True, False, False]])
    lost = torch.zeros(1, 3, 5, dtype=torch.bool)
    lost[0, 1, :3] = True
    unseen = unseen_of_picture(pairs, image, lost)[:, None]
    module = torch.nn.Module()
    weights = attend_across(plain_kernel({}), module, query, key, value, None, unseen, is_causal=False, scaling=0.5)[0]
    whole = (query @ key.transpose(2, 3) * 0.5).softmax(-1)[0].transpose(0, 1)
    torch.testing.assert_close(weights[0], whole[0])
    assert (weights[1, :, :3] == 0).all()
    torch.testing.assert_close(weights[1].sum(-1), torch.ones(2))
    assert (weights[2] == 0).all()


def pathway(kept, kind="pathway", among=("image->question", "image->last")):
    entry = {"kind": kind, "kept": [{"edge": kept, "blocks": "all"}], "among": among and list(among)}
    return intervention_of(entry, depth=3)


def test_a_pathway_keeps_the_whole_picture_in_cross_attention_too(loaded, batch):
    found = captured_under(pathway("image->question").parts(), loaded, batch).logits
    torch.testing.assert_close(found, captured_under([on_edge("image", "last")], loaded, batch).logits)
    blind = captured_under([on_edge("image", "question"), on_edge("image", "last")], loaded, batch).logits
    assert (found - blind).abs().max() > 1e-4


@pytest.mark.parametrize(
    "entry",
    [
        pathway("object->last"),
        pathway("object+question->last", "pathway-random"),
        pathway("image->last", among=("image->last", "other->question")),
        *(
            intervention_of({"blocks": [0, 1], "span": span, **kind}, depth=3)
            for span in ("image", "image+question", "object")
            for kind in ({"kind": "swap"}, {"kind": "noise", "size": 1.0}, {"kind": "sublayer", "part": "mlp"})
        ),
    ],
    ids=str,
)
def test_what_would_leave_the_picture_to_cross_attention_is_refused(batch, entry):
    """One token stands in the text: a change of its states alone changes nothing of what is seen of the picture."""
    with pytest.raises(ConfigError, match=r"of a model that reads it through cross-attention.*leave the condition out"):
        reach_of(entry.parts(), batch.spans, NAMES)


def test_states_of_the_text_are_swapped_as_elsewhere(batch):
    swap = intervention_of({"kind": "swap", "span": "question", "blocks": [0, 1]}, depth=3)
    assert all(each.changed for each in reach_of([swap], batch.spans, NAMES))
