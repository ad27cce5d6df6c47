"""What cutting an edge in a window of blocks does to a model's answers: all edges, windows and controls on one pass.

For each probe (an edge, an intervention, a window) and each question: how the probability of the model's own answer
changes, whether it is still right, and how far the distribution of its first token moves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pidflow.errors import ConfigError, NumericsError
from pidflow.interventions.edges import CUT, KINDS, RANDOM, Edge
from pidflow.interventions.knockout import Cut, Plan, cut_rows
from pidflow.interventions.prefix_cache import TOKENS_AT_ONCE, Prefix, read_prefix, recompute
from pidflow.interventions.windows import Window, windows
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.stats import clustered_mean

SUBSETS = ("right", "wrong", "all")


@dataclass(frozen=True)
class Probe:
    """One intervention in one window of blocks; ``kind`` is ``"cut"``, ``"keep"`` or ``"random"``."""

    edge: Edge
    kind: str
    window: Window

    def plan(self, *, seed: int) -> Plan:
        """The plan that carries it out; ``seed`` is that of random edges."""
        return Plan(
            (Cut(self.edge.source, self.edge.target, self.window.blocks, kind=self.kind, seed=self._seed(seed)),)
        )

    def _seed(self, seed: int) -> int:
        return seed if self.kind == RANDOM else 0


def probes(
    edges: Iterable[Edge],
    *,
    depth: int,
    window: int | str | Sequence[int] = 9,
    controls: Iterable[str] = (),
    other_windows: Iterable[int | str | Sequence[int]] = (),
) -> list[Probe]:
    """Everything that one sweep measures.

    Parameters
    ----------
    edges
        Each is cut in every window.
    depth
        Blocks of the model.
    window
        The windows the sweep is about (see :func:`pidflow.interventions.windows.windows`).
    controls
        ``"random"``, ``"keep"`` or both: run beside every cut of ``window``.
    other_windows
        Further windows in which edges are cut, without controls, to see how much the window's size matters.
    """
    edges, controls = list(dict.fromkeys(edges)), list(dict.fromkeys(controls))
    if not edges:
        raise ConfigError("a sweep needs at least one edge")
    if unknown := set(controls) - (set(KINDS) - {CUT}):
        raise ConfigError(f"unknown control '{min(unknown)}', expected {', '.join(k for k in KINDS if k != CUT)}")
    found = [
        Probe(edge, kind, each) for edge in edges for kind in (CUT, *controls) for each in windows(window, depth=depth)
    ]
    for wanted in other_windows:
        found += [Probe(edge, CUT, each) for edge in edges for each in windows(wanted, depth=depth)]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Outcome:
    """What P probes do to n questions.

    Attributes
    ----------
    present
        Boolean ``(P, n)``: the question has both spans, so there was something to cut. Other entries mean nothing.
    change_first, change_answer
        ``(P, n)``: relative change ``p_cut / p - 1`` of the probability of the model's own first answer token, and of
        its whole own answer (the product over its tokens, the ending token included).
    right
        Boolean ``(P, n)``: the most likely first token still begins the gold answer.
    kl_bits
        ``(P, n)``: divergence in bits of the first token's intact distribution from that under the cut.
    intact_first, intact_answer, intact_right
        ``(n,)``: both probabilities and correctness without any cut.
    """

    present: np.ndarray
    change_first: np.ndarray
    change_answer: np.ndarray
    right: np.ndarray
    kl_bits: np.ndarray
    intact_first: np.ndarray
    intact_answer: np.ndarray
    intact_right: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["Outcome"]) -> "Outcome":
        """The outcomes of several batches, one after the other."""
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts], -1) for name in cls.__annotations__})

    def take(self, order: np.ndarray) -> "Outcome":
        """Some of the questions, in a given order."""
        return Outcome(**{name: getattr(self, name)[..., order] for name in self.__annotations__})


def measure(
    loaded: LoadedModel,
    batch: Batch,
    wanted: Sequence[Probe],
    *,
    begins: Sequence[Sequence[int]],
    names: Sequence[str],
    seed: int = 0,
    answer_tokens: int = 4,
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> Outcome:
    """All probes on one batch of B questions.

    Parameters
    ----------
    batch
        On the model's device.
    wanted
        From :func:`probes`.
    begins
        Per question the token ids that begin its gold answer (:func:`pidflow.models.readout.answer_tokens`).
    names
        Per question its id, which its random edges are drawn for.
    seed
        Of the random control.
    answer_tokens
        Largest length of the model's own answer.
    tokens_at_once
        Bounds memory; does not affect results.

    Raises
    ------
    ConfigError
        If a span is unknown or an edge runs against causality.
    NumericsError
        If logits are not finite.
    """
    plans = [probe.plan(seed=seed) for probe in wanted]
    prefix = read_prefix(loaded, batch, plans, answer_tokens=answer_tokens)
    gold = torch.zeros(len(batch), prefix.logits.shape[-1], dtype=torch.bool, device=prefix.logits.device)
    for row, ids in enumerate(begins):
        gold[row, list(ids)] = True
    reader = _Reader(prefix, gold)
    intact = reader.read(prefix.logits[None])
    found = {name: np.empty((len(plans), len(batch)), dtype=values.dtype) for name, values in intact.items()}
    for which, logits in recompute(loaded, prefix, plans, names=names, tokens_at_once=tokens_at_once):
        for name, values in reader.read(logits).items():
            found[name][which] = values
    return Outcome(
        present=_present(plans, batch),
        change_first=np.expm1(found["first"] - intact["first"]),
        change_answer=np.expm1(found["answer"] - intact["answer"]),
        right=found["right"],
        kl_bits=found["kl"] / np.log(2),
        intact_first=np.exp(intact["first"][0]),
        intact_answer=np.exp(intact["answer"][0]),
        intact_right=intact["right"][0],
    )


class _Reader:
    """Reads what the tables hold off the logits ``(k, B, m, V)`` of k variants."""

    def __init__(self, prefix: Prefix, gold: torch.Tensor) -> None:
        self.ids, self.real, self.gold = prefix.answer_ids, prefix.answer_mask, gold
        self.intact = prefix.logits[:, 0].log_softmax(-1)

    def read(self, logits: torch.Tensor) -> dict[str, np.ndarray]:
        """Per variant and question: log-probabilities of first token and answer, correctness, divergence in nats."""
        if not torch.isfinite(logits).all():
            raise NumericsError("the sweep's logits hold NaN or infinity; set the model's dtype to bfloat16 or float32")
        scores = logits.log_softmax(-1)
        own = scores.gather(-1, self.ids.expand(len(logits), -1, -1)[..., None])[..., 0]
        best = scores[:, :, 0].argmax(-1)
        found = {
            "first": own[..., 0],
            "answer": (own * self.real).sum(-1),
            "right": self.gold.expand(len(logits), -1, -1).gather(-1, best[..., None])[..., 0],
            "kl": (self.intact.exp() * (self.intact - scores[:, :, 0])).sum(-1).clamp(min=0),
        }
        return {
            name: values.double().cpu().numpy() if name != "right" else values.cpu().numpy()
            for name, values in found.items()
        }


def _present(plans: Sequence[Plan], batch: Batch) -> np.ndarray:
    """Which questions have something to cut, per plan."""
    known: dict[tuple[str, str], np.ndarray] = {}
    for plan in plans:
        (cut,) = plan.cuts
        if (cut.source, cut.target) not in known:
            known[cut.source, cut.target] = cut_rows(plan, batch.spans).cpu().numpy()
    return np.stack([known[plan.cuts[0].source, plan.cuts[0].target] for plan in plans])


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
    Rows with ``edge, source, target, kind, window, centre, first, last, subset, n, images`` and, each with its
    ``…_se``: ``change_first, change_answer, accuracy, accuracy_change, kl_bits``; NaN where the subset is empty.
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
                "window": window.size,
                "centre": window.centre,
                "first": window.first,
                "last": window.last,
                "subset": subset,
                "n": int(chosen.sum()),
                "images": len(np.unique(clusters[chosen])),
            }
            for name, values in metrics.items():
                found = clustered_mean(values[place, chosen], clusters[chosen]) if chosen.any() else None
                row[name] = found.value if found else np.nan
                row[f"{name}_se"] = found.se if found else np.nan
            rows.append(row)
    return rows
