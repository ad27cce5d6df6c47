"""Ten seconds of proof when a model is loaded: what it attends to, what its states and rows depend on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw

from pidflow.errors import NumericsError
from pidflow.interventions.block_calls import states_kept
from pidflow.interventions.conditions import earlier_states_stand, language_inputs
from pidflow.interventions.intervention import entered
from pidflow.interventions.pairs import causal_pairs
from pidflow.interventions.self_check import self_check
from pidflow.models.capture import capture
from pidflow.models.forward import run
from pidflow.models.inputs import Batch, Example, encode
from pidflow.models.loading import LoadedModel
from pidflow.models.painted import painted_boxes_move_their_tokens
from pidflow.models.readout import logit_lens

# Half precisions round each operation, and padding moves which of them are summed together.
_TOLERATED = 2**8

_SHAPES = ((320, 240), (170, 290))  # width and height in pixels
_ASKED = ("What is there?", "Is there something red on the left side of the picture?")
_PLACES = {
    "proven": "a painted box moves the image tokens that span 'object' marks",
    "assumed": "where image tokens lie is the family's word: more than attention mixes patches, so no box can prove it",
    "unknown": "image tokens show no known part of the picture: spans 'object' and 'other' are empty",
}


@dataclass(frozen=True)
class ModelCheck:
    """What :func:`check_model` found.

    Attributes
    ----------
    family, sees
        The family, and who sees whom beside what comes before (see :class:`pidflow.models.families._family.Family`).
    above
        Pairs of positions above the diagonal that some block leaves open, over the rows of the batch.
    prefix
        Whether states before the question are the same, to the bit, whatever is asked.
    earlier
        Whether no state depends on what comes after it (see
        :func:`pidflow.interventions.conditions.earlier_states_stand`).
    alone
        Largest difference of logits between a row of the padded batch and the same row without its padding.
    lens
        Largest difference between the lens at the last layer and the model's own probability.
    row_error, moved
        See :class:`pidflow.interventions.self_check.SelfCheck`.
    places
        ``proven``: painted boxes move the image tokens that span ``object`` marks (see
        :func:`pidflow.models.painted.painted_boxes_move_their_tokens`); ``assumed``, where that cannot be told;
        ``unknown``, where nobody knows what an image token shows.
    blocks
        ``full``, ``sliding`` or ``picture`` of each block: who attends to everything before it, to a part of that, to
        the picture itself.
    spans
        Per row what its spans say, decoded.
    """

    family: str
    sees: str
    above: int
    prefix: bool
    earlier: bool
    alone: float
    lens: float
    row_error: float
    moved: float
    places: str
    blocks: tuple[str, ...]
    spans: tuple[dict[str, str], ...]

    def lines(self) -> list[str]:
        """The findings, a sentence each."""
        kinds = {kind: self.blocks.count(kind) for kind in dict.fromkeys(self.blocks)}
        return [
            f"family {self.family}, {self.sees}: {self.above} pairs above the diagonal; blocks: "
            + ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
            f"states before the question {'do not depend' if self.prefix else 'depend'} on it, earlier states "
            f"{'do not depend' if self.earlier else 'depend'} on later ones",
            f"a row alone equals the row in a padded batch within {self.alone:.1e}",
            f"the lens at the last layer equals the logits within {self.lens:.1e}",
            f"attention rows sum to 1 within {self.row_error:.1e}; cutting image -> question moves the logits by "
            f"{self.moved:.1e}",
            _PLACES[self.places],
        ]


def own_questions(loaded: LoadedModel) -> list[Batch]:
    """Questions of different lengths about drawn pictures of different shapes: together, so padded, then each alone."""
    pictures = []
    for width, height in _SHAPES:
        picture = Image.new("RGB", (width, height), (90, 120, 100))
        drawn = ImageDraw.Draw(picture)
        drawn.rectangle([width // 8, height // 8, width // 2, height // 2], fill=(250, 10, 30))
        drawn.ellipse([width // 2, height // 2, width - 1, height - 1], fill=(20, 40, 240))
        pictures.append(picture)
    asked = [Example(text, name=f"question {place} of the self-check") for place, text in enumerate(_ASKED)]
    parts = [slice(None), *(slice(place, place + 1) for place in range(len(asked)))]
    return [encode(loaded, asked[part], pictures[part]).to(loaded) for part in parts]


def check_model(loaded: LoadedModel, batch: Batch, alone: Sequence[Batch] = ()) -> ModelCheck:
    """Prove on a small batch what everything else relies on.

    Parameters
    ----------
    alone
        Its questions, each prepared by itself; none: rows of the batch, their padding cut off.

    Raises
    ------
    NumericsError
        If knockout fails its self-check, the model lets other positions see what comes later than its family says, a
        row depends on its padding, the lens is not the model's own unembedding, or a painted box moves other image
        tokens than its family says.
    """
    knockout = self_check(loaded, batch)
    seen, blocks = _seen(loaded, batch)
    valid = batch.spans.valid
    above = torch.ones_like(seen[0]).triu(1) & seen & valid[:, None] & valid[:, :, None]
    if (above & ~causal_pairs(batch.spans)).any():
        raise NumericsError(
            f"family '{loaded.family.name}' says that attention is '{loaded.sees}', but {int(above.sum())} pairs above "
            "the diagonal are open in this model; cuts would miss them: the family's file is wrong for it"
        )
    tolerated = max(1e-4, _TOLERATED * loaded.eps)
    with entered(loaded, (), batch.spans):
        found = capture(loaded, batch)
    scale = max(1.0, float(found.logits.abs().max()))
    apart = _apart(loaded, batch, alone or [batch.alone(row) for row in range(len(batch))])
    if not apart <= tolerated * scale:
        raise NumericsError(
            f"a row of a padded batch has other logits than the row alone, by {apart:.3g}; positions, masks or "
            "pictures of this model do not leave padding out"
        )
    ids = found.logits.argmax(-1)
    own = found.logits.softmax(-1).gather(1, ids[:, None])[:, 0]
    lens = float((logit_lens(loaded, found.last, ids)[:, -1] - own).abs().max())
    if not lens <= tolerated:
        raise NumericsError(
            f"the lens at the last layer differs from the model's own probability by {lens:.3g}; what the family "
            f"'{loaded.family.name}' does to its logits is not all that this model does"
        )
    return ModelCheck(
        family=loaded.family.name,
        sees=loaded.sees,
        above=int(above.sum()),
        prefix=_prefix_stands(loaded, batch),
        earlier=earlier_states_stand(loaded, batch),
        alone=apart,
        lens=lens,
        row_error=knockout.row_error,
        moved=knockout.moved,
        places=_places(loaded),
        blocks=blocks,
        spans=tuple(_decoded(loaded, batch, row) for row in range(len(batch))),
    )


def _places(loaded: LoadedModel) -> str:
    if not loaded.places:
        return "unknown"
    return "proven" if painted_boxes_move_their_tokens(loaded) else "assumed"


def _seen(loaded: LoadedModel, batch: Batch) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Boolean ``(B, T, T)``: pairs that some block leaves open; and what kind each block is."""
    rows, length = batch.spans.valid.shape
    device = batch.spans.valid.device
    total = torch.zeros(rows, length, length, dtype=torch.bool, device=device)
    kinds = ["none"] * loaded.depth
    with torch.inference_mode(), entered(loaded, (), batch.spans), states_kept(loaded, length, 0) as kept:
        run(loaded, batch.inputs)
    causal = causal_pairs(batch.spans)
    for block, masks in enumerate(kept.masks):
        if not masks:
            continue
        if kept.across[block]:
            kinds[block] = "picture"
            continue
        seen = kept.open_pairs(block, 0, length, rows, device)
        kinds[block] = "full" if (seen | ~causal | _above(causal)).all() else "sliding"
        total |= seen
    return total, tuple(kinds)


def _above(pairs: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(pairs[0]).triu(1)


def _apart(loaded: LoadedModel, batch: Batch, alone: Sequence[Batch]) -> float:
    """Largest difference of logits between the rows of a batch and the same questions alone."""
    worst = 0.0
    with torch.inference_mode(), entered(loaded, (), batch.spans):
        together = run(loaded, batch.inputs)[:, -1].float()
    for row, single in enumerate(alone):
        with torch.inference_mode(), entered(loaded, (), single.spans):
            logits = run(loaded, single.inputs)[:, -1].float()
        worst = max(worst, float((logits[0] - together[row]).abs().max()))
    return worst


def _prefix_stands(loaded: LoadedModel, batch: Batch) -> bool:
    """Whether states before the question stay, to the bit, when the question's first token is another."""
    length = batch.spans.valid.shape[1]
    places = batch.spans["question"].int().argmax(1)
    with entered(loaded, (), batch.spans), language_inputs(loaded) as fed, states_kept(loaded, length, 0) as kept:
        capture(loaded, batch)
    with torch.inference_mode(), entered(loaded, (), batch.spans), states_kept(loaded, length, 0) as again:
        loaded.text_model(**fed.changed_at(loaded, places))
    before = torch.arange(length, device=places.device)[None] < places[:, None]
    layers = zip(kept.states, again.states, strict=True)
    return all(torch.equal(one[0][before], other[0][before]) for one, other in layers)


def _decoded(loaded: LoadedModel, batch: Batch, row: int) -> dict[str, str]:
    ids = batch.inputs["input_ids"][row]
    return {
        name: loaded.tokenizer.decode(ids[mask[row]]) if "image" not in name else f"{int(mask[row].sum())} tokens"
        for name, mask in batch.spans.masks.items()
        if mask[row].any()
    }
