"""What the digest of each stage holds: what a job computes with, and nothing that a result cannot depend on."""

import ast
import re
import shutil
import sys

import pytest
import yaml

from pidflow import provenance
from pidflow.config import design
from pidflow.plugins import registry
from pidflow.provenance import PACKAGE, code_digest, modules_behind

ROOT = PACKAGE.parents[2]

STAGES = sorted(path.stem for path in (PACKAGE / "stages").glob("[!_]*.py"))
NUMERICS = {"numpy", "scipy"}
FILES = {"h5py", "pandas", "pyarrow", "psutil"}
SETTINGS = {"pydantic", "pydantic_core"}
MODELS = {"torch", "transformers", "safetensors", "tokenizers", "PIL", "tqdm", "huggingface_hub"}
# Libraries that may stand behind a stage, and modules of pidflow that may not; both follow from what the stage is for.
MAY = {
    "prepare_items": FILES | SETTINGS | {"numpy", "PIL"},
    "extract_activations": FILES | SETTINGS | MODELS | NUMERICS,
    "sweep_knockout": FILES | SETTINGS | MODELS | NUMERICS,
    "probe_statistics": FILES | SETTINGS | MODELS | NUMERICS,
    "extract_predictions": FILES | SETTINGS | MODELS | NUMERICS,
    "import_predictions": FILES | NUMERICS,
    "train_standin": FILES | SETTINGS | MODELS | NUMERICS,
    "fit_pca": FILES | NUMERICS,
    "train_flow": FILES | SETTINGS | NUMERICS | {"torch", "safetensors", "zuko"},
    "plant_twin": FILES | SETTINGS | NUMERICS | {"torch", "safetensors", "zuko"},
    "bound_information": FILES | SETTINGS | NUMERICS | {"torch"},
    "calibrate": FILES | SETTINGS | NUMERICS | {"torch", "safetensors", "zuko"},
    "estimate_pid": FILES | NUMERICS,
    "collect_tables": FILES | NUMERICS,
    "estimate_spectrum": FILES | NUMERICS,
    "collect_spectrum": FILES | NUMERICS,
    "compare_systems": FILES | NUMERICS,
    "collect_sweeps": FILES | NUMERICS,
    "collect_reproduction": FILES | NUMERICS,
    "plot": FILES | NUMERICS | {"matplotlib"},
    "describe_model": FILES | SETTINGS | MODELS | NUMERICS | {"jinja2"},
    "show_questions": FILES | SETTINGS | MODELS | NUMERICS,
    "write_report": FILES | NUMERICS | {"jinja2", "yaml"},
    "record_provenance": FILES | {"numpy"},
    "reproduce": FILES | {"numpy"},
}
MAY_NOT = {
    "prepare_items": (
        "models.loading",
        "models.inputs",
        "models.spans",
        "interventions",
        "flows",
        "pid",
        "validation",
        "analysis",
        "figures",
    ),
    "extract_activations": ("flows", "pid", "validation", "analysis", "figures", "data.readers"),
    "describe_model": ("flows", "pid", "validation", "analysis", "figures", "data.readers"),
    "sweep_knockout": ("flows", "pid", "validation", "analysis", "figures", "data.readers"),
    "probe_statistics": ("flows", "pid", "validation", "analysis", "figures", "data.readers"),
    "extract_predictions": ("flows", "pid", "validation", "analysis", "figures", "data.readers"),
    "import_predictions": ("data", "models", "interventions", "flows", "pid", "validation", "analysis", "figures"),
    "train_standin": ("interventions", "flows", "pid", "validation", "analysis", "figures"),
    "fit_pca": ("data", "models", "interventions", "pid", "validation", "analysis", "figures"),
    "train_flow": ("data", "models", "interventions", "pid", "validation", "analysis", "figures"),
    "plant_twin": ("data", "models", "interventions", "pid.estimate", "validation.critic", "analysis", "figures"),
    "bound_information": ("data", "models", "interventions", "flows.gaussianize", "analysis", "figures"),
    "calibrate": ("data", "models", "interventions", "analysis", "figures"),
    "estimate_pid": ("data", "models", "interventions", "flows", "analysis", "figures"),
    "collect_tables": ("data", "models", "interventions", "flows", "figures"),
    "estimate_spectrum": ("data", "models", "interventions", "flows", "validation", "analysis", "figures"),
    "collect_spectrum": ("data", "models", "interventions", "flows", "validation", "figures", "spectrum.estimate"),
    "compare_systems": ("data", "models", "interventions", "flows", "validation", "spectrum", "figures"),
    "collect_sweeps": ("data", "models", "flows", "pid", "figures"),
    "collect_reproduction": ("data", "models", "interventions", "flows", "pid", "figures"),
    "plot": ("data", "models", "interventions.knockout", "flows", "pid.estimate"),
    "show_questions": ("flows", "pid", "validation", "analysis", "figures", "data.readers"),
    "write_report": ("data", "models", "interventions", "flows", "pid"),
    "record_provenance": ("data", "models", "interventions", "flows", "pid", "validation", "analysis", "figures"),
    "reproduce": ("data", "models", "interventions", "flows", "pid", "validation", "figures"),
}
# The configuration is read by the workflow, which hands its values over.
NEVER = ("config", "provenance")


def libraries(modules):
    """Names of the libraries that modules import when they are imported, read from their source."""
    found = set()
    for module in modules:
        for node in ast.parse(provenance._source(module)).body:
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split(".")[0])
    return found - {"pidflow", "__future__"} - sys.stdlib_module_names


def plug_in_modules():
    return {registry.module_of(folder, name) for folder in registry.KINDS for name in registry.available(folder)}


@pytest.mark.parametrize("stage", STAGES)
def test_a_digest_holds_what_its_stage_is_for(stage):
    modules = modules_behind(f"pidflow.stages.{stage}")
    print(f"{stage}: {', '.join(sorted(name.removeprefix('pidflow.') for name in modules))}")
    print(f"  with {', '.join(sorted(libraries(modules)))}")
    assert libraries(modules) <= MAY[stage]
    forbidden = tuple(f"pidflow.{name}" for name in (*MAY_NOT[stage], *NEVER))
    assert [name for name in sorted(modules) if f"{name}.".startswith(tuple(f"{each}." for each in forbidden))] == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_knows_no_plug_in_by_name(stage):
    """Else a new one, or an edited one, would rerun the units that do not use it."""
    known = modules_behind(f"pidflow.stages.{stage}") & plug_in_modules()
    assert known <= {"pidflow.data.readers.easy_vqa"} if stage == "train_standin" else not known


@pytest.fixture
def digests(tmp_path, monkeypatch):
    """``digests()``: of the jobs of a run with two families, readers and conditions, in a copy of the library."""
    package = tmp_path / "pidflow"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", package)
    monkeypatch.setattr(registry, "PACKAGE", package)
    caches = (provenance._source, provenance._read, provenance.direct_imports, registry.available)
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config["models"]["other"] = config["models"]["llava-1.5-7b"] | {"family": "llava-next"}

    def of_all_jobs():
        for cached in caches:
            cached.cache_clear()
        extraction = {
            f"extract {model} {condition}": code_digest(
                "extract_activations", *design.plug_ins(config, model=model, conditions=[condition])
            )
            for model in ("standin", "other")
            for condition in ("intact", "image-question", "diffusion")
        }
        readers = {name: registry.module_of("data.readers", name) for name in ("scenes", "table")}
        items = {f"items {name}": code_digest("prepare_items", module) for name, module in readers.items()}
        maps = {name: registry.module_of("flows.maps", name) for name in ("product", "zuko-nsf")}
        items |= {f"flow {name}": code_digest("train_flow", module) for name, module in maps.items()}
        return extraction | items | {"estimate": code_digest("estimate_pid")}

    yield package, of_all_jobs
    for cached in caches:
        cached.cache_clear()


FILES = sorted((ROOT / "workflow/rules").glob("*.smk"))
RULES = {text.split(":")[0]: text for path in FILES for text in re.split(r"\n+rule ", path.read_text())[1:]}
WITH_MODEL = [name for name, text in RULES.items() if "model=unrecorded(model_settings)" in text]


@pytest.mark.parametrize("rule", WITH_MODEL)
def test_a_job_that_runs_a_model_counts_its_family(rule):
    """An edited family draws its questions again, as it does everything else that was made with it."""
    assert re.search(r"code=lambda wildcards: (code_digest\([^)]*design\.plug_ins|extraction_code)", RULES[rule])


def test_a_new_plug_in_reruns_nothing(digests):
    package, of_all_jobs = digests
    before = of_all_jobs()
    for folder in ("models/families", "data/readers", "interventions/kinds", "pid/estimators", "flows/maps"):
        (package / folder).mkdir(exist_ok=True)
        (package / folder / "brand_new.py").write_text("NEW = 1\n")
    assert of_all_jobs() == before


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        (
            "models/families/llava_next.py",
            ["extract other diffusion", "extract other image-question", "extract other intact"],
        ),
        ("data/readers/table.py", ["items table"]),
        ("interventions/kinds/pde.py", ["extract other diffusion", "extract standin diffusion"]),
        ("interventions/kinds/cut.py", ["extract other image-question", "extract standin image-question"]),
        ("interventions/kinds/keep.py", []),
    ],
)
def test_an_edited_plug_in_reruns_its_own_units(digests, file, changed):
    package, of_all_jobs = digests
    before = of_all_jobs()
    path = package / file
    path.write_text(path.read_text() + "\nEDITED = 1\n")
    after = of_all_jobs()
    assert sorted(job for job in before if before[job] != after[job]) == changed
