"""Figures of sweeps: intervals, controls and transfer windows are there, nothing is clipped, gaps are said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from tests.synthetic_sweep import TWO_STAGES, sweep

from pidflow.analysis.planted import open_blocks
from pidflow.errors import DataError
from pidflow.figures import _sweeps, planted, sweep_edges, sweep_heads, sweep_subsets, sweep_windows
from pidflow.figures._registry import Run, declared
from pidflow.files.store import read_table, write_table
from pidflow.stages import collect_sweeps
from pidflow.stages import plot as stage
from pidflow.stats import interval

ALL_EDGES = TWO_STAGES | {
    "last->last": (0, 0, 0.0),
    "object->question": (1, 2, -0.3),
    "other->question": (0, 0, 0.0),
    "image->options": (2, 3, 0.2),
    "options->last": (6, 7, -0.4),
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """``tables(tasks, **sweep)``: sweeps and transfer windows, as the stage makes them; the same call once."""
    made = {}

    def make(tasks, **settings):
        key = str((tasks, settings))
        if key not in made:
            folder = tmp_path_factory.mktemp("sweeps")
            paths = []
            for place, task in enumerate(tasks):
                found = sweep(task=task, **{"plateaus": ALL_EDGES, "images": 30} | settings)
                paths.append([str(folder / f"{place}-{stem}.parquet") for stem in ("summary", "details")])
                for path, frame in zip(paths[-1], found, strict=True):
                    write_table(path, frame)
            stored = {name: str(folder / f"{name}.parquet") for name in ("sweeps", "transfer_windows", "two_stages")}
            collect_sweeps.run(
                summaries=[summary for summary, _ in paths],
                details=[details for _, details in paths],
                window=settings.get("window", 3),
                resamples=200,
                **{f"{name}_table": [path] for name, path in stored.items()},
            )
            made[key] = stored
        return made[key]

    return make


@pytest.fixture
def two(tables):
    stored = tables(("choose-attr", "easy-shape"))
    return read_table(stored["sweeps"]), read_table(stored["transfer_windows"])


FIGURES = {"edges": sweep_edges.draw, "windows": sweep_windows.draw, "subsets": sweep_subsets.draw}
SIZES = {
    "one task": {"tasks": ("choose-attr",)},
    "two tasks": {"tasks": ("choose-attr", "easy-shape")},
    "four tasks, deep": {"tasks": tuple("abcd"), "depth": 32, "window": 9, "plateaus": TWO_STAGES},
    "one block": {"tasks": ("a",), "depth": 1, "window": 1, "plateaus": {"image->last": (0, 0, -0.4)}},
    "sufficiency": {"tasks": ("a", "b"), "controls": ("random", "keep")},
    "no control": {"tasks": ("a",), "controls": (), "other_windows": ()},
    "other edges": {"tasks": ("a",), "plateaus": {"image+question->last": (0, 3, -0.4), "text->last": (0, 0, 0.0)}},
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("size", SIZES)
def test_figures_are_readable(name, size, tables, assert_readable):
    stored = tables(**SIZES[size])
    assert_readable(
        FIGURES[name](read_table(stored["sweeps"]), read_table(stored["transfer_windows"]), model="standin")
    )


def bands(axes, color):
    return [band for band in axes.collections if to_hex(band.get_facecolor()[0]) == color.lower()]


def lines(axes, color):
    return [line for line in axes.lines if to_hex(line.get_color()) == color.lower()]


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_edge_has_its_color_its_interval_and_its_control(two):
    sweeps, _ = two
    figure = sweep_edges.draw(*two, model="standin")
    words = [edge.replace("->", " → ") for edge in _sweeps.edge_looks(list(ALL_EDGES))]
    assert labels(figure)[: len(ALL_EDGES)] == words
    assert {"95 % interval", "random edges", "transfer window"} <= set(labels(figure))
    for edge, (color, _) in _sweeps.edge_looks(list(ALL_EDGES)).items():
        rows = sweeps[(sweeps["edge"] == edge) & (sweeps["task"] == "choose-attr") & (sweeps["window"] == 3)]
        rows = rows[rows["subset"] == "all"].sort_values("centre")
        axes = figure.axes[0]
        drawn = [line for line in lines(axes, color) if len(line.get_xdata()) == 12]
        for column in ("change_first", "random_change_first"):
            assert any(np.array_equal(line.get_ydata(), rows[column]) for line in drawn)
        broken = [line for line in drawn if line.get_linestyle() == "--"]
        assert [np.array_equal(line.get_ydata(), rows["random_change_first"]) for line in broken] == [True]
        tops = sorted(max(path.vertices[:, 1].max() for path in band.get_paths()) for band in bands(axes, color))
        expected = [
            interval(rows[column], rows[f"{column}_se"], rows["images"] - 1)[1].max()
            for column in ("change_first", "random_change_first")
        ]
        assert tops == pytest.approx(sorted(expected))


def test_what_an_edge_alone_suffices_for_is_drawn_where_it_was_asked(tables, two):
    stored = tables(("a",), controls=("random", "keep"), random_level=-0.1)
    sweeps = read_table(stored["sweeps"])
    figure = sweep_edges.draw(sweeps, read_table(stored["transfer_windows"]), model="standin")
    assert "all but the edge" in labels(figure)
    assert "all but the edge" not in labels(sweep_edges.draw(*two, model="standin"))
    color, _ = _sweeps.edge_looks(["question->last"])["question->last"]
    kept = sweeps[(sweeps["kind"] == "keep") & (sweeps["edge"] == "question->last") & (sweeps["subset"] == "all")]
    kept = kept.sort_values("centre")["change_first"]
    beside = [line for line in lines(figure.axes[0], color) if line.get_linestyle() == "--"]
    assert [np.array_equal(line.get_ydata(), kept) for line in beside].count(True) == 1


def test_transfer_windows_are_marked_with_their_intervals(two):
    sweeps, transfer = two
    transfer = transfer.copy()
    place = (transfer["edge"] == "question->last") & (transfer["task"] == "choose-attr")
    transfer.loc[place, ["onset_low", "onset_high", "end_low", "end_high"]] = [5, 7, 8, 8]
    figure = sweep_edges.draw(sweeps, transfer, model="standin")
    color = _sweeps.edge_looks(["question->last"])["question->last"][0]
    (bar,) = (line for line in lines(figure.axes[0], color) if line.get_linewidth() == 3)
    assert list(bar.get_xdata()) == [5.7, 8.3]
    whiskers = [line for line in figure.axes[0].lines if line.get_marker() == "|"]
    assert [5, 7] in [list(line.get_xdata()) for line in whiskers]
    assert [8, 8] not in [list(line.get_xdata()) for line in whiskers]  # an end without doubt has no whisker
    marked = [line for line in figure.axes[0].lines if line.get_linewidth() == 3]
    present = transfer[(transfer["task"] == "choose-attr") & (transfer["subset"] == "all")]["present"] == "yes"
    assert len(marked) == present.sum() == 5
    values = sweeps.loc[sweeps["subset"] == "all", "change_first"]
    assert all(line.get_ydata()[0] > values.max() for line in marked)


def test_without_a_transfer_window_none_is_announced(tables):
    stored = tables(("a",), plateaus={"image->last": (0, 0, 0.0)})
    figure = sweep_edges.draw(read_table(stored["sweeps"]), read_table(stored["transfer_windows"]), model="standin")
    assert "transfer window" not in labels(figure)
    assert not [line for line in figure.axes[0].lines if line.get_linewidth() == 3]


def test_an_edge_that_a_task_lacks_has_no_line_there(two):
    sweeps, transfer = (frame[(frame["edge"] != "options->last") | (frame["task"] == "choose-attr")] for frame in two)
    figure = sweep_edges.draw(sweeps, transfer, model="standin")
    color = _sweeps.edge_looks(["options->last"])["options->last"][0]
    assert lines(figure.axes[0], color)
    assert not lines(figure.axes[1], color)


def test_every_size_of_window_is_drawn(two):
    sweeps, _ = two
    figure = sweep_windows.draw(*two, model="standin")
    assert labels(figure) == ["3 blocks", "1 block", "one window of 12 blocks", "95 % interval"]
    assert len(figure.axes) == 2 * 3
    rows = sweeps[(sweeps["edge"] == "image->last") & (sweeps["task"] == "easy-shape") & (sweeps["subset"] == "all")]
    axes, color = figure.axes[4], _sweeps.edge_looks(["image->last"])["image->last"][0]
    assert len(bands(axes, color)) == 3
    (level,) = (line for line in lines(axes, color) if list(line.get_xdata()) == [0, 11])
    assert set(level.get_ydata()) == set(rows.loc[rows["window"] == 12, "change_first"])


def test_right_and_wrong_answers_are_told_apart(two):
    sweeps, _ = two
    figure = sweep_subsets.draw(*two, model="standin")
    assert labels(figure) == ["answered correctly", "answered wrongly", "95 % interval"]
    axes, color = figure.axes[0], _sweeps.edge_looks(["image->question"])["image->question"][0]
    broken = [line for line in lines(axes, color) if line.is_dashed()]
    rows = sweeps[(sweeps["edge"] == "image->question") & (sweeps["task"] == "choose-attr") & (sweeps["window"] == 3)]
    wrong = rows[rows["subset"] == "wrong"].sort_values("centre")
    assert [np.array_equal(line.get_ydata(), wrong["change_first"]) for line in broken] == [True]
    assert len(bands(axes, color)) == 2
    counts = rows.groupby("subset")["n"].max()
    assert [text.get_text() for text in axes.texts] == [f"{counts['right']} right, {counts['wrong']} wrong"]
    assert not figure.axes[1].texts  # once a row


def test_missing_and_small_subsets_are_said(two):
    sweeps, transfer = two
    lacking = sweeps[(sweeps["subset"] != "wrong") | (sweeps["task"] == "easy-shape")]
    few = (lacking["subset"] == "wrong") & (lacking["task"] == "easy-shape")
    lacking = lacking.assign(n=lacking["n"].where(~few, 2), images=lacking["images"].where(~few, 2))
    figure = sweep_subsets.draw(lacking, transfer, model="standin")
    texts = [axes.texts[0].get_text() for axes in figure.axes if axes.texts]
    assert texts[0].endswith(" right, none wrong")
    assert texts[1].endswith(" right, 2 wrong (too few)")
    assert labels(figure) == ["answered correctly", "95 % interval"]
    assert not [line for axes in figure.axes for line in axes.lines if np.isnan(line.get_ydata()).any()]


def test_wide_bands_do_not_flatten_the_curves(two):
    sweeps, transfer = two
    wide = sweeps.assign(change_first_se=sweeps["change_first_se"].where(sweeps["subset"] != "wrong", 50.0))
    low, high = sweep_subsets.draw(wide, transfer, model="standin").axes[0].get_ylim()
    assert -1.5 < low < high < 1.5


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(("size", "marked"), [("four tasks, deep", False), ("one task", True)])
def test_the_legend_has_markers_where_the_curves_have(name, size, marked, tables):
    stored = tables(**SIZES[size])
    figure = FIGURES[name](read_table(stored["sweeps"]), read_table(stored["transfer_windows"]), model="standin")
    usual = set("os^DvPXh")
    assert any(line.get_marker() in usual for axes in figure.axes for line in axes.lines) == marked
    assert any(line.get_marker() in usual for line in figure.legends[0].get_lines()) == marked
    depth = read_table(stored["sweeps"])["last"].max()
    assert figure.axes[0].get_xlim() == (-0.5, depth + 0.5)


def by_name(stored):
    return {name.replace("_", "-"): path for name, path in stored.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_stage_writes_equal_bytes_each_time_in_the_wanted_order(name, tables, tmp_path):
    stored = by_name(tables(("choose-attr", "easy-shape")))
    output = [str(tmp_path / each) for each in ("first.svg", "second.svg", "figure.png", "turned.svg")]
    tasks = {"easy-shape": "shape", "choose-attr": "attribute"}
    given = {"figure": f"sweep-{name}", "tables": stored, "given": {"model": "standin"}}
    stage.run(output=output[:1], titles={"task": tasks}, **given)
    stage.run(output=output[1:3], titles={"task": tasks}, **given)
    stage.run(output=output[3:], titles={"task": dict(reversed(tasks.items()))}, **given)
    first, second, png, turned = (path.read_bytes() for path in map(Path, output))
    assert first == second != turned
    assert png.startswith(b"\x89PNG")


def test_stage_says_what_is_wrong(tables, tmp_path):
    stored = by_name(tables(("choose-attr", "easy-shape")))
    given = {"figure": "sweep-edges", "titles": {"task": {"easy-shape": "shape"}}}
    given["output"] = [str(tmp_path / "figure.svg")]
    with pytest.raises(DataError, match="no row has model 'llava'; the table has standin"):
        stage.run(tables=stored, given={"model": "llava"}, **given)
    damaged = str(tmp_path / "damaged.parquet")
    write_table(damaged, pd.DataFrame({"task": ["easy-shape"]}))
    with pytest.raises(DataError, match=r"damaged.parquet, .*: the table lacks the columns model, subset"):
        stage.run(tables=stored | {"sweeps": damaged}, given={"model": "standin"}, **given)


CLOSED = [
    {"source": "image", "target": "template+last", "blocks": "all"},
    {"source": "image", "target": "question", "blocks": [0, 0]},
    {"source": "image", "target": "question", "blocks": [4, 11]},
]


def test_what_is_planted_is_drawn_behind_what_is_found(two):
    figure = planted.draw(*two, model="standin", closed={"standin": CLOSED})
    grey = {
        axes.get_title(loc="left"): [
            patch.get_x() + 0.5 for patch in axes.patches if to_hex(patch.get_facecolor()) == "#f3e5ab"
        ]
        for axes in figure.axes
    }
    assert grey["image → question"] == [1, 2, 3]
    assert grey["image → last"] == []
    assert grey["question → last"] == list(range(12))
    assert {"choose-attr", "easy-shape", "the model has the edge"} <= set(labels(figure))


@pytest.mark.parametrize(
    ("edge", "open_ones"),
    [
        ("image->question", (1, 2, 3)),
        ("image->last", ()),
        ("question->last", tuple(range(6))),
        ("object->question", tuple(range(6))),
    ],
)
def test_open_blocks_are_those_that_nothing_closes(edge, open_ones):
    closed = [*CLOSED[:2], CLOSED[2] | {"blocks": [4, 5]}]
    assert open_blocks(edge, closed, depth=6) == open_ones


def test_only_models_that_lack_edges_have_the_figure():
    facts = {"models": ("a", "b"), "conditions": ("intact",), "tasks": {"t": "T"}, "knockout": None, "blind": None}
    run = Run(**facts, estimator="flow", definition="broja", closed={"a": CLOSED, "b": []})
    assert declared("planted").drawn(run) == ["a/planted"]
    assert declared("planted").drawn(Run(**facts, estimator="flow", definition="broja")) == []


def of_heads(depth=6, heads=4, strong=(3, 2)):
    """A made-up table of single heads: one of them carries ``image->last``, no other does anything."""
    rows = [
        {"model": "standin", "task": task, "edge": edge, "kind": "cut", "subset": "all", "first": block, "head": head}
        | {"change_first": -0.7 if (edge, block, head) == ("image->last", *strong) else 0.01}
        | {"change_first_se": 0.02, "images": 40}
        for task in ("choose-attr", "easy-shape")
        for edge in ("image->last", "question->last")
        for block in range(depth)
        for head in range(heads)
    ]
    return pd.DataFrame(rows)


def test_every_head_has_its_cell_and_the_sure_ones_a_dot(assert_readable):
    figure = sweep_heads.draw(of_heads(), model="standin")
    assert_readable(figure)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 4
    for place, axes in enumerate(panels):
        cells, (dots,) = axes.images[0].get_array(), axes.lines
        assert cells.shape == (4, 6)  # heads up, blocks across
        carries = place % 2 == 0
        assert (cells.min() == -0.7) == carries
        assert list(zip(dots.get_xdata(), dots.get_ydata(), strict=True)) == ([(3, 2)] if carries else [])
        if carries:
            assert np.unravel_index(cells.argmin(), cells.shape) == (2, 3)


def test_a_run_without_single_heads_has_no_such_figure():
    facts = {"models": ("a", "b"), "conditions": ("intact",), "tasks": {"t": "T"}, "knockout": None, "blind": None}
    how = {"estimator": "flow", "definition": "broja"}
    assert declared("sweep-heads").drawn(Run(**facts, **how)) == []
    with_heads = Run(**facts, **how, heads=("image->last",))
    assert declared("sweep-heads").drawn(with_heads) == ["a/sweep-heads", "b/sweep-heads"]
    assert declared("sweep-heads").tables == ("sweep-heads",)
