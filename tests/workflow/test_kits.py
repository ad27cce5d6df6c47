"""Reproduction kits: they plan from a fresh clone, and run to their table on tiny models of the same classes."""

import copy

import pandas as pd
import pytest
import yaml
from tests.tiny_cases import CASES
from tests.tiny_families import save
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


def smaller(models, *, task, items, select="choose-attr", **settings):
    """What a test sets over a kit: models of the same classes, drawn scenes for questions, few of everything."""
    return {
        "run": {"models": list(models), "tasks": [task]},
        "models": models,
        "tasks": {task: {"dataset": "scenes", "select": select, "items": items, "instruction": ""}},
        "pca": {"correct_only": False, "max_components": 2, "target_components": 2},
        "pid": {"estimators": ["gaussian"], "jackknife_groups": 5},
        "claims": {"estimators": ["gaussian"]},
        "flow": {"max_steps": 20},
        **settings,
    }


def of_classes(folder):
    """One model of a kit of LLaVA's for each of its two classes."""
    entry = {"revision": None, "blocks": DEPTH, "dtype": "float32", "batch_size": 16}
    return {
        "llava-1.5-7b": entry | {"path": str(folder / "llava"), "image": None},
        "llava-1.6-vicuna-7b": entry | {"path": str(folder / "llava-next")},
    }


def ran(snakemake, folder, name, settings):
    """The table of a kit that was run with such settings over it."""
    (folder / "smaller.yaml").write_text(yaml.safe_dump(settings))
    snakemake(
        "reproduction", "--configfile", str(ROOT / f"config/{name}.yaml"), "smaller.yaml", cwd=folder, timeout=3000
    )
    table = pd.read_parquet(folder / "results/tables/reproduction.parquet")
    assert tuple(table) == COLUMNS
    assert set(table["study"]) == {name}
    assert set(table["agrees"]) <= {"agrees", "differs", "undetermined"}
    return table


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "items", "figure"), [("2411.18620", 8, "sweep-edges"), ("2602.15580", 60, "layer-profiles")]
)
def test_a_kit_runs_to_its_table(snakemake, tmp_path, tiny, name, items, figure):
    models = of_classes(tiny)
    table = ran(snakemake, tmp_path, name, smaller(models, task="gqa-choose-attr", items=items))
    assert set(table["model"].str.split(" / ").explode()) == set(models)
    lacking = {each.id for each in REPORTED[name]} - set(table["id"])
    # One task tells nothing of what effects depend on.
    assert all(each.endswith(("-by-dependence", "-by-redundancy")) for each in lacking)
    for model in models:
        assert list((tmp_path / "results/figures" / model).glob(f"{figure}*.svg"))


@pytest.mark.slow
def test_the_kit_of_the_spectrum_runs_to_its_table(snakemake, tmp_path):
    models = {}
    for model in kit("6WsBGk4Iag")["run"]["models"]:
        family = kit("6WsBGk4Iag")["models"][model].get("family", "llava")
        save(CASES[family], tmp_path / family)
        entry = {"path": str(tmp_path / family), "revision": None, "blocks": 3, "dtype": "float32"}
        models[model] = entry | {"prompt": CASES[family].prompt} | ({"image": None} if family == "llava" else {})
    settings = smaller(
        models,
        task="mmbench",
        items=60,
        select="logical-obj",
        spectrum={"answers_of": {"mmbench": "options"}, "draws": 1, "donors": 4},
        spectrum_pid={"modes": ["repaired"]},
        sweep={"window": 3},
    )
    table = ran(snakemake, tmp_path, "6WsBGk4Iag", settings)
    assert table["published"].str.len().all()


def test_the_prompt_of_the_tiny_models_is_not_that_of_the_kit():
    assert all(kit("2411.18620")["models"][model]["prompt"] != PROMPT for model in kit("2411.18620")["run"]["models"])
