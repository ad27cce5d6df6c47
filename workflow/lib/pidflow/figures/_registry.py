"""What the figure files declare, and what a run makes of it: files to draw, tables to read, values to hand over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from inspect import Parameter, signature
from itertools import product
from types import ModuleType
from typing import Any

from pidflow.errors import ConfigError
from pidflow.plugins import registry

# Wildcards of a figure's path; a figure has those that its ``draw`` asks for.
PLACES = ("model", "condition")
# Columns of tables, and what figures ask for, that name models, conditions, estimators or definitions.
KINDS = {"model": "model", "models": "model", "closed": "model", "estimator": "estimator", "definition": "definition"}
KINDS |= dict.fromkeys(("condition", "conditions", "control", "knockout", "blind"), "condition")


@dataclass(frozen=True)
class Run:
    """What figures can ask of a run.

    Attributes
    ----------
    models, conditions
        Ids, in the order of the configuration.
    tasks
        Titles by id, in the order of the configuration.
    knockout, blind
        The condition that claims are judged on, and the one without the image; None where the run has none.
    estimator, definition
        The estimate that is drawn.
    closed
        Of models that lack edges of attention, these, as the configuration says them.
    lenses
        Through which predictions are decomposed layer by layer.
    trainings
        Trainings of which the run has more than one checkpoint.
    heads
        Edges that are cut in single attention heads.
    """

    models: tuple[str, ...]
    conditions: tuple[str, ...]
    tasks: Mapping[str, str]
    knockout: str | None
    blind: str | None
    estimator: str
    definition: str
    closed: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    lenses: tuple[str, ...] = ()
    trainings: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declared:
    """One figure file, read.

    Attributes
    ----------
    id
        Name of the file, with dashes.
    tables
        Names of the tables that it is drawn from.
    wishes
        What ``draw`` is given besides, of `PLACES` and the fields of :class:`Run`.
    module
        The file itself.
    """

    id: str
    tables: tuple[str, ...]
    wishes: tuple[str, ...]
    module: ModuleType

    @property
    def rule(self) -> str:
        """Name of the rule that draws it."""
        return f"plot_{self.id.replace('-', '_')}"

    @property
    def target(self) -> str:
        """The target it is part of."""
        return getattr(self.module, "TARGET", "figures")

    @property
    def places(self) -> tuple[str, ...]:
        """Its wildcards."""
        return tuple(name for name in PLACES if name in self.wishes)

    @property
    def path(self) -> str:
        """Path below ``results/figures`` without suffix, with wildcards."""
        folder = "{model}/" if "model" in self.places else ""
        return folder + self.id + ("-{condition}" if "condition" in self.places else "")

    @property
    def job(self) -> str:
        """The wildcards as a path, for logs; ``run`` where a run has one such figure."""
        return "/".join(f"{{{name}}}" for name in self.places) or "run"

    @property
    def category(self) -> str:
        """Where the report lists it."""
        return "{model}" if "model" in self.places else "first of all"

    @property
    def labels(self) -> dict[str, str]:
        """What the report lists it as."""
        condition = {"condition": "{condition}"} if "condition" in self.places else {}
        return {"figure": self.module.TITLE} | condition

    def given(self, run: Run) -> dict[str, object]:
        """What ``draw`` is given besides tables, with wildcards for places."""
        chosen = self.module.choose(run) if hasattr(self.module, "choose") else {}
        return {name: f"{{{name}}}" if name in PLACES else chosen.get(name, getattr(run, name)) for name in self.wishes}

    def drawn(self, run: Run) -> list[str]:
        """Paths of what the run can show, as `path` without wildcards."""
        applies = getattr(self.module, "applies", lambda run, **place: True)
        every = product(*(getattr(run, f"{name}s") for name in self.places))
        places = (dict(zip(self.places, values, strict=True)) for values in every)
        return [self.path.format(**place) for place in places if applies(run, **place)]


def titled(name: str, value: Any, titles: Mapping[str, Mapping[str, str]]) -> Any:
    """What a figure asks for by that name, an id, a list of ids or a mapping of them, with titles for them."""
    known = titles.get(KINDS.get(name, ""), {})
    if isinstance(value, Mapping):
        return {known.get(each, each): inner for each, inner in value.items()}
    if isinstance(value, list | tuple):
        return [known.get(each, each) for each in value]
    return known.get(value, value)


def declared(figure: str) -> Declared:
    """The figure of that id.

    Raises
    ------
    ConfigError
        If there is none, or its ``draw`` asks for what no run has.
    """
    module = registry.load("figures", figure)
    known = (*PLACES, *(field.name for field in fields(Run)))
    tables, wishes = [], []
    for name, parameter in signature(module.draw).parameters.items():
        if parameter.kind is not Parameter.KEYWORD_ONLY:
            tables.append(name.replace("_", "-"))
        elif name in known:
            wishes.append(name)
        else:
            raise ConfigError(
                f"figure '{figure}': draw asks for '{name}', expected one of: {', '.join(known)}; a table is a "
                "positional parameter"
            )
    return Declared(figure, tuple(tables), tuple(wishes), module)


def all_figures() -> list[Declared]:
    """Every figure, in alphabetical order of ids; raises as :func:`declared` does."""
    return [declared(figure) for figure in registry.available("figures")]
