"""What extraction notes of one condition: what it reached, the answers, and the table that these become."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pidflow.errors import ConfigError, DataError
from pidflow.interventions.answer import Answered
from pidflow.interventions.intervention import Intervention, Reach, intervention_of
from pidflow.models.inputs import Example
from pidflow.models.loading import LoadedModel
from pidflow.names import span_parts
from pidflow.stages._answering import Answering, columns_of

log = logging.getLogger(__name__)

_KEYS = {"intervention", "activations", "answers"}
_COLUMNS = (
    *("spoken", "truncated", "blanks", "correct", "correct_published"),
    *("predicted", "probability", "answer_probability", "lens", "uncut", "control", "pairs"),
)


@dataclass
class Condition:
    """One condition of a job, and what is known of its questions so far.

    Attributes
    ----------
    name
        ``intact``, or the id of an intervention.
    interventions
        What is entered around the model; nothing for the intact one.
    answers, activations
        Where its results go; without `activations` only answers are wanted.
    entry
        The intervention as the configuration says it.
    """

    name: str
    interventions: tuple[Intervention, ...]
    answers: str
    activations: str | None
    entry: Mapping[str, Any] | None
    columns: dict[str, list[Any]] = field(default_factory=dict)
    first: int = 0

    def begin(self, rows: range) -> None:
        """Room for the columns of some questions that follow one another."""
        self.first, self.columns = rows.start, {name: [None] * len(rows) for name in _COLUMNS}

    def note(self, rows: np.ndarray, columns: Mapping[str, Sequence[Any]]) -> None:
        """Values of some questions."""
        for name, values in columns.items():
            for row, value in zip(rows, values, strict=True):
                self.columns[name][row - self.first] = value

    def note_reach(self, rows: np.ndarray, reach: Sequence[Reach]) -> None:
        """What the interventions reach in some questions."""
        columns = {
            "uncut": [bool(self.interventions) and not each.changed for each in reach],
            "control": [each.control for each in reach],
            "pairs": [json.dumps(each.pairs) for each in reach],
        }
        self.note(rows, columns)

    def note_answers(self, rows: np.ndarray, asked: Answering, answered: Answered) -> None:
        """What the model said to some questions."""
        self.note(rows, columns_of([asked.expected[row] for row in rows], answered))

    def check_items(self, examples: Sequence[Example], loaded: LoadedModel) -> None:
        """Refuse, before any time is spent on the model, what needs options or boxes where no item has any.

        So too what needs to know where image tokens lie, of a family that does not tell.
        """
        placeless = [] if loaded.places else [span for each in self.interventions for span in each.spans_used()]
        if any({"object", "other"}.issuperset(map(str.strip, span_parts(span))) for span in placeless):
            raise ConfigError(
                f"{self.name}: image tokens of family '{loaded.family.name}' show no known part of the picture, so "
                "spans 'object' and 'other' are empty for it; leave the condition out for this model"
            )
        lacking = dict.fromkeys(("options", "true-option", "false-option"), not any(e.options for e in examples))
        lacking |= {"object": not any(e.boxes for e in examples), "object-words": not any(e.objects for e in examples)}
        for each in self.interventions:
            for span in each.spans_used():
                if all(lacking.get(part.strip(), False) for part in span_parts(span)):
                    self._refuse(len(examples))

    def check(self) -> None:
        """Refuse a condition that reached nothing: it would be the intact model under another name."""
        if all(self.columns["uncut"]):
            self._refuse(len(self.columns["uncut"]))

    def _refuse(self, items: int) -> None:
        spans = ", ".join(name for each in self.interventions for name in each.spans_used())
        raise DataError(
            f"{self.name}: the intervention reaches nothing in any of {items} items, so it would be the intact model "
            f"under another name: one of the spans {spans} is empty in every item (options come from the items' "
            "'options', objects from their 'boxes', object words from their 'objects'), or leaves no room for a "
            "control; leave the condition out of this task"
        )

    def warn(self, at_most: int) -> None:
        """Say once what makes some rows worth less than others."""
        count = {name: sum(map(bool, self.columns[name])) for name in ("uncut", "truncated", "blanks")}
        for name, what in (
            ("uncut", "have nothing to cut and ran intact (an empty source or target span, or no room for a control)"),
            ("truncated", f"were cut off after {at_most} tokens of an answer that went on (truncated)"),
            ("blanks", "are answered with a blank first; predicted, probability, lens and target are read after it"),
        ):
            if count[name]:
                log.warning("%s: %d of %d items %s", self.name, count[name], len(self.columns[name]), what)

    def frame(self, table: pd.DataFrame) -> pd.DataFrame:
        """The answers table, in the order of the items."""
        lens = np.array(self.columns["lens"])
        columns = {name: values for name, values in self.columns.items() if name != "lens"}
        frame = table[["item_id", "image_id", "answer"]].assign(**columns)
        frame["control"] = frame["control"].astype("string")  # a column of nothing but None has no type of its own
        return frame.assign(**{f"lens_{layer:02d}": lens[:, layer] for layer in range(lens.shape[1])})


def conditions_of(wanted: Mapping[str, Mapping[str, Any]], *, depth: int, seed: int) -> list[Condition]:
    """The conditions of a job from ``{name: {intervention, answers, activations}}``.

    Raises
    ------
    ConfigError
        Naming the condition.
    """
    if not wanted:
        raise ConfigError("no condition is asked for; name at least one")
    found = []
    for name, given in wanted.items():
        if set(given) - _KEYS or "answers" not in given:
            raise ConfigError(
                f"{name}: a condition has answers, optionally activations and intervention, found {given}"
            )
        entry = given.get("intervention")
        try:
            interventions = () if entry is None else intervention_of(entry, depth=depth, seed=seed).parts()
        except ConfigError as err:
            raise ConfigError(f"{name}: {err}") from err
        found.append(Condition(name, interventions, given["answers"], given.get("activations"), entry))
    return found
