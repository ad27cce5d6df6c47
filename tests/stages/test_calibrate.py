"""The scorecard: every case, estimator and atom beside its truth, at the size of the run."""

import numpy as np
import pandas as pd
import pytest

from pidflow.errors import ConfigError, NumericsError
from pidflow.files.store import put, writing_h5
from pidflow.stages import calibrate

ATOMS = ("redundancy", "unique_vision", "unique_language", "synergy")
FLOW = {"max_steps": 20, "evaluate_every": 10, "stages": 1}


def scores(path, *, rows, dims):
    """A file of principal scores as stage fit_pca leaves it, as far as its size matters."""
    with writing_h5(path, kind="pca", attrs={"layers": len(dims) - 1}) as file:
        put(file, "rows", np.arange(rows))
        for layer, (vision, language, _) in enumerate(dims):
            put(file, f"layer-{layer:02d}/vision/scores", np.zeros((rows, vision)))
            put(file, f"layer-{layer:02d}/language/scores", np.zeros((rows, language)))
        put(file, "target/scores", np.zeros((rows, dims[0][2])))
    return str(path)


def run(tmp_path, *, rows=240, dims=((2, 3, 2), (3, 2, 2)), **changes):
    unit = scores(tmp_path / "unit.h5", rows=rows, dims=dims)
    paths = [str(tmp_path / "calibration.parquet"), str(tmp_path / "calibration.csv")]
    arguments = {
        "pca": [unit],
        "scorecard": paths,
        "estimators": ["gaussian", "copula", "flow"],
        "definitions": ["broja", "mmi"],
        "permutations": 20,
        "jackknife_groups": 20,
        "folds": 3,
        "seed": 0,
        "threads": 1,
        "settings": FLOW,
    }
    calibrate.run(**(arguments | changes))
    return pd.read_parquet(paths[0]), pd.read_csv(paths[1])


def test_every_case_estimator_and_atom_has_a_row(tmp_path):
    table, csv = run(tmp_path)
    assert len(csv) == len(table)
    assert set(table["case"]) == {"gaussian", "warped", "bent", "discrete", "xor", "independent"}
    assert (table[["n", "d1", "d2", "m"]] == [240, 3, 3, 2]).all(axis=None)
    missed = table[table["atom"] == "missed_information"]
    assert (missed.groupby(["case", "estimator"]).size() == 1).all()
    assert len(missed) == 18
    atoms = table[table["atom"].isin(ATOMS)]
    assert len(atoms) + len(missed) == len(table)
    assert (atoms.groupby(["case", "estimator", "definition"])["atom"].nunique() == 4).all()
    assert np.isfinite(atoms[["truth", "bits", "se"]]).all(axis=None)
    gaussian = atoms[
        (atoms["case"] == "gaussian") & (atoms["estimator"] == "gaussian") & (atoms["definition"] == "broja")
    ]
    np.testing.assert_allclose(gaussian["bits"], gaussian["truth"], atol=0.4)
    assert gaussian["within"].all()
    assert gaussian["passed"].all()
    xor = atoms[(atoms["case"] == "xor") & (atoms["atom"] == "synergy")]
    assert not xor["within"].any()  # no estimator sees it, whether or not the flag was raised
    assert missed["within"].all()


def test_the_smallest_unit_and_the_widest_layer_set_the_size(tmp_path):
    units = [
        scores(tmp_path / "a.h5", rows=300, dims=[(4, 2, 3), (1, 2, 3)]),
        scores(tmp_path / "b.h5", rows=200, dims=[(2, 5, 1), (2, 2, 1)]),
    ]
    assert calibrate.size_of_run(units) == (200, (4, 5, 3))


def test_replicates_are_new_draws_and_seeds_repeat(tmp_path):
    few = {"cases": ["independent"], "estimators": ["gaussian"], "definitions": ["broja"]}
    table, _ = run(tmp_path, replicates=2, **few)
    first, second = (table.loc[table["replicate"] == r, "bits"].to_numpy() for r in (0, 1))
    assert not np.allclose(first, second)
    again, _ = run(tmp_path, replicates=1, **few)
    np.testing.assert_array_equal(again["bits"], first)


def test_refusals_name_the_case(tmp_path):
    with pytest.raises(NumericsError, match=r"calibration case 'gaussian', n=9, dims=\(3, 3, 2\)"):
        run(tmp_path, rows=9, estimators=["gaussian"])
    with pytest.raises(
        ConfigError, match="unknown estimator 'spiral', expected one of: auto, copula, flow, gaussian, mixed"
    ):
        run(tmp_path, estimators=["spiral"])
    assert not (tmp_path / "calibration.parquet").exists()
