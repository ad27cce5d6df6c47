"""Stages of the spectrum: from a file of predictions to records, tables and claims; bad input is refused by name."""

import pandas as pd
import pytest
import yaml
from tests.synthetic_predictions import synthetic_predictions

from pidflow.errors import DataError
from pidflow.files.store import Identity, read_json, read_table, write_table
from pidflow.spectrum.predictions_file import write_predictions
from pidflow.spectrum.records import from_json
from pidflow.stages import collect_spectrum, compare_systems, estimate_spectrum

SETTINGS = {
    **{"modes": ["repaired"], "score": "begins", "threshold": 0.3, "labels": "auto", "vision": "question-masked"},
    **{"language": "language-only", "replacement": "noise", "lenses": ["norm"]},
}
TABLES = (
    *("spectrum", "passes", "breadth", "correlations", "types", "scaling"),
    *("order", "training", "emergence", "catalogue", "spectrum-claims"),
)
MODELS = {"one": 0.6, "two": 0.7, "three": 0.9, "four": 0.99}


def estimated(folder, model, task, **options):
    predictions, spectrum = folder / "predictions" / model / f"{task}.h5", folder / "spectrum" / model / f"{task}.json"
    made = synthetic_predictions(90, system=task, layers=2, **options)
    write_predictions(predictions, made, identity=Identity(model=model, task=task))
    estimate_spectrum.run(
        predictions=str(predictions),
        spectrum=str(spectrum),
        model=model,
        task=task,
        settings=SETTINGS,
        threads=1,
        seed=0,
    )
    return spectrum


def collected(folder, spectra, **changes):
    order = [{"id": "sure", "why": "surer", "quantity": "synergy", "task": "synergy", "order": [[m] for m in MODELS]}]
    (folder / "expected.yaml").write_text(yaml.safe_dump(order))
    given = {
        "spectra": list(map(str, spectra)),
        "tables": {name: [str(folder / "tables" / f"{name}.parquet")] for name in TABLES},
        "models": {m: {"group": "g", "size": 1.0 + i, "series": "s", "step": i} for i, m in enumerate(MODELS)},
        "catalogue": {"far": {"hub": "a/far", "group": "g", "size": 9.0, "blocks": 9, "reachable": False, "why": "no"}},
        "expected": str(folder / "expected.yaml"),
        "seed": 0,
    }
    collect_spectrum.run(**given | changes)
    return {name: read_table(folder / "tables" / f"{name}.parquet") for name in TABLES}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    spectra = [estimated(folder, model, "synergy", certainty=certainty) for model, certainty in MODELS.items()]
    return folder, spectra, collected(folder, spectra)


def test_a_study_of_models_from_files_to_tables(run):
    _, spectra, tables = run
    found = from_json(read_json(spectra[0], expected=Identity(model="one", task="synergy")), where="x")
    assert (found.vision, found.language) == ("question-masked/noise", "language-only/noise")
    assert set(tables["spectrum"]["model"]) == set(MODELS)
    order = tables["order"].iloc[0]
    assert order["tau"] == pytest.approx(1.0)
    assert tables["catalogue"]["status"].iloc[0] == "not reachable"
    assert set(tables["scaling"]["number"]) >= {"synergy", "accuracy"}
    assert not tables["emergence"].empty
    claims = tables["spectrum-claims"].set_index("id")
    assert "order-sure" in claims.index


def test_two_systems_from_tables(run, tmp_path):
    _, _, tables = run
    write_table(tmp_path / "spectrum.parquet", tables["spectrum"])
    place = {"model": "one", "task": "synergy", "condition": "intact", "estimator": "flow", "definition": "broja"}
    atoms = ("redundancy", "unique_vision", "unique_language", "synergy")
    pid = pd.DataFrame([place | {"layer": 0, "atom": atom, "bits": 0.1, "share": 0.25} for atom in atoms])
    given = {
        "pid": str(tmp_path / "pid.parquet"),
        "spectrum": str(tmp_path / "spectrum.parquet"),
        "two_systems": [str(tmp_path / "two.parquet")],
        "agreement": [str(tmp_path / "agreement.parquet")],
        "estimator": "flow",
        "definition": "broja",
    }
    write_table(tmp_path / "pid.parquet", pid)
    compare_systems.run(**given)
    assert set(read_table(tmp_path / "two.parquet")["system"]) == {"states", "predictions"}
    write_table(tmp_path / "pid.parquet", pid.assign(model="other"))
    with pytest.raises(DataError, match="have no model and task in common"):
        compare_systems.run(**given)


def test_predictions_of_another_model_are_refused(run):
    folder, _, _ = run
    given = {"settings": SETTINGS, "threads": 1, "seed": 0, "spectrum": str(folder / "x.json")}
    path = str(folder / "predictions" / "one" / "synergy.h5")
    with pytest.raises(DataError, match="two"):
        estimate_spectrum.run(predictions=path, model="two", task="synergy", **given)
    with pytest.raises(DataError, match=r"none\.h5"):
        estimate_spectrum.run(predictions=str(folder / "none.h5"), model="one", task="synergy", **given)


def test_faults_name_model_and_task(tmp_path):
    predictions = tmp_path / "one" / "synergy.h5"
    write_predictions(predictions, synthetic_predictions(16), identity=Identity(model="one", task="synergy"))
    with pytest.raises(DataError, match="model 'one', task 'synergy': a spectrum needs at least 20 questions"):
        estimate_spectrum.run(
            predictions=str(predictions),
            spectrum=str(tmp_path / "x.json"),
            model="one",
            task="synergy",
            settings=SETTINGS,
            threads=1,
            seed=0,
        )


def test_a_spectrum_under_another_name_is_refused(run, tmp_path):
    folder, spectra, _ = run
    other = tmp_path / "two" / "synergy.json"
    other.parent.mkdir()
    other.write_bytes(spectra[0].read_bytes())
    with pytest.raises(DataError, match="two"):
        collected(folder, [other])
