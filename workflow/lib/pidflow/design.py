"""The design of a run: its configuration checked, and what the chosen models, tasks and conditions expand to."""

from pathlib import Path

import jsonschema
import yaml

from pidflow.errors import ConfigError
from pidflow.interventions.windows import windows
from pidflow.names import INTACT, MIN_TASKS

# What leaves nothing of the image to anything behind it.
BLIND = {"kind": "cut", "source": "image", "target": "text", "layers": "all"}
ID_PATTERN = r"[a-z0-9]+([.-][a-z0-9]+)*"
# Line styles of pidflow.figures.style, which cannot be imported for the same reason.
MODELS_IN_A_FIGURE = 4
# Where a span begins and ends in any prompt: 0 in the image, 1 in the question behind it, 2 at the last position.
_SPANS = dict.fromkeys(("image", "image-base", "image-tiles", "image-newline", "object", "other"), (0, 0))
_SPANS |= {"question": (1, 1), "options": (1, 1), "text": (1, 2), "last": (2, 2)}
_SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "config.schema.yaml"
# Words of earlier versions, each with the word for it now.
_RENAMED_KEYS = {("pid", "routes"): "estimators", ("claims", "routes"): "estimators"}
_RENAMED_ESTIMATORS = {"linear": "gaussian", "rank": "copula"}


def check(config: dict) -> None:
    """Refuse a configuration that cannot run, with one sentence that names the key.

    Raises
    ------
    ConfigError
        On an unknown key, a value out of range, an id that is selected but not defined, a name clash, layers or
        windows that a model does not have, an edge that no attention can take, a claim about the wrong intervention.
    """
    _refuse_old_words(config)
    schema = yaml.safe_load(_SCHEMA.read_text(encoding="utf-8"))
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(config), key=lambda error: error.json_path)
    if errors:
        raise ConfigError(_sentence(errors[0]))
    if INTACT in config["interventions"]:
        raise ConfigError(f"config interventions.{INTACT}: '{INTACT}' means no intervention; give it another id")
    _defined(config["run"]["models"], config["models"], "run.models", "models")
    _defined(config["run"]["tasks"], config["tasks"], "run.tasks", "tasks")
    if INTACT not in config["run"]["conditions"]:
        raise ConfigError(f"config run.conditions: '{INTACT}' must be among them, the others are compared with it")
    conditions = [INTACT, *config["interventions"]]
    _defined(config["run"]["conditions"], conditions, "run.conditions", "interventions")
    _claimed(config)
    for name in ("estimators", "definitions"):
        _defined(config["claims"][name], config["pid"][name], f"claims.{name}", f"pid.{name}")
    for task in config["run"]["tasks"]:
        _defined([config["tasks"][task]["dataset"]], config["datasets"], f"tasks.{task}.dataset", "datasets")
    for model in config["run"]["models"]:
        for condition in config["run"]["conditions"]:
            _layers_fit(config, model, condition)
        _windows_fit(config, model)
    for edge in config["sweep"]["edges"]:
        _edge_possible(edge)


def _refuse_old_words(config: dict) -> None:
    """A key or an estimator under its earlier name is refused with its name now."""
    for (section, key), now in _RENAMED_KEYS.items():
        if key in (config.get(section) or {}):
            raise ConfigError(f"config {section}.{key}: this key is called {section}.{now} now; rename it")
    for section in ("pid", "claims"):
        chosen = (config.get(section) or {}).get("estimators")
        for name in chosen if isinstance(chosen, list) else []:
            if name in _RENAMED_ESTIMATORS:
                raise ConfigError(
                    f"config {section}.estimators: '{name}' is called '{_RENAMED_ESTIMATORS[name]}' now; rename it"
                )


def intervention(config: dict, condition: str) -> dict | None:
    """The intervention behind a condition, None for ``intact``."""
    return None if condition == INTACT else config["interventions"][condition]


def layer_names(config: dict, model: str) -> list[str]:
    """Names ``00 … LL`` of a model's layers: 0 is the embedding output, L the state after the last block."""
    return [f"{layer:02d}" for layer in range(config["models"][model]["layers"] + 1)]


def judged_knockout(config: dict) -> str | None:
    """The condition whose claims are judged, None when the run does not include it."""
    knockout = config["claims"]["knockout"]
    return knockout if knockout in config["run"]["conditions"] else None


def compared(config: dict) -> list[str]:
    """The conditions that one picture can hold: intact, and the knockout or else the first other condition."""
    others = [condition for condition in config["run"]["conditions"] if condition != INTACT]
    return [INTACT, *([judged_knockout(config)] if judged_knockout(config) else others[:1])]


def side_by_side(config: dict) -> list[str]:
    """The models that one picture can hold: the first of the run."""
    return config["run"]["models"][:MODELS_IN_A_FIGURE]


def control_of(config: dict, condition: str | None) -> str | None:
    """The intervention that cuts as many random edges as `condition` cuts, in the same blocks; None if there is none.

    One of the run goes before one that is only defined.
    """
    plan = config["interventions"].get(condition)
    if plan is None or plan["kind"] != "cut":
        return None
    found = [name for name, other in config["interventions"].items() if other == plan | {"kind": "random"}]
    return next((name for name in found if name in config["run"]["conditions"]), next(iter(found), None))


def controls(config: dict) -> dict[str, str]:
    """Conditions of the run, each with its random control in the run."""
    found = {condition: control_of(config, condition) for condition in config["run"]["conditions"]}
    return {condition: control for condition, control in found.items() if control in config["run"]["conditions"]}


def compares_tasks(config: dict) -> bool:
    """Whether the run can show what the knockout's effect depends on: enough tasks, the knockout, the blind answers."""
    measured = judged_knockout(config) is not None and config["claims"]["blind"] is not None
    return measured and len(config["run"]["tasks"]) >= MIN_TASKS


def training(config: dict, standin: str) -> dict:
    """How a stand-in is trained."""
    _defined([standin], config["standins"], f"results/standins/{standin}", "standins")
    return config["standins"][standin]


def task_settings(config: dict, task: str) -> dict:
    """A task with its dataset spelled out: all that ``prepare_items`` needs to know of the configuration."""
    settings = dict(config["tasks"][task])
    settings["dataset"] = dict(config["datasets"][settings["dataset"]])
    return settings


def _defined(chosen, defined, where: str, section: str) -> None:
    for name in chosen:
        if name not in defined:
            raise ConfigError(
                f"config {where}: '{name}' is not defined under {section}, which has: {', '.join(defined)}"
            )


def _claimed(config: dict) -> None:
    """The conditions that claims are judged on do what their names say."""
    interventions = config["interventions"]
    for name in ("knockout", "blind"):
        if config["claims"][name] is not None:
            _defined([config["claims"][name]], interventions, f"claims.{name}", "interventions")
    knockout, blind = (config["claims"][name] for name in ("knockout", "blind"))
    if knockout is not None and not _cuts_image(interventions[knockout]):
        raise ConfigError(
            f"config claims.knockout: '{knockout}' is {_described(interventions[knockout])}, expected a cut of the "
            "image's edges (kind cut, source image)"
        )
    if blind is not None and interventions[blind] != BLIND:
        raise ConfigError(
            f"config claims.blind: '{blind}' is {_described(interventions[blind])}, which is not the loss of the image "
            f"alone and of all of it; expected {_described(BLIND)}"
        )


def _cuts_image(plan: dict) -> bool:
    return plan["kind"] == "cut" and all(_SPANS[name] == (0, 0) for name in plan["source"].split("+"))


def _described(plan: dict) -> str:
    """An intervention in words."""
    if plan["kind"] == "pde":
        return f"attention in continuous time ({plan['equation']})"
    blocks = "all blocks" if plan["layers"] == "all" else "blocks {} to {}".format(*plan["layers"])
    return f"a {plan['kind']} of {plan['source']}->{plan['target']} in {blocks}"


def _layers_fit(config: dict, model: str, condition: str) -> None:
    plan = intervention(config, condition)
    if plan is None or plan["layers"] == "all":
        return
    first, last = plan["layers"]
    blocks = config["models"][model]["layers"]
    if not first <= last < blocks:
        raise ConfigError(
            f"config interventions.{condition}.layers: [{first}, {last}] is not a range of the {blocks} blocks of "
            f"model '{model}'; expected 0 <= first <= last <= {blocks - 1}"
        )


def _windows_fit(config: dict, model: str) -> None:
    """Every window of the sweep is one of the model's blocks."""
    settings, blocks = config["sweep"], config["models"][model]["layers"]
    wanted = {"window": settings["window"]}
    wanted |= {f"other_windows.{place}": window for place, window in enumerate(settings["other_windows"])}
    for name, window in wanted.items():
        try:
            windows(window, depth=blocks)
        except ConfigError as err:
            raise ConfigError(f"config sweep.{name}: model '{model}' cannot be swept, {err}") from err


def _edge_possible(edge: str) -> None:
    """An edge joins known spans and does not run backwards: a position attends to none behind it."""
    source, target = (names.split("+") for names in edge.split("->"))
    for name in (*source, *target):
        if name not in _SPANS:
            raise ConfigError(
                f"config sweep.edges: unknown span '{name}' in '{edge}', expected one of: {', '.join(_SPANS)}"
            )
    if max(_SPANS[name][1] for name in target) < min(_SPANS[name][0] for name in source):
        raise ConfigError(
            f"config sweep.edges: '{edge}' runs against causality, all of its target comes before its source and "
            "attends to none of it; turn it round or leave it out"
        )


def _sentence(error: jsonschema.ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path) or "top level"
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known]
        return f"config {where}: unknown key '{unknown[0]}', expected one of: {', '.join(known)}"
    if error.validator == "oneOf" and isinstance(error.instance, dict):
        return _chosen_sentence(error, where)
    if error.validator == "unevaluatedProperties":
        return f"config {where}: {error.message}"
    expected = error.schema.get("description", "")
    return f"config {where}: {error.message}" + (f" ({expected})" if expected else "")


def _chosen_sentence(error: jsonschema.ValidationError, where: str) -> str:
    """What is wrong with an entry whose first key (``reader``, ``kind``) chooses among schemas."""
    choices = [_choices(entry["properties"]) for entry in error.schema["oneOf"]]
    key = choices[0][0]
    found = error.instance.get(key)
    for place, (_, values) in enumerate(choices):
        if found in values:
            return _sentence(next(item for item in error.context if item.schema_path[0] == place))
    known = ", ".join(value for _, values in choices for value in values)
    return f"config {where}.{key}: found {found!r}, expected one of: {known}"


def _choices(properties: dict) -> tuple[str, list[str]]:
    """The key that tells one schema from its alternatives, and its values there."""
    key = "reader" if "reader" in properties else "kind"
    schema = properties[key]
    return key, schema.get("enum") or [schema["const"]]
