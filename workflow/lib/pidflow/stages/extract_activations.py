"""Stage ``extract_activations``: one forward pass per question, every layer's pooled states and the model's answers."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import DynamicCache

from pidflow import store
from pidflow.errors import ConfigError, DataError, PidflowError
from pidflow.interventions.answer import Answered, answer
from pidflow.interventions.intervention import Intervention, entered, intervention_of, reach_of
from pidflow.interventions.self_check import self_check
from pidflow.models.answers import NORMALISED
from pidflow.models.capture import BLOCKS, Captured, capture
from pidflow.models.first_tokens import Candidate, candidates
from pidflow.models.images import image_size, read_image
from pidflow.models.inputs import Batch, encode
from pidflow.models.loading import LoadedModel
from pidflow.models.readout import TARGETS, target
from pidflow.names import layer_name
from pidflow.stages._answering import answering, columns_of, log_first
from pidflow.stages._questions import (
    examples_of,
    identity_of_run,
    image_files,
    load_model,
    one_ahead,
    own_attention,
    read_items,
)

log = logging.getLogger(__name__)


_BLOCK = 256  # items whose states are held in memory at once, and among which batches are sorted by length
_SELF_CHECK_ROWS = 2
_COLUMNS = (
    *("spoken", "truncated", "blanks", "correct", "correct_published"),
    *("predicted", "probability", "answer_probability", "lens", "uncut", "control", "pairs"),
)


def run(
    *,
    items: str,
    activations: str,
    answers: str,
    model: Mapping[str, Any],
    model_id: str,
    task: str,
    condition: str,
    intervention: Mapping[str, Any] | None = None,
    target_kind: str = "state",
    storage: str = "float16",
    rule: str = NORMALISED,
    answer_tokens: int = 8,
    seed: int = 0,
    instruction: str | None = None,
    image_root: str | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> None:
    """Read the items, run the model over them, write ``activations`` (HDF5) and ``answers`` (parquet).

    Parameters
    ----------
    items
        Items table.
    activations, answers
        The two results; both appear or neither.
    model
        The model's entry in the configuration: ``family`` and ``path``, optionally ``layers`` (checked), ``revision``,
        ``dtype``, ``device``,
        ``batch_size`` (another one rounds differently; halved by itself when a GPU runs out of memory), ``prompt`` and
        ``attention`` (of a model trained in continuous time: the keys of
        :class:`pidflow.models.dynamics.Dynamics`).
    model_id, task, condition
        Names for the results' attributes and for messages.
    intervention
        None for the intact model, or ``{"kind": "cut", "source": "image", "target": "question", "layers": "all"}`` with
        ``layers`` either ``"all"`` or ``[first, last]``, both included, blocks counted from 0. Kinds: ``"cut"``,
        ``"keep"``, ``"random"`` (see :class:`pidflow.interventions.knockout.Cut`); ``"pde"`` with the keys of
        :class:`pidflow.models.dynamics.Dynamics` instead of a source and a target.
    target_kind
        What Y is: ``"state"``, ``"logits"`` or ``"answer-embedding"`` (see :func:`pidflow.models.readout.target`).
    storage
        ``"float16"`` or ``"float32"``.
    rule
        When what the model says counts as right (see :mod:`pidflow.models.answers`).
    answer_tokens
        Bound on the tokens of an answer.
    seed
        Recorded with the results; random edges are drawn from it and each item's id, nothing else is random.
    instruction
        What the prompt asks for beside the question (see :func:`pidflow.models.prompts.prompt_of`).
    image_root
        Folder that relative image paths start from and absolute ones must lie in; default: the items table's folder.
    threads
        CPU threads for torch; None leaves torch's own choice.
    progress
        Show a progress bar; None: only on a terminal.

    Raises
    ------
    ConfigError, DataError, NumericsError
        With model, task and condition in front.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        table = read_items(Path(items))
        files = image_files(table, Path(image_root) if image_root is not None else Path(items).parent)
        loaded, batch_size = load_model(model, instruction=instruction)
        extraction = _Extraction(
            loaded=loaded,
            table=table,
            files=files,
            interventions=[]
            if intervention is None
            else [intervention_of(intervention, depth=loaded.depth, seed=seed)],
            target_kind=_one_of("target", target_kind, TARGETS),
            storage=_one_of("storage", storage, ("float16", "float32")),
            rule=rule,
            answer_tokens=answer_tokens,
            batch_size=batch_size,
        )
        identity = replace(
            identity_of_run(loaded, model=model_id, task=task, items=items),
            condition=condition,
            settings=store.digest_of({"target": target_kind, "storage": storage, "seed": seed, "rule": rule}),
        )
        attrs = {
            "model": model_id,
            "family": loaded.family.name,
            "source": Path(model["path"]).name if model.get("revision") is None else model["path"],
            "revision": loaded.revision,
            "prompt": loaded.prompt,
            "prompt_name": loaded.prompting.name,
            "prompt_digest": loaded.prompting.digest,
            "dtype": identity.dtype,
            "task": task,
            "condition": condition,
            "intervention": None if intervention is None else dict(intervention),
            "layers": loaded.depth,
            "width": loaded.width,
            "blocks": dict(BLOCKS),
            "target": target_kind,
            "rule": rule,
            "units": "residual-stream activation",
            "seed": seed,
        }
        with (
            own_attention(loaded, model),
            store.replacing(answers) as unfinished,
            store.writing_h5(activations, kind="activations", identity=identity, attrs=attrs) as h5,
        ):
            frame = extraction.write(h5, progress=progress)
            store.save_table(unfinished, frame, identity=identity)  # takes its name after the activations took theirs
    except PidflowError as err:
        raise type(err)(f"{model_id}, {task}, {condition}: {err}") from err
    log.info("%s, %s, %s: %d items, accuracy %.3f", model_id, task, condition, len(frame), frame["correct"].mean())


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ConfigError(f"unknown {name} '{value}', expected one of: {', '.join(allowed)}")
    return value


class _Extraction:
    """One model over one table of items."""

    def __init__(
        self,
        *,
        loaded: LoadedModel,
        table: pd.DataFrame,
        files: list[Path],
        interventions: list[Intervention],
        target_kind: str,
        storage: str,
        rule: str,
        answer_tokens: int,
        batch_size: int,
    ) -> None:
        self.loaded, self.table, self.files, self.interventions = loaded, table, files, interventions
        self.target_kind, self.storage, self.batch_size = target_kind, storage, batch_size
        self.examples = examples_of(table)
        self.answering = answering(loaded, table, self.examples, rule=rule, answer_tokens=answer_tokens)
        self.starts = self.answering.starts()
        self.candidates = self._candidates() if target_kind == "logits" else []
        self.checked = False
        self.unknown = 0
        self.columns: dict[str, list[Any]] = {name: [None] * len(table) for name in _COLUMNS}

    def _candidates(self) -> list[Candidate]:
        """The distinct answers of the task, one of each first token, in alphabetical order."""
        found = candidates(self.loaded, self.table["answer"], self.answering.spelled)
        if len(found) < 2:
            raise DataError(f"target 'logits' needs answers with at least 2 different first tokens, found {len(found)}")
        for each in found:
            if len(each.answers) > 1:
                log.warning("target 'logits' has one column for %s: they begin alike", ", ".join(each.answers))
        return found

    def write(self, h5: Any, *, progress: bool | None) -> pd.DataFrame:
        """Fill the activation file and return the answers table, both in the order of the items."""
        n, depth, width = len(self.table), self.loaded.depth, self.loaded.width
        m = len(self.candidates) or width
        datasets = [
            [store.reserve(h5, f"{layer_name(layer)}/{block}", (n, width), self.storage) for block in BLOCKS]
            for layer in range(depth + 1)
        ]
        targets = store.reserve(h5, "target", (n, m), self.storage)
        for name in ("item_id", "image_id"):
            store.put(h5, name, list(self.table[name]))
        store.put(h5, "fold", self.table["fold"].to_numpy(dtype=np.int64))
        if self.candidates:
            h5["target"].attrs["candidates"] = store.to_json(
                ["/".join(each.answers) for each in self.candidates], indent=None
            )
        with tqdm(total=n, unit="item", disable=None if progress is None else not progress) as bar:
            for start in range(0, n, _BLOCK):
                rows = np.arange(start, min(start + _BLOCK, n))
                states = np.empty((depth + 1, len(BLOCKS), len(rows), width), dtype=self.storage)
                goals = np.empty((len(rows), m), dtype=self.storage)
                for batch_rows, captured, goal in self._passes(rows):
                    states[:, :, batch_rows - start] = captured
                    goals[batch_rows - start] = goal
                    bar.update(len(batch_rows))
                for layer, blocks in enumerate(datasets):
                    for index, dataset in enumerate(blocks):
                        dataset[start : start + len(rows)] = states[layer, index]
                targets[start : start + len(rows)] = goals
        self._refuse_what_reaches_nothing()
        h5.attrs["uncut_items"] = sum(self.columns["uncut"])
        self._warn()
        log_first(self.loaded, self.examples, self.answering.expected, self.columns["spoken"])
        return self._frame()

    def _batches(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Batch]]:
        """Row numbers and encoded batch, the shortest prompts first."""
        lengths = [self._length(row) for row in rows]
        rows = rows[np.argsort(lengths, kind="stable")]
        while len(rows):
            chunk, rows = rows[: self.batch_size], rows[self.batch_size :]
            examples, pictures = [self.examples[row] for row in chunk], [self._read_image(row) for row in chunk]
            yield chunk, encode(self.loaded, examples, pictures)

    def _passes(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Row numbers, stored states and stored targets of one batch after the other."""
        for chunk, batch in one_ahead(self._batches(rows)):
            self.unknown += int(batch.unknown.sum())
            self._note_reach(chunk, batch)
            if not self.checked:
                self._self_check(batch)
            done = 0
            while done < len(chunk):
                part = batch.take(slice(done, done + self.batch_size))
                part_rows = chunk[done : done + len(part)]
                result = self._forward(part, part_rows)
                if result is None:  # out of GPU memory
                    self.batch_size = max(1, len(part) // 2)
                    log.warning("the GPU ran out of memory; going on with batches of %d", self.batch_size)
                    continue
                yield part_rows, *self._keep(part_rows, *result)
                done += len(part)

    def _length(self, row: int) -> int:
        """Characters of the question, and image tokens, of which the tiled families have more or fewer."""
        with self._naming(row):
            return len(self.loaded.layout(image_size(self.files[row]))) * 1000 + len(self.examples[row].question)

    def _read_image(self, row: int) -> Any:
        with self._naming(row):
            return read_image(self.files[row])

    @contextmanager
    def _naming(self, row: int) -> Iterator[None]:
        try:
            yield
        except DataError as err:
            raise DataError(f"{self.examples[row].name}: {err}") from err

    def _self_check(self, batch: Batch) -> None:
        found = self_check(self.loaded, batch.take(slice(0, _SELF_CHECK_ROWS)).to(self.loaded))
        log.info("self-check passed: attention rows sum to 1 within %.1e", found.row_error)
        self.checked = True

    def _forward(self, batch: Batch, rows: np.ndarray) -> tuple[Captured, torch.Tensor, Answered] | None:
        """One pass and the answers, spoken under the same interventions, or None if a GPU has no room for the batch."""
        names = [self.table["item_id"].iloc[row] for row in rows]
        try:
            batch = batch.to(self.loaded)
            cache = DynamicCache()
            with entered(self.loaded, self.interventions, batch.spans, names):
                captured = capture(self.loaded, batch, cache=cache)
            answered = answer(
                self.loaded,
                batch,
                captured.reading,
                cache,
                self.interventions,
                names=names,
                starts=[self.starts[row] for row in rows],
                at_most=self.answering.at_most,
            )
            goal = target(self.loaded, answered.reading, kind=self.target_kind, candidates=self.candidates)
            return captured, goal, answered
        except torch.OutOfMemoryError as err:
            if len(batch) == 1:
                raise ConfigError(
                    f"the GPU has no room for a single item ({str(err).splitlines()[0]}); set dtype to float16 or "
                    "bfloat16, or use another device"
                ) from err
        torch.cuda.empty_cache()
        return None

    def _keep(
        self, rows: np.ndarray, captured: Captured, goal: torch.Tensor, answered: Answered
    ) -> tuple[np.ndarray, np.ndarray]:
        states, goals = captured.states.cpu().numpy(), goal.cpu().numpy()
        # One peak per layer and row, the target as one layer more; NaN and infinity survive the maximum.
        peaks = np.concatenate([np.abs(states).max(axis=(1, 3)), np.abs(goals).max(axis=1)[None]])
        limit = float(np.finfo(self.storage).max)
        bad = np.argwhere(~(peaks <= limit))
        if len(bad):
            layer, row = bad[0]
            where = f"{self.examples[rows[row]].name}: {'the target' if layer == len(states) else f'layer {layer}'}"
            if np.isfinite(peaks[layer, row]):
                peak = f"reaches {peaks[layer, row]:.4g}, more than {self.storage} can hold"
                raise DataError(f"{where} {peak}; set storage to float32")
            dtype = str(self.loaded.dtype).removeprefix("torch.")
            raise DataError(f"{where} holds NaN or infinity in {dtype}; set the model's dtype to bfloat16 or float32")
        self._fill(rows, columns_of([self.answering.expected[row] for row in rows], answered))
        return states, goals

    def _note_reach(self, rows: np.ndarray, batch: Batch) -> None:
        names = [self.table["item_id"].iloc[row] for row in rows]
        reach = reach_of(self.interventions, batch.spans, names)
        columns = {
            "uncut": [bool(self.interventions) and not each.changed for each in reach],
            "control": [each.control for each in reach],
            "pairs": [json.dumps(each.pairs) for each in reach],
        }
        self._fill(rows, columns)

    def _fill(self, rows: np.ndarray, columns: Mapping[str, Sequence[Any]]) -> None:
        for name, values in columns.items():
            for row, value in zip(rows, values, strict=True):
                self.columns[name][row] = value

    def _frame(self) -> pd.DataFrame:
        lens = np.array(self.columns.pop("lens"))
        frame = self.table[["item_id", "image_id", "answer"]].assign(**self.columns)
        frame["control"] = frame["control"].astype("string")  # a column of nothing but None has no type of its own
        for layer in range(self.loaded.depth + 1):
            frame[f"lens_{layer:02d}"] = lens[:, layer]
        return frame

    def _refuse_what_reaches_nothing(self) -> None:
        if all(self.columns["uncut"]):
            spans = ", ".join(name for each in self.interventions for name in each.spans_used())
            raise DataError(
                f"the intervention reaches nothing in any of {len(self.table)} items, so it would be the intact model "
                f"under another name: one of the spans {spans} is empty in every item (options come from the items' "
                "'options', objects from their 'boxes'); leave the condition out of this task"
            )

    def _warn(self) -> None:
        """Say once what makes some rows worth less than others."""
        n, cut_off, blank = len(self.table), sum(self.columns["truncated"]), sum(map(bool, self.columns["blanks"]))
        mute = sum(not each.starts for each in self.starts)
        for count, what in (
            (self.unknown, "ask with words that the tokenizer does not know"),
            (
                sum(self.columns["uncut"]),
                "have nothing to cut and ran intact (an empty source or target span, or no room for a control)",
            ),
            (mute, "have an answer that no token tells from the others; their answer_probability is empty"),
            (cut_off, f"were cut off after {self.answering.at_most} tokens of an answer that went on (truncated)"),
            (blank, "are answered with a blank first; predicted, probability, lens and target are read after it"),
        ):
            if count:
                log.warning("%d of %d items %s", count, n, what)
