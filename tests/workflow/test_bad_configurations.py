"""A bad configuration, given as a user gives it, stops Snakemake before any job with the library's own sentence."""

import pytest


@pytest.mark.parametrize(
    ("study", "arguments", "message"),
    [
        ("pca: {varianc: 0.9}\n", [], "config pca: unknown key 'varianc', expected one of: correct_only"),
        (
            "run: {tasks: [choose-attr]}\nrun: {models: [standin]}\n",
            [],
            "line 2: key 'run' stands here again, first",
        ),
        ("pid:\n  permutations: 20\n  permutations: 40\n", [], "line 3: key 'permutations' stands here again"),
        ("__use_yte__: true\nseed: ?1 + 1\n", [], "'__use_yte__' makes Snakemake run what the file holds as Python"),
        ("seed: !!python/tuple [1]\n", [], "is no plain YAML"),
        ("models: {standin: {blocks: .nan}}\n", [], "config models.standin.blocks: found nan, expected a whole number"),
        ("seed: 0\n", ["--config", "pid={estimators: [linear]}"], "'linear' is called 'gaussian' now"),
        (
            "seed: 0\n",
            ["results/pca/nope/choose-attr/intact.h5"],
            "'nope' in the path of a target is not defined",
        ),
        ("seed: 0\n", ["reproduce"], "config other: found null; target reproduce compares this run with"),
        ("other: nowhere\n", ["reproduce"], "config other: 'nowhere' holds no provenance/*.json; expected the results"),
        ("seed: 0\n", ["results/items/nope.parquet"], "'nope' in the path of a target is not defined under tasks"),
    ],
)
def test_refused_before_anything_runs(snakemake, tmp_path, study, arguments, message):
    (tmp_path / "study.yaml").write_text(study)
    done = snakemake(*arguments, "--dry-run", "--configfile", "study.yaml", cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert not (tmp_path / "results").exists()


def test_whole_numbers_as_floats_and_configurations_in_json_run(snakemake, tmp_path):
    (tmp_path / "study.json").write_text('{"seed": 1.0, "run": {"tasks": ["choose-attr"], "conditions": ["intact"]}}')
    done = snakemake("pid", "--dry-run", "--quiet", "host", "--configfile", "study.json", cwd=tmp_path)
    assert "rule estimate_pid" in done.stdout
