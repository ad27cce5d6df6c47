"""Training leaves a loadable model, its checkpoints and its record; the shipped model keeps its promise."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from pidflow import scenes
from pidflow.errors import ConfigError
from pidflow.readers import easy_vqa
from pidflow.stages import standin
from pidflow.standin_training import Packer

SHIPPED = Path(__file__).resolve().parents[2] / "workflow/resources/standin"


SHORT = {name: {"steps": 4, "batch": 2, "learning_rate": 1e-3} for name in standin.PHASES}


@pytest.mark.parametrize("attention", [None, {"equation": "diffusion", "steps": 2, "size": 0.25}])
def test_training_leaves_a_model_and_its_record(tmp_path, attention):
    standin.run(output=str(tmp_path), attention=attention, phases=SHORT, held_out=3)
    record = json.loads((tmp_path / "training.json").read_text())
    assert [entry["name"] for entry in record["checkpoints"]] == [
        *("align-00000", "align-00004"),
        *("tune-00000", "tune-00001", "tune-00002"),
    ]
    for folder in (tmp_path, *(tmp_path / "checkpoints").iterdir()):
        assert AutoModelForImageTextToText.from_pretrained(folder).dtype == torch.float16
        AutoProcessor.from_pretrained(folder)
    assert set(record["accuracy"]) == {*scenes.TASKS, *easy_vqa.TASKS.values()}
    assert record["attention"] == attention
    assert "attn" not in (tmp_path / "config.json").read_text()  # loads without pidflow, with its own attention
    assert not list(tmp_path.rglob("*.bin"))


def test_an_unknown_phase_is_named(tmp_path):
    with pytest.raises(ConfigError, match="unknown training phase 'rest', expected some of: vision, language"):
        standin.run(output=str(tmp_path), phases={"rest": {"steps": 1}})


def test_the_shipped_model_answers_as_its_record_says():
    record = json.loads((SHIPPED / "training.json").read_text())
    model = AutoModelForImageTextToText.from_pretrained(SHIPPED, dtype=torch.float32)
    packer = Packer(AutoProcessor.from_pretrained(SHIPPED))
    accuracy = standin.evaluate(model, packer, images=150, seed=scenes.FIRST_EVALUATION_SEED + 500_000_000)
    for task, value in accuracy.items():
        floor = 0.95 if task.startswith("easy") else 0.90
        assert record["accuracy"][task] >= floor
        assert value >= floor - 0.07  # 150 held-out images of its own
    assert record["held_out_images"] == 1000


def test_the_shipped_weights_are_small():
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*.safetensors")) <= 25_000_000
