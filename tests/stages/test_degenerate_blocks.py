"""Blocks that are constant, or tell the target exactly, on their way from components to files and tables."""

import numpy as np
import pytest
import torch

from pidflow.analysis.tables import pid_table
from pidflow.files.store import put, read_json, reading_h5, take, writing_h5
from pidflow.flows.pca import fit_pca
from pidflow.pid.records import from_json
from pidflow.stages import bound_information, estimate_pid, plant_twin, train_flow

ROWS = 200
ESTIMATORS = ["gaussian", "copula", "flow"]


def decomposed(folder, layers, target):
    """What the stages make of layers of (vision, language) and a target, as files hold it."""
    with writing_h5(folder / "pca.h5", kind="pca") as file:
        put(file, "image_id", np.array([f"image {row // 2}" for row in range(ROWS)]))
        put(file, "fold", np.arange(ROWS) // 2 % 2)
        put(file, "rows", np.arange(ROWS))
        put(file, "target/scores", target)
        for layer, blocks in enumerate(layers):
            for source, block in zip(("vision", "language"), blocks, strict=True):
                scores = fit_pca(block, variance=0.99, max_components=4).scores(block)
                put(file, f"layer-{layer:02d}/{source}/scores", scores)
        unit = {"model": "m", "task": "t", "condition": "intact", "language": "last", "dropped": 0}
        file.attrs.update(unit | {"layers": len(layers) - 1})
    before = torch.get_num_threads()
    settings = {"stages": 2, "max_steps": 20}
    paths = {name: str(folder / f"{name}.h5") for name in ("pca", "flow", "twin", "bound")}
    weights = str(folder / "flow.safetensors")
    train_flow.run(pca=paths["pca"], output=paths["flow"], weights=weights, settings=settings, seed=0, threads=1)
    plant_twin.run(
        pca=paths["pca"],
        flow=paths["flow"],
        weights=weights,
        output=paths["twin"],
        settings=settings,
        seed=0,
        threads=1,
    )
    bound_information.run(pca=paths["pca"], flow=paths["flow"], output=paths["bound"], seed=0, threads=1)
    torch.set_num_threads(before)
    outputs = [str(folder / f"layer-{layer:02d}.json") for layer in range(len(layers))]
    asked = {"estimators": ESTIMATORS, "definitions": ["broja"], "permutations": 20, "jackknife_groups": 20}
    estimate_pid.run(**paths, outputs=outputs, seed=0, **asked)
    return [from_json(read_json(path), where=path) for path in outputs]


def test_a_constant_block_carries_zero_bits_from_its_components_to_its_file(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((ROWS, 2))
    constant, noisy = np.full((ROWS, 8), 0.25), [1.5 * y + rng.standard_normal((ROWS, 2)) for _ in range(3)]
    constant_layer, beside = decomposed(tmp_path, [(noisy[0], constant), (noisy[1], noisy[2])], y)
    with reading_h5(tmp_path / "flow.h5", kind="flow") as file:
        assert take(file, "layer-00/z2").shape == (ROWS, 0)
    assert len(constant_layer) == 3
    for found in constant_layer:
        assert found.bits["mi_language"] == 0
        assert [found.bits[name] for name in ("redundancy", "unique_language", "synergy")] == [0, 0, 0]
        assert found.bits["unique_vision"] > 0.3
        assert any("x2 is constant" in warning for warning in found.estimate.warnings)
    assert beside[0].bits["redundancy"] > 0.3


def test_an_answer_that_a_source_tells_exactly_has_no_number_and_ends_no_run(tmp_path):
    """A copy, a copy in both sources, and one beside which nothing is exact."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((ROWS, 2))
    noisy = [1.5 * y + rng.standard_normal((ROWS, 2)) for _ in range(2)]
    layers = decomposed(tmp_path, [(noisy[0], y), (y, y), tuple(noisy)], y)
    for found in layers[0] + layers[1]:
        assert not found.estimate.bounded
        assert np.isnan([*found.bits.values(), *found.se.values()]).all()
        assert not found.missed.flag
        assert any("is infinite" in warning for warning in found.estimate.warnings)
    assert all(0.5 < found.bits["mi_joint"] < 5 for found in layers[2])
    table = pid_table([each for found in layers for each in found]).set_index(["layer", "estimator", "atom"])
    row = table.loc[(0, "gaussian", "unique_language")]
    assert np.isnan(row["bits"])
    assert row["warning"].startswith("no number: I(x2, y) is infinite")  # ";" parts warnings


@pytest.mark.parametrize("copied", [False, True])
def test_a_constant_answer_is_told_by_nothing(tmp_path, copied):
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, ROWS, 2))
    (found,) = decomposed(tmp_path, [(one, one if copied else two)], np.zeros((ROWS, 0)))
    for each in found:
        assert set(each.bits.values()) == {0.0}
        assert "y is constant over all 200 rows: it carries 0 bits" in each.estimate.warnings
