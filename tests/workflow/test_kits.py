"""Reproduction kits: they plan from a fresh clone, and run to their table on tiny models of the same classes."""

import copy

import pandas as pd
import pytest
import yaml
from tests.workflow.conftest import ROOT

from pidflow.analysis.reproduction import COLUMNS, REPORTED
from pidflow.models.standin.architecture import PROMPT, build_model, build_processor

DEPTH = 10  # room for windows of 9 blocks
KITS = ("2602.15580", "2411.18620", "6WsBGk4Iag")


def kit(name):
    return yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())


@pytest.mark.parametrize("name", KITS)
def test_a_kit_plans_without_data_and_models(snakemake, tmp_path, name):
    done = snakemake("--dry-run", "reproduction", "--configfile", str(ROOT / f"config/{name}.yaml"), cwd=tmp_path)
    assert "A run would stop here" in done.stdout + done.stderr
    assert "prepare_items" in done.stdout + done.stderr


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, tiny_llava_next):
    """Folders of tiny random models of the classes of LLaVA-1.5 and LLaVA-1.6, with room for long prompts."""
    folder = tmp_path_factory.mktemp("tiny")
    model = build_model(seed=0, width=32, depth=DEPTH)
    model.config.text_config.max_position_embeddings = 512
    model.save_pretrained(folder / "llava")
    build_processor().save_pretrained(folder / "llava")
    config = copy.deepcopy(tiny_llava_next.model.config)
    config.text_config.num_hidden_layers = DEPTH
    config.text_config.max_position_embeddings = 512
    type(tiny_llava_next.model)(config).save_pretrained(folder / "llava-next")
    tiny_llava_next.processor.save_pretrained(folder / "llava-next")
    return folder


def smaller(name, folder, *, tasks):
    """What a test sets over a kit: models of the same classes, drawn scenes for questions, few of everything."""
    models = {}
    for model in kit(name)["run"]["models"]:
        family = kit(name)["models"][model].get("family", "llava")
        entry = {"path": str(folder / family), "revision": None, "blocks": DEPTH, "dtype": "float32", "batch_size": 16}
        models[model] = entry | ({"image": None} if family == "llava" else {})
    return {
        "run": {"tasks": tasks},
        "models": models,
        "tasks": {task: {"dataset": "scenes", "select": task.removeprefix("gqa-"), "items": 60} for task in tasks},
        "pca": {"correct_only": False, "max_components": 2, "target_components": 2},
        "pid": {"estimators": ["gaussian"], "jackknife_groups": 5},
        "claims": {"estimators": ["gaussian"]},
        "flow": {"max_steps": 20},
    }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "target"), [("2411.18620", "reproduction"), ("2602.15580", "reproduction")])
def test_a_kit_runs_to_its_table(snakemake, tmp_path, tiny, name, target):
    settings = smaller(name, tiny, tasks=["gqa-choose-attr"])
    (tmp_path / "smaller.yaml").write_text(yaml.safe_dump(settings))
    files = ("--configfile", str(ROOT / f"config/{name}.yaml"), "smaller.yaml")
    snakemake(target, *files, cwd=tmp_path)
    table = pd.read_parquet(tmp_path / "results/tables/reproduction.parquet")
    assert tuple(table) == COLUMNS
    assert set(table["study"]) == {name}
    assert set(table["model"].str.split(" / ").explode()) == set(kit(name)["run"]["models"])
    lacking = {each.id for each in REPORTED[name]} - set(table["id"])
    assert all(
        each.endswith(("-by-dependence", "-by-redundancy")) for each in lacking
    )  # one task tells nothing of these
    assert set(table["agrees"]) <= {"agrees", "differs", "undetermined"}
    layout = {"2411.18620": "sweep-edges", "2602.15580": "layer-profiles-intact"}[name]
    for model in kit(name)["run"]["models"]:
        assert list((tmp_path / "results/figures" / model).glob(f"{layout.removesuffix('-intact')}*.svg"))


def test_the_prompt_of_the_tiny_models_is_not_that_of_the_kit():
    assert all(kit("2411.18620")["models"][model]["prompt"] != PROMPT for model in kit("2411.18620")["run"]["models"])
