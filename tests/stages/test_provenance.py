"""A record says what a set of tables was made from, and two runs are compared by their records and tables."""

import logging
import subprocess

import pandas as pd
import pytest
from tests.sealed import reseal

from pidflow.errors import DataError
from pidflow.files.store import Identity, checksum_of, read_json, write_h5, write_table
from pidflow.stages import record_provenance, reproduce

CODE = {"stages": {"fit_pca": "0" * 16}, "plug_ins": {"models.families.llava": "1" * 16}}


def made(folder, *, bits=0.5, seed=0, revision="sha256:ab", versions=None):
    """A run of one table in a folder, with its record."""
    identity = Identity("m", "t", "intact", revision=revision)
    for name, frame, about in (
        ("answers/m/t/intact", pd.DataFrame({"item_id": ["a"]}), identity),
        ("items/t", pd.DataFrame({"item_id": ["a"], "question": ["?"]}), None),
        ("tables/pid", pd.DataFrame({"layer": [0, 1], "bits": [bits, 1.0]}), versions),
    ):
        write_table(folder / f"{name}.parquet", frame, identity=about)
    (folder / "questions.csv").write_text("image,question,answer\n")
    record_provenance.run(
        output=str(folder / "provenance/figures.json"),
        tables=[str(folder / "tables/pid.parquet")],
        items=[str(folder / "items/t.parquet")],
        answered=[str(folder / "answers/m/t/intact.parquet")],
        sources={"mine": [str(folder / "questions.csv")], "scenes": []},
        configuration={"seed": seed, "run": {"models": ["m"]}},
        code=CODE,
        repository=str(folder),
        threads=1,
    )
    return folder


def compare(this, other):
    reproduce.run(records=[str(this / "provenance/figures.json")], tables=str(this / "tables"), other=str(other))


@pytest.fixture
def heard(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records if record.name == "pidflow.stages.reproduce"]


def test_a_record_says_everything(tmp_path):
    record = read_json(made(tmp_path) / "provenance/figures.json")
    assert record["seed"] == 0
    assert record["configuration"] == {"seed": 0, "run": {"models": ["m"]}}
    assert record["code"] == CODE
    assert {"python", "pidflow", "numpy", "torch", "transformers", "snakemake"} <= set(record["versions"])
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["processor"]
    assert record["inputs"]["items"] == {"t": checksum_of(tmp_path / "items/t.parquet")}
    assert record["inputs"]["sources"]["scenes"] == {}
    assert len(record["inputs"]["sources"]["mine"]["questions.csv"]) == 64
    assert record["inputs"]["units"]["m/t"]["revision"] == "sha256:ab"
    assert record["tables"] == {"pid": checksum_of(tmp_path / "tables/pid.parquet")}
    assert record["repository"] is None


def test_a_record_of_predictions_knows_their_weights(tmp_path):
    made(tmp_path)
    identity = Identity("m", "t", revision="sha256:cd")
    write_h5(tmp_path / "predictions.h5", {"x": [1]}, kind="predictions", identity=identity)
    assert record_provenance._about(tmp_path / "predictions.h5") == identity


def test_the_commit_and_whether_files_differ_from_it(tmp_path):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    (tmp_path / "Snakefile").write_text("")
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert record_provenance._repository(str(tmp_path)) == {"commit": commit, "changed": False}
    (tmp_path / "a_plug_in.py").write_text("")
    assert record_provenance._repository(str(tmp_path)) == {"commit": commit, "changed": True}
    (tmp_path / "inner").mkdir()
    assert record_provenance._repository(str(tmp_path / "inner")) is None, "another project's clone is around it"


def test_two_runs_that_are_the_same(tmp_path, heard):
    compare(made(tmp_path / "this"), made(tmp_path / "other"))
    assert heard() == [f"reproduced: all 1 tables hold the same as those in {tmp_path / 'other'}"]


def test_a_table_that_differs_fails_and_says_what_was_made_differently(tmp_path, heard):
    this, other = made(tmp_path / "this", seed=1, bits=0.75), made(tmp_path / "other", revision="sha256:cd")
    with pytest.raises(DataError, match=r"not reproduced: 1 of 1 tables differ from those in .*: pid; the lines above"):
        compare(this, other)
    assert heard() == [
        "figures: seed: 0 → 1",
        "figures: configuration seed: 0 → 1",
        "figures: input units.m/t.revision: sha256:cd → sha256:ab",
        "figures: table pid, column bits: 1 of 2 rows differ, the largest difference 0.25, 0.5 → 0.75 (row 0, layer 0)",
    ]


def test_other_bytes_with_the_same_values_are_the_same(tmp_path, heard):
    compare(made(tmp_path / "this"), made(tmp_path / "other", versions=Identity("m")))
    assert any("the same values in other bytes" in line for line in heard())


def test_a_table_that_its_record_does_not_tell_of(tmp_path):
    this, other = made(tmp_path / "this"), made(tmp_path / "other")
    write_table(other / "tables/pid.parquet", pd.DataFrame({"layer": [0], "bits": [9.0]}))
    with pytest.raises(DataError, match=r"other/tables/pid.parquet: is not the table that its provenance tells of"):
        compare(this, other)


def test_a_table_that_one_run_lacks(tmp_path, heard):
    this, other = made(tmp_path / "this"), made(tmp_path / "other")
    path = other / "provenance/figures.json"
    path.write_text(path.read_text().replace('"pid":', '"claims":'))
    reseal(path)
    with pytest.raises(DataError, match="not reproduced: 2 of 2 tables"):
        compare(this, other)
    assert "figures: table claims: made → not made" in heard()


def test_a_source_that_is_gone(tmp_path):
    made(tmp_path)
    with pytest.raises(DataError, match=r"questions were read from it and it cannot be read any more \(No such file"):
        record_provenance._digests([str(tmp_path / "gone.csv")])
