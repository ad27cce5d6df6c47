"""Stage ``extract_activations``: hidden states and answers of one model on one task under one condition.

All conditions of a model and a task share its weights, its pictures and its intact pass. So the job of the intact
condition runs the others of the run along with it and leaves their results waiting beside its own, each under a name
that holds everything it was made from. The job of such a condition then only takes them, and imports nothing that is
slow. A condition that was added later, or whose settings changed, finds nothing waiting and is run by itself.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pidflow.files import store
from pidflow.names import INTACT
from pidflow.stages._waiting import clear, place, take

log = logging.getLogger(__name__)


def run(
    *,
    items: str,
    answers: str | None = None,
    activations: str | None = None,
    shard: str | None = None,
    part: Sequence[int] = (0, 1),
    shards: Sequence[str] = (),
    condition: str,
    intervention: Mapping[str, Any] | None = None,
    key: Any = None,
    along: Mapping[str, Mapping[str, Any]] | None = None,
    model_id: str,
    task: str,
    **settings: Any,
) -> None:
    """Take the results that wait for this condition, or run the model over the items and write them.

    Parameters
    ----------
    items
        Items table.
    answers, activations
        The condition's results; without the second, answers are all that is wanted.
    shard, part
        A folder for the work on one part of so many of the questions, in place of results: ``(0, 4)`` is the first.
    shards
        Such folders of all parts, of which the results are made then.
    condition, intervention
        Its name and its entry in the configuration, None for the intact model.
    key
        Everything but the items that the results depend on, as plain values.
    along
        Conditions to run along, by name: ``intervention``, ``key`` and ``states``, whether their states are wanted.
    model_id, task, settings
        Names, and the other arguments of :func:`pidflow.stages._extraction.run`, whose errors these are too.
    """
    made_from = store.checksum_of(items)
    if shard is not None:  # its places are never used
        answers, activations = f"{shard}/{condition}.parquet", f"{shard}/{condition}.h5"
    results = {"answers": answers} | ({} if activations is None else {"activations": activations})
    waiting = _waiting(answers, condition, [key, made_from], states=activations is not None)
    if take({waiting[kind]: results[kind] for kind in sorted(results)}):  # states first: answers may pass for a whole
        log.info("%s, %s, %s: was run along with the intact model, results taken from there", model_id, task, condition)
        return
    from pidflow.stages import _extraction  # seconds of imports

    conditions = {condition: {"intervention": intervention} | results}
    if condition == INTACT and shard is None:
        clear(answers)  # what waits is another run's of this job, perhaps for conditions that were given up
    for name, each in (along or {}).items():
        conditions[name] = {"intervention": each["intervention"]} | {
            kind: str(path)
            for kind, path in _waiting(answers, name, [each["key"], made_from], states=each["states"]).items()
        }
    same = {"items": items, "conditions": conditions, "model_id": model_id, "task": task}
    same["made_from"] = None if key is None else [key, {name: each["key"] for name, each in (along or {}).items()}]
    if shards:
        _extraction.join(shards, **same)
        return
    _extraction.run(**same, **settings, shard=shard, part=tuple(part))


def _waiting(answers: str, condition: str, made_from: Any, *, states: bool) -> dict[str, Path]:
    """Where results of a condition wait, beside the answers of another, under a digest of what they are made from."""
    where = place(Path(answers).with_name(f"{condition}.parquet"), made_from)
    return {"answers": where} | ({"activations": where.with_suffix(".h5")} if states else {})
