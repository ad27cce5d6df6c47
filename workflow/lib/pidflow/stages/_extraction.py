"""Stage ``extract_activations``: every layer's pooled states and the model's answers, all conditions at once."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pidflow.errors import DataError, PidflowError
from pidflow.files import store
from pidflow.models.answers import NORMALISED
from pidflow.models.capture import BLOCKS
from pidflow.models.loading import LoadedModel
from pidflow.stages._extractor import Extraction
from pidflow.stages._questions import asking, read_items
from pidflow.stages._results import Condition, conditions_of
from pidflow.stages._work import Work, check_room, joined_header, plain, work_folder

log = logging.getLogger(__name__)


def run(
    *,
    items: str,
    conditions: Mapping[str, Mapping[str, Any]],
    model: Mapping[str, Any],
    model_id: str,
    task: str,
    target_kind: str = "state",
    storage: str = "float16",
    layers: str | Sequence[int] = "all",
    blocks: Sequence[str] | None = None,
    rule: str = NORMALISED,
    answer_tokens: int = 8,
    seed: int = 0,
    instruction: str | None = None,
    image_root: str | None = None,
    threads: int | None = None,
    kept_check: Mapping[str, str] | None = None,
    progress: bool | None = None,
    made_from: Any = None,
    shard: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> None:
    """Read the items, run the model over them under every condition, write activations (HDF5) and answers (parquet).

    Parameters
    ----------
    items
        Items table.
    conditions
        By name: ``intervention``, None or left out for the intact model, else an entry of the configuration such as
        ``{"kind": "cut", "source": "image", "target": "question", "blocks": "all"}`` (the kinds are the files of
        ``pidflow/interventions/kinds``); ``answers``, where its answers go; ``activations``, where its states go, left
        out where answers are all that is wanted. All results appear or none.
    model
        The model's entry in the configuration: ``family`` and ``path``, optionally ``blocks`` (checked), ``revision``,
        ``dtype``, ``device``, ``batch_size`` (another one rounds differently; halved by itself when a GPU runs out of
        memory), ``prompt`` and ``attention`` (of a model trained in continuous time: the keys of
        :class:`pidflow.models.dynamics.Dynamics`) and ``closed`` (edges that it was trained without and never has:
        ``source``, ``target``, ``blocks`` each).
    model_id, task
        Names for the results' attributes and for messages.
    target_kind
        What Y is: ``"state"``, ``"logits"`` or ``"answer-embedding"`` (see :func:`pidflow.models.readout.target`).
    storage
        ``"float16"`` or ``"float32"``.
    layers, blocks
        Whose states are stored: ``"all"`` or numbers of layers; some of :data:`pidflow.models.capture.BLOCKS`, None
        for all.
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
    kept_check
        See :func:`pidflow.stages._checked.checked`.
    progress
        Show a progress bar; None: only on a terminal.
    made_from
        Plain values: everything else that results depend on, code included. A job that is killed leaves its work to
        the next of equal arguments, which ends with the same bytes; None: every job starts afresh.
    shard, part
        A folder that takes the place of all results, for :func:`join`, when only the questions of one part of so many
        are asked: ``(0, 4)`` is the first quarter, in whole chunks.

    Raises
    ------
    ConfigError, DataError, NumericsError
        With model and task in front, and the condition where one is at fault.
    """
    job = {"items": items, "model": model, "model_id": model_id, "task": task, "threads": threads}
    job |= {"instruction": instruction, "image_root": image_root, "kept_check": kept_check}
    with asking(**job) as (questions, identity):
        loaded = questions.loaded
        if storage == "float16" and loaded.family.storage == "float32":
            log.info("family '%s': states pass what float16 holds, stored as float32", loaded.family.name)
            storage = loaded.family.storage
        extraction = Extraction(
            questions=questions,
            table=questions.table,
            conditions=conditions_of(conditions, depth=loaded.depth, seed=seed),
            target_kind=target_kind,
            storage=storage,
            layers=layers,
            blocks=blocks,
            rule=rule,
            answer_tokens=answer_tokens,
            seed=seed,
        )
        settings = store.digest_of(
            {"target": target_kind, "storage": storage, "seed": seed, "rule": rule, "image": loaded.image}
        )
        attrs = _about(loaded, model) | {"model": model_id, "task": task, "dtype": identity.dtype}
        attrs |= {"target": target_kind, "rule": rule, "seed": seed}
        how = {"made_from": made_from, "shard": shard, "part": part, "progress": progress}
        extraction.write(identity=replace(identity, settings=settings), attrs=attrs, **how)
    if shard is None:
        _conclude(extraction.conditions, model_id, task)


def join(
    shards: Sequence[str],
    *,
    items: str,
    conditions: Mapping[str, Mapping[str, Any]],
    model_id: str,
    task: str,
    made_from: Any,
) -> None:
    """Make results of the shards of all questions; they hold the same bytes as results of one job.

    Parameters
    ----------
    shards
        Folders that :func:`run` made, in the order of the questions.
    items, conditions, model_id, task, made_from
        As of :func:`run`, which see.

    Raises
    ------
    DataError
        If the shards are about something else, differ in more than their questions, or questions are missing.
    """
    try:
        table = read_items(Path(items))
        header = joined_header(shards, questions=len(table))
        wanted = {"made_from": made_from, "items": store.checksum_of(items)}
        found = {"made_from": header["made_from"], "items": header["identity"]["items"]}
        if plain(wanted) != found:
            raise DataError(f"{shards[0]}: was made from other questions, settings or code; delete it and run again")
        settings = header["attrs"]
        each_condition = conditions_of(conditions, depth=settings["layers"], seed=settings["seed"])
        first = each_condition[0]
        with Work(work_folder(first.activations or first.answers), header, table, kept=False) as work:
            check_room(work)
            work.join([Path(shard) for shard in shards])
            work.finish(each_condition)
    except PidflowError as err:
        raise type(err)(f"{model_id}, {task}: {err}") from err
    _conclude(each_condition, model_id, task)


def _conclude(conditions: Sequence[Condition], model_id: str, task: str) -> None:
    for condition in conditions:
        correct = condition.columns["correct"]
        log.info("%s, %s, %s: %d items, accuracy %.3f", model_id, task, condition.name, len(correct), np.mean(correct))


def _about(loaded: LoadedModel, model: Mapping[str, Any]) -> dict[str, Any]:
    """What attributes of a file tell of the model that made it."""
    return {
        "revision": loaded.revision,
        "family": loaded.family.name,
        "source": Path(model["path"]).name if model.get("revision") is None else model["path"],
        "prompt": loaded.prompt,
        "prompt_name": loaded.prompting.name,
        "prompt_digest": loaded.prompting.digest,
        "image": loaded.image or "processor",
        "layers": loaded.depth,
        "width": loaded.width,
        "blocks": dict(BLOCKS),
        "units": "residual-stream activation",
    }
