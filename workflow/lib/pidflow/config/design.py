"""The design of a run: its configuration checked, and what the chosen models, tasks and conditions expand to."""

import re
from collections.abc import Sequence
from typing import Any

from pidflow.config.configuration import CONTROLS, FLOWLESS, TITLES, configuration
from pidflow.config.stored import stored_layers
from pidflow.errors import ConfigError
from pidflow.interventions.windows import windows
from pidflow.names import INTACT, extent
from pidflow.plugins import registry
from pidflow.plugins.refusals import did_you_mean

# What leaves nothing of the image, and nothing of the question, to anything after it.
BLIND = {"kind": "cut", "source": "image", "target": "text", "blocks": "all"}
UNASKED = {"kind": "cut", "source": "question", "target": "text", "blocks": "all"}
# Keys of a model's entry that results do not depend on; what lies at path and revision is digested instead.
STUDIED = ("group", "size", "series", "step", "phase")  # where a model stands in a study of many
_RESHAPES_NOTHING = ("path", "revision", "device", "device_map", "batch_size", *STUDIED)


def check(config: dict) -> dict:
    """The configuration as plain values, whole numbers as such; refused, if it cannot run, with one sentence.

    Raises
    ------
    ConfigError
        On an unknown key, a value out of range, an id that is selected but not defined, a name clash, layers or
        windows that a model does not have, an edge that no attention can take, a claim about the wrong intervention.
    """
    config = configuration().checked(config, where="config").plain()
    if INTACT in config["interventions"]:
        raise ConfigError(f"config interventions.{INTACT}: '{INTACT}' means no intervention; give it another id")
    _defined(config["run"]["models"], config["models"], "run.models", "models")
    _defined(config["run"]["tasks"], config["tasks"], "run.tasks", "tasks")
    if INTACT not in config["run"]["conditions"]:
        raise ConfigError(f"config run.conditions: '{INTACT}' must be among them, the others are compared with it")
    conditions = [INTACT, *config["interventions"]]
    _defined(config["run"]["conditions"], conditions, "run.conditions", "interventions")
    _defined(config["run"]["answered"], config["interventions"], "run.answered", "interventions")
    _claimed(config)
    _moved(config)
    for name in ("estimators", "definitions"):
        _defined(config["claims"][name], config["pid"][name], f"claims.{name}", f"pid.{name}")
    _imports_apart(config)
    for task in config["run"]["tasks"]:
        _defined([config["tasks"][task]["dataset"]], config["datasets"], f"tasks.{task}.dataset", "datasets")
    for model in config["run"]["models"]:
        for condition in (*config["run"]["conditions"], *config["run"]["answered"]):
            _layers_fit(config, model, condition)
        _windows_fit(config, model)
        stored_layers(config, model)
    return config


def schema() -> dict[str, Any]:
    """The JSON schema of the configuration, for editors."""
    return configuration().model_json_schema()


def intervention(config: dict, condition: str) -> dict | None:
    """The intervention of a condition, without its title; None for ``intact``."""
    return None if condition == INTACT else _untitled(_entry(config, "interventions", condition))


def _untitled(entry: dict) -> dict:
    return {key: value for key, value in entry.items() if key != "title"}


def model_entry(config: dict, model: str) -> dict:
    """A model's entry, without its title and where it stands in a study."""
    return {key: value for key, value in _untitled(_entry(config, "models", model)).items() if key not in STUDIED}


def model_shape(config: dict, model: str) -> dict:
    """What of a model's entry shapes results: neither where its files lie nor how fast it runs."""
    return {key: value for key, value in model_entry(config, model).items() if key not in _RESHAPES_NOTHING}


def judged_knockout(config: dict) -> str | None:
    """The condition whose claims are judged, None when the run does not include it."""
    knockout = config["claims"]["knockout"]
    return knockout if knockout in config["run"]["conditions"] else None


def titles(config: dict) -> dict[str, dict[str, str]]:
    """What figures and the report call each ``task``, ``model``, ``condition``, ``estimator`` and ``definition``.

    Its ``title``, or else its id, in which tasks have blanks for dashes; an estimator that is new here has its id.

    Raises
    ------
    ConfigError
        When two of the run have the same.
    """
    conditions = [*config["run"]["conditions"], *answers_only(config)]
    return {
        "task": _titles(config, "tasks", {task: re.sub("[-.]", " ", task) for task in config["run"]["tasks"]}),
        "model": _titles(config, "models", {model: model for model in config["run"]["models"]}),
        "condition": _titles(config, "interventions", {condition: condition for condition in conditions}),
        **TITLES,
    }


def _titles(config: dict, section: str, names: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, otherwise in names.items():
        title = config[section].get(name, {}).get("title") or otherwise
        if title in found.values():
            raise ConfigError(
                f"config {section}.{name}.title: another of the run is called '{title}', and figures tell {section} "
                "apart by their titles; give one of them another title"
            )
        found[name] = title
    return found


def answers_only(config: dict) -> list[str]:
    """Conditions of which only answers are needed: those named so, without the image, without the question."""
    named = dict.fromkeys((*config["run"]["answered"], config["claims"]["blind"], config["claims"]["unasked"]))
    return [condition for condition in named if condition is not None and condition not in config["run"]["conditions"]]


def flows_everywhere(config: dict) -> bool:
    """Whether an estimator of the run reads flows of layers whose rows are codes or clusters, too."""
    return not set(config["pid"]["estimators"]) <= set(FLOWLESS)


def control_of(config: dict, condition: str | None) -> str | None:
    """The random control of the cut that a condition is, in the same blocks; None if there is none.

    One of the run goes before one that is only defined.
    """
    plan = config["interventions"].get(condition)
    if plan is None or plan["kind"] != "cut":
        return None
    wanted = {"kind": "random"} | {key: plan.get(key) for key in ("source", "target", "blocks", "heads")}
    found = [
        name
        for name, other in config["interventions"].items()
        if {key: other.get(key) for key in wanted} == wanted  # however it is matched to the cut
    ]
    return next((name for name in found if name in config["run"]["conditions"]), next(iter(found), None))


def controls(config: dict) -> dict[str, str]:
    """Conditions of the run, each with its random control in the run."""
    found = {condition: control_of(config, condition) for condition in config["run"]["conditions"]}
    return {condition: control for condition, control in found.items() if control in config["run"]["conditions"]}


def plug_ins(config: dict, *, model: str, conditions: Sequence[str] = (), kinds: Sequence[str] = ()) -> list[str]:
    """Modules of the plug-ins that a job on a model names, for the digest of its code.

    Parameters
    ----------
    model
        Brings its family.
    conditions
        Bring the kinds of their interventions.
    kinds
        Kinds that the job takes besides.
    """
    entries = [intervention(config, condition) for condition in conditions]
    named = {("models.families", model_entry(config, model)["family"])}
    named |= {("interventions.kinds", "cut")} if model_entry(config, model).get("closed") else set()
    named |= {("interventions.kinds", kind) for kind in (*kinds, *(entry["kind"] for entry in entries if entry))}
    return sorted(registry.module_of(*each) for each in named)


def training(config: dict, standin: str) -> dict:
    """How a stand-in is trained."""
    return _entry(config, "standins", standin)


def trainings(config: dict) -> tuple[str, ...]:
    """Trainings of which the run has more than one checkpoint."""
    entries = (config["models"][model] for model in config["run"]["models"])
    series = [each.get("series") for each in entries if each.get("step") is not None]
    return tuple(sorted({name for name in series if name is not None and series.count(name) > 1}))


def task_settings(config: dict, task: str) -> dict:
    """A task with its dataset spelled out: all that ``prepare_items`` needs to know of the configuration."""
    shown = ("instruction", "title")
    settings = {key: value for key, value in _entry(config, "tasks", task).items() if key not in shown}
    settings["dataset"] = dict(_entry(config, "datasets", settings["dataset"]))
    return settings


def instruction(config: dict, task: str) -> str | None:
    """What the prompt of a task asks for beside the question; None leaves it to the prompt."""
    return _entry(config, "tasks", task).get("instruction")


def training_folds(config: dict) -> list[int]:
    """The folds from which statistics of replacements come; asked for by who needs them, since few runs do.

    Raises
    ------
    ConfigError
        If they are none or all of the folds that questions have.
    """
    chosen, folds = config["spectrum"]["training"], config["items"]["folds"]
    unknown = [fold for fold in chosen if fold >= folds]
    if not chosen or unknown or len(chosen) == folds:
        raise ConfigError(
            f"config spectrum.training: {chosen} must be some, but not all, of the folds 0 to {folds - 1}: "
            "statistics come from them, results from the others"
        )
    return chosen


def imported(config: dict, model: str, task: str) -> dict:
    """The entry of predictions that another program made.

    Raises
    ------
    ConfigError
        If there is none of that model and task.
    """
    entries = {(each["model"], each["task"]): each for each in config["spectrum"]["imports"]}
    if (model, task) not in entries:
        known = ", ".join("/".join(pair) for pair in entries)
        raise ConfigError(f"spectrum.imports has no entry of '{model}' on '{task}', it has: {known}")
    return entries[model, task]


def scored_answers(config: dict, task: str) -> str:
    """What predictions on a task are over."""
    _defined(config["spectrum"]["answers_of"], config["tasks"], "spectrum.answers_of", "tasks")
    return config["spectrum"]["answers_of"].get(task, config["spectrum"]["answers"])


def _entry(config: dict, section: str, name: str) -> dict:
    """An entry that a target's path names; the target may be mistyped."""
    if name not in config[section]:
        raise ConfigError(f"'{name}' in the path of a target {_undefined(name, config[section], section)}")
    return config[section][name]


def _defined(chosen, defined, where: str, section: str) -> None:
    for name in chosen:
        if name not in defined:
            raise ConfigError(f"config {where}: '{name}' {_undefined(name, defined, section)}")


def _undefined(name: str, defined, section: str) -> str:
    return f"is not defined under {section}, which has: {', '.join(defined)}{did_you_mean(name, defined)}"


def moved(config: dict) -> dict[str, dict]:
    """The interventions that a sweep moves through the model, by id."""
    return {name: intervention(config, name) for name in config["sweep"].get("interventions", [])}


def _moved(config: dict) -> None:
    """A sweep moves what has blocks to be moved to, and is no control of an edge."""
    wanted = config["sweep"].get("interventions", [])
    _defined(wanted, config["interventions"], "sweep.interventions", "interventions")
    for name, plan in moved(config).items():
        if plan["kind"] in CONTROLS:
            raise ConfigError(
                f"config sweep.interventions: '{name}' is of kind '{plan['kind']}', a control of an edge; name it "
                "in sweep.controls"
            )
        heads = plan.get("heads") or []
        if heads and isinstance(heads[0], list):
            raise ConfigError(
                f"config sweep.interventions: '{name}' names heads of single blocks, which cannot be moved; name heads "
                "without blocks"
            )
        if "kept" in plan:
            raise ConfigError(f"config sweep.interventions: '{name}' is a pathway, which has places of its own")


def _claimed(config: dict) -> None:
    """The conditions that claims are judged on do what their names say."""
    interventions = config["interventions"]
    for name in ("knockout", "blind", "unasked"):
        if config["claims"][name] is not None:
            _defined([config["claims"][name]], interventions, f"claims.{name}", "interventions")
    knockout = config["claims"]["knockout"]
    if knockout is not None and not _cuts_image(interventions[knockout]):
        raise ConfigError(
            f"config claims.knockout: '{knockout}' is {_described(interventions[knockout])}, expected a cut of the "
            "image's edges (kind cut, source image)"
        )
    for name, plan, what in (("blind", BLIND, "image"), ("unasked", UNASKED, "question")):
        chosen = config["claims"][name]
        if chosen is not None and intervention(config, chosen) != plan:
            raise ConfigError(
                f"config claims.{name}: '{chosen}' is {_described(interventions[chosen])}, which is not the loss of "
                f"the {what} alone and of all of it; expected {_described(plan)}"
            )


def _imports_apart(config: dict) -> None:
    """Imported predictions have models of their own, and each pair of model and task once."""
    seen = set()
    for entry in config["spectrum"]["imports"]:
        pair = entry["model"], entry["task"]
        if entry["model"] in config["models"] or pair in seen:
            problem = "stands there twice" if pair in seen else "is an id of models too"
            raise ConfigError(
                f"config spectrum.imports: '{'/'.join(pair)}' {problem}; give the imported model another id"
            )
        seen.add(pair)


def _cuts_image(plan: dict) -> bool:
    return plan["kind"] == "cut" and extent(plan["source"]) == (0, 0)


def _described(plan: dict) -> str:
    """An intervention in words."""
    if plan["kind"] == "pde":
        return f"attention in continuous time ({plan['equation']})"
    if "source" not in plan:
        return f"of kind {plan['kind']}"
    blocks = "all blocks" if plan["blocks"] == "all" else "blocks {} to {}".format(*plan["blocks"])
    return f"a {plan['kind']} of {plan['source']}->{plan['target']} in {blocks}"


def _layers_fit(config: dict, model: str, condition: str) -> None:
    plan = intervention(config, condition)
    blocks = config["models"][model]["blocks"]
    wanted = {f"interventions.{condition}.blocks": (plan or {}).get("blocks", "all")}
    wanted[f"models.{model}.attention.blocks"] = (config["models"][model].get("attention") or {}).get("blocks", "all")
    for place, edge in enumerate(config["models"][model].get("closed", ())):
        wanted[f"models.{model}.closed.{place}.blocks"] = edge["blocks"]
    for where, chosen in wanted.items():
        if chosen != "all" and chosen[1] >= blocks:
            raise ConfigError(
                f"config {where}: {chosen} is not a range of the {blocks} blocks of model '{model}'; "
                f"expected 0 <= first <= last <= {blocks - 1}"
            )


def _windows_fit(config: dict, model: str) -> None:
    """Every window of the sweep is one of the model's blocks."""
    settings, blocks = config["sweep"], config["models"][model]["blocks"]
    wanted = {"window": settings["window"]}
    wanted |= {f"other_windows.{place}": window for place, window in enumerate(settings["other_windows"])}
    for name, window in wanted.items():
        try:
            windows(window, depth=blocks)
        except ConfigError as err:
            raise ConfigError(f"config sweep.{name}: model '{model}' cannot be swept, {err}") from err
