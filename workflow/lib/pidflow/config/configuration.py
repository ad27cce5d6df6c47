"""Every key of the configuration: types, bounds and words, the settings of plug-ins included. Defaults stand in YAML.

Known keys, refusals and the JSON schema for editors are made from these classes and from nothing else.
"""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, create_model

from pidflow.config.stored import Extract
from pidflow.errors import ConfigError
from pidflow.flows.settings import FlowConfig
from pidflow.models.dynamics import AttentionSettings
from pidflow.models.prompts import NAMES, named_or_template
from pidflow.names import TARGETS
from pidflow.plugins import registry
from pidflow.plugins.choice import chosen
from pidflow.plugins.refusals import expected
from pidflow.plugins.settings import EdgeName, Id, Ids, Seed, Settings, Span, Text, Titled, Unique, Whole, WindowSize
from pidflow.spectrum.estimate_settings import Breadth, SpectrumPid
from pidflow.spectrum.settings import Spectrum

ESTIMATORS = registry.available("pid.estimators")
# Those that read no flow where rows are codes or clusters.
FLOWLESS = ("gaussian", "copula", "mixed", "auto")
DEFINITIONS = ("broja", "mmi", "dep")
# What figures and the report call them.
TITLES = {
    "estimator": {
        "gaussian": "Gaussian",
        "copula": "Gaussian copula",
        "flow": "normalizing flow",
        "mixed": "codes and clusters",
        "auto": "automatic choice",
    },
    "definition": {"broja": "BROJA", "mmi": "MMI", "dep": "dependency lattice"},
}
CUT = "cut"
# Targets that a study may name as its own.
RUN_TARGETS = ("tables", "figures", "sweeps", "spectrum", "systems", "report")
STUDIES = ("2602.15580", "2411.18620", "6WsBGk4Iag")
# Kinds of intervention on an edge that can run beside its cut.
CONTROLS = tuple(
    name
    for name in registry.available("interventions.kinds")
    if name != CUT and "source" in registry.load("interventions.kinds", name).Settings.model_fields
)
RENAMED_ESTIMATORS = {"linear": "gaussian", "rank": "copula"}
_PROMPT = Field(
    max_length=10_000, json_schema_extra={"expected": f"one of: {', '.join(NAMES)}; or a template, as text"}
)
_DEVICE = Field(
    pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$", json_schema_extra={"expected": "auto, cpu, mps, cuda or cuda:<number>"}
)
Place = (
    Annotated[Whole, Field(ge=0, le=1023)]
    | Annotated[
        str,
        Field(
            pattern=r"^(cpu|disk|mps|cuda(:\d{1,3})?)$",
            json_schema_extra={"expected": "the number of a GPU, cuda:<number>, cpu or disk"},
        ),
    ]
)
PhaseName = Literal["vision", "language", "align", "tune"]
Closed = registry.load("interventions.kinds", CUT).Settings
Estimators = Annotated[
    list[Annotated[Literal[ESTIMATORS], Field(json_schema_extra={"renamed": RENAMED_ESTIMATORS})]],
    Field(min_length=1),
    Unique,
]
Definitions = Annotated[list[Literal[DEFINITIONS]], Field(min_length=1), Unique]


def _prompt(value: str) -> str:
    try:
        return named_or_template(value)
    except ConfigError as err:
        raise ValueError(str(err)) from err


class Run(Settings):
    """What to run; the cross product of models, tasks and conditions."""

    models: Ids = Field(description="Ids from models.")
    tasks: Ids = Field(description="Ids from tasks.")
    conditions: Ids = Field(description="intact and ids from interventions.")
    answered: Annotated[list[Id], Unique] = Field(
        description="Ids from interventions of which only answers are needed: nothing is decomposed under them."
    )
    targets: Annotated[list[Literal[RUN_TARGETS]], Field(min_length=1), Unique] = Field(
        description="What is made where the command line names no target."
    )


class Model(Titled):
    """What models of every family have in common."""

    renamed: ClassVar = {"layers": "blocks"}

    path: Text = Field(description="A local folder or a hub id.")
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        default=None,
        description="Full commit hash on the hub, 40 hexadecimal digits; needed for a hub id.",
    )
    blocks: Whole = Field(ge=1, le=1000, description="Number of decoder blocks; checked against the model.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto",
        description="Precision of the weights when run; auto takes float32 on a CPU, else the checkpoint's.",
    )
    quantize: Literal["8bit", "4bit"] | None = Field(
        default=None, description="Weights of the decoder blocks in 8 or 4 bits, by bitsandbytes; null for as they are."
    )
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = Field(
        default=16, description="Questions a forward pass; auto for what a GPU has room for."
    )
    device: Annotated[str, _DEVICE] = Field(
        default="auto", description="Where it runs; auto takes cuda, then mps, then cpu."
    )
    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | dict[Text, Place] | None = Field(
        default=None,
        description="Blocks on several devices, by accelerate: by the memory there is, or by module; null: on one.",
        json_schema_extra={
            "expected": "auto, balanced, balanced_low_0, sequential, null, or a mapping from modules to the number of "
            "a GPU, cuda:<number>, cpu or disk"
        },
    )
    attention: AttentionSettings | None = Field(default=None, description="Attention in continuous time.")
    closed: list[Closed] = Field(
        default=[], description="Edges of attention that the model was trained without and never has, in any condition."
    )
    series: Id | None = Field(
        default=None, description="The training that the model is a state of; models of one series are its checkpoints."
    )
    step: Annotated[int, Field(ge=0, le=10**12)] | None = Field(
        default=None, description="After how many steps of that training."
    )
    group: Id | None = Field(default=None, description="Family in the sense of a study of many models.")
    size: Annotated[float, Field(gt=0, le=10_000)] | None = Field(
        default=None, description="Billions of parameters, for such a study."
    )
    phase: Id | None = Field(default=None, description="Phase of the training that the checkpoint is from.")
    prompt: Annotated[str, _PROMPT, AfterValidator(_prompt)] | None = Field(
        default=None,
        description=(
            f"A prompt by name ({', '.join(NAMES)}) or a template with <image>, after it {{question}}, and perhaps "
            "{instruction}; null for what the checkpoint shows signs of."
        ),
    )


class Phase(Settings):
    """Fields of a training phase that differ from its own schedule."""

    steps: Whole = Field(default=1, ge=1, le=10_000_000, description="Optimiser steps.")
    batch: Whole = Field(default=1, ge=1, le=4096, description="Images a step.")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="Peak learning rate.")


class Standin(Settings):
    """A small model trained into results/standins."""

    attention: AttentionSettings | None = Field(
        description="How attention evolves in training; null for ordinary attention."
    )
    phases: dict[PhaseName, Phase] = Field(
        description="By phase, what differs from pidflow.stages.train_standin.PHASES."
    )
    closed: list[Closed] = Field(default=[], description="Edges of attention that are closed in training.")
    start: Text | None = Field(
        default=None, description="A folder of a stand-in to tune on; null to begin from nothing."
    )
    tower: Text | None = Field(
        default=None, description="A folder of a stand-in whose vision tower is taken over; null to train one."
    )
    width: Whole = Field(default=128, ge=32, le=1024, multiple_of=32, description="Width of the language model.")
    blocks: Whole = Field(default=8, ge=1, le=100, description="Depth of the language model.")
    language_prior: float = Field(
        default=0.25, ge=0, le=1, description="How often an attribute follows its shape's typical value in training."
    )
    tasks: Ids | None = Field(default=None, description="Types of questions asked in tuning; null for all.")
    pictures: Literal["own", "other"] = Field(
        default="own", description="Whose picture a question is shown in training: other for another question's."
    )
    checkpoints: dict[PhaseName, list[Annotated[float, Field(ge=0, le=1)]]] = Field(
        default={}, description="By phase, the shares of it after which a checkpoint is kept."
    )


class Task(Titled):
    """Questions of one kind."""

    dataset: Id = Field(description="Id from datasets.")
    select: Text | None = Field(default=None, description="Which of the dataset's rows; all of them when left out.")
    items: Whole = Field(ge=1, le=1_000_000, description="Largest number of questions to take.")
    instruction: Annotated[str, Field(max_length=10_000)] | None = Field(
        default=None,
        description="What the prompt asks for beside the question; empty for nothing, null to leave it to the prompt.",
    )


class Items(Settings):
    """How questions are prepared."""

    folds: Whole = Field(ge=2, le=100, description="Cross-fitting folds, split by image.")


class Reduction(Settings):
    """Reduction before the flow."""

    correct_only: bool = Field(description="Keep only what the intact model answers correctly.")
    language: Literal["text", "question", "last"] = Field(description="The block read as the language source.")
    variance: float = Field(gt=0, le=1, description="Share of variance to keep.")
    max_components: Whole = Field(ge=1, le=1000, description="Cap on the components of a source.")
    target_components: Whole = Field(ge=1, le=1000, description="Cap on the components of the target.")


class Decomposition(Settings):
    """The decomposition."""

    renamed: ClassVar = {"routes": "estimators"}

    estimators: Estimators = Field(description="What is done to the data first.")
    definitions: Definitions = Field(description="Definitions of the union information.")
    permutations: Whole = Field(ge=20, le=10_000, description="Row permutations of the target for bias and p-value.")
    jackknife_groups: Whole = Field(ge=5, le=1000, description="Groups deleted in turn for standard errors.")
    target_from: Literal[TARGETS] = Field(
        description="The target of conditions beside intact: own, what the model says under them; intact decomposes "
        "them against what the intact model says as well."
    )


class Sweep(Settings):
    """Windows of blocks in which edges are cut, one after another."""

    edges: Annotated[list[EdgeName], Field(min_length=1), Unique] = Field(
        description="Edges, source->target, between named spans."
    )
    window: WindowSize = Field(description="Blocks cut together around each block.")
    controls: Annotated[list[Literal[CONTROLS]], Unique] = Field(description="Run beside every cut.")
    other_windows: Annotated[list[WindowSize], Unique] = Field(description="Further windows without controls.")
    interventions: Annotated[list[Id], Unique] = Field(
        default=[], description="Ids from interventions that are moved through the model, each in every window in turn."
    )
    heads: Annotated[list[EdgeName], Unique] = Field(
        default=[], description="Edges that are cut in one attention head of one block at a time."
    )
    spared: Span | None = Field(
        default=None, description="Positions, such as bos, that random controls draw nothing from; null for none."
    )
    answer_tokens: Whole = Field(ge=1, le=64, description="Longest own answer whose likelihood is followed.")
    least: float = Field(
        gt=0, lt=1, description="Relative change of the answer's probability that counts as an effect."
    )


class Claims(Settings):
    """The estimates that the claims table judges."""

    renamed: ClassVar = {"routes": "estimators"}

    estimators: Estimators = Field(description="Each judges all claims.")
    definitions: Definitions = Field(description="Each judges all claims.")
    knockout: Id | None = Field(description="The condition read as the knockout; null for none.")
    blind: Id | None = Field(
        description="The intervention that takes the whole image away, of which only answers are needed; null for none."
    )
    unasked: Id | None = Field(
        description="The one that takes the whole question away, likewise; null for none.", default=None
    )


class Report(Settings):
    """The page that shows a whole run."""

    questions: Annotated[int, Field(ge=0, le=1000)] = Field(
        description="Questions shown one by one, per model and task."
    )


@cache
def configuration() -> type[Settings]:
    """The class of the whole configuration, with the plug-ins that there are."""
    return create_model(
        "Configuration",
        __base__=Settings,
        __doc__="Every key pidflow reads. Defaults stand in config/config.yaml and nowhere else.",
        seed=(Seed, Field(description="The integer from which all random states derive.")),
        reproduces=(
            Literal[STUDIES] | None,
            Field(default=None, description="The published study that target `reproduction` compares the run with."),
        ),
        other=(
            Text | None,
            Field(
                default=None, description="Results folder of the run that target `reproduce` compares this one with."
            ),
        ),
        run=(Run, Field(description="What to run; the cross product of the three lists.")),
        models=(dict[Id, chosen("models.families", "family", Model)], Field(description="Models by id.")),
        standins=(dict[Id, Standin], Field(description="Small models trained from nothing, by id.")),
        datasets=(dict[Id, chosen("data.readers", "reader")], Field(description="Datasets by id.")),
        tasks=(dict[Id, Task], Field(description="Tasks by id; each is a set of questions of one kind.")),
        items=(Items, Field(description="How questions are prepared.")),
        interventions=(
            dict[Id, chosen("interventions.kinds", "kind", Titled)],
            Field(description="Interventions by id; each is a condition beside intact."),
        ),
        extract=(Extract, Field(description="What is stored of a forward pass.")),
        pca=(Reduction, Field(description="Reduction before the flow.")),
        flow=(FlowConfig, Field(description="Shape and schedule of the flows, where they differ from their defaults.")),
        pid=(Decomposition, Field(description="The decomposition.")),
        sweep=(Sweep, Field(description="Windows of blocks in which edges are cut, one after another.")),
        claims=(Claims, Field(description="The estimates that the claims table judges.")),
        spectrum=(Spectrum, Field(description="The spectrum of predictions: target `spectrum`.")),
        spectrum_pid=(SpectrumPid, Field(description="How predictions are decomposed.")),
        breadth=(Breadth, Field(description="A study of many models.")),
        report=(Report, Field(description="The page that shows a whole run.")),
    )


def keys() -> list[tuple[str, str, str]]:
    """Every key with what it admits and what it means; ``<id>`` is chosen by a study, ``<reader table>`` an id too."""
    schema = configuration().model_json_schema()
    return list(_keys(schema, schema["$defs"], ""))


def _keys(schema: dict, definitions: dict, path: str) -> Iterator[tuple[str, str, str]]:
    schema = definitions[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    tag = schema.get("discriminator", {}).get("propertyName")
    for name, reference in schema.get("discriminator", {}).get("mapping", {}).items():
        place = f"{path.removesuffix('<id>.')}<{tag} {name}>."
        yield from (each for each in _keys({"$ref": reference}, definitions, place) if each[0] != f"{place}{tag}")
    for choice in schema.get("anyOf", ()):
        yield from _keys(choice, definitions, path) if "$ref" in choice else ()
    for name, field in schema.get("properties", {}).items():
        inner = list(_keys(field, definitions, f"{path}{name}."))
        means = definitions.get(field.get("$ref", "").rsplit("/", 1)[-1], {}) | field
        yield f"{path}{name}", "" if inner else expected(field, definitions), means.get("description", "")
        yield from inner
    for entry in (schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()):
        if isinstance(entry, dict):
            yield from _keys(entry, definitions, f"{path}<id>.")


if __name__ == "__main__":
    for key, admits, means in keys():
        print(f"{key}: {means}" + (f" [{admits}]" if admits else ""))
