"""Linear probes and accuracy lost beside the atoms: known answers."""

import numpy as np
import pytest
from tests import synthetic_run as run

from pidflow import stats
from pidflow.analysis import baselines
from pidflow.names import QUANTITIES

RNG = np.random.default_rng(0)
FOLDS = np.arange(600) % 3


class TestProbe:
    def test_clusters_that_a_line_parts_are_read(self):
        answer = RNG.integers(3, size=600)
        columns = np.eye(3)[answer][:, :2] * 6 + RNG.normal(size=(600, 2))
        assert baselines.probe(columns, answer.astype(str), FOLDS).mean() > 0.97

    def test_noise_is_no_better_than_the_most_frequent_answer(self):
        answer = np.where(RNG.random(600) < 0.7, "yes", "no")
        share = (answer == "yes").mean()
        assert baselines.probe(RNG.normal(size=(600, 5)), answer, FOLDS).mean() == pytest.approx(share, abs=0.03)
        assert baselines.probe(np.zeros((600, 0)), answer, FOLDS).mean() == pytest.approx(share)

    def test_an_xor_is_beyond_a_line(self):
        columns = RNG.normal(size=(600, 2))
        answer = np.sign(columns[:, 0] * columns[:, 1])
        assert baselines.probe(columns, answer, FOLDS).mean() < 0.6

    def test_rows_of_the_own_fold_are_never_learnt_from(self):
        """With labels that only repeat within a fold, a probe that has seen its own rows would be right."""
        answer = FOLDS.astype(str)
        assert baselines.probe(np.eye(3)[FOLDS], answer, FOLDS).sum() == 0

    def test_answers_too_rare_to_learn_are_counted_as_missed(self):
        answer = np.array(["yes"] * 596 + ["rare"] * 4)
        assert baselines.probe(RNG.normal(size=(600, 2)), answer, FOLDS).mean() == pytest.approx(596 / 600)

    def test_unit_and_basis_do_not_matter(self):
        answer = RNG.integers(2, size=600)
        columns = RNG.normal(size=(600, 3)) + answer[:, None]
        moved = 1e3 + 50 * columns @ np.linalg.qr(RNG.normal(size=(3, 3)))[0]
        np.testing.assert_array_equal(baselines.probe(columns, answer, FOLDS), baselines.probe(moved, answer, FOLDS))

    def test_probes_say_which_source_tells(self):
        answer = RNG.integers(2, size=600)
        told, noise = answer[:, None] * 4 + RNG.normal(size=(600, 2)), RNG.normal(size=(600, 2))
        (found,) = baselines.probed([noise], [told], answer, folds=FOLDS, images=np.arange(600) // 3)
        assert found["vision"].value < 0.6 < 0.9 < found["language"].value
        assert found["both"].value > 0.9
        assert found["vision"].df == 199


@pytest.fixture(scope="module")
def table():
    """A made-up run of six tasks: probes of vision follow the need of vision, those of language do not."""
    records = run.records(layers=3)
    units = {(each.model, each.task, each.condition) for each in records}
    probes = {
        unit: [
            {
                "vision": stats.Estimate(run.need_of_vision(unit[1]), 0.01, 9),
                "language": stats.Estimate(0.5 + 0.01 * (len(unit[1]) % 3), 0.01, 9),
                "both": stats.Estimate(0.9, 0.01, 9),
            }
        ]
        * 3
        for unit in units
    }
    lost = {"lost_image": {unit[:2]: stats.Estimate(0.4, 0.02, 9) for unit in units}}
    return baselines.baselines_table(
        records, probes, lost, dict.fromkeys(units, 0.5), estimator="flow", definition="broja"
    )


def test_atoms_and_baselines_stand_in_one_row(table):
    assert tuple(table.columns) == baselines.BASELINE_COLUMNS
    assert len(table) == len([r for r in run.records(layers=3) if (r.estimator, r.definition) == ("flow", "broja")])
    first = table.iloc[0]
    assert first["mi_joint"] == pytest.approx(sum(first[name] for name in QUANTITIES[:4]))
    assert (first["lost_image"], first["lost_image_se"]) == (0.4, 0.02)
    assert np.isnan(first["lost_question"])
    assert first["probe_both_low"] < 0.9 < first["probe_both_high"]
