"""A block that is constant at one layer (the last position of embeddings, one fixed question) on its way through."""

import numpy as np
import torch

from pidflow.files.store import put, read_json, reading_h5, take, writing_h5
from pidflow.flows.pca import fit_pca
from pidflow.pid.records import from_json
from pidflow.stages import bound_information, estimate_pid, plant_twin, train_flow

ROWS = 200


def test_a_constant_block_carries_zero_bits_from_its_components_to_its_file(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((ROWS, 2))
    constant, noisy = np.full((ROWS, 8), 0.25), [1.5 * y + rng.standard_normal((ROWS, 2)) for _ in range(3)]
    with writing_h5(tmp_path / "pca.h5", kind="pca") as file:
        put(file, "image_id", np.array([f"image {row // 2}" for row in range(ROWS)]))
        put(file, "fold", np.arange(ROWS) // 2 % 2)
        put(file, "rows", np.arange(ROWS))
        put(file, "target/scores", y)
        for layer, (vision, language) in enumerate(((noisy[0], constant), (noisy[1], noisy[2]))):
            for source, block in (("vision", vision), ("language", language)):
                scores = fit_pca(block, variance=0.99, max_components=4).scores(block)
                put(file, f"layer-{layer:02d}/{source}/scores", scores)
        unit = {"model": "m", "task": "t", "condition": "intact", "layers": 1, "language": "last", "dropped": 0}
        file.attrs.update(unit)
    before = torch.get_num_threads()
    settings = {"stages": 2, "max_steps": 20}
    paths = {name: str(tmp_path / f"{name}.h5") for name in ("pca", "flow", "twin", "bound")}
    weights = str(tmp_path / "flow.safetensors")
    train_flow.run(pca=paths["pca"], output=paths["flow"], weights=weights, settings=settings, seed=0, threads=1)
    plant_twin.run(flow=paths["flow"], weights=weights, output=paths["twin"], settings=settings, seed=0, threads=1)
    bound_information.run(pca=paths["pca"], flow=paths["flow"], output=paths["bound"], seed=0, threads=1)
    torch.set_num_threads(before)
    with reading_h5(tmp_path / "flow.h5", kind="flow") as file:
        assert take(file, "layer-00/z2").shape == (ROWS, 0)
    outputs = [str(tmp_path / f"layer-{layer:02d}.json") for layer in range(2)]
    estimate_pid.run(
        **paths,
        outputs=outputs,
        estimators=["gaussian", "copula", "flow"],
        definitions=["broja"],
        permutations=20,
        jackknife_groups=20,
        seed=0,
    )
    constant_layer, beside = (from_json(read_json(path), where=path) for path in outputs)
    assert len(constant_layer) == 3
    for found in constant_layer:
        assert found.bits["mi_language"] == 0
        assert [found.bits[name] for name in ("redundancy", "unique_language", "synergy")] == [0, 0, 0]
        assert found.bits["unique_vision"] > 0.3
        assert any("x2 is constant" in warning for warning in found.estimate.warnings)
    assert beside[0].bits["redundancy"] > 0.3
