"""Edges, what interventions block, the draw of random controls, and windows of blocks."""

import pytest
import torch

from pidflow.errors import ConfigError
from pidflow.interventions.edges import Edge, blocked_pairs, edge_of, row_seed
from pidflow.interventions.knockout import Cut, Plan, knockout, seeded
from pidflow.interventions.windows import windows
from pidflow.models.inputs import encode

T = 20


def mask(*places, length=T):
    found = torch.zeros(1, length, dtype=torch.bool)
    found[0, list(places)] = True
    return found


ALL = mask(*range(T))
SOURCE, TARGET = mask(*range(4, 8)), mask(*range(9, 15))


@pytest.mark.parametrize("wanted", ["a->b", " a -> b ", {"source": "a", "target": "b"}, Edge("a", "b")])
def test_edges_have_three_spellings(wanted):
    assert edge_of(wanted) == Edge("a", "b")


@pytest.mark.parametrize("wanted", ["a", "a->", "->b", {"source": "a"}, {"source": "a", "target": "b", "layers": 1}])
def test_other_spellings_are_refused(wanted):
    with pytest.raises(ConfigError, match="an edge is 'source->target' or has a source and a target, found"):
        edge_of(wanted)


def test_cut_blocks_the_causal_pairs_between_the_spans():
    found = blocked_pairs("cut", mask(5, 12), mask(3, 12, 15), ALL)
    assert torch.nonzero(found[0]).tolist() == [[12, 5], [12, 12], [15, 5], [15, 12]]


def test_keep_blocks_everything_else_but_itself():
    found = blocked_pairs("keep", mask(1), mask(3), ALL)
    assert torch.nonzero(found[0]).tolist() == [[3, 0], [3, 2]]
    assert not blocked_pairs("keep", mask(), mask(3), ALL).any()  # nothing to keep: nothing is cut


@pytest.mark.parametrize("seed", range(20))
def test_random_matches_the_cut_target_by_target(seed):
    cut = blocked_pairs("cut", SOURCE, TARGET, ALL)
    found = blocked_pairs("random", SOURCE, TARGET, ALL, seeds=[seed])
    assert torch.equal(found.sum(2), cut.sum(2))
    assert not (found & SOURCE[:, None]).any()
    assert not found[0].triu().any()  # earlier positions only, so none loses itself


def test_random_falls_back_to_any_pair_where_sources_are_too_many():
    source, target = mask(*range(1, 12)), mask(*range(12, 16))
    cut = blocked_pairs("cut", source, target, ALL)
    found = blocked_pairs("random", source, target, ALL, seeds=[0])
    assert found.sum() == cut.sum() == 44
    assert not (found & cut).any()
    assert not found[0].triu().any()
    assert found[0, :12].any()


def test_random_gives_up_where_nothing_is_left():
    with pytest.raises(ConfigError, match="cannot draw 8 random edges for position 12: only 6 others come before it"):
        blocked_pairs("random", mask(*range(8)), mask(*range(8, 16)), mask(*range(16)), seeds=[0])


def test_draws_are_uniform_over_the_other_sources():
    seeds = [row_seed(7, f"item {index}") for index in range(1500)]
    rows = [each.expand(len(seeds), -1) for each in (SOURCE, TARGET, ALL)]
    counts = blocked_pairs("random", *rows, seeds=seeds).sum(0)
    for target, pool in ((9, 5), (14, 10)):  # earlier positions outside the source
        outside = [k for k in range(target) if not SOURCE[0, k]]
        assert len(outside) == pool
        expected = 1500 * 4 / pool
        chi2 = ((counts[target, outside] - expected) ** 2 / (expected * (1 - 4 / pool))).sum() * (pool - 1) / pool
        assert 0.1 < chi2 < 30  # about pool - 1


@pytest.mark.parametrize(("source", "target"), [(SOURCE, TARGET), (mask(*range(1, 12)), mask(*range(12, 16)))])
def test_draws_depend_on_the_seed_alone(source, target):
    def draw(seed, shift=0):
        padded = [torch.nn.functional.pad(each, (shift, 0)) for each in (source, target, ALL)]
        return blocked_pairs("random", *padded, seeds=[seed])[:, shift:, shift:]

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(draw(1), draw(1, shift=5))
    source, target, valid, spoken = (
        torch.nn.functional.pad(each, (0, 3), value=value)
        for each, value in ((source, 0), (target, 1), (ALL, 1), (torch.zeros_like(ALL), 1))
    )
    longer = blocked_pairs("random", source, target, valid, seeds=[1], spoken=spoken)
    assert torch.equal(longer[:, :T, :T], draw(1))
    assert longer[0, T:].sum(1).tolist() == ([4, 4, 4] if source.sum() == 4 else [0, 0, 11])  # own rows only
    rows = [torch.cat([each, torch.roll(each, 1, 1)]) for each in (source, target)]
    both = blocked_pairs("random", *rows, ALL.expand(2, -1), seeds=[1, 9])
    assert torch.equal(both[:1], draw(1))


def test_rows_of_the_result_can_start_late():
    for kind in ("cut", "keep", "random"):
        whole = blocked_pairs(kind, SOURCE, TARGET, ALL, seeds=[4])
        assert torch.equal(blocked_pairs(kind, SOURCE, TARGET, ALL, seeds=[4], first=9), whole[:, 9:])


def logits(loaded, batch, plan):
    with torch.inference_mode(), knockout(loaded, plan, batch.spans):
        return loaded.model(**batch.inputs, use_cache=False, logits_to_keep=1).logits[:, -1]


@pytest.fixture(params=["tiny_llava", "tiny_llava_next"])
def loaded(request):
    return request.getfixturevalue(request.param)


def test_what_is_not_kept_cannot_be_read(loaded, asked):
    """With only the image's paths into the last position left in all blocks, the words of the question say nothing."""
    examples, pictures, _ = asked(3)
    batch = encode(loaded, examples, pictures)
    plan = Plan((Cut("image", "last", kind="keep"),))
    kept = logits(loaded, batch, plan)
    batch.inputs["input_ids"][batch.spans["question"]] = 20
    torch.testing.assert_close(logits(loaded, batch, plan), kept, rtol=0, atol=1e-6)
    batch.inputs["pixel_values"].neg_()
    assert (logits(loaded, batch, plan) - kept).abs().max() > 1e-4


def test_keeping_several_sources_is_cutting_the_rest(loaded, asked):
    examples, pictures, _ = asked(3)
    batch = encode(loaded, examples, pictures)
    rest = batch.spans.valid & ~batch.spans["image+question+last"]
    batch.spans.masks["rest"] = rest
    keep = logits(loaded, batch, Plan((Cut("image+question", "last", (1, 2), "keep"),)))
    torch.testing.assert_close(keep, logits(loaded, batch, Plan((Cut("rest", "last", (1, 2)),))), rtol=0, atol=1e-6)


def test_random_edges_differ_between_items_and_do_not_depend_on_the_batch(loaded, asked):
    examples, pictures, _ = asked(3)
    plan = Plan((Cut("object", "question", kind="random", seed=1),))
    together = encode(loaded, [*examples, examples[0]], [*pictures, pictures[0]])
    found = logits(loaded, together, [seeded(plan, name) for name in "abcd"])
    alone = encode(loaded, examples[:1], pictures[:1])
    torch.testing.assert_close(logits(loaded, alone, seeded(plan, "a")), found[:1], rtol=0, atol=1e-5)
    assert (found[0] - found[3]).abs().max() > 1e-5


def spans_of(wanted, depth):
    return [(window.centre, window.first, window.last) for window in windows(wanted, depth=depth)]


@pytest.mark.parametrize(
    ("wanted", "depth", "expected"),
    [
        (1, 3, [(0, 0, 0), (1, 1, 1), (2, 2, 2)]),
        (3, 5, [(0, 0, 1), (1, 0, 2), (2, 1, 3), (3, 2, 4), (4, 3, 4)]),
        (4, 5, [(0, 0, 2), (1, 0, 3), (2, 1, 4), (3, 2, 4), (4, 3, 4)]),
        ("all", 8, [(3, 0, 7)]),
        ([2, 5], 8, [(3, 2, 5)]),
    ],
)
def test_windows_are_centred_and_cut_off_at_the_ends(wanted, depth, expected):
    assert spans_of(wanted, depth) == expected


def test_every_block_is_in_as_many_windows_as_a_window_has_blocks():
    for size in (1, 3, 9):
        inner = [sum(block in window.blocks for window in windows(size, depth=32)) for block in range(10, 20)]
        assert inner == [size] * 10


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (0, "a window of 0 blocks is empty"),
        ([3, 2], r"the window \[3, 2\] is empty"),
        (9, "a window of 9 blocks reaches beyond the model's 8; give at most 8"),
        ([4, 8], r"the window \[4, 8\] reaches beyond the model's blocks, which are counted 0 to 7"),
        ([-1, 2], "reaches beyond the model's blocks"),
        ([1, 2, 3], r"a range of blocks is \[first, last\]"),
        ("some", r"a window is a number of blocks, \[first, last\] or 'all', found 'some'"),
        (True, "found True"),
    ],
)
def test_impossible_windows_are_refused(wanted, message):
    with pytest.raises(ConfigError, match=message):
        windows(wanted, depth=8)
