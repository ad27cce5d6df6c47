"""Pairs of positions in a padded batch: which query may see which key, and where the two lie."""

from collections.abc import Mapping

import torch

from pidflow.errors import ConfigError
from pidflow.models.spans import Spans

NOTHING_LEFT = (
    "the interventions leave a position with nothing to attend to, not even itself; cut fewer sources from it"
)


def causal_pairs(spans: Spans, *, first: int = 0) -> torch.Tensor:
    """Boolean ``(B, T - first, T)``: real keys that the real query may see: none later, or of its own mutual group."""
    valid, length = spans.valid, spans.valid.shape[1]
    seen = torch.ones(length, length, dtype=torch.bool, device=valid.device).tril()[first:]
    if spans.mutual is not None and spans.mutual.any():
        groups = spans.mutual
        seen = seen | ((groups[:, first:, None] == groups[:, None]) & (groups[:, first:, None] != 0))
    return seen & valid[:, None, :] & valid[:, first:, None]


def first_dependent(spans: Spans, start: int) -> int:
    """The first position whose state depends on positions from `start` on, in any row; `start` if none earlier does."""
    groups = spans.mutual
    if groups is None or not groups[:, start:].any():
        return start
    earlier, later = groups[:, :start], groups[:, start:]
    bound = ((earlier[:, :, None] == later[:, None]) & (earlier[:, :, None] != 0)).any(2).any(0)
    return int(bound.int().argmax()) if bound.any() else start


def check_causality(source: str, target: str, spans: Spans) -> None:
    """Some target position must see some source position; rows without either are passed over."""
    sources, targets = spans[source], spans[target]
    pairs = causal_pairs(spans) & targets[:, :, None] & sources[:, None, :]
    if (sources.any(1) & targets.any(1) & ~pairs.flatten(1).any(1)).any():
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


def unseen_of_picture(pairs: torch.Tensor, image: torch.Tensor, lost: torch.Tensor | None) -> torch.Tensor:
    """Boolean ``(B, Q, K)``, or ``(B, Q, 1)`` for all K alike: keys of the picture that are lost in cross-attention.

    Parameters
    ----------
    pairs
        ``(B, Q, T)``: who loses a token that stands for the picture loses the picture.
    image
        ``(B, T)``: those tokens.
    lost
        ``(B, Q, K)``: keys that are lost beside; None: none.
    """
    blind = (pairs & image[:, None]).any(2, keepdim=True)
    return blind if lost is None else blind | lost


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


def patch_composition(lost: torch.Tensor, spans: Spans) -> list[dict[str, int]]:
    """The same of keys of the picture ``(B, Q, K)``, which count as ``image``."""
    counts, places = lost.sum(2), regions(spans)
    found = {name: (counts * region[:, -counts.shape[1] :]).sum(1).tolist() for name, region in places.items()}
    return [{f"image->{name}": count[row] for name, count in found.items() if count[row]} for row in range(len(counts))]
