"""What cutting an edge in a window of blocks does to a model's answers: all edges, windows and controls on one pass.

For each probe (an edge, an intervention, a window) and each question: how the probability of the model's own answer
changes, what the model says instead and whether that is right, and how far the distribution of its first token moves.
The first token is the first one that is not blank ("▁" stands before a number in Llama 2's tokens).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pidflow.errors import NumericsError
from pidflow.interventions.edges import Edge, Moved
from pidflow.interventions.heard import Answers
from pidflow.interventions.intervention import Intervention, Reach, reach_of, recomputable, summed_pairs
from pidflow.interventions.prefix import Prefix, read_prefix
from pidflow.interventions.probes import Probe
from pidflow.interventions.recompute import TOKENS_AT_ONCE, full_pass, recompute
from pidflow.models.answers import Expected
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.names import weakest
from pidflow.stats import clustered_mean

SUBSETS = ("right", "wrong", "all")


@dataclass(frozen=True)
class Outcome:
    """What P probes do to n questions.

    Attributes
    ----------
    present
        Boolean ``(P, n)``: there was something to cut; a question may lack a span, or leave no room for a control.
        Other entries mean nothing.
    control
        ``(P, n)``: how a random control matches the edge, one of :data:`pidflow.interventions.draws.CONTROLS`; None of
        other kinds.
    pairs
        ``(P, n)``: JSON of the pairs of positions that lose each other in a block, by ``source->target`` among the
        regions of :func:`pidflow.interventions.pairs.regions`.
    change_first, change_answer
        ``(P, n)``: relative change ``p_cut / p - 1`` of the probability of the model's own first answer token, and of
        its whole own answer (the product over its tokens, the ending token included).
    spoken
        ``(P, n)``: what the model says under the cut, up to the token after which it can no longer be right.
    right, right_published
        Boolean ``(P, n)``: whether that is the right answer, by the rule in use and by the published one.
    kl_bits
        ``(P, n)``: divergence in bits of the first token's intact distribution from that under the cut.
    intact_first, intact_answer, intact_spoken, intact_right, intact_right_published
        ``(n,)``: both probabilities, the answer and whether it is right, without any cut.
    """

    present: np.ndarray
    control: np.ndarray
    pairs: np.ndarray
    change_first: np.ndarray
    change_answer: np.ndarray
    spoken: np.ndarray
    right: np.ndarray
    right_published: np.ndarray
    kl_bits: np.ndarray
    intact_first: np.ndarray
    intact_answer: np.ndarray
    intact_spoken: np.ndarray
    intact_right: np.ndarray
    intact_right_published: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["Outcome"]) -> "Outcome":
        """The outcomes of several batches, one after the other."""
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts], -1) for name in cls.__annotations__})

    def of_probes(self, places: slice) -> "Outcome":
        """The outcome of some of the probes."""
        values = {name: getattr(self, name) for name in self.__annotations__}
        return Outcome(**{name: each[places] if each.ndim > 1 else each for name, each in values.items()})

    def take(self, order: np.ndarray) -> "Outcome":
        """Some of the questions, in a given order."""
        return Outcome(**{name: getattr(self, name)[..., order] for name in self.__annotations__})


def measure(
    loaded: LoadedModel,
    batch: Batch,
    wanted: Sequence[Probe],
    *,
    expected: Sequence[Expected],
    names: Sequence[str],
    seed: int = 0,
    answer_tokens: int = 8,
    tokens_at_once: int = TOKENS_AT_ONCE,
    informed: Mapping[Intervention, Intervention] | None = None,
) -> Outcome:
    """All probes on one batch of B questions.

    Parameters
    ----------
    batch
        On the model's device.
    wanted
        From :func:`pidflow.interventions.probes.probes`.
    expected
        Per question what its answer is held against.
    names
        Per question its id, which its random edges are drawn for.
    seed
        Of the random control.
    answer_tokens
        Largest length of the model's own answer.
    tokens_at_once
        Bounds memory; another number rounds differently.
    informed
        Interventions of the configuration that had to be told something of other questions, told.

    Raises
    ------
    ConfigError
        If a span is unknown or an edge runs against causality.
    NumericsError
        If logits are not finite.
    """
    plans = [(probe.intervention(seed=seed, informed=informed),) for probe in wanted]
    cached = [plan for plan in plans if recomputable(plan)]
    prefix = read_prefix(loaded, batch, cached, names=names, answer_tokens=answer_tokens)
    answers = Answers(loaded, prefix, expected)
    intact, found = _read(prefix, prefix.logits[None], answers), {}
    for which, logits in _logits(loaded, prefix, plans, names, tokens_at_once):
        answers.hear(which, logits.argmax(-1))
        for name, values in _read(prefix, logits, answers).items():
            found.setdefault(name, np.empty((len(plans), len(batch))))[which] = values
    heard = answers.finished(batch, plans, names=names, at_most=answer_tokens)
    return Outcome(
        **_reached(wanted, plans, batch, names),
        change_first=np.expm1(found["first"] - intact["first"]),
        change_answer=np.expm1(found["answer"] - intact["answer"]),
        spoken=heard.spoken,
        right=heard.right,
        right_published=heard.right_published,
        kl_bits=found["kl"] / np.log(2),
        intact_first=np.exp(intact["first"][0]),
        intact_answer=np.exp(intact["answer"][0]),
        intact_spoken=answers.intact.spoken,
        intact_right=answers.intact.right,
        intact_right_published=answers.intact.right_published,
    )


def _read(prefix: Prefix, logits: torch.Tensor, answers: Answers) -> dict[str, np.ndarray]:
    """Per variant and question of logits ``(k, B, m, V)``: log-probabilities of first token and answer, KL in nats."""
    if not torch.isfinite(logits).all():
        raise NumericsError("the sweep's logits hold NaN or infinity; set the model's dtype to bfloat16 or float32")
    rows = torch.arange(len(answers.first), device=logits.device)
    scores = logits.log_softmax(-1)
    own = scores.gather(-1, prefix.answer_ids.expand(len(logits), -1, -1)[..., None])[..., 0]
    intact = prefix.logits[rows, answers.first].log_softmax(-1)
    found = {
        "first": own[:, rows, answers.first],
        "answer": (own * prefix.answer_mask).sum(-1),
        "kl": (intact.exp() * (intact - scores[:, rows, answers.first])).sum(-1).clamp(min=0),
    }
    return {name: values.double().cpu().numpy() for name, values in found.items()}


def _logits(
    loaded: LoadedModel,
    prefix: Prefix,
    plans: Sequence[tuple[Intervention, ...]],
    names: Sequence[str],
    tokens_at_once: int,
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Places of plans and their logits ``(k, B, m, V)``: from the prefix where that is exact, else by full passes."""
    cached = [place for place, plan in enumerate(plans) if recomputable(plan)]
    chosen = [plans[place] for place in cached]
    for found in recompute(loaded, prefix, chosen, names=names, tokens_at_once=tokens_at_once):
        yield [cached[place] for place in found.which], found.logits
    for place in sorted(set(range(len(plans))) - set(cached)):
        yield [place], full_pass(loaded, prefix, plans[place], names=names)[None]


def _reached(
    wanted: Sequence[Probe], plans: Sequence[tuple[Intervention, ...]], batch: Batch, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """What each probe reaches in each question; the window makes no difference.

    A question counts for an edge where every kind of intervention on it has something to take, so that kinds compare.
    """
    known: dict[tuple[Edge | Moved, str], list[Reach]] = {}
    for probe, plan in zip(wanted, plans, strict=True):
        if (probe.edge, probe.kind) not in known:
            known[probe.edge, probe.kind] = reach_of(plan, batch.spans, names)
    present = {edge: np.ones(len(batch), dtype=bool) for edge, _ in known}
    for (edge, _), reach in known.items():
        present[edge] &= [each.changed for each in reach]
    found = [known[probe.edge, probe.kind] for probe in wanted]
    shape = (len(wanted), len(batch))
    return {
        "present": np.stack([present[probe.edge] for probe in wanted]),
        "control": np.array([[each.control for each in row] for row in found], dtype=object).reshape(shape),
        "pairs": np.array([[json.dumps(each.pairs) for each in row] for row in found], dtype=object).reshape(shape),
    }


def summarise(
    wanted: Sequence[Probe], outcome: Outcome, *, images: Sequence[str], right: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """One row per probe and subset of questions: means, and standard errors over images.

    Parameters
    ----------
    wanted, outcome
        The probes, and what they did to n questions.
    images
        The picture of each question: questions about one picture are not independent.
    right
        Boolean ``(n,)``: which questions the intact model answers rightly; default: ``outcome.intact_right``.

    Returns
    -------
    Rows with ``edge, source, target, kind, control, window, centre, first, last, subset, n, images, pairs`` and, each
    with its ``…_se``: ``change_first, change_answer, accuracy, accuracy_change, kl_bits``; NaN where the subset is
    empty. ``control`` is the least matched of the questions, ``pairs`` (JSON) is summed over them.
    """
    right = outcome.intact_right if right is None else np.asarray(right, dtype=bool)
    clusters = np.unique(np.asarray(images), return_inverse=True)[1]
    metrics: Mapping[str, np.ndarray] = {
        "change_first": outcome.change_first,
        "change_answer": outcome.change_answer,
        "accuracy": outcome.right.astype(float),
        "accuracy_change": outcome.right.astype(float) - outcome.intact_right,
        "kl_bits": outcome.kl_bits,
    }
    subsets = {"right": right, "wrong": ~right, "all": np.ones_like(right)}
    rows = []
    for place, probe in enumerate(wanted):
        window = probe.window
        for subset, members in subsets.items():
            chosen = members & outcome.present[place]
            row = {
                "edge": str(probe.edge),
                "source": probe.edge.source,
                "target": probe.edge.target,
                "kind": probe.kind,
                "control": weakest([each for each in outcome.control[place, chosen] if each is not None]),
                "window": window.size,
                "centre": window.centre,
                "first": window.first,
                "last": window.last,
                **({} if probe.head is None else {"head": probe.head}),
                "subset": subset,
                "n": int(chosen.sum()),
                "images": len(np.unique(clusters[chosen])),
                "pairs": summed_pairs(outcome.pairs[place, chosen]),
            }
            for name, values in metrics.items():
                found = clustered_mean(values[place, chosen], clusters[chosen]) if chosen.any() else None
                row[name] = found.value if found else np.nan
                row[f"{name}_se"] = found.se if found else np.nan
            rows.append(row)
    return rows
