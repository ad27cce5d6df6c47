"""Every ready-made study runs: merged over the defaults as Snakemake merges, it is valid."""

import json
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from pidflow.analysis.spectrum_reported import CORRELATIONS, GROUP_TYPES, SCALING
from pidflow.config import design
from pidflow.names import MIN_TASKS

FOLDER = Path(__file__).resolve().parents[2] / "config"
DEFAULTS = ("prepared.yaml", "config.yaml")
STUDIES = sorted(path for path in FOLDER.glob("*.yaml") if path.name not in DEFAULTS)
# Studies that are given after another, on the same command line.
AFTER = {"baselines": "zoo"}


def defaults():
    """The configuration without a study, as the Snakefile puts it together."""
    config = {}
    for name in DEFAULTS:
        update_config(config, yaml.safe_load((FOLDER / name).read_text()))
    return config


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_study_is_valid(path):
    config = defaults()
    for name in filter(None, (AFTER.get(path.stem), path.stem)):
        update_config(config, yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))
    resolved = design.check(config)
    assert design.check(json.loads(json.dumps(resolved))) == resolved, "what a record of provenance keeps runs again"
    assert path.read_text().startswith("# "), "a study says on top what it answers"


def test_the_study_of_interventions_has_what_its_claims_need():
    config = defaults()
    update_config(config, yaml.safe_load((FOLDER / "interventions.yaml").read_text()))
    assert design.controls(config)[config["claims"]["knockout"]] == "image-question-random"
    assert design.judged_knockout(config) is not None
    assert config["claims"]["blind"] is not None
    assert len(config["run"]["tasks"]) >= MIN_TASKS


def test_the_study_of_many_models_lists_26_and_pretends_no_more_than_it_can_load():
    config = defaults()
    update_config(config, yaml.safe_load((FOLDER / "breadth.yaml").read_text()))
    catalogue = config["breadth"]["catalogue"]
    assert len(catalogue) == 26
    assert len({each["hub"] for each in catalogue.values()}) == 26
    assert sum(each["reachable"] for each in catalogue.values()) == 20
    assert all(each.get("why") for each in catalogue.values() if not each["reachable"])
    sizes = [[e["size"] for e in catalogue.values() if e["group"] == group] for group in SCALING]
    assert all(len(each) == 3 and each == sorted(each) for each in sizes)
    assert set(GROUP_TYPES) <= {each["group"] for each in catalogue.values()}
    assert set(config["breadth"]["tasks"]) == set(CORRELATIONS)


def test_the_study_of_continuous_time_differs_in_attention_alone():
    config = defaults()
    update_config(config, yaml.safe_load((FOLDER / "continuous-time.yaml").read_text()))
    ordinary, diffused, trained = (dict(config["models"][name]) for name in config["run"]["models"])
    assert len({each.pop("title") for each in (ordinary, diffused, trained)}) == 3, "legends tell them apart"
    assert diffused == ordinary | {"attention": trained["attention"]}
    of_condition = config["interventions"]["diffusion"]
    assert diffused["attention"] == {name: of_condition[name] for name in diffused["attention"]}
    assert set(of_condition) - set(diffused["attention"]) == {"kind", "blocks", "title"}


def test_every_prepared_task_can_be_run():
    config = defaults()
    prepared = yaml.safe_load((FOLDER / "prepared.yaml").read_text())
    config["run"]["tasks"] = list(prepared["tasks"])
    design.check(config)
    assert {task["dataset"] for task in prepared["tasks"].values()} == set(prepared["datasets"])


def test_the_study_of_training_has_one_training_in_order_of_its_phases():
    config = defaults()
    update_config(config, yaml.safe_load((FOLDER / "training.yaml").read_text()))
    assert design.trainings(config) == ("standin",)
    states = [config["models"][model] for model in config["run"]["models"]]
    assert [each["step"] for each in states] == sorted({each["step"] for each in states})
    assert [each["phase"] for each in states] == ["align"] * 2 + ["tune"] * 4
    assert design.trainings(defaults()) == ()
