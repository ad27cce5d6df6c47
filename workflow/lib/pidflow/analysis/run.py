"""The results of a run from Python: what it has, and each piece when it is asked for."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pidflow.errors import DataError, shown, shown_path
from pidflow.files.store import Activations, Identity, read_json, read_table, read_tables, reading_activations
from pidflow.pid.records import from_json
from pidflow.pid.results import Decomposition

if TYPE_CHECKING:
    import pandas as pd

_LAYER = re.compile(r"layer-(\d+)\.json")
_RESULTS = {"activations": ".h5", "answers": ".parquet"}


@dataclass(frozen=True)
class Unit:
    """One condition of one model and task.

    Attributes
    ----------
    results
        The folder of the run.
    model, task, condition
        Ids, as the configuration has them.
    """

    results: Path
    model: str
    task: str
    condition: str

    @property
    def identity(self) -> Identity:
        """What its files must say that they are about."""
        return Identity(self.model, self.task, self.condition)

    def activations(self) -> AbstractContextManager[Activations]:
        """The open activation file: ``with unit.activations() as found: found.state(4, "vision")``.

        Raises
        ------
        DataError
            On entering, if the file is missing or damaged or belongs to another unit.
        """
        return reading_activations(self._file("activations"), expected=self.identity)

    def answers(self) -> pd.DataFrame:
        """What the model answered, one row a question, in the order of the activations."""
        return read_table(self._file("answers"), expected=self.identity)

    def decompositions(self) -> list[Decomposition]:
        """All decompositions, layer by layer; none if the run has not come that far."""
        folder = self.results / "pid" / self.model / self.task / self.condition
        files = sorted(path for path in folder.glob("layer-*.json") if _LAYER.fullmatch(path.name))
        return [each for path in files for each in from_json(read_json(path, expected=self.identity), where=str(path))]

    def _file(self, kind: str) -> Path:
        return self.results / kind / self.model / self.task / f"{self.condition}{_RESULTS[kind]}"


@dataclass(frozen=True)
class Run:
    """What a folder of results holds.

    Attributes
    ----------
    results
        The folder.
    units
        Every condition of every model and task that has activations or answers, in the order of their names.
    """

    results: Path
    units: tuple[Unit, ...]

    @property
    def models(self) -> list[str]:
        """Ids of the models."""
        return list(dict.fromkeys(unit.model for unit in self.units))

    @property
    def tasks(self) -> list[str]:
        """Ids of the tasks."""
        return list(dict.fromkeys(unit.task for unit in self.units))

    @property
    def conditions(self) -> list[str]:
        """Ids of the conditions."""
        return list(dict.fromkeys(unit.condition for unit in self.units))

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, as :func:`pidflow.read_tables` gives them."""
        return read_tables(self.results / "tables")

    def unit(self, model: str, task: str, condition: str = "intact") -> Unit:
        """One condition of one model and task.

        Raises
        ------
        DataError
            If the run does not have it; the message names what it has.
        """
        for found in self.units:
            if (found.model, found.task, found.condition) == (model, task, condition):
                return found
        for name, given, there in (
            ("model", model, self.models),
            ("task", task, self.tasks),
            ("condition", condition, self.conditions),
        ):
            if given not in there:
                raise DataError(f"{self.results}: no {name} {shown(given)} in this run, it has {', '.join(there)}")
        raise DataError(f"{self.results}: {model}/{task} was not run in the condition {shown(condition)}")

    def items(self, task: str) -> pd.DataFrame:
        """The questions of a task."""
        return read_table(self.results / "items" / f"{task}.parquet")


def load_run(results: str | Path = "results") -> Run:
    """The results of a run; nothing is read before it is asked for.

    Parameters
    ----------
    results
        The folder that the workflow wrote to.

    Raises
    ------
    DataError
        If no model has been run there.
    """
    root = Path(results)
    found = {
        (*path.relative_to(root / kind).parts[:2], path.stem)
        for kind, suffix in _RESULTS.items()
        for path in (root / kind).glob(f"*/*/*{suffix}")
    }
    if not found:
        raise DataError(
            f"{shown_path(root)}: holds no activations and no answers; run the workflow, or name its folder"
        )
    return Run(root, tuple(Unit(root, *names) for names in sorted(found)))
