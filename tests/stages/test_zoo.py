"""The zoo: what was written down before is about models that there are, and is what their records show."""

import json
from inspect import signature
from itertools import product
from pathlib import Path

import pytest
import yaml

from pidflow.stages import train_standin

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT / "workflow/resources/zoo"
CONFIG = yaml.safe_load((ROOT / "config/zoo.yaml").read_text())
EXPECTED = yaml.safe_load((ZOO / "expected.yaml").read_text())
TRAINED = ROOT / "results/standins"
RECORDS = {path.parent.name: json.loads(path.read_text()) for path in TRAINED.glob("zoo-*/training.json")}


def test_two_dozen_models_are_states_of_twelve_trainings():
    standins, models = CONFIG["standins"], CONFIG["models"]
    assert len(standins) == 12
    assert CONFIG["run"]["models"] == list(standins)
    assert {model["series"] for model in models.values()} == set(standins)
    for name, model in models.items():
        assert model["blocks"] == standins[model["series"]]["blocks"]
        steps = standins[model["series"]]["phases"]["tune"]["steps"]
        early = round(steps * standins[model["series"]]["checkpoints"]["tune"][0])
        assert model["step"] == (early if name.endswith("-early") else steps)


def test_stand_ins_of_the_zoo_differ_from_one_of_them_in_what_they_are_about():
    base = CONFIG["standins"]["zoo-prior-25"]
    differences = [{key for key in base if each[key] != base[key]} for each in CONFIG["standins"].values()]
    assert all(each <= {"width", "blocks"} or each <= {"language_prior", "pictures"} for each in differences)
    assert sum(map(bool, differences)) == 11


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda each: each["id"])
def test_orders_are_about_models_of_the_zoo(expected):
    named = [model for group in expected["order"] for model in group]
    assert set(named) <= set(CONFIG["standins"])
    assert len(named) == len(set(named)) >= 4
    assert expected["quantity"] in ("accuracy", "gain", "synergy")
    assert all(expected["task"] in each["tasks"] for each in CONFIG["standins"].values())


@pytest.mark.skipif(not RECORDS, reason="none of the zoo is trained here; target zoo does")
def test_what_is_here_was_trained_as_the_configuration_says():
    for name, record in RECORDS.items():
        wanted = CONFIG["standins"][name]
        assert {key: record[key] for key in ("width", "blocks", "language_prior", "pictures", "tasks")} == {
            key: wanted[key] for key in ("width", "blocks", "language_prior", "pictures", "tasks")
        }
        for phase, changed in wanted["phases"].items():
            assert changed.items() <= record["phases"][phase].items()


@pytest.mark.skipif(len(RECORDS) < 4, reason="too few of the zoo's models are trained here to be in an order")
@pytest.mark.parametrize("expected", EXPECTED, ids=lambda each: each["id"])
def test_the_order_that_was_written_down_is_found(expected):
    place = {model: number for number, group in enumerate(expected["order"]) for model in group if model in RECORDS}
    values = {}
    for model in place:
        own, other = (RECORDS[model][name] for name in ("accuracy", "accuracy_of_other_pictures"))
        task = expected["task"]
        values[model] = own[task] - (other[task] if expected["quantity"] == "gain" else 0.0)
    apart = [(one, other) for one, other in product(place, place) if place[one] < place[other]]
    if len(apart) < 3:
        pytest.skip("too few of these models are trained here")
    agreeing = sum(1 if values[one] < values[other] else -1 for one, other in apart)
    assert agreeing / len(apart) >= 0.9, f"{expected['id']}: {values}"


def test_every_stand_in_is_told_what_training_takes():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for settings in (*config["standins"].values(), *CONFIG["standins"].values()):
        signature(train_standin.run).bind(output="here", seed=0, **settings)
