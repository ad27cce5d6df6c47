"""The shape of the workflow, read from a dry run: names agree, targets expand to what the configuration says."""

import re
from collections import Counter
from pathlib import Path

import pytest

from pidflow.plugins.registry import available

ROOT = Path(__file__).resolve().parents[2]
# A rule has its name in its first line, or, if there is one a model, in a line of its own.
NAMED = re.compile(r"^(?:rule (\w+):|\s+f\"(\w+)_{model}\"$)", flags=re.MULTILINE)
RULES = {
    found[1] or found[2]: (path, found.start())
    for path in (ROOT / "workflow" / "rules").glob("*.smk")
    for found in NAMED.finditer(path.read_text())
}
TARGETS = {
    "activations",
    "pid",
    "sweeps",
    "figures",
    "predictions",
    "report",
    "reproduction",
    "show_model",
    "spectrum",
    "systems",
    "tables",
    "zoo",
}
JOBS = sorted(set(RULES) - TARGETS)
PLOT = "plot"  # the script of every figure; their rules are made in a loop


def text_of(rule):
    path, start = RULES[rule]
    text = path.read_text()
    end = text.find("\nrule ", start + 1)
    return text[start : end if end > 0 else None]


@pytest.mark.parametrize("rule", JOBS)
def test_a_rule_its_script_its_log_and_its_benchmark_share_a_name(rule):
    text = text_of(rule)
    assert f'"../../scripts/{rule}.py"' in text
    assert f'"results/logs/{rule}/' in text
    assert (f'"results/benchmarks/{rule}/' in text) == ("    output:" in text)
    assert re.search(r"code=(lambda \w+: )?(code_digest|extraction_code)\(", text)
    assert re.search(r"conda:\n\s+\"../../envs/\w+.yaml\"", text)
    docstring = (ROOT / "scripts" / f"{rule}.py").read_text().splitlines()[0]
    assert docstring.startswith(f'"""Rule ``{rule}``: ')


def test_every_script_belongs_to_a_rule():
    assert sorted(path.stem for path in (ROOT / "scripts").glob("*.py")) == sorted([*JOBS, PLOT])


def test_a_figure_has_a_rule_of_its_name_with_logs_and_caption(snakemake, tmp_path):
    done = snakemake("--dry-run", "results/figures/standin/sweep-edges.svg", "--quiet", "host", cwd=tmp_path)
    assert "rule plot_sweep_edges:" in done.stdout
    assert "results/logs/plot_sweep_edges/standin.log" in done.stdout
    assert "results/figures/standin/sweep-edges.png" in done.stdout
    captions = {path.stem for path in (tmp_path / ".snakemake/captions").glob("*.rst")}
    assert captions == set(available("figures"))


def test_scripts_are_thin_and_read_only_what_the_rule_hands_them():
    for path in (ROOT / "scripts").glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 30
        assert not re.search(r"snakemake\.(config|wildcards)", text)


def test_the_digest_of_a_rule_is_that_of_the_stage_its_script_calls():
    for rule in JOBS:
        named = re.compile(r'code_digest\(\s*"(\w+)"')
        stage = (named.search(text_of(rule)) or named.search((ROOT / "workflow/rules/common.smk").read_text()))[1]
        assert re.search(rf"^from pidflow.stages import {stage}$", (ROOT / "scripts" / f"{rule}.py").read_text(), re.M)


def test_the_default_run_has_the_jobs_its_configuration_says(snakemake, tmp_path):
    done = snakemake("--dry-run", "--quiet", "host", cwd=tmp_path)
    jobs = Counter(re.findall(r"^rule ([\w.-]+):", done.stdout, flags=re.MULTILINE))
    assert jobs["prepare_items"] == 9
    assert jobs["fit_pca"] == jobs["train_flow"] == 9 * 2
    assert jobs["extract_activations"] == 9 * 2
    assert jobs["extract_answers"] == 9 * 2  # without the image and without the question the answers are all
    assert jobs["plant_twin"] == jobs["bound_information"] == jobs["estimate_pid_standin"] == 9 * 2
    assert jobs["plot_dependence"] == jobs["record_provenance"] == 1
    assert jobs["train_standin"] == jobs["plot_model_profiles"] == 0


@pytest.mark.parametrize(
    ("study", "extracted", "drawn"),
    [
        ("claims: {blind: null}", 9 * 2, 0),
        ("run: {conditions: [intact, image-question, no-image]}", 9 * 3, 1),
        ("run: {conditions: [intact, no-image]}", 9 * 2, 0),
        ("run: {tasks: [choose-attr, choose-rel, easy-yesno]}", 3 * 2, 0),
    ],
)
def test_what_changes_depend_on_is_drawn_where_it_can_be(snakemake, tmp_path, study, extracted, drawn):
    (tmp_path / "study.yaml").write_text(study)
    done = snakemake("--dry-run", "--quiet", "host", "--configfile", "study.yaml", cwd=tmp_path)
    jobs = Counter(re.findall(r"^rule ([\w.-]+):", done.stdout, flags=re.MULTILINE))
    assert (jobs["extract_activations"], jobs["plot_dependence"]) == (extracted, drawn)


def test_shards_are_jobs_of_their_own_and_one_is_none(snakemake, tmp_path):
    (tmp_path / "study.yaml").write_text("extract: {shards: 3}\nrun: {tasks: [choose-attr, choose-rel]}")
    done = snakemake("activations", "--dry-run", "--quiet", "host", "--configfile", "study.yaml", cwd=tmp_path)
    jobs = Counter(re.findall(r"^rule ([\w.-]+):", done.stdout, flags=re.MULTILINE))
    assert (jobs["extract_shard"], jobs["extract_activations"]) == (2 * 3, 2 * 2)
    assert "results/shards/standin/choose-rel/intact/2" in done.stdout
    assert "image-question/0" not in done.stdout


def test_conditions_are_also_decomposed_against_the_intact_target_where_that_is_asked_for(snakemake, tmp_path):
    (tmp_path / "study.yaml").write_text("pid: {target_from: intact}")
    done = snakemake("--dry-run", "--quiet", "host", "--configfile", "study.yaml", cwd=tmp_path)
    jobs = Counter(re.findall(r"^rule ([\w.-]+):", done.stdout, flags=re.MULTILINE))
    assert jobs["extract_activations"] == 9 * 2
    assert jobs["fit_pca"] == jobs["train_flow"] == jobs["plant_twin"] == jobs["estimate_pid_standin"] == 9 * 3
    assert "results/pid/standin/choose-attr/image-question@intact/layer-00.json" in done.stdout
    assert "intact@intact" not in done.stdout


def test_a_study_names_what_is_made_without_a_target(snakemake, tmp_path):
    """The positive control: everything in one call, the report with the sweeps that the same call makes."""
    done = snakemake("--dry-run", "--quiet", "host", "--configfile", str(ROOT / "config/planted.yaml"), cwd=tmp_path)
    jobs = Counter(re.findall(r"^rule ([\w.-]+):", done.stdout, flags=re.MULTILINE))
    assert jobs["plot_planted"] == jobs["plot_overview"] == jobs["write_report"] == 1
    assert jobs["sweep_knockout"] == 3
    report = done.stdout.split("rule write_report:")[1].split("output:")[0]
    assert "results/tables/sweeps.parquet" in report
    assert "results/pid/standin-routed/query-attr/stage-one@intact/layer-00.json" in done.stdout


def test_several_models_are_drawn_side_by_side(snakemake, tmp_path):
    study = ROOT / "config/continuous-time.yaml"
    done = snakemake("--dry-run", "--quiet", "host", "--configfile", str(study), cwd=tmp_path)
    jobs = Counter(re.findall(r"^rule ([\w.-]+):", done.stdout, flags=re.MULTILINE))
    assert (jobs["plot_layer_profiles"], jobs["plot_model_profiles"]) == (3, 1)


def test_sweeps_have_the_jobs_their_configuration_says(snakemake, tmp_path):
    done = snakemake("sweeps", "--dry-run", "--quiet", "host", cwd=tmp_path)
    found = Counter(re.findall(r"^rule ([\w.-]+):", done.stdout, flags=re.MULTILINE))
    assert found["sweep_knockout"] == found["extract_activations"] == 9  # the intact answers, no condition
    assert found["record_provenance"] == 1
    assert found["collect_sweeps"] == found["plot_sweep_edges"] == found["plot_sweep_subsets"] == 1
    assert not {"fit_pca", "train_flow", "estimate_pid_standin"} & set(found)


def test_the_report_takes_tables_that_were_made_or_are_made_with_it_and_asks_for_no_others(snakemake, tmp_path):
    (tmp_path / "study.yaml").write_text("run: {tasks: [choose-attr]}")

    def plan(*targets):
        return snakemake(
            "report", *targets, "--dry-run", "--quiet", "host", "--configfile", "study.yaml", cwd=tmp_path
        ).stdout

    def tables(done):
        report = re.search(r"^rule write_report:\n    input: (.*)", done, flags=re.MULTILINE)[1]
        return set(re.findall(r"results/tables/([\w-]+)\.parquet", report))

    always, of_spectrum = {"pid", "answers", "claims"}, {"spectrum", "training", "spectrum-claims"}
    done = plan()
    assert tables(done) == always
    assert "collect_spectrum" not in done
    assert tables(plan("sweeps", "systems")) == always | of_spectrum | {"sweeps"}
    (tmp_path / "results/tables").mkdir(parents=True)
    (tmp_path / "results/tables/spectrum.parquet").touch()
    done = plan()
    assert tables(done) == always | of_spectrum
    assert "collect_sweeps" not in done
