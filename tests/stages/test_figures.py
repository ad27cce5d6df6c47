"""Figures as files and as pictures: equal input gives equal bytes, nothing is clipped, nothing covers the data."""

import re
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from docutils.core import publish_string
from jinja2 import Environment, StrictUndefined
from matplotlib.colors import to_hex
from matplotlib.text import Text
from tests import synthetic_run as run

from pidflow.analysis import claims, tables
from pidflow.analysis import dependence as moderated
from pidflow.errors import ConfigError, DataError
from pidflow.figures import _style as style
from pidflow.figures import (
    calibration,
    dependence,
    fingerprint,
    knockout_changes,
    latent_gaussianity,
    layer_profiles,
    logit_lens,
    model_profiles,
    overview,
)
from pidflow.figures._registry import PLACES, Run, all_figures, declared, titled
from pidflow.files.store import write_table
from pidflow.stages import plot as stage

EARLY = "image-question-early"
WORKFLOW = Path(__file__).resolve().parents[2] / "workflow"
REPORT, LIBRARY = WORKFLOW / "report", WORKFLOW / "lib"


def made(tasks, *, layers=9, conditions=("intact", run.CUT), control=None):
    """All tables of a made-up run, of which the last condition is the knockout, and of a deeper model."""
    estimated = {"tasks": tasks, "estimators": ("flow",), "definitions": ("broja",)}
    decomposed = run.records(layers=layers, conditions=conditions, **estimated)
    deeper = run.records(models=("deeper",), layers=2 * layers, conditions=("intact",), seed=1, **estimated)
    models = tables.pid_table(decomposed + deeper)
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
        dependence=moderated.dependence_table(decomposed, lost, knockout=conditions[-1]),
        claims=claims.claims_table(judged),
        lens=tables.lens_table(answers),
        gaussianity=tables.gaussianity_table(diagnostics),
        calibration=run.calibration(),
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


ESTIMATE = {"estimator": "flow", "definition": "broja"}
OF_MODEL = ESTIMATE | {"model": "standin"}
FIGURES = {
    "layer-profiles": lambda t: profiles_of(t.pid, conditions=list(dict.fromkeys(t.pid["condition"]))),
    "model-profiles": lambda t: model_profiles.draw(t.models, models=["standin", "deeper"], **ESTIMATE),
    "fingerprint": lambda t: fingerprint.draw(t.pid, condition="intact", **OF_MODEL),
    "knockout-changes": lambda t: knockout_changes.draw(t.differences, t.answers, condition=t.knockout, **OF_MODEL),
    "dependence": lambda t: dependence.draw(t.dependence, t.claims, knockout=t.knockout, **OF_MODEL),
    "logit-lens": lambda t: logit_lens.draw(t.lens, model="standin"),
    "calibration": lambda t: calibration.draw(t.calibration, definition="broja"),
    "latent-gaussianity": lambda t: latent_gaussianity.draw(t.gaussianity, model="standin"),
    "overview": lambda t: overview.draw(t.pid, t.differences, knockout=t.knockout, **OF_MODEL),
}


def profiles_of(pid, conditions=("intact", run.CUT)):
    return layer_profiles.draw(pid, conditions=conditions, **OF_MODEL)


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
    figure = FIGURES["layer-profiles"](four_tasks)
    axes = figure.axes[0]
    for atom, color in style.ATOM_COLORS.items():
        intact = four_tasks.pid[(four_tasks.pid["task"] == "choose-rel") & (four_tasks.pid["condition"] == "intact")]
        curve = intact[intact["atom"] == atom]
        assert any(np.array_equal(line.get_ydata(), curve["bits"]) for line in lines(axes, color))
        bands = [band for band in axes.collections if to_hex(band.get_facecolor()[0]) == color.lower()]
        assert len(bands) == 3  # intact, cut and random
        top = max(path.vertices[:, 1].max() for path in bands[0].get_paths())
        assert top == pytest.approx(curve["high"].max())


def test_models_of_different_depth_share_an_axis(four_tasks):
    figure = FIGURES["model-profiles"](four_tasks)
    axes = figure.axes[0]
    found = lines(axes, style.ATOM_COLORS["synergy"])
    solid, broken = (line for line in found if line.get_linestyle() != "None")
    assert (solid.get_linestyle(), broken.get_linestyle()) == ("-", "--")
    np.testing.assert_allclose(solid.get_xdata(), np.linspace(0, 1, 9))
    np.testing.assert_allclose(broken.get_xdata(), np.linspace(0, 1, 18))
    assert {"standin", "deeper"} <= {text.get_text() for text in figure.legends[0].get_texts()}


def test_more_models_than_line_styles_are_refused(four_tasks):
    with pytest.raises(DataError, match="one figure tells 4 models apart, found 5: a, b, c, d, e"):
        model_profiles.draw(four_tasks.models, models=list("abcde"), **ESTIMATE)


def test_of_many_models_the_first_are_laid_side_by_side():
    run_of = Run(tuple("abcde"), ("intact",), {"t": "T"}, None, None, "flow", "broja")
    assert declared("model-profiles").given(run_of)["models"] == list("abcd")


def test_layer_profiles_of_some_conditions(four_tasks):
    figure = profiles_of(four_tasks.pid)
    assert run.CUT in texts(figure)
    assert run.RANDOM not in texts(figure)


def test_no_condition_is_left_out_of_the_lens(four_tasks):
    """More conditions than colours."""
    names = [f"c{number}" for number in range(8)]
    intact = four_tasks.lens[four_tasks.lens["condition"] == "intact"]
    lens = pd.concat([intact, *(intact.assign(condition=name) for name in names)])
    figure = logit_lens.draw(lens, model="standin")
    assert {"intact", *names} <= set(texts(figure))
    looks = {(line.get_color(), str(line._dash_pattern)) for line in figure.legends[0].get_lines()}
    assert len(looks) == 9


def test_no_changed_answer_is_said_in_words(one_task):
    same = one_task.answers.assign(accuracy_lost=0.0, accuracy_lost_high=0.0)
    axes = knockout_changes.draw(one_task.differences, same, condition=run.CUT, **OF_MODEL).axes[0]
    assert axes.get_title(loc="right") == "accuracy unchanged"


def drawn_alone(axes, layer):
    """Markers of one layer, drawn apart from those of the others."""
    return [line for line in axes.lines if list(line.get_xdata()) == [layer] and line.get_marker() not in ("", "None")]


def test_markers_show_the_two_levels_of_warning(four_tasks):
    pid = four_tasks.pid.assign(warning="")
    pid.loc[pid["layer"] == 3, "warning"] = "wrong in the planted twin"
    pid.loc[pid["layer"] == 5, "warning"] = "clipped; missed information"
    figure = profiles_of(pid)
    axes = figure.axes[0]
    small, hollow = drawn_alone(axes, 3), drawn_alone(axes, 5)
    assert len(small) == len(hollow) == 8  # four atoms, two conditions
    assert all(line.get_markerfacecolor() == "white" for line in hollow)
    assert not [line for line in axes.lines if line not in hollow and line.get_markerfacecolor() == "white"]
    assert {line.get_markersize() for line in small} == {0.5 * line.get_markersize() for line in hollow}
    assert texts(figure)[-2:] == ["caution", "do not use"]
    assert not {"caution", "do not use"} & set(texts(profiles_of(pid.assign(warning=""))))


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
        moderator, quantity = list(dependence._moderators())[place // 3], moderated.EFFECTS[place % 3]
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


@pytest.mark.parametrize(
    ("warning", "size", "hollow", "key"),
    [("3 of 4 layers carry warnings", 2.75, False, "caution"), ("missed information", 5.5, True, "do not use")],
)
def test_a_task_with_warnings_is_marked_in_dependence(four_tasks, warning, size, hollow, key):
    noted = four_tasks.dependence.assign(warning="")
    noted.loc[(noted["task"] == run.TASKS[3]) & (noted["atom"] == "synergy"), "warning"] = warning
    figure = dependence.draw(noted, four_tasks.claims, knockout=run.CUT, **OF_MODEL)
    for place, axes in enumerate(figure.axes):
        sizes = [container.lines[0].get_markersize() for container in axes.containers]
        whites = [container.lines[0].get_markerfacecolor() == "white" for container in axes.containers]
        synergy = place % 3 == 1
        assert sizes == [5.5, size if synergy else 5.5, 5.5, 5.5]
        assert whites == [False, hollow and synergy, False, False]
    assert texts(figure)[-1] == key


def test_shares_fill_the_bar(four_tasks):
    axes = FIGURES["fingerprint"](four_tasks).axes[0]
    ends = [patch.get_x() + patch.get_width() for patch in axes.patches if patch.get_y() < 0.5]
    assert max(ends) == pytest.approx(1.0)


def test_a_task_without_information_has_no_bar_but_a_total(one_task):
    pid = one_task.pid.copy()
    pid.loc[:, ["share", "share_se", "share_low", "share_high"]] = np.nan
    axes = fingerprint.draw(pid, condition="intact", **OF_MODEL).axes[0]
    assert all(patch.get_width() == 0 for patch in axes.patches)
    assert any("±" in text.get_text() for text in axes.texts)


def test_missed_cases_are_hollow_and_announced_ones_half():
    scorecard = run.calibration()
    figure = calibration.draw(scorecard, definition="broja")
    hollow = [line for axes in figure.axes for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == (~scorecard["passed"]).sum() > 0
    half = [line for axes in figure.axes for line in axes.lines if line.get_fillstyle() == "left"]
    assert len(half) == (scorecard["passed"] & ~scorecard["within"]).sum() > 0
    assert figure.axes[0].get_title(loc="left").startswith("gaussian: ")


def test_overview_without_a_knockout_has_two_panels(four_tasks):
    assert len(overview.draw(four_tasks.pid, four_tasks.differences, knockout=None, **OF_MODEL).axes) == 2


def test_drawing_leaves_no_trace(one_task):
    before = dict(matplotlib.rcParams)
    profiles_of(one_task.pid)
    assert dict(matplotlib.rcParams) == before


@pytest.fixture
def stored(four_tasks, tmp_path):
    """Paths of the tables as parquet."""
    paths = {}
    for name in ("pid", "differences", "answers", "dependence", "claims", "lens", "gaussianity", "calibration"):
        paths[name] = str(tmp_path / f"{name}.parquet")
        write_table(paths[name], getattr(four_tasks, name))
    return paths


GIVEN = OF_MODEL | {"condition": run.CUT, "conditions": ["intact", run.CUT], "models": ["standin"], "knockout": run.CUT}
ONE = {run.TASKS[2]: "relate two objects"}


def drawn(stored, figure, output, tasks=ONE, titles=MappingProxyType({}), **given):
    paths = [str(path) for path in output]
    stage.run(figure=figure, tables=stored, output=paths, titles={"task": tasks} | titles, given=GIVEN | given)
    return [path.read_bytes() for path in output]


@pytest.mark.parametrize("name", FIGURES)
def test_stage_writes_equal_bytes_each_time(name, stored, tmp_path):
    (first,) = drawn(stored, name, [tmp_path / "first.svg"])
    second, png = drawn(stored, name, [tmp_path / "second.svg", tmp_path / "figure.png"])
    assert first == second
    assert first.startswith(b"<?xml")
    assert b"<dc:date>" not in first
    assert png.startswith(b"\x89PNG")


def test_models_and_conditions_go_by_their_titles(stored, monkeypatch):
    """In legends and headings; rows are found by them all the same."""
    texts = []
    monkeypatch.setattr(
        stage, "write_figure", lambda figure, _: texts.extend(each.get_text() for each in figure.findobj(Text))
    )
    titles = {"condition": {run.CUT: "question cut off", run.RANDOM: "others cut"}, "model": {"standin": "small one"}}
    drawn(stored, "knockout-changes", [], titles=titles, condition=run.CUT)
    assert "question cut off minus intact" in texts
    assert {"question cut off", "others cut"} <= set(texts)
    drawn(stored, "layer-profiles", [], titles=titles, conditions=["intact", run.CUT])
    assert run.CUT not in " ".join(texts)
    assert "image-question" not in " ".join(texts)


def test_stage_draws_tasks_in_the_wanted_order_under_their_titles(stored, monkeypatch):
    titles = []
    monkeypatch.setattr(
        stage, "write_figure", lambda figure, _: titles.extend(a.get_title(loc="left") for a in figure.axes)
    )
    drawn(stored, "layer-profiles", [], tasks={run.TASKS[4]: "second in words", run.TASKS[2]: "first in words"})
    assert titles == ["second in words", "first in words"]


def test_rows_about_all_tasks_are_kept_and_those_of_other_tasks_are_not(four_tasks):
    kept = stage.of_tasks(four_tasks.claims, ONE)
    assert set(kept["task"]) == {"relate two objects", "all"}
    assert kept["task"].iloc[-1] == "all"


def test_stage_refuses_other_formats_before_it_draws(stored, tmp_path):
    with pytest.raises(DataError, match=r"figure\.pdf: figures are written as svg or png, not 'pdf'"):
        drawn(stored, "layer-profiles", [tmp_path / "figure.svg", tmp_path / "figure.pdf"])
    assert not (tmp_path / "figure.svg").exists()


def test_stage_says_what_the_table_lacks(stored, tmp_path):
    with pytest.raises(DataError, match=r"'layer-profiles' of .*pid\.parquet: .* no row has model 'llava'; .* standin"):
        drawn(stored, "layer-profiles", [tmp_path / "figure.svg"], model="llava")
    write_table(stored["pid"], pd.DataFrame({"task": [run.TASKS[2]], "model": "standin"}))
    with pytest.raises(DataError, match=r"the table lacks the columns condition, atom, .* it has task, model"):
        drawn(stored, "layer-profiles", [tmp_path / "figure.svg"])


NOTHING = {"models": ("standin",), "conditions": ("intact",), "tasks": {"a": "A"}, "knockout": None, "blind": None}
ALL = {
    "models": ("standin", "deeper"),
    "conditions": ("intact", run.CUT),
    "tasks": {task: task for task in run.TASKS},
    "knockout": run.CUT,
    "blind": run.BLIND,
}


def run_of(**facts):
    return Run(**NOTHING | facts, estimator="flow", definition="broja")


@pytest.mark.parametrize("figure", all_figures(), ids=lambda figure: figure.id)
def test_captions_render(figure):
    given = figure.given(run_of(**ALL))
    assert set(given) == set(figure.wishes)
    text = Environment(undefined=StrictUndefined).from_string(figure.module.CAPTION)
    titles = {"model": {"standin": "a model"}, "estimator": {"flow": "a flow"}}
    called = {name: titled(name, "standin" if name == "model" else value, titles) for name, value in given.items()}
    html = as_html(text.render(called=called))
    assert b"{{" not in html
    assert ("model" not in called) or b"<em>a model</em>" in html, "people read titles"


@pytest.mark.parametrize("path", sorted(REPORT.glob("*.rst")), ids=lambda path: path.stem)
def test_captions_of_tables_render(path):
    run = {"models": ["standin"], "tasks": ["a", "b"], "conditions": ["intact", "cut"]}
    titles = {"models": {"standin": {"title": "a model"}}, "tasks": {"a": {"title": "first"}}, "interventions": {}}
    text = Environment(undefined=StrictUndefined).from_string(path.read_text())
    html = as_html(text.render(snakemake=SimpleNamespace(config={"run": run} | titles)))
    assert b"{{" not in html
    if path.stem == "workflow":
        assert {b"Models: a model", b"Tasks: first, b", b"Conditions: intact, cut"} <= set(
            re.findall(rb"\w+: [^<]+", html)
        )


def as_html(text):
    return publish_string(text, writer="html5", settings_overrides={"halt_level": 2, "report_level": 2})


def test_every_figure_is_drawn_here_or_with_its_own_target():
    targets = {figure.id: figure.target for figure in all_figures()}
    assert {name for name, target in targets.items() if target == "figures"} == set(FIGURES)
    assert set(targets.values()) == {"figures", "sweeps", "spectrum", "systems"}


@pytest.mark.parametrize(
    ("facts", "more"),
    [
        ({}, set()),
        ({"models": ("standin", "deeper")}, {"model-profiles"}),
        ({"conditions": ("intact", run.CUT)}, {"fingerprint-image-question", "knockout-changes-image-question"}),
        ({"knockout": run.CUT, "blind": run.BLIND, "tasks": dict.fromkeys("abcd", "")}, {"dependence"}),
        ({"knockout": run.CUT, "blind": run.BLIND, "tasks": dict.fromkeys("abc", "")}, set()),
        ({"knockout": run.CUT, "tasks": dict.fromkeys("abcd", "")}, set()),
    ],
)
def test_a_run_has_the_figures_it_has_numbers_for(facts, more):
    always = {"calibration", "fingerprint-intact", "latent-gaussianity", "layer-profiles", "logit-lens", "overview"}
    figures = (figure for figure in all_figures() if figure.target == "figures")
    stems = {Path(stem).name for figure in figures for stem in figure.drawn(run_of(**facts))}
    assert stems == always | more


@pytest.mark.parametrize(
    ("conditions", "knockout", "expected"),
    [
        (("intact", EARLY, run.CUT), run.CUT, ["intact", run.CUT]),
        (("intact", EARLY, run.CUT), None, ["intact", EARLY]),
        ((EARLY, "intact"), None, ["intact", EARLY]),
        (("intact",), None, ["intact"]),
    ],
)
def test_layer_profiles_show_what_one_picture_can_hold(conditions, knockout, expected):
    given = declared("layer-profiles").given(run_of(conditions=conditions, knockout=knockout))
    assert given["conditions"] == expected


def test_the_signature_of_draw_is_what_a_figure_declares():
    figure = declared("knockout-changes")
    assert figure.tables == ("differences", "answers")
    assert figure.places == PLACES
    assert (figure.path, figure.job) == ("{model}/knockout-changes-{condition}", "{model}/{condition}")
    assert declared("sweep-edges").tables == ("sweeps", "transfer-windows")
    assert (declared("calibration").path, declared("calibration").job) == ("calibration", "run")


def test_a_figure_that_asks_for_what_no_run_has_is_refused(monkeypatch):
    monkeypatch.setattr(overview, "draw", lambda pid, *, moddel: None)
    with pytest.raises(ConfigError, match="figure 'overview': draw asks for 'moddel', expected one of: model, condit"):
        declared("overview")


def test_declarations_are_read_without_drawing_libraries():
    """By the workflow itself and by each of its jobs."""
    code = (
        "import sys; from pidflow.figures._registry import all_figures; all_figures();"
        "sys.exit(str({'matplotlib', 'pandas', 'scipy', 'h5py', 'torch'} & set(sys.modules) or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(LIBRARY)}, capture_output=True, text=True
    )
    assert done.stderr.strip() in ("", "set()")
