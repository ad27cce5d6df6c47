"""Shared by all rules: the library on the path, the checked configuration, names of files.

Path grammar, below results/: <stage>/{model}/{task}/{condition}[/layer-{layer}]; wildcards name things, never settings.
"""

import re
import sys
from pathlib import Path

from snakemake.settings.types import SharedFSUsage
from snakemake.utils import update_config

# The repository, wherever the workflow that uses it lies. A file of it that is read elsewhere than in a clone has none
# beside it, and takes the library that is installed.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
LIBRARY = ROOT / "workflow" / "lib"
IS_MODULE = not workflow.modifier.is_main_snakefile()
if LIBRARY.is_dir():
    sys.path.insert(0, str(LIBRARY))

from pidflow import versions

versions.check(workflow.source_path("../../pyproject.toml"))

from pidflow.errors import ConfigError, DataError
from pidflow import running
from pidflow.config import design, reading, stored
from pidflow.figures._registry import Run, all_figures, titled
from pidflow.flows.settings import FlowConfig
from pidflow.models import weights
from pidflow.names import INTACT, OWN, analysis_of, condition_and_target
from pidflow.plugins.registry import module_of
from pidflow.provenance import code_digest, modules_digest, remember, stages
from pidflow.plugins.settings import ID_PATTERN
from pidflow.data.datasets import dataset_of

if LIBRARY.is_dir():
    running.hand_down(str(LIBRARY))
if not IS_MODULE:  # else the files of the configuration and the lock are another workflow's
    reading.check(workflow.configfiles)
    if not workflow.remote_exec:  # a cluster's own jobs run elsewhere, the driver watches them
        running.take_part(Path(".snakemake"))
        remember(Path(".snakemake", "pidflow-sources.json"))
# Not `configfile:`, which Snakemake leaves out where a module is given a configuration.
given, config = config, {}
for name in ("prepared", "config"):
    update_config(config, reading.read(Path(workflow.source_path(f"../../config/{name}.yaml"))))
update_config(config, given)
config = design.check(config)
RUN = config["run"]
FLOW_MAPS = module_of("flows.maps", FlowConfig(**config["flow"]).maps)
# What tells which layers have codes or clusters, where flows are trained of the others alone.
LABELS = [] if design.flows_everywhere(config) else ["pidflow.pid.labels"]
FIGURES = all_figures()
TITLES = design.titles(config)
SHOWN = Run(
    models=tuple(RUN["models"]),
    conditions=tuple(RUN["conditions"]),
    tasks=TITLES["task"],
    knockout=design.judged_knockout(config),
    blind=config["claims"]["blind"],
    estimator=config["claims"]["estimators"][0],
    definition=config["claims"]["definitions"][0],
    closed={model: design.model_entry(config, model).get("closed", []) for model in RUN["models"]},
    lenses=tuple(config["spectrum_pid"]["lenses"]),
    trainings=design.trainings(config),
    heads=tuple(map(str, config["sweep"].get("heads") or ())),
)


# A job may leave results for others beside its own (pidflow.stages._waiting) where those work in the same folder. Where
# no disk is shared, as by pods, a job sees its declared inputs alone, and each does its work itself.
BESIDE = SharedFSUsage.STORAGE_LOCAL_COPIES in workflow.storage_settings.shared_fs_usage


wildcard_constraints:
    model=ID_PATTERN,
    standin=ID_PATTERN,
    task=ID_PATTERN,
    condition=f"{ID_PATTERN}(@{INTACT})?",  # from pca on, a condition may name the target it is decomposed against


def unrecorded(function):
    """A parameter that a job gets and that reruns nothing: Snakemake records no function that also takes `input`.

    For what tells where things lie and how fast they run. What results depend on is recorded beside it, by content.
    """
    return lambda wildcards, input: function(wildcards)


def dataset(wildcards):
    """The dataset of a task, with its reader."""
    return dataset_of(design.task_settings(config, wildcards.task)["dataset"])


def task_settings(wildcards):
    """A task with its dataset spelled out."""
    return design.task_settings(config, wildcards.task)


def task_shape(wildcards):
    """What the questions of a task are made from, wherever it lies: tables and pictures count by content."""
    try:
        return task_settings(wildcards) | {"dataset": dataset(wildcards).shaping}
    except DataError as err:
        if not workflow.dryrun:
            raise
        print(f"A run would stop here: task '{wildcards.task}': {err}", file=sys.stderr)
        return {"absent": str(err)}


def image_root(wildcards):
    """The folder that the image paths of a task are relative to; None where the items table holds the pictures."""
    folder = dataset(wildcards).folder
    return None if folder is None else str(folder)


def model_entry(model):
    """A model's entry, a shipped model's folder made absolute."""
    settings = dict(design.model_entry(config, model))
    settings["path"] = shipped_or_own(settings["path"])
    return settings


def shipped_or_own(path):
    """A folder as it is given, or, where only the repository has it, there; a hub id stays one."""
    shipped = ROOT / path
    return str(shipped) if not Path(path).exists() and shipped.exists() else path


def standin_folders(wildcards):
    """Folders of the models that a stand-in is trained from; a shipped one's made absolute."""
    settings = design.training(config, wildcards.standin)
    found = {name: settings[name] for name in ("start", "tower") if settings.get(name) is not None}
    return {name: shipped_or_own(folder) for name, folder in found.items()}


def model_settings(wildcards):
    """What a job needs to load its model."""
    return model_entry(wildcards.model)


def kept_check(wildcards, input):
    """Where a model's self-check is kept for all its jobs, and the digest of its code; None where they share no folder.

    It lies in the results that the job's own questions lie in, wherever another workflow or a storage has put them.
    """
    if not BESIDE:
        return None
    code = modules_digest("pidflow.interventions.model_check", *design.plug_ins(config, model=wildcards.model))
    results = Path(input.table).parents[1]
    return {"folder": str(results / "models" / wildcards.model / "checks"), "code": code}


def model_shape(wildcards):
    """What a model's results depend on, wherever its files lie: they count by content."""
    entry = model_entry(wildcards.model)
    digest = weights.source_digest(entry["path"], entry.get("revision"))
    return design.model_shape(config, wildcards.model) | {"weights": digest}


for entry in map(model_entry, RUN["models"]):
    if "results/standins/" not in entry["path"]:  # else made here, perhaps by this very call
        weights.check_source(entry["path"], entry.get("revision"))


def unit_of(wildcards):
    """What the files of a job must be about."""
    return {name: wildcards[name] for name in ("model", "task", "condition")}


def unit_of_model(model):
    """The same for a rule of one model, which has no such wildcard."""
    return lambda wildcards: {"model": model, "task": wildcards.task, "condition": wildcards.condition}


def extraction_key(wildcards, condition):
    """Everything but the questions that the results of a condition depend on."""
    return {
        "shape": model_shape(wildcards),
        "instruction": design.instruction(config, wildcards.task),
        "intervention": design.intervention(config, condition),
        "extract": {name: value for name, value in config["extract"].items() if name != "shards"},
        "seed": config["seed"],
        "code": extraction_code(wildcards, condition),
    }


def extraction_code(wildcards, condition):
    """Digest of the code behind the results of a condition."""
    return code_digest("extract_activations", *design.plug_ins(config, model=wildcards.model, conditions=[condition]))


def run_along(wildcards):
    """The conditions that the intact one takes along; no other takes any."""
    if wildcards.condition != INTACT or not BESIDE:
        return {}
    states = {condition: True for condition in RUN["conditions"] if condition != INTACT}
    answers_only = dict.fromkeys(design.answers_only(config), False)
    return {
        condition: {
            "intervention": design.intervention(config, condition),
            "key": extraction_key(wildcards, condition),
            "states": wanted,
        }
        for condition, wanted in (states | answers_only).items()
    }


def after_intact(wildcards):
    """What other conditions wait for: the job that may have run them along."""
    if wildcards.condition == INTACT or not BESIDE:
        return []
    return f"results/answers/{wildcards.model}/{wildcards.task}/{INTACT}.parquet"


def shards_of(wildcards):
    """The parts of the questions that jobs of their own ask; none where one job asks all, or takes what waits."""
    count = config["extract"]["shards"]
    if count == 1 or (wildcards.condition != INTACT and BESIDE):
        return []
    return expand(
        "results/shards/{model}/{task}/{condition}/{shard}",
        model=wildcards.model,
        task=wildcards.task,
        condition=wildcards.condition,
        shard=range(count),
    )


def units(pattern):
    """One file per (model, task, condition) of the run."""
    return expand(pattern, model=RUN["models"], task=RUN["tasks"], condition=RUN["conditions"])


def answers_only():
    """Answers of the conditions that are only answered."""
    return expand(
        "results/answers/{model}/{task}/{condition}.parquet",
        model=RUN["models"],
        task=RUN["tasks"],
        condition=design.answers_only(config),
    )


def layer_files(unit, model):
    """The decomposition of each layer of a model, below the folder of a unit."""
    return [f"{unit}/layer-{layer}.json" for layer in stored.layer_names(config, model)]


def analyses():
    """Names of what is decomposed: each condition of the run, beside intact also against what the intact model says."""
    conditions = RUN["conditions"]
    if config["pid"]["target_from"] == OWN:
        return conditions
    return [*conditions, *(analysis_of(each, INTACT) for each in conditions if each != INTACT)]


def decompositions():
    """One file per layer of every model, task and analysis."""
    return [
        file
        for model in RUN["models"]
        for unit in expand(f"results/pid/{model}/{{task}}/{{condition}}", task=RUN["tasks"], condition=analyses())
        for file in layer_files(unit, model)
    ]


def table(name):
    """The two files of one table: parquet for programs, csv for eyes."""
    return [f"results/tables/{name}.parquet", f"results/tables/{name}.csv"]


def drawn(target):
    """The figures of a target that the run can show; each has a png beside its svg."""
    stems = [stem for figure in FIGURES if figure.target == target for stem in figure.drawn(SHOWN)]
    return [f"results/figures/{stem}.svg" for stem in stems]


def caption(figure):
    """A file with a figure's caption, where the report finds it."""
    path = Path(".snakemake", "captions", f"{figure.id}.rst").resolve()
    text = "".join(("{% set called = snakemake.params.called %}", figure.module.CAPTION))
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return str(path)


def called(figure):
    """By name, what a figure is given, with titles for ids: for its caption and its place in Snakemake's report."""
    given = {name: value for name, value in figure.given(SHOWN).items() if name != "tasks"}
    return lambda wildcards: {name: titled(name, wildcards.get(name, value), TITLES) for name, value in given.items()}


def category(figure):
    """Where Snakemake's report lists a figure."""
    return lambda wildcards: figure.category.format(**called(figure)(wildcards))


def labels(figure):
    """What Snakemake's report lists a figure as."""
    return lambda wildcards: {name: label.format(**called(figure)(wildcards)) for name, label in figure.labels.items()}


def sources_of(wildcards):
    """The activations that a condition is decomposed in, whatever its target."""
    condition, _ = condition_and_target(wildcards.condition)
    return f"results/activations/{wildcards.model}/{wildcards.task}/{condition}.h5"


def other_target(wildcards):
    """The activations whose target takes the place of the condition's own."""
    _, target = condition_and_target(wildcards.condition)
    return [] if target == OWN else f"results/activations/{wildcards.model}/{wildcards.task}/{target}.h5"


def along_with_flow(wildcards, input, output):
    """By stage, what the job of a unit's flows hands to the stages that it runs along."""
    if not BESIDE:
        return {}
    unit, pca, flow = unit_of(wildcards), input.pca, output.flow
    results = Path(flow).parents[3]
    twin, bound = (str(results / folder / Path(flow).relative_to(results / "flows")) for folder in ("twins", "bounds"))
    same = {"pca": pca, "flow": flow, "seed": config["seed"], "unit": unit}
    of_twin = {"weights": output.weights, "settings": config["flow"], "code": code_digest("plant_twin", FLOW_MAPS)}
    of_bound = {"code": code_digest("bound_information")}
    return {
        "plant_twin": same | of_twin | {"output": twin},
        "bound_information": same | of_bound | {"output": bound},
    }


SPECTRUM = config["spectrum"]


def imported(wildcards):
    """An import's entry in the configuration."""
    return design.imported(config, wildcards.model, wildcards.task)


def predicted():
    """Predictions of every model on every task of the run, and those imported."""
    own = expand("results/predictions/{model}/{task}.h5", model=RUN["models"], task=RUN["tasks"])
    return own + [f"results/predictions/{each['model']}/{each['task']}.h5" for each in SPECTRUM["imports"]]


def reported(wildcards):
    """Tables of the report by name; those of sweeps and of the spectrum where they were made or this call makes them.

    A job knows no targets of the call; what these asked for has been made when it runs.
    """
    names, targets = ["pid", "answers", "claims"], set(workflow.dag_settings.targets)
    if rules.all.rule.name in targets or not (targets or IS_MODULE):
        targets |= {getattr(rules, target).rule.name for target in RUN["targets"]}
    for tables, collecting, asking in (
        (["sweeps"], rules.collect_sweeps, [rules.sweeps]),
        (["spectrum", "training", "spectrum-claims"], rules.collect_spectrum, [rules.spectrum, rules.systems]),
    ):
        asked = targets & {*collecting.output, *(each.rule.name for each in (collecting, *asking))}
        names += tables * bool(asked or exists(collecting.output[0]))
    return {name: f"results/tables/{name}.parquet" for name in names}


def expected_orders():
    """The file of expected orders, a shipped one made absolute; nothing where the study has none."""
    path = config["breadth"]["expected"]
    return [] if path is None else local(shipped_or_own(path))


def resolved(wildcards):
    """The configuration as checked, defaults included, but for the run that this one is compared with."""
    return {key: value for key, value in config.items() if key != "other"}


def repository(wildcards):
    """The folder of the workflow."""
    return str(ROOT)


def sources(wildcards):
    """Files that the questions of the run are read from, by data set."""
    used = {config["tasks"][task]["dataset"] for task in RUN["tasks"]}
    return {name: [str(path) for path in dataset_of(config["datasets"][name]).tables] for name in sorted(used)}


def code_of_run(wildcards):
    """Digests of the code of every stage, and of every plug-in that the run names, with what each imports."""
    named = {FLOW_MAPS, *ESTIMATORS}
    for model in RUN["models"]:
        named.update(design.plug_ins(config, model=model, conditions=RUN["conditions"], kinds=SWEPT_KINDS))
    for task in RUN["tasks"]:
        named.add(dataset_of(design.task_settings(config, task)["dataset"]).reader.__name__)
    return {
        "stages": {stage: code_digest(stage) for stage in stages()},
        "plug_ins": {name.removeprefix("pidflow."): modules_digest(name) for name in sorted(named)},
    }


def sets_of(other, known):
    """The sets of tables that another run has."""
    if other is None:
        raise ConfigError(
            "config other: found null; target reproduce compares this run with the one whose results folder other names"
        )
    found = [path.stem for path in Path(other).expanduser().glob("provenance/*.json") if path.stem in known]
    if not found:
        raise ConfigError(
            f"config other: '{other}' holds no provenance/*.json; expected the results folder of a run that made tables"
        )
    return sorted(found)
