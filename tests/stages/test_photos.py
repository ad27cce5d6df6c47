"""Real photos and real questions through a tiny random LLaVA, from the table of questions to the decomposition."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.tiny_cases import CASES
from tests.tiny_families import save

from pidflow.pid.records import from_json
from pidflow.stages import bound_information, estimate_pid, extract_activations, fit_pca, plant_twin, prepare_items
from pidflow.stages import train_flow as train

PHOTOS = Path(__file__).resolve().parents[3] / "shared/data/photos"
CUT = {"kind": "cut", "source": "image", "target": "question", "blocks": "all"}
UNIT = {"model": "tiny", "task": "photos"}
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
    """Folder of a finished study, and how many questions it has."""
    folder = tmp_path_factory.mktemp("photos")
    table, count = questions(folder)
    tiny = CASES["llava"]
    model = {"family": "llava", "path": str(save(tiny, folder / "tiny")), "prompt": tiny.prompt, "image": "pad"}
    dataset = {"reader": "table", "table": str(table), "images": str(PHOTOS / "images")}
    items, dropped = str(folder / "items.parquet"), str(folder / "dropped.csv")
    prepare_items.run(
        output=items, dropped=dropped, task="photos", settings={"dataset": dataset, "items": 1000}, folds=3, seed=0
    )
    for condition, intervention in (("intact", None), ("cut", CUT)):
        kinds = ("states", "pca", "flow", "twin", "bound")
        states, pca, flow, twin, bound = (str(folder / f"{condition}-{kind}.h5") for kind in kinds)
        answers, weights = str(folder / f"{condition}.parquet"), str(folder / f"{condition}.safetensors")
        extract_activations.run(
            items=items,
            answers=answers,
            activations=states,
            condition=condition,
            intervention=intervention,
            model=model,
            model_id="tiny",
            task="photos",
            image_root=str(PHOTOS / "images"),
            storage="float32",
        )
        if condition != "intact":
            continue
        how = {"seed": 0, "unit": UNIT | {"condition": condition}}
        fit_pca.run(
            activations=states,
            answers=answers,
            output=pca,
            correct_only=False,
            language="question",
            variance=0.9,
            max_components=2,
            target_components=2,
            **how,
        )
        settings = {"max_steps": 5}
        train.run(pca=pca, output=flow, weights=weights, settings=settings, threads=1, **how)
        plant_twin.run(flow=flow, weights=weights, output=twin, settings=settings, threads=1, **how)
        bound_information.run(pca=pca, flow=flow, output=bound, threads=1, **how)
        estimate_pid.run(
            pca=pca,
            flow=flow,
            twin=twin,
            bound=bound,
            outputs=[str(folder / f"{condition}-layer-{layer:02d}.json") for layer in range(4)],
            estimators=["gaussian", "flow"],
            definitions=["broja"],
            permutations=20,
            jackknife_groups=9,
            **how,
        )
    return folder, count


def test_every_photo_is_asked_about(study):
    folder, count = study
    table = pd.read_parquet(folder / "items.parquet")
    assert (len(table), table["image_id"].nunique()) == (count, 18)
    assert count == 92 + 9


def test_states_and_answers_of_every_question(study):
    folder, count = study
    told = {}
    for condition in ("intact", "cut"):
        answers = pd.read_parquet(folder / f"{condition}.parquet")
        assert (answers["item_id"].nunique(), answers["spoken"].notna().sum()) == (count, count)
        with h5py.File(folder / f"{condition}-states.h5") as file:
            told[condition] = {name: file[f"layer-03/{name}"][:] for name in ("vision", "question")}
        assert all(np.isfinite(values).all() for values in told[condition].values())
    assert np.array_equal(told["intact"]["vision"], told["cut"]["vision"])  # the picture comes before the question
    assert (np.abs(told["intact"]["question"] - told["cut"]["question"]).max(1) > 0).all()
    pictures = pd.read_parquet(folder / "items.parquet")["image_id"]
    assert len(np.unique(told["intact"]["vision"].round(4), axis=0)) == pictures.nunique()


def test_the_atoms_add_up_in_every_layer(study):
    folder, count = study
    for path in sorted(folder.glob("*-layer-*.json")):
        found = from_json(json.loads(path.read_text()), where=path)
        assert {each.estimator for each in found} == {"gaussian", "flow"}
        for each in found:
            assert (each.n, each.images) == (count, 18)
            atoms = [each.bits[name] for name in ("redundancy", "unique_vision", "unique_language", "synergy")]
            assert sum(atoms) == pytest.approx(each.bits["mi_joint"], abs=1e-3)
