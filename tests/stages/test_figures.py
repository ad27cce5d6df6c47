"""Figures as files and as pictures: equal input gives equal bytes, nothing is clipped, nothing covers the data."""

from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from docutils.core import publish_string
from jinja2 import Environment, StrictUndefined
from matplotlib.colors import to_hex
from tests import synthetic_run as run

from pidflow import design
from pidflow.analysis import cells, claims, dependence, tables
from pidflow.errors import DataError
from pidflow.figures import profiles, style
from pidflow.stages import plot as stage
from pidflow.store import write_table

EARLY = "image-question-early"
REPORT = Path(__file__).resolve().parents[2] / "workflow" / "report"


def made(tasks, *, layers=9, conditions=("intact", run.CUT), control=None):
    """All tables of a made-up run, of which the last condition is the knockout, and of a deeper model."""
    estimated = {"tasks": tasks, "estimators": ("flow",), "definitions": ("broja",)}
    records = run.records(layers=layers, conditions=conditions, **estimated)
    deeper = run.records(models=("deeper",), layers=2 * layers, conditions=("intact",), seed=1, **estimated)
    models = tables.pid_table([cell for each in records + deeper for cell in cells.cells(each, where="x.json")])
    decomposed = [cell for record in records for cell in cells.cells(record, where="x.json")]
    units = [("standin", task, condition) for task in tasks for condition in conditions]
    answers = {unit: run.answers(unit[1], unit[2], layers=layers) for unit in units}
    lost = {
        ("standin", task): tables.accuracy_lost(*(run.answers(task, name) for name in ("intact", run.BLIND)))
        for task in tasks
    }
    judged = claims.judge(decomposed, lost, knockout=conditions[-1], control=control)
    diagnostics = ((unit, *entry) for unit in units for entry in run.diagnostics(layers=layers))
    return SimpleNamespace(
        pid=tables.pid_table(decomposed),
        models=models,
        differences=tables.difference_table(decomposed, control and {conditions[-1]: control}),
        answers=tables.answers_table(answers, decomposed),
        dependence=dependence.dependence_table(decomposed, lost, knockout=conditions[-1]),
        claims=claims.claims_table(judged),
        lens=tables.lens_table(answers),
        gaussianity=tables.gaussianity_table(diagnostics),
        scorecard=run.calibration(),
        knockout=conditions[-1],
    )


@pytest.fixture(scope="module")
def one_task():
    return made(run.TASKS[:1])


@pytest.fixture(scope="module")
def two_tasks():
    return made(run.TASKS[-2:], layers=3, conditions=("intact", run.CUT, EARLY))


@pytest.fixture(scope="module")
def four_tasks():
    return made(run.TASKS[2:6], conditions=("intact", run.RANDOM, run.CUT), control=run.RANDOM)


@pytest.fixture(scope="module")
def nine_tasks():
    return made(run.TASKS, layers=33, conditions=("intact", EARLY, run.RANDOM, run.CUT), control=run.RANDOM)


FIGURES = {
    "layer-profiles": lambda t: profiles.layer_profiles(t.pid, model="standin"),
    "model-profiles": lambda t: profiles.model_profiles(t.models, models=["standin", "deeper"]),
    "fingerprint": lambda t: profiles.fingerprint(t.pid, model="standin"),
    "knockout-changes": lambda t: profiles.knockout_changes(
        t.differences, t.answers, model="standin", condition=t.knockout
    ),
    "dependence": lambda t: profiles.dependence(t.dependence, t.claims, model="standin"),
    "lens-courses": lambda t: profiles.lens_courses(t.lens, model="standin"),
    "calibration": lambda t: profiles.calibration(t.scorecard),
    "latent-gaussianity": lambda t: profiles.latent_gaussianity(t.gaussianity, model="standin"),
    "overview": lambda t: profiles.overview(t.pid, t.differences, model="standin", knockout=t.knockout),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("size", ["one_task", "two_tasks", "four_tasks"])
def test_figures_are_readable(name, size, request, assert_readable):
    assert_readable(FIGURES[name](request.getfixturevalue(size)))


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_large_figures_are_readable(name, nine_tasks, assert_readable):
    assert_readable(FIGURES[name](nine_tasks))


def lines(axes, color):
    return [line for line in axes.lines if to_hex(line.get_color()) == color.lower()]


def test_every_atom_has_its_color_and_its_band(four_tasks):
    figure = profiles.layer_profiles(four_tasks.pid, model="standin")
    axes = figure.axes[0]
    for atom, color in style.ATOM_COLORS.items():
        intact = four_tasks.pid[(four_tasks.pid["task"] == "choose-rel") & (four_tasks.pid["condition"] == "intact")]
        course = intact[intact["atom"] == atom]
        assert any(np.array_equal(line.get_ydata(), course["bits"]) for line in lines(axes, color))
        bands = [band for band in axes.collections if to_hex(band.get_facecolor()[0]) == color.lower()]
        assert len(bands) == 3  # intact, cut and random
        top = max(path.vertices[:, 1].max() for path in bands[0].get_paths())
        assert top == pytest.approx(course["high"].max())


def test_models_of_different_depth_share_an_axis(four_tasks):
    figure = profiles.model_profiles(four_tasks.models, models=["standin", "deeper"])
    axes = figure.axes[0]
    found = lines(axes, style.ATOM_COLORS["synergy"])
    solid, broken = (line for line in found if line.get_linestyle() != "None")
    assert (solid.get_linestyle(), broken.get_linestyle()) == ("-", "--")
    np.testing.assert_allclose(solid.get_xdata(), np.linspace(0, 1, 9))
    np.testing.assert_allclose(broken.get_xdata(), np.linspace(0, 1, 18))
    assert {"standin", "deeper"} <= {text.get_text() for text in figure.legends[0].get_texts()}


def test_more_models_than_line_styles_are_refused(four_tasks):
    with pytest.raises(DataError, match="one figure tells 4 models apart, found 5: a, b, c, d, e"):
        profiles.model_profiles(four_tasks.models, models=list("abcde"))
    assert len(style.LINE_STYLES) == design.MODELS_IN_A_FIGURE


def test_layer_profiles_of_some_conditions(four_tasks):
    figure = profiles.layer_profiles(four_tasks.pid, model="standin", conditions=["intact", run.CUT])
    assert run.CUT in texts(figure)
    assert run.RANDOM not in texts(figure)


def test_no_condition_is_left_out_of_the_lens(four_tasks):
    """More conditions than colours."""
    names = [f"c{number}" for number in range(8)]
    intact = four_tasks.lens[four_tasks.lens["condition"] == "intact"]
    lens = pd.concat([intact, *(intact.assign(condition=name) for name in names)])
    figure = profiles.lens_courses(lens, model="standin")
    assert {"intact", *names} <= set(texts(figure))
    looks = {(line.get_color(), str(line._dash_pattern)) for line in figure.legends[0].get_lines()}
    assert len(looks) == 9


def test_no_changed_answer_is_said_in_words(one_task):
    same = one_task.answers.assign(accuracy_lost=0.0, accuracy_lost_high=0.0)
    axes = profiles.knockout_changes(one_task.differences, same, model="standin", condition=run.CUT).axes[0]
    assert axes.get_title(loc="right") == "accuracy unchanged"


def test_layers_with_a_warning_are_hollow(four_tasks):
    pid = four_tasks.pid.assign(warning="")
    pid.loc[pid["layer"] == 3, "warning"] = "clipped"
    figure = profiles.layer_profiles(pid, model="standin")
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 12  # four atoms, three conditions
    assert all(list(line.get_xdata()) == [3] for line in hollow)
    assert "carries a warning" in [text.get_text() for text in figure.legends[0].get_texts()]
    clean = profiles.layer_profiles(pid.assign(warning=""), model="standin")
    assert "carries a warning" not in [text.get_text() for text in clean.legends[0].get_texts()]


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_control_is_a_broken_line_of_the_same_color_with_its_band(four_tasks):
    figure = FIGURES["knockout-changes"](four_tasks)
    effect = four_tasks.differences[four_tasks.differences["condition"] == run.CUT]
    for atom, color in style.ATOM_COLORS.items():
        rows = effect[(effect["task"] == run.TASKS[2]) & (effect["atom"] == atom)]
        broken = [line for line in lines(figure.axes[0], color) if line.is_dashed()]
        assert [list(line.get_ydata()) for line in broken] == [list(rows["control_bits"])]
        tops = [
            max(path.vertices[:, 1].max() for path in band.get_paths())
            for band in figure.axes[0].collections
            if to_hex(band.get_facecolor()[0]) == color.lower()
        ]
        assert sorted(tops) == pytest.approx(sorted([rows["control_high"].max(), rows["high"].max()]))
    assert {run.CUT, run.RANDOM} <= set(texts(figure))


def test_without_a_control_there_is_no_broken_line(one_task):
    figure = FIGURES["knockout-changes"](one_task)
    assert not [line for line in figure.axes[0].lines if line.is_dashed()]
    assert run.RANDOM not in texts(figure)


def test_the_accuracy_stands_beside_the_change(four_tasks):
    axes = FIGURES["knockout-changes"](four_tasks).axes[0]
    answers = four_tasks.answers.set_index(["task", "condition"])
    lost = answers.loc[(run.TASKS[2], run.CUT), "accuracy_lost"]
    assert axes.get_title(loc="right").startswith(f"accuracy −{lost:.2f} ± 0.0")


def test_dependence_has_a_point_and_its_errors_for_every_task(four_tasks):
    figure = FIGURES["dependence"](four_tasks)
    assert len(figure.axes) == 6
    for place, axes in enumerate(figure.axes):
        moderator, quantity = list(profiles.MODERATORS)[place // 3], dependence.EFFECTS[place % 3]
        rows = four_tasks.dependence[four_tasks.dependence["atom"] == quantity]
        points = [container.lines[0] for container in axes.containers]
        assert [(p.get_xdata()[0], p.get_ydata()[0]) for p in points] == list(
            zip(rows[moderator], rows["bits"], strict=True)
        )
        assert len({point.get_marker() for point in points}) == 4
        for container, row in zip(axes.containers, rows.to_dict("records"), strict=True):
            (across,), (up,) = (bars.get_segments() for bars in container.lines[2])
            assert across[:, 0] == pytest.approx([row[f"{moderator}_low"], row[f"{moderator}_high"]])
            assert up[:, 1] == pytest.approx([row["low"], row["high"]])
    assert set(run.TASKS[2:6]) <= set(texts(figure))


def test_dependence_shows_the_correlation_that_was_judged(four_tasks):
    claim = four_tasks.claims.set_index("id").loc["knockout-raises-synergy-by-dependence"]
    title = FIGURES["dependence"](four_tasks).axes[1].get_title(loc="right")
    assert title == f"r = {claim['estimate']:.2f} ({claim['low']:z.2f} to {claim['high']:.2f})".replace("-", "−")


def test_dependence_of_few_tasks_has_no_correlation(two_tasks):
    assert FIGURES["dependence"](two_tasks).axes[0].get_title(loc="right") == "correlation not known"


def test_a_task_with_warnings_is_hollow_in_dependence(four_tasks):
    noted = four_tasks.dependence.assign(warning="")
    noted.loc[(noted["task"] == run.TASKS[3]) & (noted["atom"] == "synergy"), "warning"] = "3 of 4 layers"
    figure = profiles.dependence(noted, four_tasks.claims, model="standin")
    hollow = [sum(line.get_markerfacecolor() == "white" for line in axes.lines) for axes in figure.axes]
    assert hollow == [0, 1, 0, 0, 1, 0]
    assert "carries a warning" in texts(figure)


def test_shares_fill_the_bar(four_tasks):
    axes = profiles.fingerprint(four_tasks.pid, model="standin").axes[0]
    ends = [patch.get_x() + patch.get_width() for patch in axes.patches if patch.get_y() < 0.5]
    assert max(ends) == pytest.approx(1.0)


def test_a_task_without_information_has_no_bar_but_a_total(one_task):
    pid = one_task.pid.copy()
    pid.loc[:, ["share", "share_se", "share_low", "share_high"]] = np.nan
    axes = profiles.fingerprint(pid, model="standin").axes[0]
    assert all(patch.get_width() == 0 for patch in axes.patches)
    assert any("±" in text.get_text() for text in axes.texts)


def test_missed_cases_are_hollow_and_announced_ones_half():
    scorecard = run.calibration()
    figure = profiles.calibration(scorecard)
    hollow = [line for axes in figure.axes for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == (~scorecard["passed"]).sum() > 0
    half = [line for axes in figure.axes for line in axes.lines if line.get_fillstyle() == "left"]
    assert len(half) == (scorecard["passed"] & ~scorecard["within"]).sum() > 0
    assert figure.axes[0].get_title(loc="left").startswith("gaussian: ")


def test_overview_without_a_knockout_has_two_panels(four_tasks):
    assert len(profiles.overview(four_tasks.pid, four_tasks.differences, model="standin", knockout=None).axes) == 2


def test_drawing_leaves_no_trace(one_task):
    before = dict(matplotlib.rcParams)
    profiles.layer_profiles(one_task.pid, model="standin")
    assert dict(matplotlib.rcParams) == before


@pytest.fixture
def stored(four_tasks, tmp_path):
    """Paths of the tables as parquet."""
    paths = {}
    for name in ("pid", "differences", "answers", "dependence", "claims", "lens", "gaussianity", "scorecard"):
        paths[name] = str(tmp_path / f"{name}.parquet")
        write_table(paths[name], getattr(four_tasks, name))
    return paths


ESTIMATE = {"estimator": "flow", "definition": "broja"}
OF_MODEL = {"model": "standin", "tasks": run.TASKS[2:3]}
STAGES = {
    "layer_profiles": (["pid"], ESTIMATE | OF_MODEL | {"conditions": ["intact", run.CUT]}),
    "model_profiles": (["pid"], ESTIMATE | {"models": ["standin"], "tasks": run.TASKS[2:3]}),
    "fingerprint": (["pid"], ESTIMATE | OF_MODEL | {"condition": "intact"}),
    "knockout_changes": (["differences", "answers"], ESTIMATE | OF_MODEL | {"condition": run.CUT}),
    "dependence": (["dependence", "claims"], ESTIMATE | OF_MODEL),
    "lens_courses": (["lens"], OF_MODEL),
    "calibration": (["scorecard"], {"definition": "broja"}),
    "latent_gaussianity": (["gaussianity"], OF_MODEL),
    "overview": (["pid", "differences"], ESTIMATE | OF_MODEL | {"knockout": run.CUT}),
}


@pytest.mark.parametrize("name", STAGES)
def test_stage_writes_equal_bytes_each_time(name, stored, tmp_path):
    inputs, options = STAGES[name]
    output = [tmp_path / name for name in ("first.svg", "second.svg", "figure.png")]
    getattr(stage, name)(**{i: stored[i] for i in inputs}, output=list(map(str, output[:1])), **options)
    getattr(stage, name)(**{i: stored[i] for i in inputs}, output=list(map(str, output[1:])), **options)
    first, second, png = (path.read_bytes() for path in output)
    assert first == second
    assert first.startswith(b"<?xml")
    assert b"<dc:date>" not in first
    assert png.startswith(b"\x89PNG")


def test_stage_draws_tasks_in_the_wanted_order(stored, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(
        stage, "write_figure", lambda figure, _: titles.extend(a.get_title(loc="left") for a in figure.axes)
    )
    tasks = [run.TASKS[4], run.TASKS[2]]
    stage.layer_profiles(
        pid=stored["pid"], output=[], **(ESTIMATE | OF_MODEL | {"conditions": [run.CUT], "tasks": tasks})
    )
    assert titles == tasks


def test_stage_refuses_other_formats(stored, tmp_path):
    options = ESTIMATE | {"model": "standin", "tasks": run.TASKS, "conditions": ["intact"]}
    with pytest.raises(DataError, match=r"figure\.pdf: figures are written as svg or png"):
        stage.layer_profiles(pid=stored["pid"], output=[str(tmp_path / "figure.pdf")], **options)


def test_stage_says_what_the_table_lacks(stored, tmp_path):
    options = ESTIMATE | {"model": "llava", "tasks": run.TASKS, "conditions": ["intact"]}
    with pytest.raises(DataError, match="no row has model 'llava'; the table has standin"):
        stage.layer_profiles(pid=stored["pid"], output=[str(tmp_path / "figure.svg")], **options)


@pytest.mark.parametrize("path", sorted(REPORT.glob("*.rst")), ids=lambda path: path.stem)
def test_captions_render(path):
    names = {
        "model": "standin",
        "models": ["standin"],
        "estimator": "flow",
        "definition": "broja",
        "condition": "intact",
        "knockout": run.CUT,
    }
    config = {"run": {"models": ["standin"], "tasks": ["a", "b"], "conditions": ["intact"]}}
    snakemake = SimpleNamespace(params=SimpleNamespace(**names), config=config)
    text = Environment(undefined=StrictUndefined).from_string(path.read_text()).render(snakemake=snakemake)
    html = publish_string(text, writer="html5", settings_overrides={"halt_level": 2, "report_level": 2})
    assert b"{{" not in html


def test_every_figure_has_a_caption():
    swept = {"sweep-edges", "sweep-windows", "sweep-subsets", "two-stages"}
    assert {path.stem for path in REPORT.glob("*.rst")} == {*FIGURES, *swept, "workflow", "claims"}
