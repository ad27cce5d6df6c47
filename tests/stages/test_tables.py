"""Stage ``collect_pid``: files of a run in, tables out; nothing of a run is lost or taken from the wrong place."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests import synthetic_run as run

from pidflow.analysis.decompositions import PLACE
from pidflow.errors import DataError
from pidflow.files.store import Identity, put, read_json, write_h5, write_json, write_table, writing_h5
from pidflow.pid.records import from_json, to_json
from pidflow.stages import collect_tables as stage

TASKS = run.TASKS[-2:]
TABLES = ("pid", "differences", "answers", "lens", "gaussianity", "dependence", "claims")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The files of a run, as lists of paths: two conditions, and answers without the image."""
    folder = tmp_path_factory.mktemp("results")
    for name, found in run.by_layer(run.records(tasks=TASKS, layers=3)).items():
        write_json(folder / "pid" / name, to_json(found), identity=Identity(*name.split("/")[:3]))
    for task in TASKS:
        blind = run.answers(task, run.BLIND, layers=3)
        identity = Identity("standin", task, run.BLIND)
        write_table(folder / f"blind/standin/{task}/{run.BLIND}.parquet", blind, identity=identity)
        for condition in ("intact", run.CUT):
            answers, identity = run.answers(task, condition, layers=3), Identity("standin", task, condition)
            write_table(folder / f"answers/standin/{task}/{condition}.parquet", answers, identity=identity)
            arrays = {}
            for layer, widths, values in run.diagnostics(layers=3):
                name = f"layer-{layer:02d}"
                latents = dict(zip(("z1", "z2", "y"), widths.values(), strict=True))
                arrays |= {f"{name}/{part}": np.zeros((6, width)) for part, width in latents.items()}
                arrays |= {f"{name}/diagnostics/{key}": value for key, value in values.items()}
            write_h5(folder / f"flows/standin/{task}/{condition}.h5", arrays, kind="flow", identity=identity)
    return {
        "pid": sorted(map(str, folder.glob("pid/**/*.json"))),
        "answers": sorted(map(str, folder.glob("answers/**/*.parquet"))),
        "blind_answers": sorted(map(str, folder.glob("blind/**/*.parquet"))),
        "flows": sorted(map(str, folder.glob("flows/**/*.h5"))),
    }


def collected(folder, results, **options):
    """The parquet tables the stage makes of some files."""
    outputs = {name: [str(folder / f"{name}.{suffix}") for suffix in ("parquet", "csv")] for name in TABLES}
    tables = {f"{name}_table": paths for name, paths in outputs.items()}
    stage.run(**results, **tables, **({"knockout": run.CUT, "blind": run.BLIND} | options))
    return {name: pd.read_parquet(paths[0]) for name, paths in outputs.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def found(folder, results):
    return collected(folder, results)


def test_every_table_is_written(found, folder):
    assert len(found["pid"]) == 2 * 2 * 3 * 2 * 2 * 7
    assert len(found["differences"]) == len(found["pid"]) / 2
    assert len(found["answers"]) == 6
    assert len(found["dependence"]) == 2 * 3
    assert len(found["lens"]) == 4 * 3
    assert set(found["gaussianity"]["block"]) == {"vision", "language", "target", "all"}
    assert set(found["claims"]["task"]) == {*TASKS, "all"}
    for name, frame in found.items():
        assert len(pd.read_csv(folder / f"{name}.csv")) == len(frame)


@pytest.mark.parametrize("name", ["answers", "lens", "gaussianity"])
def test_ids_of_answers_and_flows_come_from_their_path(found, name):
    assert set(found[name]["model"]) == {"standin"}
    assert set(found[name]["task"]) == set(TASKS)
    assert set(found[name]["condition"]) == {"intact", run.CUT} | ({run.BLIND} if name == "answers" else set())


def test_values_are_those_of_the_files(results, found):
    table = found["pid"]
    record = from_json(read_json(results["pid"][0]), where="x.json")[-1]
    place = {name: getattr(record, name) for name in PLACE} | {"atom": "unique_vision"}
    row = table.loc[np.logical_and.reduce([table[key] == value for key, value in place.items()])]
    assert row["bits"].item() == record.estimate.unique_1


def test_claims_use_the_accuracy_lost_under_the_knockout(found):
    claims = found["claims"]
    traps = claims[(claims["id"] == "knockout-traps-vision") & (claims["task"] == "all")]
    assert traps["verdict"].item() == "supported"
    assert traps["condition"].item() == run.CUT


def test_dependence_is_the_accuracy_lost_without_the_image(found):
    """Not the accuracy lost under the cut."""
    answers = found["answers"].set_index(["task", "condition"])["accuracy_lost"]
    for row in found["dependence"].itertuples():
        assert row.accuracy_lost == answers[row.task, run.BLIND] > answers[row.task, run.CUT]


@pytest.mark.parametrize("as_condition", [True, False])
def test_blind_answers_may_be_those_of_a_condition(results, tmp_path, found, as_condition):
    if as_condition:
        results = results | {"answers": results["answers"] + results["blind_answers"], "blind_answers": []}
    again = collected(tmp_path, results)
    pd.testing.assert_frame_equal(again["dependence"], found["dependence"])
    pd.testing.assert_frame_equal(again["answers"], found["answers"])
    assert (run.BLIND in set(again["lens"]["condition"])) == as_condition


def test_dependence_without_blind_answers_is_not_known(results, tmp_path):
    found = collected(tmp_path, results | {"blind_answers": []}, blind=None)
    assert found["dependence"]["accuracy_lost"].isna().all()
    assert found["dependence"]["bits"].notna().all()


def test_controls_reach_differences_and_claims(results, tmp_path):
    """The cut as its own control: nothing is left beyond it, and it is left exactly."""
    found = collected(tmp_path, results, control=run.CUT, controls={run.CUT: run.CUT})
    differences = found["differences"]
    assert (differences["control"] == run.CUT).all()
    np.testing.assert_allclose(differences["control_bits"], differences["bits"])
    np.testing.assert_allclose(differences["net_bits"], 0)
    beyond = found["claims"][found["claims"]["id"] == "knockout-traps-vision-beyond-random"]
    np.testing.assert_allclose(beyond["estimate"], 0)
    assert set(beyond["verdict"]) == {"undetermined"}


def test_claims_are_judged_for_each_estimator_and_definition(results, tmp_path):
    claims = collected(tmp_path, results, claim_estimators=["flow", "gaussian"], claim_definitions=["broja", "mmi"])[
        "claims"
    ]
    assert len(claims.groupby(["estimator", "definition"])) == 4
    assert not claims.duplicated(["id", "task", "estimator", "definition"]).any()


def test_a_run_of_intact_only(results, tmp_path):
    results = {name: [path for path in paths if run.CUT not in path] for name, paths in results.items()}
    found = collected(tmp_path, results, knockout=None)
    assert found["differences"].empty
    assert found["dependence"].empty
    intact = found["answers"]["condition"] == "intact"
    assert found["answers"].loc[intact, "accuracy_lost"].isna().all()
    assert found["answers"].loc[~intact, "accuracy_lost"].notna().all()


def test_claims_on_an_estimator_that_was_not_run(results, tmp_path, caplog):
    assert collected(tmp_path, results, claim_estimators=["copula"])["claims"].empty
    assert "no claim was judged" in caplog.text


def test_damaged_decomposition_is_named(results, tmp_path):
    record = read_json(results["pid"][0])
    identity = Identity(**record.pop("identity"))
    broken = tmp_path.joinpath(identity.model, identity.task, identity.condition, "layer-02.json")
    write_json(broken, record | {"schema_version": 7}, identity=identity)
    with pytest.raises(DataError, match=r"layer-02\.json: expected a decomposition of schema version 4, found 7"):
        collected(tmp_path, results | {"pid": [str(broken)]})
    assert not list(tmp_path.glob("*.parquet"))


def test_a_layer_of_another_number_than_its_path_says_is_refused(results, tmp_path):
    record = read_json(results["pid"][0])
    identity = Identity(**record.pop("identity"))
    moved = tmp_path.joinpath(identity.model, identity.task, identity.condition, "layer-01.json")
    write_json(moved, record, identity=identity)
    with pytest.raises(DataError, match=r"layer-01\.json: holds layer 0 of standin/easy-shape/"):
        collected(tmp_path, results | {"pid": [str(moved)]})


def test_path_without_ids_is_refused(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table("intact.parquet", run.answers(TASKS[0], "intact"))
    with pytest.raises(DataError, match="model/task/condition"):
        collected(tmp_path, results | {"answers": ["intact.parquet"]})


def test_files_of_another_condition_are_refused(results, tmp_path):
    """Whatever lies at a path, its own words count."""
    for name in ("pid", "answers", "flows"):
        moved = [path.replace("/intact", f"/{run.CUT}") for path in results[name] if "/intact" in path]
        taken = [str(tmp_path / name / "/".join(Path(path).parts[-4:])) for path in moved]
        for path, original in zip(taken, [path for path in results[name] if "/intact" in path], strict=True):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(original, path)
        with pytest.raises(DataError, match=f"made for condition 'intact', asked for is condition '{run.CUT}'"):
            collected(tmp_path, results | {name: taken})


def test_baselines_come_from_the_scores_and_answers_of_a_unit(results, folder, tmp_path):
    """A probe of language that has the answer among its scores is right; what else there is stands beside it."""
    rng = np.random.default_rng(0)
    for task in TASKS:
        for condition in ("intact", run.CUT):
            said = run.answers(task, condition, layers=3)
            kept = np.arange(0, len(said), 2)
            noise, told = rng.normal(size=(len(kept), 2)), (said["predicted"].to_numpy()[kept] == "yes")[:, None] * 9.0
            arrays = {"item_id": said["item_id"].to_numpy()[kept], "image_id": said["image_id"].to_numpy()[kept]}
            arrays |= {"fold": np.arange(len(kept)) % 3, "rows": kept, "target/scores": noise}
            for layer in range(3):
                arrays |= {
                    f"layer-{layer:02d}/vision/scores": noise,
                    f"layer-{layer:02d}/language/scores": told + noise,
                }
            place = {"model": "standin", "task": task, "condition": condition, "layers": 2}
            identity = Identity("standin", task, condition)
            with writing_h5(tmp_path / f"pca/standin/{task}/{condition}.h5", kind="pca", identity=identity) as file:
                for name, values in arrays.items():
                    put(file, name, values)
                file.attrs.update(place | {"language": "text", "dropped": 0})
    out = {name: [str(tmp_path / f"{name}.parquet")] for name in ("baselines", "predictions")}
    collected(
        tmp_path,
        results,
        pca=sorted(map(str, tmp_path.glob("pca/**/*.h5"))),
        baselines_table=out["baselines"],
        predictions_table=out["predictions"],
        unasked=run.BLIND,
    )
    table, predictions = (pd.read_parquet(paths[0]) for paths in out.values())
    assert len(table) == len(TASKS) * 2 * 3
    assert (table["probe_language"] > 0.95).all()
    assert (table["probe_vision"] < table["frequent"] + 0.1).all()
    pd.testing.assert_series_equal(table["lost_image"], table["lost_question"], check_names=False)
    assert set(predictions["condition"]) == {run.CUT}
    assert predictions["correlation"].isna().all(), "two tasks are too few"
