"""Stage ``sweep_knockout``: cut edges in windows of blocks and see what becomes of the model's answers."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pidflow.errors import DataError
from pidflow.files import store
from pidflow.interventions.edges import DEFAULT_EDGES, edge_of
from pidflow.interventions.probes import Probe, head_probes, probes
from pidflow.interventions.sweep import SUBSETS, Outcome, measure, summarise
from pidflow.models.answers import NORMALISED
from pidflow.models.inputs import Batch
from pidflow.names import INTACT
from pidflow.stages._answering import Answering, answering, log_first
from pidflow.stages._checked import MODEL_CHECK
from pidflow.stages._informing import Informing
from pidflow.stages._progress import progress_of
from pidflow.stages._questions import Questions, asking

log = logging.getLogger(__name__)

_INTACT = ("intact_first", "intact_answer", "intact_spoken", "intact_right", "intact_right_published")
_CUT = ("control", "pairs", "change_first", "change_answer", "spoken", "right", "right_published", "kl_bits")


def run(
    *,
    items: str,
    output: str,
    model: Mapping[str, Any],
    model_id: str,
    task: str,
    edges: Sequence[str | Mapping[str, str]] | None = None,
    window: int | str | Sequence[int] = 9,
    controls: Sequence[str] = (),
    other_windows: Sequence[int | str | Sequence[int]] = (),
    answers: str | None = None,
    details: str | None = None,
    heads: str | None = None,
    head_edges: Sequence[str] = (),
    spared: str | None = None,
    moved: Mapping[str, Mapping[str, Any]] | None = None,
    rule: str = NORMALISED,
    answer_tokens: int = 8,
    seed: int = 0,
    instruction: str | None = None,
    image_root: str | None = None,
    threads: int | None = None,
    kept_check: Mapping[str, str] | None = None,
    progress: bool | None = None,
) -> None:
    """Sweep all edges of one model and task on one shared intact pass; write a tidy table.

    Parameters
    ----------
    items
        Items table.
    output
        The table (parquet): ``model, task`` and the columns of :func:`pidflow.interventions.sweep.summarise`, one row
        per edge, intervention, window and subset of questions (answered rightly, wrongly, all).
    model
        The model's entry in the configuration (see :func:`pidflow.stages.extract_activations.run`).
    model_id, task
        Names for the table and for messages.
    edges
        ``"image->question"`` or ``{"source": "image", "target": "question"}`` each, any pair of spans; None: the six of
        :data:`pidflow.interventions.edges.DEFAULT_EDGES`.
    window, controls, other_windows
        See :func:`pidflow.interventions.probes.probes`: the windows, the controls run beside them (``"random"``,
        ``"keep"``), and further windows without controls.
    answers
        The intact model's answers table; says which questions count as answered rightly, so that subsets are those of
        the other results. None: the sweep's own intact pass says it.
    details
        Where to write every question's numbers as well (parquet), one row per edge, intervention, window and question
        that has the edge; ``subset`` says which questions a question counts among. None: nowhere.
    heads, head_edges
        Where to write what single heads do (parquet), and the edges that are cut in one head of one block at a time:
        the columns of the table with ``head``, and ``first`` as the block.
    spared, moved
        See :func:`pidflow.interventions.probes.probes`: a span that random controls spare, and interventions of the
        configuration that are moved through the model; the table has their ids as edges.
    rule
        When what the model says counts as right (see :mod:`pidflow.models.answers`).
    answer_tokens
        Bound on the tokens of an answer, whose likelihood is followed; edges into the last position cost as much more
        as the answers are longer.
    seed
        Of the random control.
    instruction
        What the prompt asks for beside the question (see :func:`pidflow.models.prompts.prompt_of`).
    image_root
        Folder that relative image paths start from; default: the items table's folder.
    threads
        CPU threads for torch; None leaves torch's own choice.
    kept_check
        See :func:`pidflow.stages._checked.checked`.
    progress
        Show a progress bar; None: only on a terminal.

    Raises
    ------
    ConfigError, DataError, NumericsError
        With model and task in front.
    """
    job = {"items": items, "model": model, "model_id": model_id, "task": task, "threads": threads}
    job |= {"instruction": instruction, "image_root": image_root, "kept_check": kept_check}
    with asking(**job) as (questions, identity):
        loaded, table = questions.loaded, questions.table
        right = None if answers is None else _answered_rightly(Path(answers), table, identity)
        wanted = probes(
            [edge_of(edge) for edge in edges] if edges is not None else DEFAULT_EDGES,
            depth=loaded.depth,
            window=window,
            controls=controls,
            other_windows=other_windows,
            spared=spared,
            moved=moved,
            seed=seed,
        )
        of_heads = []
        if heads is not None:
            count = loaded.text_model.config.num_attention_heads
            of_heads = head_probes(map(edge_of, head_edges), depth=loaded.depth, heads=count)
        asked = answering(loaded, table, questions.examples, rule=rule, answer_tokens=answer_tokens)
        informing = _informing(questions, table, wanted, seed=seed)
        whole = _swept(questions, asked, [*wanted, *of_heads], informing, seed=seed, progress=progress)
        outcome = whole.of_probes(slice(0, len(wanted)))
        log_first(loaded, questions.examples, asked.expected, outcome.intact_spoken)
        _report_absent(wanted, outcome)
        images = list(table["image_id"])
        rows = summarise(wanted, outcome, images=images, right=right)
        identity = replace(identity, settings=store.digest_of([list(map(str, wanted)), rule, seed]))
        about = {"model": model_id, "task": task, "prompt": loaded.prompting.name} | {
            "prompt_digest": loaded.prompting.digest
        }
        kept = {"identity": identity, "about": {MODEL_CHECK: asdict(questions.check)}}
        summary = pd.DataFrame(rows).assign(**about)
        summary = summary[["model", "task", *rows[0], "prompt", "prompt_digest"]]
        store.write_table(output, summary, **kept)
        if heads is not None:
            rows = summarise(of_heads, whole.of_probes(slice(len(wanted), None)), images=images, right=right)
            each = pd.DataFrame(rows).assign(**about)
            store.write_table(heads, each[["model", "task", *rows[0], "prompt", "prompt_digest"]], **kept)
        if details is not None:
            each = _details(wanted, outcome, table, right=outcome.intact_right if right is None else right)
            each = each.assign(model=model_id, task=task)[["model", "task", *each.columns]]
            store.write_table(details, each, **kept)
    log.info(
        "%s, %s: %d interventions on %d questions, intact accuracy %.3f",
        model_id,
        task,
        len(wanted),
        len(table),
        outcome.intact_right.mean(),
    )


def _informing(questions: Questions, table: pd.DataFrame, wanted: Sequence[Probe], *, seed: int) -> Informing:
    """Tells what is moved through the model what it needs of other questions."""
    bases = dict.fromkeys(probe.base for probe in wanted if probe.base is not None)
    return Informing(questions, table, [[base] for base in bases], seed=seed)


def _swept(
    questions: Questions,
    asked: Answering,
    wanted: list[Probe],
    informing: Informing,
    *,
    seed: int,
    progress: bool | None,
) -> Outcome:
    """The outcome of every probe for every question, in the order of the questions."""

    def work(batch: Batch, rows: np.ndarray) -> Outcome:
        return measure(
            questions.loaded,
            batch,
            wanted,
            expected=[asked.expected[row] for row in rows],
            names=[questions.names[row] for row in rows],
            seed=seed,
            answer_tokens=asked.at_most,
            informed=dict(zip(bases, (plan[0] for plan in informing.plans_for(rows)), strict=True)),
        )

    bases = [plan[0] for plan in informing.plans]
    order, parts = [], []
    with progress_of(len(questions), shown=progress) as bar:
        for rows, part in questions.run(work, np.arange(len(questions))):
            order.append(rows)
            parts.append(part)
            bar.update(len(rows))
    return Outcome.joined(parts).take(np.argsort(np.concatenate(order)))


def _answered_rightly(path: Path, table: pd.DataFrame, identity: store.Identity) -> np.ndarray:
    expected = replace(identity, condition=INTACT)
    answers = store.read_table(path, columns=("item_id", "correct"), expected=expected).set_index("item_id")["correct"]
    missing = [item for item in table["item_id"] if item not in answers.index]
    if missing or len(answers) != len(table):
        raise DataError(
            f"{path}: has {len(answers)} answers, the items table {len(table)} items"
            + (f", of which '{missing[0]}' has none" if missing else "")
            + "; make both from the same items table"
        )
    return answers.loc[table["item_id"]].to_numpy(dtype=bool)


def _report_absent(wanted: Sequence[Probe], outcome: Outcome) -> None:
    """Questions that lack an edge's source or target are left out of it, and said; a sweep that has none left stops."""
    total = outcome.present.shape[1]
    present = {probe.edge: int(outcome.present[place].sum()) for place, probe in enumerate(wanted)}
    if not any(present.values()):
        raise DataError(
            f"nothing to cut: the source or target of {', '.join(map(str, present))} is empty in all {total} questions "
            "(options come from the items' 'options', objects from their 'boxes', in families that tell where image "
            "tokens lie in a picture)"
        )
    for edge, count in present.items():
        if count < total:
            log.warning(
                "%s: source or target is empty in %d of %d questions, which this edge leaves out",
                edge,
                total - count,
                total,
            )


def _details(wanted: Sequence[Probe], outcome: Outcome, table: pd.DataFrame, *, right: np.ndarray) -> pd.DataFrame:
    """One row per probe and question that has its edge."""
    questions = {name: table[name].to_numpy() for name in ("item_id", "image_id")}
    questions["subset"] = np.where(right, *SUBSETS[:2])
    questions |= {name: getattr(outcome, name) for name in _INTACT}
    frames = []
    for place, probe in enumerate(wanted):
        rows = np.flatnonzero(outcome.present[place])
        if not len(rows):
            continue
        probed = {"edge": str(probe.edge), "kind": probe.kind, "window": probe.window.size}
        probed |= {name: getattr(probe.window, name) for name in ("centre", "first", "last")}
        values = {name: getattr(outcome, name)[place, rows] for name in _CUT}
        frames.append(pd.DataFrame({name: each[rows] for name, each in questions.items()} | probed | values))
    return pd.concat(frames, ignore_index=True)
