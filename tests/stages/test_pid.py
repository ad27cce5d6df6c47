"""Flows, their twins and decompositions of one unit, from principal scores to the JSON of a layer."""

import json

import numpy as np
import pytest
import torch

from pidflow.errors import DataError
from pidflow.stages import estimate_pid, train_flow
from pidflow.store import Identity, checksum_of, put, reading_h5, writing_h5

ROWS, ESTIMATORS, DEFINITIONS = 600, ["gaussian", "copula", "flow"], ["broja", "mmi"]
WARPED, XOR = 0, 1


def parted(block):
    """Every column in two clusters about -1 and 1: increasing, and without the tails that make covariances scatter."""
    return np.sign(block) + 0.1 * block


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    """A unit of two layers: a Gaussian parted into clusters, which a linear model reads badly, and an XOR of signs."""
    folder = tmp_path_factory.mktemp("unit")
    rng = np.random.default_rng(0)
    y = rng.standard_normal((ROWS, 2))
    noisy = [1.5 * y + rng.standard_normal((ROWS, 2)) for _ in range(2)]
    signs = [rng.standard_normal((ROWS, 2)) for _ in range(2)]
    signs[1][:, 0] = np.abs(signs[1][:, 0]) * np.sign(signs[0][:, 0] * y[:, 0])
    with writing_h5(folder / "pca.h5", kind="pca") as file:
        for name, values in (
            ("image_id", np.array([f"image {row // 2}" for row in range(ROWS)])),
            ("fold", np.arange(ROWS) // 2 % 3),
            ("rows", np.arange(ROWS)),
            ("target/scores", parted(y)),
        ):
            put(file, name, values)
        for layer, (vision, language) in enumerate(([parted(block) for block in noisy], signs)):
            put(file, f"layer-{layer:02d}/vision/scores", vision)
            put(file, f"layer-{layer:02d}/language/scores", language)
        file.attrs.update(
            {"model": "m", "task": "t", "condition": "intact", "layers": 1, "language": "text", "dropped": 3}
        )
    before = torch.get_num_threads()
    train_flow.run(
        pca=str(folder / "pca.h5"),
        output=str(folder / "flow.h5"),
        weights=str(folder / "flow.safetensors"),
        settings={"stages": 2},
        seed=0,
        threads=1,
    )
    torch.set_num_threads(before)
    return folder


def decomposed(folder, layer):
    output = folder / f"layer-{layer:02d}.json"
    estimate_pid.run(
        pca=str(folder / "pca.h5"),
        flow=str(folder / "flow.h5"),
        output=str(output),
        layer=f"{layer:02d}",
        estimators=ESTIMATORS,
        definitions=DEFINITIONS,
        permutations=20,
        jackknife_groups=20,
        seed=0,
    )
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def warped(unit):
    return decomposed(unit, WARPED)


def test_a_decomposition_names_its_unit_and_tells_how_its_union_was_corrected(warped):
    assert {key: warped[key] for key in ("model", "task", "condition", "layer", "n", "images", "dims", "dropped")} == {
        **{"model": "m", "task": "t", "condition": "intact", "layer": 0},
        **{"n": ROWS, "images": ROWS // 2, "dims": [2, 2, 2], "dropped": 3},
    }
    for estimator in ESTIMATORS:
        unions = {name: found["union"] for name, found in warped["estimators"][estimator]["definitions"].items()}
        assert (unions["broja"]["correction"], unions["mmi"]["correction"]) == ("cross-fit", "exact")
        assert 0 < unions["broja"]["null"] < 0.1


def test_the_twin_says_which_estimator_to_believe(warped):
    """The twin has the clusters of the real rows: the plain Gaussian is wrong there, copula and flow are right."""
    for estimator in ESTIMATORS:
        for found in warped["estimators"][estimator]["definitions"].values():
            twin = found["twin"]
            assert set(twin) == {*estimate_pid.ATOMS, "mi_vision", "mi_language", "mi_joint"}
            atoms = sum(twin[atom]["truth"] for atom in estimate_pid.ATOMS)
            assert atoms == pytest.approx(twin["mi_joint"]["truth"])
            assert twin["mi_joint"]["passed"] == (estimator != "gaussian")
    plain = warped["estimators"]["gaussian"]["definitions"]["broja"]["twin"]["mi_joint"]
    assert plain["bits"] < plain["truth"] - 0.5


def test_the_truth_of_the_twin_is_what_the_flow_found_in_the_real_rows(warped):
    found = warped["estimators"]["flow"]["definitions"]["broja"]
    for atom, planted in found["twin"].items():
        if atom in estimate_pid.ATOMS:
            assert planted["truth"] == pytest.approx(found["raw"][atom], abs=1e-9)


def test_what_is_missed_is_said_of_every_estimator(unit, warped):
    xor = decomposed(unit, XOR)
    bounds = set()
    for estimator in ESTIMATORS:
        missed = xor["estimators"][estimator]["missed_information"]
        assert missed["flag"]
        assert missed["bits"] == pytest.approx(missed["bound"] - missed["gaussian_bits"])
        bounds.add(missed["bound"])
        assert not warped["estimators"]["flow"]["missed_information"]["flag"]
    assert len(bounds) == 1
    assert warped["estimators"]["gaussian"]["missed_information"]["flag"]


def test_a_flow_file_without_its_twin_is_refused(unit, tmp_path):
    identity = Identity(made_from=checksum_of(unit / "pca.h5"))
    with (
        reading_h5(unit / "flow.h5", kind="flow") as whole,
        writing_h5(tmp_path / "flow.h5", kind="flow", identity=identity) as part,
    ):
        whole.copy("layer-00", part)
        del part["layer-00/twin/x1"]
    with pytest.raises(DataError, match="twin/x1"):
        estimate_pid.run(
            pca=str(unit / "pca.h5"),
            flow=str(tmp_path / "flow.h5"),
            output=str(tmp_path / "layer-00.json"),
            layer="00",
            estimators=["flow"],
            definitions=["broja"],
            permutations=20,
            jackknife_groups=20,
            seed=0,
        )
    assert not (tmp_path / "layer-00.json").exists()


@pytest.mark.parametrize(
    ("identity", "asked", "message"),
    [
        ({}, {"condition": "image-question"}, "made for no condition, asked for is condition 'image-question'"),
        ({"made_from": "0" * 64}, {}, "the checksum of its source '0000.*, asked for is the checksum"),
    ],
)
def test_a_file_of_another_condition_or_of_other_scores_is_refused(unit, tmp_path, identity, asked, message):
    with writing_h5(tmp_path / "flow.h5", kind="flow", identity=Identity(**identity)):
        pass
    with pytest.raises(DataError, match=message):
        estimate_pid.run(
            pca=str(unit / "pca.h5"),
            flow=str(tmp_path / "flow.h5"),
            output=str(tmp_path / "layer-00.json"),
            layer="00",
            estimators=["flow"],
            definitions=["broja"],
            permutations=20,
            jackknife_groups=20,
            seed=0,
            unit=asked,
        )
