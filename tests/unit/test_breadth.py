"""Many models: correlations, types, sizes, orders, training; every reported number has its row."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats
from tests.synthetic_predictions import synthetic_predictions

from pidflow import stats
from pidflow.analysis import breadth, emergence, spectrum_claims, spectrum_reported, spectrum_tables
from pidflow.analysis.spectrum_cells import NUMBERS, Cell, ModelInfo, cells_of, layers
from pidflow.analysis.two_systems import agreement_of, two_systems_table
from pidflow.errors import DataError
from pidflow.spectrum.estimate import How, estimate_spectrum
from pidflow.stages.collect_spectrum import read_expected

ROOT = Path(__file__).resolve().parents[2]


def cell(model, task="t", *, noise=0.01, seed=0, groups=20, info=None, **values):
    rng = np.random.default_rng([seed, sum(map(ord, model + task))])
    numbers = dict.fromkeys(NUMBERS, 0.1) | values
    scale = noise / np.sqrt(groups - 1)
    replicates = {name: value + scale * rng.standard_normal(groups) for name, value in numbers.items()}
    return Cell(model, task, info or ModelInfo(), numbers, replicates)


def zoo(count=8, task="t", **changes):
    """Models whose accuracy goes with synergy and not with language-unique information."""
    rng = np.random.default_rng(0)
    language = rng.permutation(count) / count
    return [
        cell(
            f"m{i}",
            task,
            accuracy=0.5 + 0.05 * i,
            synergy=0.1 * i,
            unique_language=language[i],
            interaction=-0.1 * i,
            vision_dependence=0.02 * i,
            **changes,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("n", [6, 26])
def test_spearman_is_scipys_and_its_p_value_is_exact_for_few(n):
    rng = np.random.default_rng(n)
    x = rng.standard_normal(n)
    y = x + rng.standard_normal(n)
    rho, p, low, high = breadth.spearman(x, y)
    expected = scipy_stats.spearmanr(x, y)
    assert rho == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue, rel=0.5, abs=0.05)
    assert low <= rho <= high
    if n == 6:  # all 720 orders; a perfect one and its reverse
        assert breadth.spearman(np.arange(6.0), np.arange(6.0))[:2] == pytest.approx((1.0, 2 / 720))


def test_p_values_are_fair_under_the_null():
    rng = np.random.default_rng(1)
    p = np.array([breadth.spearman(*rng.standard_normal((2, 7)))[1] for _ in range(100)])
    assert 0.01 <= (p <= 0.1).mean() <= 0.2


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(2)
    truth = 6 / np.pi * np.arcsin(0.7 / 2)
    held = 0
    for _ in range(60):
        x, e = rng.standard_normal((2, 26))
        _, _, low, high = breadth.spearman(x, 0.7 * x + np.sqrt(1 - 0.49) * e)
        held += low <= truth <= high
    assert held >= 50


def test_too_few_models_and_numbers_that_do_not_vary_have_no_correlation():
    table = breadth.correlation_table(zoo(3))
    assert table["rho"].isna().all()
    assert set(table["models"]) == {3}
    flat = breadth.correlation_table([cell(f"m{i}", accuracy=0.1 * i) for i in range(6)])
    assert flat["rho"].isna().all()


def test_what_drives_a_task():
    table = breadth.type_table(zoo(12)).set_index("name")
    assert table.loc["t", "type"] == breadth.SYNERGY_DRIVEN
    both = [cell(f"m{i}", accuracy=0.1 * i, synergy=0.1 * i, unique_language=0.1 * i) for i in range(12)]
    assert breadth.type_table(both).set_index("name").loc["t", "type"] == breadth.KNOWLEDGE_DRIVEN


@pytest.mark.parametrize(
    ("synergy", "language", "kind"), [(0.6, 0.2, "fusion-centric"), (0.1, 0.7, "language-centric")]
)
def test_where_a_family_leans(synergy, language, kind):
    cells = [
        cell(f"m{i}", info=ModelInfo(group="g"), share_synergy=synergy, share_unique_language=language)
        for i in range(3)
    ]
    table = breadth.type_table(cells)
    assert set(table[table["kind"] == "group"]["type"]) == {kind}


def test_scaling_goes_from_each_size_to_the_next_and_task_by_task():
    cells = [
        cell(f"m{size}", task, info=ModelInfo(group="g", size=size), synergy=0.1 * size, accuracy=0.5)
        for size in (7.0, 2.0, 70.0)
        for task in ("a", "b")
    ]
    table = breadth.scaling_table(cells).query("number == 'synergy'")
    assert list(zip(table["smaller"], table["larger"], strict=True)) == [(2.0, 7.0), (7.0, 70.0)]
    np.testing.assert_allclose(table["change"], [0.5, 6.3], atol=1e-9)
    assert set(table["tasks"]) == {2}
    assert ((table["low"] < table["change"]) & (table["change"] < table["high"])).all()


def expected(*groups, quantity="synergy"):
    return [breadth.Expected("o", "because", quantity, "t", tuple(tuple(group) for group in groups))]


def test_an_order_written_down_before_is_judged():
    cells = zoo(8, noise=0.02)
    names = [each.model for each in cells]
    singly = [[name] for name in names]
    right = breadth.order_table(cells, expected(*singly)).iloc[0]
    assert right["tau"] == pytest.approx(1.0)
    assert right["recovered"]
    wrong = breadth.order_table(cells, expected(*singly[::-1])).iloc[0]
    assert wrong["tau"] == pytest.approx(-1.0)
    swapped = breadth.order_table(cells, expected(singly[1], singly[0], *singly[2:])).iloc[0]
    assert swapped["tau"] == pytest.approx(1 - 2 / 28)
    assert swapped["recovered"]
    twice = breadth.order_table(cells, expected(*singly[1::-1], *singly[3:1:-1], *singly[4:])).iloc[0]
    assert twice["tau"] == pytest.approx(1 - 4 / 28)
    assert not twice["recovered"]
    together = breadth.order_table(cells, expected(names[1::-1], names[5:1:-1], names[6:], quantity="gain")).iloc[0]
    assert (together["tau"], together["number"]) == (pytest.approx(1.0), "vision_dependence")
    assert breadth.order_table(cells, expected(*singly[:3])).empty
    claims = spectrum_claims.judge(cells, [], expected=expected(*singly))
    assert {c.verdict for c in claims if c.id == "order-o"} <= {stats.SUPPORTED, stats.UNDETERMINED}


def test_an_order_that_errors_may_turn_round_is_not_sure():
    """Errors of two neighbours as large as their distance; the same images move both, or each has its own."""
    close = [cell(f"m{i}", synergy=0.1 * i, noise=1e-6) for i in range(3)]
    one, two = (cell(name, synergy=value, noise=0.02) for name, value in (("m3", 0.40), ("m4", 0.42)))
    order = expected(*([f"m{i}"] for i in range(5)))
    apart = breadth.order_table([*close, one, two], order).iloc[0]
    assert apart["recovered"]
    assert (apart["low"], apart["high"]) == (pytest.approx(0.8), pytest.approx(1.0))
    assert (apart["pairs"], apart["decided"], apart["opposed"]) == (10, 9, 0)
    # The distance over the error of a difference that has its own images in both: 0.02 / 0.028, Student's t of 19.
    assert apart["sure"] == pytest.approx(scipy_stats.t.cdf(0.02 / np.hypot(*se_of(one, two)), 19), abs=0.1)
    together = Cell(
        "m4", "t", two.info, two.values, dict(two.replicates) | {"synergy": one.replicates["synergy"] + 0.02}
    )
    sure = breadth.order_table([*close, one, together], order).iloc[0]
    assert (sure["sure"], sure["decided"]) == (1, 10)
    turned = breadth.order_table([*close, one, together], expected(["m4"], ["m3"], *([f"m{i}"] for i in range(3))))
    assert (turned.iloc[0]["decided"], turned.iloc[0]["opposed"]) == (10, 7)
    drawn = breadth.redrawn([one, two], "synergy", draws=4000, seed=1)
    np.testing.assert_allclose(drawn.std(0), np.array(se_of(one, two)) * np.sqrt(19 / 17), rtol=0.1)


def se_of(*cells):
    return [each.estimate("synergy").se for each in cells]


def test_kendall_is_scipys_without_ties():
    x, y = np.random.default_rng(0).standard_normal((2, 12))
    assert breadth.kendall(x, y) == pytest.approx(scipy_stats.kendalltau(x, y).statistic)


def test_the_orders_of_the_zoo_can_be_read(tmp_path):
    found = read_expected(str(ROOT / "workflow" / "resources" / "zoo" / "expected.yaml"))
    assert len(found) >= 3
    assert all(len({m for group in each.order for m in group}) >= 4 for each in found)
    (tmp_path / "e.yaml").write_text("- {id: a, why: b, quantity: beauty, task: t, order: [[m]]}")
    with pytest.raises(DataError, match="unknown quantity 'beauty'"):
        read_expected(str(tmp_path / "e.yaml"))
    (tmp_path / "e.yaml").write_text("- {id: a, order: [m]}")
    with pytest.raises(DataError, match="entry 0 must have id"):
        read_expected(str(tmp_path / "e.yaml"))


def training(values, task="t"):
    phases = ["align", "align", *["tune"] * (len(values) - 2)]
    return [
        cell(f"c{i}", task, info=ModelInfo(series="s", step=100 * i, phase=phases[i]), synergy=value)
        for i, value in enumerate(values)
    ]


def test_synergy_emerges_between_two_checkpoints():
    found = emergence.emergence_table(training([0.0, 0.0, 0.1, 0.7, 0.8])).set_index("number").loc["synergy"]
    assert found["step"] == pytest.approx(200 + 100 * 0.3 / 0.6)
    assert (found["first"], found["last"], found["phase"]) == (200, 300, "tune")
    assert found["low"] <= 200
    assert found["high"] >= 300
    assert (found["low"], found["high"]) != (0, 400)
    cells = training([0.0, 0.0, 0.1, 0.7, 0.8])
    cells[2].replicates["synergy"][0] = np.nan  # an error that is unknown is not an error of zero
    unsure = emergence.emergence_table(cells).set_index("number").loc["synergy"]
    assert (unsure["step"], unsure["low"], unsure["high"]) == (found["step"], 0, 400)
    never = emergence.emergence_table(training([0.0] * 4)).set_index("number").loc["synergy"]
    assert np.isnan(never["step"])
    assert emergence.training_table(zoo()).empty


@pytest.mark.parametrize(
    ("values", "verdicts"),
    [
        ([0.0, 0.0, 0.4, 0.8], (stats.SUPPORTED, stats.SUPPORTED)),
        ([0.0, 0.8, 0.8, 0.8], (stats.NOT_SUPPORTED, stats.UNDETERMINED)),
        ([0.0, 0.8, 0.4, 0.2], (stats.NOT_SUPPORTED, stats.NOT_SUPPORTED)),
    ],
)
def test_claims_about_training(values, verdicts):
    claims = {claim.id: claim for claim in spectrum_claims.judge(training(values), [])}
    assert (claims["no-synergy-in-alignment"].verdict, claims["synergy-emerges-in-tuning"].verdict) == verdicts


def test_every_reported_number_has_a_row_and_says_what_the_run_lacks():
    table = spectrum_claims.spectrum_claims_table(spectrum_claims.judge(zoo(8, "mmbench"), []))
    reported = [value for values in spectrum_reported.CORRELATIONS.values() for value in values]
    reported += [v for steps in spectrum_reported.SCALING.values() for step in steps for v in step if np.isfinite(v)]
    assert sorted(table["paper_value"].dropna()) == pytest.approx(sorted(reported))
    assert len(reported) == 20 + 15
    types = table[table["id"].isin(["task-type", "group-type"])]
    assert set(types["task"]) | set(types["about"]) >= {*spectrum_reported.TASK_TYPES, *spectrum_reported.GROUP_TYPES}
    mine = table[(table["task"] == "mmbench") & (table["id"] == "accuracy-with-synergy")].iloc[0]
    assert mine["verdict"] == stats.SUPPORTED
    assert mine["paper_inside"] == "no"  # a perfect order is more than is reported
    other = table[(table["task"] == "pope") & (table["id"] == "accuracy-with-synergy")].iloc[0]
    assert other["verdict"] == stats.UNDETERMINED
    assert "no task 'pope'" in other["reason"]


def spectra(**options):
    predictions = synthetic_predictions(180, layers=4, **options)
    return estimate_spectrum(predictions, How(), model="m", task=options["system"])


def test_cells_tables_and_claims_about_layers_from_real_spectra():
    found = [spectra(system="synergy"), spectra(system="language")]
    cells = cells_of(found, {"m": ModelInfo(group="g", size=1.0)})
    synergy, language = cells
    assert synergy.values["synergy"] > 0.85
    assert synergy.values["interaction"] == pytest.approx(-synergy.values["synergy"], abs=0.02)
    assert synergy.values["vision_dependence"] > 0.3 > language.values["vision_dependence"]
    assert [s.layer for s in layers(found[0], "norm")] == [0, 1, 2, 3, 4]
    claims = {(c.id, c.task): c for c in spectrum_claims.judge(cells, found, lens="norm")}
    assert claims["information-emerges-late", "synergy"].estimate == pytest.approx(0.625, abs=0.01)
    assert claims["language-peaks-penultimate", "language"].estimate == pytest.approx(0, abs=1e-6)
    table = spectrum_tables.spectrum_table(found)
    end = table[(table["method"] == "coupling") & table["layer"].isna()]
    assert end.groupby("task")["twin_error"].apply(lambda e: e.abs().max()).max() < 0.15
    passes = spectrum_tables.pass_table(found)
    assert set(passes["pass"]) == {each.key for each in found[0].passes}
    catalogue = {"n": {"hub": "a/n", "group": "g", "size": 2.0, "blocks": 3, "reachable": False, "why": "gated"}}
    assert list(spectrum_tables.catalogue_table(catalogue, found, {"m": "g"})["status"]) == [
        "not reachable",
        "run, not in the catalogue",
    ]


def test_two_systems_meet_in_the_end():
    import pandas as pd

    found = [spectra(system="synergy")]
    table = spectrum_tables.spectrum_table(found)
    shares = {"redundancy": 0.1, "unique_vision": 0.1, "unique_language": 0.1, "synergy": 0.7}
    pid = pd.DataFrame(
        [
            {
                **{"model": "m", "task": "synergy", "condition": "intact", "estimator": "flow", "definition": "broja"},
                **{"layer": layer, "atom": atom, "bits": share, "share": share},
            }
            for layer in range(5)
            for atom, share in shares.items()
        ]
    )
    both = two_systems_table(pid, table, estimator="flow", definition="broja")
    assert set(both["system"]) == {"states", "predictions"}
    found = agreement_of(both).iloc[0]
    assert found["correlation"] > 0.95
    assert found["largest_states"] == found["largest_predictions"] == "synergy"
    silent = agreement_of(both.assign(share=both["share"].where(both["system"] == "states"))).iloc[0]
    assert (silent["largest_states"], silent["largest_predictions"]) == ("synergy", None)
    assert np.isnan(silent["correlation"])
    assert two_systems_table(pid.assign(model="other"), table, estimator="flow", definition="broja").empty
