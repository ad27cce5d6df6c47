"""Edges, what interventions block, the draw of random controls, and windows of blocks."""

import pytest
import torch
from tests.captured import on_edge

from pidflow.errors import ConfigError
from pidflow.interventions.draws import draw
from pidflow.interventions.edges import Edge, edge_of
from pidflow.interventions.intervention import entered, reach_of
from pidflow.interventions.windows import windows
from pidflow.models.inputs import encode
from pidflow.models.spans import Spans
from pidflow.names import CONTROLS, weakest

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


def blocked(kind, source, target, valid=ALL, *, names=("",), first=0, spoken=None, **settings):
    """The pairs that an intervention blocks between two spans given as masks."""
    masks = {"source": source, "target": target} | ({} if spoken is None else {"answer": spoken})
    return on_edge("source", "target", kind=kind, **settings).blocked(Spans(masks, valid), names, first=first)


def test_cut_blocks_the_causal_pairs_between_the_spans():
    found = blocked("cut", mask(5, 12), mask(3, 12, 15))
    assert torch.nonzero(found[0]).tolist() == [[12, 5], [12, 12], [15, 5], [15, 12]]


def test_keep_blocks_everything_else_but_itself():
    found = blocked("keep", mask(1), mask(3))
    assert torch.nonzero(found[0]).tolist() == [[3, 0], [3, 2]]
    assert not blocked("keep", mask(), mask(3)).any()  # nothing to keep: nothing is cut


MANY, FEW = mask(*range(1, 12)), mask(*range(12, 15))  # too many sources to find others for


@pytest.mark.parametrize("seed", range(20))
def test_other_sources_match_the_cut_target_by_target(seed):
    cut = blocked("cut", SOURCE, TARGET)
    found = blocked("random", SOURCE, TARGET, seed=seed)
    assert torch.equal(found.sum(2), cut.sum(2))
    assert not (found & SOURCE[:, None]).any()
    assert not found[0].triu().any()  # earlier positions only, so none loses itself


@pytest.mark.parametrize("seed", range(20))
def test_other_targets_lose_the_same_sources_at_later_positions(seed):
    found = blocked("random", MANY, FEW, seed=seed)[0]
    rows = torch.nonzero(found.any(1))[:, 0]
    assert len(rows) == 3
    assert not FEW[0, rows].any()
    assert rows.min() > 11
    assert (found[rows] == MANY[0]).all()
    assert torch.equal(blocked("random", MANY, FEW, seed=seed, match="other-targets")[0], found)


@pytest.mark.parametrize("seed", range(20))
def test_a_half_is_part_of_the_edge_target_by_target(seed):
    target = mask(*range(12, 18))
    cut = blocked("cut", MANY, target)
    found = blocked("random", MANY, target, seed=seed)
    assert not (found & ~cut).any()
    assert found.sum(2)[target].tolist() == [5] * 6
    itself = blocked("random", mask(3, 4, 5, 6), mask(5, 6), match="half", seed=seed)
    assert itself.sum(2)[0, 5:7].tolist() == [1, 2]
    assert not itself[0].diagonal().any()


def control_of(source, target, match="auto", n=T, spoken=()):
    masks = [
        torch.zeros(n, dtype=torch.bool).index_fill(0, torch.tensor(list(p), dtype=torch.long), True).numpy()
        for p in (source, target, spoken)
    ]
    return draw(*masks, seed=1, match=match)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (range(4, 8), range(9, 15), "other-sources"),
        ([19], [19], "other-sources"),  # the last position and itself
        (range(1, 12), range(12, 15), "other-targets"),
        (range(2, 18), [19], "other-targets"),
        (range(1, 12), range(12, 18), "half"),
        ([0], range(1, 20), "half"),  # where every target has one source, which has no other
        ([], range(5), "unmatched"),
        (range(5), [], "unmatched"),
    ],
)
def test_the_closest_possible_match_is_taken(source, target, expected):
    if expected == "half" and len(list(source)) == 1:
        expected = "unmatched"
    found = control_of(source, target)
    assert found.control == expected
    assert (len(found.queries) > 0) == (expected != "unmatched")


@pytest.mark.parametrize(
    ("match", "source", "target"),
    [
        ("other-sources", range(1, 12), range(12, 15)),
        ("other-targets", range(1, 12), range(12, 18)),
        ("half", [3], [9]),
    ],
)
def test_a_match_that_is_not_possible_takes_nothing_and_is_named_so(match, source, target):
    found = control_of(source, target, match)
    assert found.control == "unmatched"
    assert not len(found.queries)
    masks = [mask(*places) for places in (source, target)]
    spans = Spans(
        {"source": masks[0], "target": masks[1], "image": mask(), "question": mask(), "text": mask(), "last": mask()},
        ALL,
    )
    (reach,) = reach_of([on_edge("source", "target", kind="random", match=match)], spans)
    assert (reach.changed, reach.control) == (False, "unmatched")


def test_of_several_controls_the_weakest_counts():
    assert weakest(["other-sources", "half", "other-targets"]) == "half"
    assert weakest(list(CONTROLS)) == "unmatched"
    assert weakest([]) is None


def test_random_at_the_size_of_llava_ends_where_the_edge_ends():
    """35 + 576 + 30 tokens: a control of image->question among image tokens would say nothing about the question."""
    image, question = range(35, 611), range(612, 636)
    found = control_of(image, question, n=641)
    assert found.control == "half"
    assert len(found.queries) == 24 * 288
    assert set(found.queries) == set(question)
    into_last = control_of(image, [640], n=641)
    assert into_last.control == "other-targets"
    assert len(into_last.queries) == 576
    assert into_last.queries.min() > 610
    assert control_of(question, [640], n=641).control == "other-sources"


def test_draws_are_uniform_over_the_other_sources():
    names = [f"item {index}" for index in range(1500)]
    rows = [each.expand(len(names), -1) for each in (SOURCE, TARGET, ALL)]
    counts = blocked("random", *rows, names=names, seed=7).sum(0)
    for target, pool in ((9, 5), (14, 10)):  # earlier positions outside the source
        outside = [k for k in range(target) if not SOURCE[0, k]]
        assert len(outside) == pool
        expected = 1500 * 4 / pool
        chi2 = ((counts[target, outside] - expected) ** 2 / (expected * (1 - 4 / pool))).sum() * (pool - 1) / pool
        assert 0.1 < chi2 < 30  # about pool - 1


@pytest.mark.parametrize(
    ("source", "target", "spoken_pairs"),
    [
        (SOURCE, TARGET, [4, 4, 4]),
        (MANY, FEW, [0, 0, 0]),  # nothing in the prompt can change any more while the answer is spoken
        (MANY, mask(*range(12, 18)), [5, 5, 5]),
    ],
    ids=["other-sources", "other-targets", "half"],
)
def test_draws_depend_on_the_seed_alone(source, target, spoken_pairs):
    def of(seed, shift=0):
        padded = [torch.nn.functional.pad(each, (shift, 0)) for each in (source, target, ALL)]
        return blocked("random", *padded, seed=seed)[:, shift:, shift:]

    assert torch.equal(of(1), of(1))
    assert not torch.equal(of(1), of(2))
    assert torch.equal(of(1), of(1, shift=5))
    assert not torch.equal(
        blocked("random", source, target, names=["a"]), blocked("random", source, target, names=["b"])
    )
    longer = [
        torch.nn.functional.pad(each, (0, 3), value=value)
        for each, value in ((source, 0), (target, 1), (ALL, 1), (torch.zeros_like(ALL), 1))
    ]
    found = blocked("random", *longer[:3], seed=1, spoken=longer[3])
    assert torch.equal(found[:, :T, :T], of(1))
    assert found[0, T:].sum(1).tolist() == spoken_pairs
    rows = [torch.cat([each, torch.roll(each, 1, 1)]) for each in (source, target)]
    both = blocked("random", *rows, ALL.expand(2, -1), names=["", "b"], seed=1)
    assert torch.equal(both[:1], of(1))


def test_rows_of_the_result_can_start_late():
    for kind in ("cut", "keep", "random"):
        whole = blocked(kind, SOURCE, TARGET)
        assert torch.equal(blocked(kind, SOURCE, TARGET, first=9), whole[:, 9:])


def test_pairs_are_counted_by_where_they_lie(tiny_llava, asked):
    examples, pictures, _ = asked(6)
    spans = encode(tiny_llava, examples, pictures).spans
    for row, reach in enumerate(reach_of([on_edge("image", "text")], spans)):
        words, rest = (int(spans[name][row].sum()) for name in ("question", "text"))
        assert reach.pairs == {
            "image->question": 36 * words,
            "image->other-text": 36 * (rest - words - 1),
            "image->last": 36,
        }
    for kind in ("keep", "random"):
        intervention = on_edge("image", "question", kind=kind)
        for row, reach in enumerate(reach_of([intervention], spans, list("abcdef"))):
            assert sum(reach.pairs.values()) == int(intervention.blocked(spans, list("abcdef"))[row].sum())
            assert reach.control == ("half" if kind == "random" else None)
    assert [each.changed for each in reach_of([], spans)] == [False] * 6
    both = reach_of([on_edge("image", "question"), on_edge("image", "last", kind="random")], spans)
    assert {each.control for each in both} == {"other-targets"}


def logits(loaded, batch, *interventions, names=()):
    with torch.inference_mode(), entered(loaded, interventions, batch.spans, names):
        return loaded.model(**batch.inputs, use_cache=False, logits_to_keep=1).logits[:, -1]


@pytest.fixture(params=["tiny_llava", "tiny_llava_next"])
def loaded(request):
    return request.getfixturevalue(request.param)


def test_what_is_not_kept_cannot_be_read(loaded, asked):
    """With only the image's paths into the last position left in all blocks, the words of the question say nothing."""
    examples, pictures, _ = asked(3)
    batch = encode(loaded, examples, pictures)
    plan = on_edge("image", "last", kind="keep")
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
    keep = logits(loaded, batch, on_edge("image+question", "last", (1, 2), "keep"))
    torch.testing.assert_close(keep, logits(loaded, batch, on_edge("rest", "last", (1, 2))), rtol=0, atol=1e-6)


def test_random_edges_differ_between_items_and_do_not_depend_on_the_batch(loaded, asked):
    examples, pictures, _ = asked(3)
    plan = on_edge("object", "question", kind="random", seed=1)
    together = encode(loaded, [*examples, examples[0]], [*pictures, pictures[0]])
    found = logits(loaded, together, plan, names=list("abcd"))
    alone = encode(loaded, examples[:1], pictures[:1])
    torch.testing.assert_close(logits(loaded, alone, plan, names=["a"]), found[:1], rtol=0, atol=1e-5)
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


PICTURE = range(3, 11)


def mutual(*places, n=T):
    """Positions that see each other both ways."""
    return (mask(*places, length=n)[0].long()).numpy()


def of_block(source, target, match, seed=0):
    """Queries and keys of a control where the image tokens see each other both ways."""
    masks = [mask(*p)[0].numpy() for p in (source, target, ())]
    found = draw(*masks, seed=seed, match=match, mutual=mutual(*PICTURE))
    return found, set(zip(found.queries.tolist(), found.keys.tolist(), strict=True))


def test_other_sources_come_from_all_that_a_target_sees():
    """Of an edge between patches of an object: each has as many sources as the object has others, before and after."""
    drawn = [of_block([4, 5], [4, 5, 6], "other-sources", seed)[1] for seed in range(40)]
    for pairs in drawn:
        assert sorted(query for query, _ in pairs) == [4, 4, 5, 5, 6, 6]  # two sources each, itself among them
        assert not {key for _, key in pairs} & {4, 5}
        assert all(key < query or {key, query} <= set(PICTURE) for query, key in pairs)
    assert {key for pairs in drawn for query, key in pairs if query == 4} == {0, 1, 2, 3, 6, 7, 8, 9, 10}


def test_other_targets_are_all_that_see_the_sources():
    drawn = [of_block([7, 8], [12, 13], "other-targets", seed)[1] for seed in range(60)]
    found = {query for pairs in drawn for query, _ in pairs}
    assert found == {3, 4, 5, 6, 9, 10, 11, *range(14, T)}  # patches before and after, and what follows
    for pairs in drawn:
        assert {key for _, key in pairs} == {7, 8}
        assert not any(query == key for query, key in pairs)


def test_a_half_of_an_edge_has_what_lies_above_the_diagonal():
    drawn = [of_block(PICTURE, [3], "half", seed)[1] for seed in range(40)]
    assert {key for pairs in drawn for _, key in pairs} == set(range(4, 11))
    assert {len(pairs) for pairs in drawn} == {4}


def test_the_control_of_an_edge_above_the_diagonal_takes_as_many_pairs_as_the_cut():
    spans = Spans({"object": mask(4, 5), "other": mask(3, 6, 7, 8, 9, 10)}, ALL, mutual=mask(*PICTURE).long())
    for kind in ("cut", "random"):
        edge = on_edge("object", "other", kind=kind, **({"match": "other-sources"} if kind == "random" else {}))
        found = edge.blocked(spans, [""])[0]
        assert found.sum(1)[3].item() == 2, kind  # the first patch, which sees both only above the diagonal
