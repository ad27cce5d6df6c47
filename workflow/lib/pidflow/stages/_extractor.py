"""One model over one table of items, under all conditions of a job, chunk by chunk."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pidflow.errors import ConfigError, DataError, PidflowError
from pidflow.files import store
from pidflow.interventions.answer import answer
from pidflow.interventions.conditions import Pass, passes
from pidflow.interventions.intervention import reach_of
from pidflow.models.first_tokens import Candidate, candidates
from pidflow.models.inputs import Batch
from pidflow.models.readout import TARGETS, target
from pidflow.names import layer_numbers
from pidflow.stages._answering import answering, log_first
from pidflow.stages._checked import MODEL_CHECK
from pidflow.stages._informing import Informing, Plan
from pidflow.stages._progress import Progress, progress_of
from pidflow.stages._questions import Questions
from pidflow.stages._results import Condition
from pidflow.stages._states import Stored, chosen_blocks, storable
from pidflow.stages._work import Work, check_room, work_folder
from pidflow.versions import library_versions

log = logging.getLogger(__name__)

# Questions that are sorted by length into batches, kept in memory, and kept or lost together.
_CHUNK = 256


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ConfigError(f"unknown {name} '{value}', expected one of: {', '.join(allowed)}")
    return value


def _numbers(layers: str | Sequence[int], depth: int) -> tuple[int, ...]:
    try:
        return layer_numbers(layers, depth)
    except ValueError as err:
        raise ConfigError(f"layers: {err}") from err


class Extraction:
    """One model over one table of items, under all conditions of a job."""

    def __init__(
        self,
        *,
        questions: Questions,
        table: pd.DataFrame,
        conditions: list[Condition],
        target_kind: str,
        storage: str,
        layers: Any,
        blocks: Sequence[str] | None,
        rule: str,
        answer_tokens: int,
        seed: int,
    ) -> None:
        self.questions, self.table, self.conditions = questions, table, conditions
        self.loaded, self.target_kind = questions.loaded, _one_of("target", target_kind, TARGETS)
        storage = _one_of("storage", storage, ("float16", "float32"))
        self.asked = answering(self.loaded, table, questions.examples, rule=rule, answer_tokens=answer_tokens)
        self.starts = self.asked.starts()
        for each in conditions:
            each.check_items(questions.examples, self.loaded)
        self.candidates = self._candidates() if target_kind == "logits" else []
        self.informing = Informing(questions, table, [each.interventions for each in conditions], seed=seed)
        self.stored = Stored(
            layers=_numbers(layers, self.loaded.depth),
            blocks=chosen_blocks(blocks),
            width=self.loaded.width,
            target_width=len(self.candidates) or self.loaded.width,
            dtype=storage,
        )
        self.chunk: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.chunk_start = 0

    def _candidates(self) -> list[Candidate]:
        """The distinct answers of the task, one of each first token, in alphabetical order."""
        found = candidates(self.loaded, self.table["answer"], self.asked.spelled)
        if len(found) < 2:
            raise DataError(f"target 'logits' needs answers with at least 2 different first tokens, found {len(found)}")
        for each in found:
            if len(each.answers) > 1:
                log.warning("target 'logits' has one column for %s: they begin alike", ", ".join(each.answers))
        return found

    def write(
        self,
        *,
        identity: store.Identity,
        attrs: Mapping[str, Any],
        made_from: Any,
        shard: str | None,
        part: tuple[int, int],
        progress: bool | None,
    ) -> None:
        """Run everything; results take their names after the last of them is whole."""
        header = self._header(identity, attrs, made_from) | {"rows": _rows_of(part, len(self.questions))}
        first = self.conditions[0]
        folder = work_folder(shard or first.activations or first.answers)
        with Work(folder, header, self.table, kept=made_from is not None) as work:
            check_room(work)
            self._run(work, progress=progress)
            if shard is None:
                work.finish(self.conditions)
            else:
                work.hand_over(Path(shard))

    def _header(self, identity: store.Identity, attrs: Mapping[str, Any], made_from: Any) -> dict[str, Any]:
        """All that decides about results, as plain values: what was made from anything else is no part of them."""
        return {
            "made_from": made_from,
            "versions": library_versions(),
            "device": self.loaded.device.type,
            "threads": torch.get_num_threads() if self.loaded.device.type == "cpu" else None,
            "batch_size": self.questions.batch_size,
            "chunk": _CHUNK,
            "conditions": {
                each.name: {
                    "entry": None if each.entry is None else dict(each.entry),
                    "states": each.activations is not None,
                }
                for each in self.conditions
            },
            "identity": identity.known(),
            "attrs": dict(attrs) | {"stored_layers": self.stored.layers, "stored_blocks": self.stored.blocks},
            "stored": asdict(self.stored),
            "candidates": ["/".join(each.answers) for each in self.candidates],
            "at_most": self.asked.at_most,
            MODEL_CHECK: asdict(self.questions.check),
        }

    def _run(self, work: Work, *, progress: bool | None) -> None:
        """All chunks that are not done yet; one is written while the model is at the next."""
        start, stop = work.rows.start + work.done, work.rows.stop
        self.questions.batch_size = work.last.get("batch_size", self.questions.batch_size)
        with (
            progress_of(len(work.rows), done=work.done, shown=progress) as bar,
            ThreadPoolExecutor(max_workers=1) as writer,
        ):
            writing = None
            for first in range(start, stop, _CHUNK):
                entry, states = self._chunk(range(first, min(first + _CHUNK, stop)), bar)
                if writing is not None:
                    writing.result()
                writing = writer.submit(work.commit, entry, states)
            if writing is not None:
                writing.result()

    def _chunk(self, rows: range, bar: Progress) -> tuple[dict[str, Any], dict[str, tuple[np.ndarray, np.ndarray]]]:
        """What is noted of some questions that follow one another, and their states."""
        self.chunk = {each.name: self.stored.empty(len(rows)) for each in self.conditions if each.activations}
        self.chunk_start = rows.start
        for each in self.conditions:
            each.begin(rows)
        unknown = 0
        for done, found in self.questions.run(self._extract, np.arange(rows.start, rows.stop)):
            unknown += found
            bar.update(len(done))
        if rows.start == 0:
            log_first(self.loaded, self.questions.examples, self.asked.expected, self.conditions[0].columns["spoken"])
        entry = {
            "rows": [rows.start, rows.stop],
            "batch_size": self.questions.batch_size,
            "unknown": unknown,
            "mute": sum(not self.starts[row].starts for row in rows),
            "columns": {each.name: each.columns for each in self.conditions},
        }
        return entry, self.chunk

    def _extract(self, batch: Batch, rows: np.ndarray) -> int:
        """Note everything of one batch; gives the number of its questions with unknown words."""
        names = [self.questions.names[row] for row in rows]
        wanted = self.informing.plans_for(rows)
        for found in passes(self.loaded, batch, wanted, names=names, prefix_stands=self.questions.check.earlier):
            condition = self.conditions[found.condition]
            try:
                self._keep(condition, wanted[found.condition], batch, rows, names, found)
            except PidflowError as err:
                raise type(err)(f"{condition.name}: {err}") from err
        return int(batch.unknown.sum())

    def _keep(
        self, condition: Condition, plan: Plan, batch: Batch, rows: np.ndarray, names: list[str], found: Pass
    ) -> None:
        """The answers under one condition, spoken while it is in force, and the states."""
        answered = answer(
            self.loaded,
            batch,
            found.captured.reading,
            found.cache,
            plan,
            names=names,
            starts=[self.starts[row] for row in rows],
            at_most=self.asked.at_most,
        )
        goal = target(self.loaded, answered.reading, kind=self.target_kind, candidates=self.candidates)
        states, goals = storable(
            found.captured,
            goal,
            stored=self.stored,
            storage=self.stored.dtype if condition.name in self.chunk else "float32",
            dtype=str(self.loaded.dtype).removeprefix("torch."),
            names=[self.questions.examples[row].name for row in rows],
        )
        if condition.name in self.chunk:
            places = rows - self.chunk_start
            kept, targets = self.chunk[condition.name]
            kept[:, :, places], targets[places] = states, goals
        condition.note_reach(rows, reach_of(plan, batch.spans, names))
        condition.note_answers(rows, self.asked, answered)


def _rows_of(part: tuple[int, int], questions: int) -> list[int]:
    """First and last question but one of a part of all, in whole chunks, so that batches are the same in any parts."""
    number, parts = part
    chunks = -(-questions // _CHUNK)
    return [min(questions, place * chunks // parts * _CHUNK) for place in (number, number + 1)]
