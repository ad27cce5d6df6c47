"""Many conditions of one batch for little more than one pass: pictures are seen once, the intact pass is shared.

What only takes edges away after the picture is computed again from the prefix that the intact pass left
(:mod:`pidflow.interventions.recompute`): its earlier states are the intact ones, and it costs a few positions. Anything
else is a full pass of the language model over the inputs that it got, vision features included.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from pidflow.interventions.block_calls import states_kept
from pidflow.interventions.intervention import Intervention, entered, recomputable
from pidflow.interventions.prefix import (
    Prefix,
    first_changed,
    prefix_of,
    said_first,
)
from pidflow.interventions.recompute import recompute
from pidflow.interventions.recomputed import Recomputed
from pidflow.models.capture import Captured, capturing, pools_of
from pidflow.models.entry import language_arguments
from pidflow.models.forward import run
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel

# A recomputation of more of the prompt than this saves little, and keeps the states of so many positions meanwhile.
_LARGEST_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Pass:
    """What one condition makes of a batch.

    Attributes
    ----------
    condition
        Its place among those asked for.
    captured
        Pooled states of all layers, final state, logits.
    cache
        Keys and values of the prompt, from which the answer can be spoken.
    """

    condition: int
    captured: Captured
    cache: DynamicCache


def passes(
    loaded: LoadedModel,
    batch: Batch,
    conditions: Sequence[Sequence[Intervention]],
    *,
    names: Sequence[str] = (),
    prefix_stands: bool = True,
) -> Iterator[Pass]:
    """Every condition of a batch, one after the other, equal to a full pass under each.

    Parameters
    ----------
    batch
        On the model's device.
    conditions
        Each some interventions entered together; none is the intact model.
    names
        Ids of the questions, which random parts of interventions depend on.
    prefix_stands
        What :func:`earlier_states_stand` says of the model; without it every condition is a full pass.

    Raises
    ------
    ConfigError
        If a span or block does not exist, an edge runs against causality, or a position would be left with nothing to
        attend to.
    """
    length = batch.spans.valid.shape[1]
    firsts = {place: _cheap_from(each, batch, names) for place, each in enumerate(conditions) if prefix_stands}
    shared = [place for place, first in firsts.items() if first is not None]
    fed = None
    if shared or not all(conditions):
        start = min((firsts[place] for place in shared), default=length)
        intact, prefix, cache, fed = _intact_pass(loaded, batch, start)
    for place, each in enumerate(conditions):
        if not each:
            yield Pass(place, intact, cache)  # what grows in it takes new places; the prefix keeps the old
        elif place not in shared:
            with language_inputs(loaded) as newly_fed:
                found = _full_pass(loaded, batch, fed, place, each, names)
            fed = fed or newly_fed
            yield found
    chosen = [conditions[place] for place in shared]
    again = recompute(loaded, prefix, chosen, names=names, pools=pools_of(batch), keep_cache=True) if chosen else ()
    for part in again:
        for index, place in enumerate(part.which):
            yield _from_prefix(prefix, intact, part, index, shared[place])


def _intact_pass(
    loaded: LoadedModel, batch: Batch, start: int
) -> tuple[Captured, Prefix, DynamicCache, "LanguageInputs"]:
    length, cache = batch.spans.valid.shape[1], DynamicCache()
    with (
        torch.inference_mode(),
        entered(loaded, (), batch.spans),
        language_inputs(loaded) as fed,
        states_kept(loaded, length, start) as kept,
        capturing(loaded, batch) as found,
    ):
        logits = run(loaded, batch.inputs, cache=cache)[:, -1]
    intact = found.captured(logits)
    return intact, prefix_of(said_first(batch, intact.logits), cache, kept, start), cache, fed


def earlier_states_stand(loaded: LoadedModel, batch: Batch) -> bool:
    """Whether no state depends on what comes after it, found by changing what comes after.

    The last input and the last image token's input are changed in turn; every state before each must stay as it was,
    to the bit. In some families image tokens, or the whole prompt, see each other both ways.
    """
    length = batch.spans.valid.shape[1]
    last_image = length - 1 - batch.spans["image"].int().flip(1).argmax(1)
    with (
        torch.inference_mode(),
        entered(loaded, (), batch.spans),
        language_inputs(loaded) as fed,
        states_kept(loaded, length, 0) as kept,
    ):
        run(loaded, batch.inputs)
    for places in (torch.full_like(last_image, length - 1), last_image):
        with torch.inference_mode(), entered(loaded, (), batch.spans), states_kept(loaded, length, 0) as again:
            loaded.text_model(**fed.changed_at(loaded, places))
        before = torch.arange(length, device=places.device)[None] < places[:, None]
        if not all(
            torch.equal(one[0][before], other[0][before]) for one, other in zip(kept.states, again.states, strict=True)
        ):
            return False
    return True


@dataclass
class LanguageInputs:
    """Keyword arguments that the language model was called with."""

    arguments: Mapping[str, Any]

    def changed_at(self, loaded: LoadedModel, places: torch.Tensor) -> dict[str, Any]:
        """The same with another input at one position a row, ``(B,)``."""
        given = self.arguments.get("inputs_embeds")
        if given is None:
            given = loaded.model.get_input_embeddings()(self.arguments["input_ids"])
        given = given.to(places.device)
        rows, changed = torch.arange(len(places), device=places.device), given.clone()
        changed[rows, places] = changed[rows, places].flip(-1) + 1
        return dict(self.arguments) | {"input_ids": None, "inputs_embeds": changed, "use_cache": False}


@contextmanager
def language_inputs(loaded: LoadedModel) -> Iterator[LanguageInputs]:
    """What the language model is fed by the forward inside: embeddings with the picture in them, positions, mask."""
    with language_arguments(loaded) as found:
        yield LanguageInputs(found)


def _cheap_from(condition: Sequence[Intervention], batch: Batch, names: Sequence[str]) -> int | None:
    """The first position to compute again from the intact prefix; None if that is not exact or not worth it."""
    if not recomputable(condition):
        return None
    length, first = batch.spans.valid.shape[1], first_changed(condition, batch.spans, names)
    return first if length - first <= _LARGEST_SHARE * length else None


def _full_pass(
    loaded: LoadedModel,
    batch: Batch,
    fed: "LanguageInputs | None",
    place: int,
    condition: Sequence[Intervention],
    names: Sequence[str],
) -> Pass:
    """A pass of the language model over what it was fed before, or of the whole model where it was fed nothing yet."""
    cache = DynamicCache()
    kept = {"past_key_values": cache, "use_cache": True}
    with torch.inference_mode(), entered(loaded, condition, batch.spans, names), capturing(loaded, batch) as found:
        if fed is None:
            logits = run(loaded, batch.inputs, cache=cache)[:, -1]
        else:
            again = loaded.text_model(**fed.arguments | kept)
            logits = loaded.logits_of(again.last_hidden_state[:, -1].to(loaded.device))
    return Pass(place, found.captured(logits), cache)


def _from_prefix(prefix: Prefix, intact: Captured, part: Recomputed, index: int, place: int) -> Pass:
    """The intact pass with what the condition moved."""
    changed = part.changed[index, :, None]
    captured = Captured(
        states=intact.states + part.moved[index],
        final=torch.where(changed, part.normed[index, :, -1].float(), intact.final),
        logits=torch.where(changed, part.logits[index, :, -1], intact.logits),
    )
    joined = [
        [
            torch.cat([shared[:, :, : shared.shape[2] - own.shape[3]], own[index]], 2)
            for shared, own in zip(blocks, others, strict=True)
        ]
        for blocks, others in ((prefix.keys, part.keys), (prefix.values, part.values))
    ]
    return Pass(place, captured, _cache(*joined))


def _cache(keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> DynamicCache:
    cache = DynamicCache()
    for block, (key, value) in enumerate(zip(keys, values, strict=True)):
        cache.update(key, value, block)
    return cache
