"""A tiny study from questions to figures, and what reruns after each kind of change."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from pidflow.files.store import checksum_of, read_json
from pidflow.models.standin.architecture import PROMPT, build_model, build_processor
from pidflow.models.weights import content_digest
from pidflow.provenance import code_digest

ROOT = Path(__file__).resolve().parents[2]
STUDY = {
    "run": {"models": ["tiny"], "tasks": ["logical-obj", "easy-yesno"], "conditions": ["intact", "image-question"]},
    "models": {
        "tiny": {
            "family": "llava",
            "path": "tiny",
            "blocks": 2,
            "prompt": PROMPT,
            "dtype": "float32",
            "batch_size": 32,
        }
    },
    "tasks": {task: {"items": 150} for task in ("logical-obj", "easy-yesno")},
    "pca": {"correct_only": False, "max_components": 3, "target_components": 2},
    "flow": {"max_steps": 20},
    "sweep": {"window": 2},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory, snakemake):
    """A copy of the repository beside a finished run of the tiny study."""
    folder = tmp_path_factory.mktemp("study")
    for name in (
        "workflow/lib",
        "workflow/rules",
        "workflow/report",
        "scripts",
        "config",
        "envs",
        "profiles",
    ):
        shutil.copytree(ROOT / name, folder / "repository" / name)
    for name in ("Snakefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / "repository")
    work = folder / "work"
    work.mkdir()
    build_model(seed=0, width=32, depth=2).save_pretrained(work / "tiny")
    build_processor().save_pretrained(work / "tiny")
    (work / "study.yaml").write_text(yaml.safe_dump(STUDY))

    def run(*arguments, changes=None, **settings):
        (work / "changes.yaml").write_text(yaml.safe_dump(changes or {}))
        files = ("--configfile", "study.yaml", "changes.yaml")
        return snakemake(*arguments, *files, cwd=work, root=folder / "repository", **settings)

    run()
    return folder / "repository", work, run


def jobs(done):
    return Counter(re.findall(r"^(?:local)?rule ([\w.-]+):", done.stdout + done.stderr, flags=re.MULTILINE))


def test_every_result_is_there(study):
    _, work, _ = study
    pid = pd.read_parquet(work / "results/tables/pid.parquet")
    cells = pid[["task", "condition", "layer", "estimator", "definition"]].drop_duplicates()
    assert len(cells) == 2 * 2 * 3 * 4 * 3
    parts = pid.pivot_table(index=list(cells.columns), columns="atom", values="bits")
    atoms = parts[["redundancy", "unique_vision", "unique_language", "synergy"]].sum(axis=1)
    pd.testing.assert_series_equal(atoms, parts["mi_joint"], check_names=False, atol=1e-9)
    answers = pd.read_parquet(work / "results/tables/answers.parquet")
    assert set(answers["condition"]) == {"intact", "image-question", "no-image", "no-question"}
    assert not (work / "results/pca/tiny/logical-obj/no-image.h5").exists()
    assert not list((work / "results").rglob("*.tmp"))
    drawn = {
        suffix: {path.stem for path in (work / "results/figures").rglob(f"*.{suffix}")} for suffix in ("png", "svg")
    }
    assert drawn["png"] == drawn["svg"]
    assert len(drawn["svg"]) == 8


def test_every_job_left_a_log_that_says_something(study):
    _, work, _ = study
    logs = list((work / "results/logs").rglob("*.log"))
    assert len(logs) > 20
    assert not [path for path in logs if path.stat().st_size == 0]


def test_the_tables_say_what_they_were_made_from(study):
    _, work, _ = study
    record = read_json(work / "results/provenance/figures.json")
    tables = {path.stem: checksum_of(path) for path in (work / "results/tables").glob("*.parquet")}
    assert record["tables"] == tables
    assert record["configuration"]["pca"]["max_components"] == 3
    assert set(record["inputs"]["items"]) == set(STUDY["run"]["tasks"])
    assert set(record["inputs"]["sources"]) == {"scenes", "easy-vqa"}
    weights = {about["revision"] for about in record["inputs"]["units"].values()}
    assert weights == {content_digest(work / "tiny")}
    assert {"models.families.llava", "interventions.kinds.cut", "data.readers.scenes"} <= set(
        record["code"]["plug_ins"]
    )
    assert record["code"]["stages"]["fit_pca"] == code_digest("fit_pca")


def test_another_place_and_one_core_give_the_same_tables(study, tmp_path, snakemake):
    """Everything of one task is made again in a copy, from its questions on, and all tables; `reproduce` compares."""
    repository, work, _ = study
    for folder in (repository, work):
        shutil.copytree(folder, tmp_path / "elsewhere" / folder.name, symlinks=True)
    again = tmp_path / "elsewhere" / "work"
    task = STUDY["run"]["tasks"][1]
    for path in [*(again / "results").glob(f"*/{task}*"), *(again / "results").glob(f"*/*/{task}")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(again / "results/tables")
    arguments = ("--cores", "1", "--configfile", "study.yaml", "changes.yaml", "--config", f"other={work / 'results'}")
    done = snakemake("reproduce", *arguments, cwd=again, root=again.parent / "repository")
    assert jobs(done)["extract_activations"] == jobs(done)["train_flow"] == 2
    expected = {path.name: path.read_bytes() for path in (work / "results/tables").iterdir()}
    assert f"reproduced: all {len(expected) // 2} tables hold the same" in done.stdout + done.stderr
    found = {path.name: path.read_bytes() for path in (again / "results/tables").iterdir()}
    assert set(found) == set(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_then_nothing_is_to_be_done(study):
    _, _, run = study
    assert "Nothing to be done" in run().stderr


def test_a_pid_setting_reruns_pid_and_what_follows(study):
    _, _, run = study
    found = jobs(run("--dry-run", changes={"pid": {"permutations": 21}}))
    assert found.pop("estimate_pid_tiny") == 2 * 2
    assert found.pop("collect_pid") == 1
    assert not {"prepare_items", "extract_activations", "fit_pca", "train_flow", "plant_twin"} & set(found)


def test_the_status_says_what_is_done_and_what_would_run_and_why(study):
    repository, work, _ = study
    (work / "changes.yaml").write_text(yaml.safe_dump({"pid": {"permutations": 21}}))
    command = [sys.executable, "-m", "pidflow.status", "--snakefile", str(repository / "Snakefile")]
    done = subprocess.run(
        [*command, "--configfile", "study.yaml", "changes.yaml"],
        cwd=work,
        env=os.environ | {"PYTHONPATH": str(repository / "workflow/lib")},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line[:1].isalpha()}
    assert rows["train_flow"] == ["4", "0"]
    assert rows["estimate_pid"][:2] == ["0", "4"]
    assert rows["estimate_pid"][-5:] == ["code", "or", "data", "changed", "4"]
    assert "of a kind that was never timed here" not in done.stdout
    assert len(done.stdout.splitlines()) <= 24


def test_an_edited_function_reruns_exactly_the_stages_behind_it(study):
    repository, _, run = study
    module = repository / "workflow/lib/pidflow/flows/pca.py"
    before = module.read_text()
    module.write_text(before.replace("_NOISE = 1e-6", "_NOISE = 1e-7"))
    found = jobs(run("--dry-run"))
    module.write_text(before)
    assert found["fit_pca"] == found["train_flow"] == found["estimate_pid_tiny"] == 2 * 2
    assert not {"prepare_items", "extract_activations"} & set(found)


def test_an_edited_figure_redraws_itself_alone(study):
    repository, _, run = study
    module = repository / "workflow/lib/pidflow/figures/overview.py"
    before = module.read_text()
    module.write_text(before.replace('"b  last layer"', '"b  the last layer"'))
    found = jobs(run("--dry-run"))
    module.write_text(before)
    assert found == {"plot_overview": 1, "all": 1}


def test_a_figure_added_is_a_file_and_is_drawn_alone(study):
    repository, work, run = study
    folder = repository / "workflow/lib/pidflow/figures"
    text = (folder / "logit_lens.py").read_text().replace('TITLE = "logit lens"', 'TITLE = "another"')
    (folder / "another.py").write_text(text)
    found = jobs(run("--dry-run"))
    run("results/figures/tiny/another.svg")
    (folder / "another.py").unlink()
    assert found == {"plot_another": 1, "all": 1}
    assert (work / "results/figures/tiny/another.png").stat().st_size > 1000


def test_the_report_has_every_figure_with_its_caption(study):
    _, work, run = study
    run("--report", "report.html")
    report = (work / "report.html").read_text()
    assert "before drawing a conclusion" in report  # the end of the overview's caption


@pytest.mark.parametrize(
    ("module", "rerun"),
    [
        ("validation/critic.py", {"bound_information"}),
        ("pid/planted_twin.py", {"plant_twin"}),
        ("pid/estimators/copula.py", set()),
    ],
)
def test_neither_critic_nor_twin_nor_estimator_retrains_a_flow(study, module, rerun):
    repository, _, run = study
    path = repository / "workflow/lib/pidflow" / module
    before = path.read_text()
    path.write_text(before + "\nADDED = 1\n")
    found = jobs(run("--dry-run"))
    path.write_text(before)
    always = {"estimate_pid_tiny", "collect_pid", "calibrate", "record_provenance"}
    assert {name for name in found if not name.startswith("plot_")} - {"all"} == rerun | always


def test_an_estimator_that_nobody_asks_for_reruns_nothing(study):
    repository, _, run = study
    path = repository / "workflow/lib/pidflow/pid/estimators/mine.py"
    path.write_text((path.parent / "gaussian.py").read_text())
    done = run("--dry-run")
    asked = jobs(run("--dry-run", changes={"pid": {"estimators": ["gaussian", "copula", "flow", "auto", "mine"]}}))
    path.unlink()
    assert "Nothing to be done" in done.stdout + done.stderr
    assert asked["estimate_pid_tiny"] == 2 * 2
    assert not {"train_flow", "plant_twin", "bound_information"} & set(asked)


def test_one_layer_can_be_asked_for(study):
    _, _, run = study
    done = run("--dry-run", "results/pid/tiny/easy-yesno/intact/layer-01.json", "--forcerun", "estimate_pid_tiny")
    assert jobs(done)["estimate_pid_tiny"] == 1


def test_a_comment_reruns_nothing(study):
    repository, _, run = study
    module = repository / "workflow/lib/pidflow/flows/pca.py"
    before = module.read_text()
    module.write_text(before + "# a remark\n")
    done = run("--dry-run")
    module.write_text(before)
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_bad_image_fails_with_one_sentence_before_any_model_runs(study):
    _, work, run = study
    (work / "photos").mkdir()
    for index in range(3):
        Image.new("RGB", (32, 24)).save(work / f"photos/{index}.png")
    rows = [{"image": f"{index}.png", "question": "is it red ?", "answer": "no"} for index in range(3)]
    pd.DataFrame(rows).to_json(work / "questions.jsonl", orient="records", lines=True)
    (work / "photos/1.png").write_bytes((work / "photos/1.png").read_bytes()[:50])
    changes = {
        "datasets": {"photos": {"reader": "table", "table": "questions.jsonl", "images": "photos"}},
        "tasks": {"photos": {"dataset": "photos", "items": 3}},
    }
    target = "results/activations/tiny/photos/intact.h5"
    done = run(target, changes=changes, check=False)
    assert done.returncode != 0
    assert "item '1': image" in done.stdout + done.stderr
    assert "1.png cannot be read" in done.stdout + done.stderr
    assert not (work / "results/items/photos.parquet").exists()
    assert not (work / target).exists()


@pytest.fixture(scope="module")
def swept(study):
    """The study with its sweeps done."""
    _, work, run = study
    run("sweeps")
    return work, run


def test_sweeps_end_in_tables_and_figures(swept):
    work, _ = swept
    sweeps = pd.read_parquet(work / "results/tables/sweeps.parquet")
    recorded = read_json(work / "results/provenance/sweeps.json")["tables"]
    assert set(recorded) == {"sweeps", "transfer-windows", "two-stages"}
    edges = {task: set(sweeps.loc[sweeps["task"] == task, "edge"]) for task in STUDY["run"]["tasks"]}
    assert "image->options" in edges["easy-yesno"]
    assert edges["logical-obj"] == edges["easy-yesno"] - {"image->options", "options->last"}  # offers no options
    assert sweeps["change_first"].notna().all()
    assert sweeps.loc[sweeps["window"] == 2, "random_change_first_se"].notna().all()
    details = pd.read_parquet(work / "results/sweeps/tiny/easy-yesno/details.parquet")
    assert details["item_id"].nunique() == 150
    two_stages = pd.read_parquet(work / "results/tables/two-stages.parquet")
    assert set(two_stages["task"]) == {"all", *STUDY["run"]["tasks"]}
    transfer = pd.read_parquet(work / "results/tables/transfer-windows.parquet")
    assert set(transfer["edge"]) == edges["easy-yesno"]
    for name in ("edges", "windows", "subsets"):
        for suffix in ("svg", "png"):
            assert (work / f"results/figures/tiny/sweep-{name}.{suffix}").stat().st_size > 1000
    assert "image reaches the last position directly" in (work / "results/logs/collect_sweeps/run.log").read_text()


def test_what_counts_as_an_effect_reruns_the_tables_but_no_sweep(swept):
    _, run = swept
    found = jobs(run("sweeps", "--dry-run", changes={"sweep": {"least": 0.1}}))
    assert found.pop("collect_sweeps") == 1
    assert not {"sweep_knockout", "extract_activations"} & set(found)


def test_sweeps_are_no_part_of_the_default_run(study):
    _, _, run = study
    found = jobs(run("--dry-run", "--forceall"))
    assert found["plot_overview"] == 1
    assert not [rule for rule in found if "sweep" in rule]
