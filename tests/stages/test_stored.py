"""Only the layers and blocks asked for are stored; later stages follow, and what needs others is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from tests.stages.test_activations import MODEL

from pidflow.errors import ConfigError, DataError
from pidflow.files import store
from pidflow.stages import _extraction as stage
from pidflow.stages import _work, bound_information, calibrate, estimate_pid, fit_pca, plant_twin, train_flow

FLOW = {"stages": 1, "max_steps": 10}


@pytest.fixture
def extract(tmp_path, saved_model, write_items):
    items = str(write_items(90, fold=[row % 2 for row in range(90)]))

    def run(name, **changed):
        files = {"activations": str(tmp_path / f"{name}.h5"), "answers": str(tmp_path / f"{name}.parquet")}
        model = MODEL | {"path": str(saved_model), "batch_size": 32}
        stage.run(items=items, conditions={"intact": files}, model=model, model_id="tiny", task="mixed", **changed)
        return files

    return run


@pytest.fixture
def few(extract):
    return extract("few", layers=[-1, 1], blocks=["text", "vision"], storage="float32")


def test_what_is_stored_equals_what_would_be_and_the_rest_is_refused(extract, few):
    whole = extract("whole", storage="float32")
    with store.reading_activations(few["activations"]) as some, store.reading_activations(whole["activations"]) as all_:
        assert (some.layers, some.stored, some.blocks) == (3, (1, 3), ("vision", "text"))
        assert (all_.stored, all_.blocks) == ((0, 1, 2, 3), store.BLOCKS)
        for layer in some.stored:
            for block in some.blocks:
                np.testing.assert_array_equal(some.state(layer, block), all_.state(layer, block))
        np.testing.assert_array_equal(some.target(), all_.target())
        for layer, block in ((0, "text"), (1, "last")):
            with pytest.raises(DataError, match=r"has the blocks vision, text of layers 1, 3"):
                some.state(layer, block)


def test_later_stages_follow(few, tmp_path):
    unit = {"model": "tiny", "task": "mixed", "condition": "intact"}
    path = {name: str(tmp_path / f"{name}.h5") for name in ("pca", "flow", "twin", "bound")}
    weights = str(tmp_path / "flow.safetensors")
    reduction = {"correct_only": False, "language": "text", "variance": 0.9, "max_components": 2}
    fit_pca.run(**few, output=path["pca"], **reduction, target_components=1, seed=0, unit=unit)
    same = {"seed": 0, "threads": 1, "unit": unit}
    of_flow = {"pca": path["pca"], "flow": path["flow"], "weights": weights, "settings": FLOW}
    train_flow.run(pca=path["pca"], output=path["flow"], weights=weights, settings=FLOW, **same)
    plant_twin.run(output=path["twin"], **of_flow, **same)
    bound_information.run(pca=path["pca"], flow=path["flow"], output=path["bound"], **same)
    for file in path.values():
        with store.reading_h5(file, kind=file.rsplit("/", 1)[-1].removesuffix(".h5")) as opened:
            assert [name for name in opened if name.startswith("layer-")] == ["layer-01", "layer-03"]
            assert store.stored_layers(opened.attrs) == (1, 3)
    outputs = [str(tmp_path / f"layer-{layer}.json") for layer in ("01", "03")]
    wanted = {"estimators": ["gaussian", "flow"], "definitions": ["broja"], "permutations": 20, "jackknife_groups": 5}
    estimate_pid.run(**path, outputs=outputs, **wanted, seed=0, unit=unit)
    assert [store.read_json(each)["decompositions"][0]["layer"] for each in outputs] == [1, 3]
    with pytest.raises(DataError, match="has 2 layers, expected the 1 that the configuration says"):
        estimate_pid.run(**path, outputs=outputs[:1], **wanted, seed=0, unit=unit)
    assert calibrate.size_of_run([path["pca"]]) == (90, (2, 2, 1))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layers": [4]}, r"layers: \[4\] are not layers of a model of 3 blocks, which has 0 to 3"),
        ({"layers": []}, r"layers: \[\] are not layers"),
        ({"blocks": ["image"]}, "blocks must be some of vision, question, text, last, found image"),
    ],
)
def test_layers_and_blocks_that_do_not_exist_are_refused(extract, changed, message):
    with pytest.raises(ConfigError, match=message):
        extract("wrong", **changed)


def test_the_disk_that_a_run_takes_is_said_before_it_starts(extract, monkeypatch, caplog, tmp_path):
    free = SimpleNamespace(free=10**9)
    monkeypatch.setattr(_work.shutil, "disk_usage", lambda _: free)
    with caplog.at_level("INFO"):
        files = extract("said", layers=[2], blocks=["last"])
    assert (
        "states take 1.15e-05 GB on the disk (1 conditions x 90 questions x 1 layers x 1 blocks of width 32"
        in caplog.text
    )
    with store.reading_h5(files["activations"], kind="activations") as file:
        assert sum(file[name].nbytes for name in ("layer-02/last", "target")) == 90 * 64 * 2
    free.free = 90 * 64 * 2 - 1
    with pytest.raises(DataError, match=r"states take 1.15e-05 GB on the disk, .* store less of them"):
        extract("full", layers=[2], blocks=["last"])
    assert not (tmp_path / ".work").exists()
