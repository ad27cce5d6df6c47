"""Real photos and real questions through a tiny random LLaVA, from the table of questions to the decomposition."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.small_run import small_run
from tests.tiny_cases import CASES
from tests.tiny_families import save

from pidflow import load_run

PHOTOS = Path(__file__).resolve().parents[3] / "shared/data/photos"
pytestmark = pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the shared data photos")


def questions(folder):
    """The 92 real questions, and one with a box about each photo that none is asked about."""
    asked = [json.loads(line) for line in (PHOTOS / "questions.jsonl").read_text().splitlines()]
    rest = sorted({path.name for path in (PHOTOS / "images").iterdir()} - {row["image"] for row in asked})
    for name in rest:
        with Image.open(PHOTOS / "images" / name) as picture:
            width, height = picture.size
        boxes = [[width // 4, height // 4, width // 2, height // 2]]
        asked.append({"image": name, "question": "Is there a person?", "answer": "yes", "boxes": boxes})
    table = folder / "questions.jsonl"
    table.write_text("".join(json.dumps(row | {"id": f"q{place}"}) + "\n" for place, row in enumerate(asked)))
    return table, len(asked)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished run, and how many questions it has."""
    folder = tmp_path_factory.mktemp("photos")
    table, count = questions(folder)
    tiny = CASES["llava"]
    model = {"family": "llava", "path": str(save(tiny, folder / "tiny")), "prompt": tiny.prompt, "image": "pad"}
    dataset = {"reader": "table", "table": str(table), "images": str(PHOTOS / "images")}
    where = {"name": "tiny", "task": "photos", "images": dataset["images"]}
    return load_run(small_run(folder, model=model, dataset=dataset, depth=3, **where)), count


def test_every_photo_is_asked_about(study):
    run, count = study
    table = run.items("photos")
    assert (len(table), table["image_id"].nunique()) == (count, 18)
    assert count == 92 + 9


def test_states_and_answers_of_every_question(study):
    run, count = study
    told = {}
    for condition in run.conditions:
        unit = run.unit("tiny", "photos", condition)
        assert (unit.answers()["item_id"].nunique(), unit.answers()["spoken"].notna().sum()) == (count, count)
        with unit.activations() as found:
            told[condition] = {block: found.state(3, block) for block in ("vision", "last")}
        assert all(np.isfinite(states).all() for states in told[condition].values())
    intact, cut = told["intact"], told["image-last"]
    assert np.array_equal(intact["vision"], cut["vision"])  # the picture comes first
    assert (np.abs(intact["last"] - cut["last"]).max(1) > 0).all()
    assert len(np.unique(intact["vision"].round(4), axis=0)) == 18


def test_the_atoms_add_up_in_every_layer(study):
    run, count = study
    found = run.unit("tiny", "photos").decompositions()
    assert {(each.layer, each.estimator) for each in found} == set(product(range(4), ("gaussian", "flow")))
    for each in found:
        assert (each.n, each.images) == (count, 18)
        atoms = [each.bits[name] for name in ("redundancy", "unique_vision", "unique_language", "synergy")]
        assert sum(atoms) == pytest.approx(each.bits["mi_joint"], abs=1e-3)
    assert set(run.tables["pid"]["layer"]) == set(range(4))
