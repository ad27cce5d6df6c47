"""What extraction writes of one condition: states and target of every question, and the table of answers."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from pidflow.errors import ConfigError, DataError
from pidflow.files import store
from pidflow.interventions.answer import Answered
from pidflow.interventions.intervention import Intervention, Reach, intervention_of, summed_pairs
from pidflow.models.capture import BLOCKS, Captured
from pidflow.models.inputs import Example
from pidflow.models.loading import LoadedModel
from pidflow.names import layer_name, span_parts, weakest
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

    def begin(self, questions: int) -> None:
        """Room for the columns of so many questions."""
        self.columns = {name: [None] * questions for name in _COLUMNS}

    def note(self, rows: np.ndarray, columns: Mapping[str, Sequence[Any]]) -> None:
        """Values of some questions."""
        for name, values in columns.items():
            for row, value in zip(rows, values, strict=True):
                self.columns[name][row] = value

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

    def about(self) -> dict[str, Any]:
        """What the activations say of the interventions: questions not reached, the control, all pairs."""
        controls = [each for each in self.columns["control"] if each is not None]
        return {
            "uncut_items": sum(self.columns["uncut"]),
            "control": weakest(controls) or "",
            "pairs": summed_pairs(self.columns["pairs"]),
        }

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


class StatesFile:
    """The activations of one condition while they are written, some questions at a time."""

    def __init__(
        self, h5: Any, table: pd.DataFrame, *, depth: int, width: int, target_width: int, storage: str
    ) -> None:
        self.h5, self.storage = h5, storage
        self.depth, self.width, self.target_width = depth, width, target_width
        n = len(table)
        self.datasets = [
            [store.reserve(h5, f"{layer_name(layer)}/{block}", (n, width), storage) for block in BLOCKS]
            for layer in range(depth + 1)
        ]
        self.targets = store.reserve(h5, "target", (n, target_width), storage)
        for name in ("item_id", "image_id"):
            store.put(h5, name, list(table[name]))
        store.put(h5, "fold", table["fold"].to_numpy(dtype=np.int64))
        self.rows = np.empty(0, dtype=int)

    def begin(self, rows: np.ndarray) -> None:
        """Room for the questions ``rows``, which follow one another."""
        self.rows = rows
        self.states = np.empty((self.depth + 1, len(BLOCKS), len(rows), self.width), dtype=self.storage)
        self.goals = np.empty((len(rows), self.target_width), dtype=self.storage)

    def keep(self, rows: np.ndarray, states: np.ndarray, goals: np.ndarray) -> None:
        """States ``(L + 1, 4, B, width)`` and targets ``(B, m)`` of some of them."""
        places = rows - self.rows[0]
        self.states[:, :, places], self.goals[places] = states, goals

    def flush(self) -> None:
        """Write them."""
        here = slice(self.rows[0], self.rows[-1] + 1)
        for layer, blocks in enumerate(self.datasets):
            for index, dataset in enumerate(blocks):
                dataset[here] = self.states[layer, index]
        self.targets[here] = self.goals


def storable(
    captured: Captured, goal: torch.Tensor, *, storage: str, dtype: str, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """States and targets as arrays.

    Raises
    ------
    DataError
        Naming item and layer, if they hold what is not finite or more than `storage` can.
    """
    states, goals = captured.states.cpu().numpy(), goal.cpu().numpy()
    # One peak per layer and row, the target as one layer more; NaN and infinity survive the maximum.
    peaks = np.concatenate([np.abs(states).max(axis=(1, 3)), np.abs(goals).max(axis=1)[None]])
    bad = np.argwhere(~(peaks <= float(np.finfo(storage).max)))
    if len(bad):
        layer, row = bad[0]
        where = f"{names[row]}: {'the target' if layer == len(states) else f'layer {layer}'}"
        if np.isfinite(peaks[layer, row]):
            peak = f"reaches {peaks[layer, row]:.4g}, more than {storage} can hold"
            raise DataError(f"{where} {peak}; set storage to float32")
        raise DataError(f"{where} holds NaN or infinity in {dtype}; set the model's dtype to bfloat16 or float32")
    return states, goals
