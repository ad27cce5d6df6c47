"""Twins and bounds that the job of a unit's flows makes along, and what waits for nobody."""

import subprocess
import sys

import numpy as np
import pytest

from pidflow.files.store import Identity, put, reading_h5, take, writing_h5
from pidflow.provenance import PACKAGE
from pidflow.running import clear_unclaimed
from pidflow.stages import bound_information, plant_twin, train_flow

SETTINGS = {"stages": 1, "max_steps": 10}


@pytest.fixture
def unit(tmp_path):
    """What the three stages take of a small unit, and how they are called."""
    rng = np.random.default_rng(0)
    pca = tmp_path / "pca/unit.h5"
    with writing_h5(pca, kind="pca", identity=Identity("m", "t", "unit")) as file:
        put(file, "image_id", np.arange(200))
        put(file, "fold", np.arange(200) % 2)
        for name in ("target", "layer-00/vision", "layer-00/language"):
            put(file, f"{name}/scores", rng.standard_normal((200, 2)))
        file.attrs.update(
            {"model": "m", "task": "t", "condition": "unit", "layers": 0, "language": "text", "dropped": 0}
        )
    flow, weights = str(tmp_path / "flows/unit.h5"), str(tmp_path / "flows/unit.safetensors")
    same = {"pca": str(pca), "flow": flow, "seed": 0}
    along = {
        "plant_twin": same
        | {"weights": weights, "settings": SETTINGS, "output": str(tmp_path / "twins/unit.h5"), "code": "one"},
        "bound_information": same | {"output": str(tmp_path / "bounds/unit.h5"), "code": "two"},
    }

    def train(**changes):
        how = {"pca": str(pca), "output": flow, "weights": weights, "settings": SETTINGS, "seed": 0, "threads": 1}
        train_flow.run(**how | {"along": along} | changes)

    return train, along, tmp_path


def content(path):
    with reading_h5(path, kind="bound") as file:
        return {name: take(file, f"layer-00/{name}") for name in file["layer-00"]}


def test_what_was_made_along_is_taken_without_torch_and_equals_what_is_made_alone(unit):
    train, along, folder = unit
    train()
    assert [len(list((folder / name / ".waiting").iterdir())) for name in ("twins", "bounds")] == [1, 1]
    for stage, arguments in along.items():
        code = f"import sys; from pidflow.stages import {stage}; {stage}.run(**{arguments!r}, threads=1)"
        code += "; assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(PACKAGE.parent)})
        waiting = folder / ("twins" if stage == "plant_twin" else "bounds") / ".waiting"
        assert not list(waiting.iterdir())  # the folder stays: another job may be about to write into it
    found = content(along["bound_information"]["output"])
    bound_information.run(**along["bound_information"] | {"code": "edited"}, threads=1)
    alone = content(along["bound_information"]["output"])
    assert found.keys() == alone.keys()
    assert all(np.array_equal(found[name], alone[name]) for name in found)


class TrainsItselfError(Exception):
    """What was waiting was not taken."""


def trains_itself(*_, **__):
    raise TrainsItselfError


@pytest.mark.parametrize("changed", [{"code": "other"}, {"seed": 1}, {"settings": SETTINGS | {"bins": 4}}])
def test_what_was_made_otherwise_is_not_taken(unit, monkeypatch, changed):
    train, along, folder = unit
    train()
    with monkeypatch.context() as broken:
        broken.setattr("pidflow.stages._flows.trained", trains_itself)
        with pytest.raises(TrainsItselfError):
            plant_twin.run(**along["plant_twin"] | changed, threads=1)
    assert len(list((folder / "twins/.waiting").iterdir())) == 1


def test_flows_trained_again_make_room(unit):
    train, _, folder = unit
    train()
    train(seed=1)
    assert len(list((folder / "twins/.waiting").iterdir())) == 1


def test_what_is_refused_is_left_to_its_own_job(unit, caplog):
    train, along, folder = unit
    wrong = along["bound_information"] | {"unit": {"model": "another"}}
    train(along={"bound_information": wrong})
    assert "bound_information will be run by itself" in caplog.text
    assert not list(folder.glob("bounds/**/*.h5"))


def test_what_waits_for_nobody_is_removed(tmp_path):
    kept = "answers/m/t/.waiting/cut-0123.parquet"
    gone = ["answers/m/t/.waiting/given-up-0123.parquet", "twins/m/t/.waiting/intact-4567.h5"]
    for name in (kept, *gone, "twins/m/t/intact.h5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    clear_unclaimed(tmp_path, conditions=["intact", "cut"])
    left = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert left == [kept, "twins/m/t/intact.h5"]
    assert not (tmp_path / "twins/m/t/.waiting").exists()
