"""Pairs of positions in a padded batch: which query may see which key, and where the two lie."""

from collections.abc import Mapping

import torch

from pidflow.errors import ConfigError
from pidflow.models.spans import Spans

NOTHING_LEFT = (
    "the interventions leave a position with nothing to attend to, not even itself; cut fewer sources from it"
)


def causal_pairs(spans: Spans, *, first: int = 0) -> torch.Tensor:
    """Boolean ``(B, T - first, T)``: real keys that come no later than the real query."""
    valid, length = spans.valid, spans.valid.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=valid.device).tril()[first:]
    return causal & valid[:, None, :] & valid[:, first:, None]


def check_causality(source: str, target: str, spans: Spans) -> None:
    """The target must not end before the source begins; rows without either are passed over."""
    sources, targets = spans[source], spans[target]
    begins = sources.int().argmax(1)
    ends = targets.shape[1] - 1 - targets.flip(1).int().argmax(1)
    if (sources.any(1) & targets.any(1) & (ends < begins)).any():
        raise ConfigError(
            f"cannot cut {source} -> {target}: '{target}' ends before '{source}' begins, and tokens "
            "attend only to earlier ones; swap source and target"
        )


def check_keeps_a_source(blocked: torch.Tensor, valid: torch.Tensor) -> None:
    """No real position may lose everything it attends to: blocked ``(B, Q, T)`` of the last Q positions."""
    queries, length = blocked.shape[1:]
    seen = torch.ones(length, length, dtype=torch.bool, device=valid.device).tril()[length - queries :]
    if ((seen & valid[:, None, :] & ~blocked).any(2) < valid[:, length - queries :]).any():
        raise ConfigError(NOTHING_LEFT)


def regions(spans: Spans) -> Mapping[str, torch.Tensor]:
    """The prompt in pieces that do not overlap and leave nothing out: boolean ``(B, T)`` each.

    ``before-image``, ``image``, ``question``, ``last``, ``other-text`` (the rest of the text after the image), and
    ``answer``: what the model has said so far.
    """
    image, question, answer = spans["image"], spans["question"], spans.spoken
    last = spans["last"] & ~answer
    after = spans["text"] & ~answer
    return {
        "before-image": spans.valid & ~image & ~after & ~answer,
        "image": image,
        "question": question & ~last,
        "other-text": after & ~question & ~last,
        "last": last,
        "answer": answer,
    }


def composition(pairs: torch.Tensor, spans: Spans) -> list[dict[str, int]]:
    """How many of each row's pairs ``(B, Q, T)`` run from which region to which, as ``{"image->question": 12}``."""
    places = regions(spans)
    queries = pairs.shape[1]
    keys = torch.stack(list(places.values()), 2).float()  # (B, T, regions)
    counts = keys[:, -queries:].transpose(1, 2) @ (pairs.float() @ keys) if queries else keys.new_zeros(len(keys), 0, 0)
    names = list(places)
    return [
        {f"{names[key]}->{names[query]}": int(row[query, key]) for query, key in row.nonzero().tolist()}
        for row in counts.round().cpu()
    ]
