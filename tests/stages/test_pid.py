"""Flows, their twins and decompositions of one unit, from principal scores to the JSON of a layer."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from pidflow.analysis.decompositions import PLACE
from pidflow.analysis.tables import pid_table
from pidflow.errors import DataError
from pidflow.files.store import Identity, checksum_of, identity_of, put, reading_h5, take, write_tensors, writing_h5
from pidflow.names import QUANTITIES
from pidflow.pid.estimate import estimate_pid as estimate_pid_of_rows
from pidflow.pid.planted_twin import strength_of
from pidflow.pid.records import from_json
from pidflow.plugins.registry import available, module_of
from pidflow.provenance import PACKAGE, modules_behind
from pidflow.stages import bound_information, estimate_pid, plant_twin, train_flow

FLOW = {"stages": 2}
ROWS, ESTIMATORS, DEFINITIONS = 600, ["gaussian", "copula", "flow"], ["broja", "mmi"]
WARPED, XOR, CLUSTERED = 0, 1, 2


def parted(block):
    """Every column in two clusters about -1 and 1: increasing, and without the tails that make covariances scatter."""
    return np.sign(block) + 0.1 * block


def warped(block):
    """Every column's exponential: increasing, and without clusters."""
    return np.exp(block)


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    """A unit of three layers: a warped Gaussian, which a linear model reads badly, an XOR of signs, and clusters."""
    folder = tmp_path_factory.mktemp("unit")
    rng = np.random.default_rng(0)
    y = rng.standard_normal((ROWS, 2))
    noisy = [1.5 * y + rng.standard_normal((ROWS, 2)) for _ in range(2)]
    signs = [rng.standard_normal((ROWS, 2)) for _ in range(2)]
    signs[1][:, 0] = np.abs(signs[1][:, 0]) * np.sign(signs[0][:, 0] * y[:, 0])
    with writing_h5(folder / "pca.h5", kind="pca", identity=Identity("m", "t", "intact")) as file:
        for name, values in (
            ("image_id", np.array([f"image {row // 2}" for row in range(ROWS)])),
            ("fold", np.arange(ROWS) // 2 % 3),
            ("rows", np.arange(ROWS)),
            ("target/scores", warped(y)),
        ):
            put(file, name, values)
        for layer, (vision, language) in enumerate(
            ([warped(block) for block in noisy], signs, [parted(block) for block in noisy])
        ):
            put(file, f"layer-{layer:02d}/vision/scores", vision)
            put(file, f"layer-{layer:02d}/language/scores", language)
        file.attrs.update(
            {"model": "m", "task": "t", "condition": "intact", "layers": 2, "language": "text", "dropped": 3}
        )
    before = torch.get_num_threads()
    same = {"seed": 0, "threads": 1}
    paths = {name: str(folder / f"{name}.h5") for name in ("pca", "flow", "twin", "bound")}
    weights = str(folder / "flow.safetensors")
    train_flow.run(pca=paths["pca"], output=paths["flow"], weights=weights, settings=FLOW, **same)
    plant_twin.run(pca=paths["pca"], flow=paths["flow"], weights=weights, output=paths["twin"], settings=FLOW, **same)
    bound_information.run(pca=paths["pca"], flow=paths["flow"], output=paths["bound"], **same)
    torch.set_num_threads(before)
    return paths


def decompose(paths, folder, **changes):
    """Run the stage; gives its files."""
    outputs = [str(folder / f"m/t/intact/layer-{layer:02d}.json") for layer in (WARPED, XOR, CLUSTERED)]
    settings = {"estimators": ESTIMATORS, "definitions": DEFINITIONS, "outputs": outputs}
    estimate_pid.run(**paths | settings | changes, permutations=20, jackknife_groups=20, seed=0)
    return outputs


@pytest.fixture(scope="module")
def files(unit, tmp_path_factory):
    return decompose(unit, tmp_path_factory.mktemp("pid"))


@pytest.fixture(scope="module")
def layers(files):
    """Decompositions by estimator and definition, for each layer."""
    read = (from_json(json.loads(Path(path).read_text()), where=path) for path in files)
    return [{(each.estimator, each.definition): each for each in found} for found in read]


def test_a_decomposition_names_its_unit_and_tells_how_its_union_was_corrected(layers):
    for layer, found in enumerate(layers):
        assert set(found) == set(product(ESTIMATORS, DEFINITIONS))
        for each in found.values():
            assert (each.model, each.task, each.condition, each.layer) == ("m", "t", "intact", layer)
            assert (each.n, each.images, each.dims, each.dropped) == (ROWS, ROWS // 2, (2, 2, 2), 3)
            assert each.estimate.union_correction == {"broja": "cross-fit", "mmi": "exact"}[each.definition]
            assert 0 < each.estimate.union_null < 0.1


def test_tables_read_what_the_stage_writes(files, layers, tmp_path):
    """The contract: every number of a file, in the words of files, reaches its row of the table."""
    table = pid_table([each for path in files for each in from_json(json.loads(Path(path).read_text()), where=path)])
    assert len(table) == 3 * len(ESTIMATORS) * len(DEFINITIONS) * len(QUANTITIES)
    placed = table.set_index([*PLACE, "atom"])
    for path in files:
        for entry in json.loads(Path(path).read_text())["decompositions"]:
            found, place = entry["estimate"], [entry[name] for name in PLACE if name != "definition"]
            for quantity in QUANTITIES:
                row = placed.loc[(*place, found["definition"], quantity)]
                assert row["bits"] == found[quantity]
                assert row["se"] == found["se"][quantity]
                if entry["twin"] is None:
                    assert np.isnan(row["twin_error"])
                else:
                    assert row["twin_error"] == entry["twin"]["bits"][quantity] - entry["twin"]["truth"][quantity]
                assert (row["n"], row["p_value"], row["clipped"]) == (ROWS, found["p_value"], found["clipped"])


def test_the_stage_and_the_notebook_estimate_alike(unit, layers):
    """Estimators that need no flow: the same rows, the same numbers."""
    with reading_h5(unit["pca"], kind="pca") as file:
        blocks = [take(file, f"layer-00/{name}/scores") for name in ("vision", "language")]
        blocks.append(take(file, "target/scores"))
        images = take(file, "image_id")
    for estimator in ("gaussian", "copula"):
        assert estimate_pid_of_rows(*blocks, estimator=estimator, groups=images)["broja"] == (
            layers[0][estimator, "broja"].estimate
        )


def test_the_twin_says_which_estimator_to_believe(layers):
    """The twin has the warps of the real rows: the plain Gaussian is wrong there, copula and flow are right."""
    for (estimator, _), each in layers[WARPED].items():
        assert ("mi_joint" in each.twin_failed) == (estimator == "gaussian")
    assert layers[WARPED]["gaussian", "broja"].twin_error("mi_joint") < -0.5


def test_the_twin_carries_more_information_than_the_flow_found_in_the_real_rows(layers):
    found = layers[WARPED]["flow", "broja"]
    expected = strength_of(ROWS, 6, 3) * found.estimate.raw["mi_12"]
    assert found.twin.truth["mi_12"] == pytest.approx(expected, abs=1e-9)


def test_what_needs_a_flow_is_corrected_by_its_twin_and_the_rest_is_not(layers):
    for found in layers[:CLUSTERED]:
        for (estimator, _), each in found.items():
            assert (each.estimate.uncorrected is not None) == (estimator == "flow")
            if estimator == "flow":
                whole, before = each.bits["mi_joint"], each.uncorrected[0]["mi_joint"]
                assert whole - before == pytest.approx(-each.twin_error("mi_joint"), abs=0.1)


def test_a_layer_of_clusters_has_no_twin_is_not_corrected_and_says_so(unit, layers):
    with reading_h5(unit["twin"], kind="twin") as file:
        assert [sorted(file[name])[:1] for name in ("layer-00", "layer-02")] == [["covariance"], []]
        assert file["layer-02"].attrs["discrete"]
    for (estimator, _), each in layers[CLUSTERED].items():
        assert each.twin is None
        assert each.estimate.uncorrected is None
        words = f"x1 lies in 4 clusters, x2 lies in 4 clusters, of which estimator {estimator} knows nothing"
        assert words in "".join(each.estimate.warnings)
        assert any("not corrected" in word for word in each.estimate.warnings) == (estimator == "flow")
    for found in layers[:CLUSTERED]:
        assert not [each for each in found.values() if "knows nothing" in "".join(each.estimate.warnings)]


def test_no_flow_is_trained_of_clusters_where_no_estimator_reads_it(unit, tmp_path):
    """The decomposition is the same; the critic takes normal scores for latents."""
    paths = {name: str(tmp_path / f"{name}.h5") for name in ("pca", "flow", "twin", "bound")}
    with (
        reading_h5(unit["pca"], kind="pca") as whole,
        writing_h5(paths["pca"], kind="pca", identity=Identity("m", "t", "intact")) as alone,
    ):
        for name in ("image_id", "fold", "rows", "target"):
            whole.copy(name, alone)
        whole.copy("layer-02", alone, name="layer-00")
        alone.attrs.update(dict(whole.attrs) | dict(alone.attrs) | {"layers": 0})
    weights, same = str(tmp_path / "flow.safetensors"), {"seed": 0, "threads": 1}
    before = torch.get_num_threads()
    train_flow.run(pca=paths["pca"], output=paths["flow"], weights=weights, settings=FLOW, everywhere=False, **same)
    plant_twin.run(pca=paths["pca"], flow=paths["flow"], weights=weights, output=paths["twin"], settings=FLOW, **same)
    bound_information.run(pca=paths["pca"], flow=paths["flow"], output=paths["bound"], **same)
    torch.set_num_threads(before)
    with reading_h5(paths["flow"], kind="flow") as file:
        assert not list(file["layer-00"])
    output = str(tmp_path / "layer-00.json")
    decompose(paths, tmp_path, estimators=["auto"], outputs=[output])
    both = [output, decompose(unit, tmp_path, estimators=["auto"])[CLUSTERED]]
    alone, among = (from_json(json.loads(Path(path).read_text()), where=path)[0] for path in both)
    assert alone.bits == among.bits
    assert alone.missed.bound == pytest.approx(among.missed.bound, abs=0.15)


def test_what_is_missed_is_missed_by_the_corrected_number(layers):
    """Flow and copula are compared with one bound; what the twin gave back is no longer missed."""
    flow = layers[XOR]["flow", "broja"]
    back = flow.bits["mi_joint"] - flow.uncorrected[0]["mi_joint"]
    assert flow.missed.gaussian_bits == pytest.approx(max(0, flow.uncorrected[0]["mi_joint"] + back), abs=0.02)


def test_what_is_missed_is_said_of_every_estimator(layers):
    found = [layers[XOR][estimator, "broja"].missed for estimator in ESTIMATORS]
    assert all(missed.flag for missed in found)
    assert len({missed.bound for missed in found}) == 1
    assert not layers[WARPED]["flow", "broja"].missed.flag
    assert layers[WARPED]["gaussian", "broja"].missed.flag


def test_a_file_that_lacks_something_is_refused(unit, tmp_path):
    identity = Identity(made_from=checksum_of(unit["flow"]))
    with (
        reading_h5(unit["twin"], kind="twin") as whole,
        writing_h5(tmp_path / "twin.h5", kind="twin", identity=identity) as part,
    ):
        whole.copy("layer-00", part)
        del part["layer-00/x1"]
    with pytest.raises(DataError, match="layer-00/x1"):
        decompose(unit | {"twin": str(tmp_path / "twin.h5")}, tmp_path)
    assert not list(tmp_path.glob("**/*.json"))


@pytest.mark.parametrize("kind", ["flow", "twin", "bound"])
@pytest.mark.parametrize(
    ("identity", "asked", "message"),
    [
        ({"condition": "cut"}, {"condition": "intact"}, "made for .*condition 'cut'.*, asked for is .*'intact'"),
        ({"made_from": "0" * 64}, {}, "made for the checksum of its source '0000.*, asked for is the checksum"),
    ],
)
def test_a_file_of_another_condition_or_of_other_scores_is_refused(unit, tmp_path, kind, identity, asked, message):
    other = str(tmp_path / "other.h5")
    with writing_h5(other, kind=kind, identity=Identity(**identity)):
        pass
    with pytest.raises(DataError, match=rf"other\.h5: was {message}"):
        decompose(unit | {kind: other}, tmp_path, unit=asked)


def test_another_number_of_layers_than_the_configuration_says_is_refused(unit, tmp_path):
    with pytest.raises(DataError, match=r"pca\.h5: has 3 layers, expected the 1 .* blocks of model 'm'"):
        decompose(unit, tmp_path, outputs=[str(tmp_path / "layer-00.json")])


@pytest.mark.parametrize(("same", "message"), [(True, "no weights of layer-00"), (False, "was made for no model")])
def test_weights_of_other_flows_are_refused(unit, tmp_path, same, message):
    with reading_h5(unit["flow"], kind="flow") as file:
        identity = identity_of(file) if same else Identity()
    write_tensors(tmp_path / "other.safetensors", {"layer-07/dims": torch.tensor([2, 2, 2])}, identity=identity)
    with pytest.raises(DataError, match=rf"other\.safetensors: {message}"):
        plant_twin.run(
            pca=unit["pca"],
            flow=unit["flow"],
            weights=str(tmp_path / "other.safetensors"),
            output=str(tmp_path / "twin.h5"),
            settings=FLOW,
            seed=0,
            threads=1,
        )


@pytest.mark.parametrize("stage", ["estimate_pid", "collect_tables"])
def test_decomposing_needs_no_torch(stage):
    """Of the stage and of the estimators that it may load: their digest covers neither flows nor networks."""
    start = [f"pidflow.stages.{stage}", *(module_of("pid.estimators", name) for name in available("pid.estimators"))]
    behind = set().union(*map(modules_behind, start))
    assert not [module for module in behind if module.startswith(("pidflow.flows", "pidflow.models"))]
    code = f"import sys; import {', '.join(start)}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(PACKAGE.parent)})


def test_auto_says_which_estimator_spoke(unit, tmp_path):
    outputs = decompose(unit, tmp_path, estimators=["auto", "gaussian"], definitions=["broja"])
    found = [each for path in outputs for each in from_json(json.loads(Path(path).read_text()), where=path)]
    spoke = {each.layer: each.estimate.spoke for each in found if each.estimator == "auto"}
    assert spoke == {WARPED: "flow", XOR: "flow", CLUSTERED: "mixed"}
    table = pid_table(found).set_index(["layer", "estimator", "atom"])
    for layer, corrected in ((WARPED, True), (CLUSTERED, False)):
        row = table.loc[(layer, "auto", "mi_joint")]
        assert row["spoke"] == spoke[layer]
        assert (row["bits"] != row["uncorrected_bits"]) == corrected
        assert np.isnan(row["twin_error"]) != corrected
    assert not table.loc[(CLUSTERED, "auto", "mi_joint"), "twin_failed"]
    assert table.loc[(CLUSTERED, "gaussian", "mi_joint"), "disagrees"] in ("auto", "")
