"""Many cuts of the same questions at the price of few: only what they can change is computed again, exactly.

Each plan of interventions runs only the positions that it can change, only from its first block on, against the keys
and values of the intact pass. All plans and questions go through a block together, so weights are read once, and attend
to the shared keys and values where they lie: the variants of a question are laid along the query axis of one SDPA call,
each seeing the shared keys and its own. Nothing is approximated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from pidflow.errors import ConfigError
from pidflow.interventions.front import Front, chunks, first_block
from pidflow.interventions.intervention import Intervention, entered
from pidflow.interventions.prefix import Prefix
from pidflow.interventions.reached import Reached
from pidflow.interventions.recomputed import Recomputed, as_intact
from pidflow.models.attention import use_registered
from pidflow.models.forward import run
from pidflow.models.loading import LoadedModel

TOKENS_AT_ONCE = 4096
_POSITIONS_HELD = 2**17  # states of so many positions are carried through the blocks side by side


def recompute(
    loaded: LoadedModel,
    prefix: Prefix,
    plans: Sequence[Sequence[Intervention]],
    *,
    names: Sequence[str] = (),
    pools: torch.Tensor | None = None,
    keep_cache: bool = False,
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> Iterator[Recomputed]:
    """What every plan changes, equal to full passes with that plan in force.

    Parameters
    ----------
    prefix
        From :func:`pidflow.interventions.prefix.read_prefix`, with the same plans and names.
    plans
        Each one or several interventions that are recomputable, applied to all questions.
    names
        One per question, which random parts of interventions depend on.
    pools
        ``(B, P, T)`` float32: weights of positions, whose sums of states are followed through the blocks.
    keep_cache
        Keep keys and values too.
    tokens_at_once
        Positions that go through a block together; bounds memory.

    Yields
    ------
    Some of the plans at a time, every plan once, in no particular order.

    Raises
    ------
    ConfigError
        If a span or block does not exist, an edge runs against causality, or a position would be left with nothing to
        attend to.
    """
    reached = Reached(prefix, names)
    fronts: dict[int, list[int]] = {}
    unmoved: list[int] = []
    for index, plan in enumerate(plans):
        if not plan:
            raise ConfigError("a plan without cuts has nothing to recompute; its logits are those of the prefix")
        reached.check(plan, loaded)
        if reached.takes_nothing(plan, loaded):
            unmoved.append(index)
        else:
            fronts.setdefault(min(reached.first(each) for each in plan), []).append(index)
    use_registered(loaded.text_model)
    with torch.inference_mode():
        if unmoved:
            yield as_intact(loaded, prefix, unmoved, pools, keep_cache=keep_cache)
        for start, members in fronts.items():
            members.sort(key=lambda index: first_block(plans[index]))
            chosen = [plans[index] for index in members]
            most = max(1, _POSITIONS_HELD // (len(prefix.batch) * (prefix.batch.spans.valid.shape[1] - start)))
            for part in chunks(len(members), most):
                places = slice(part.start, part.stop)
                front = Front(loaded, prefix, start, chosen[places], reached, tokens_at_once)
                for found in front.run(pools, keep_cache=keep_cache):
                    yield replace(found, which=[members[part.start + place] for place in found.which])


def full_pass(
    loaded: LoadedModel, prefix: Prefix, plan: Sequence[Intervention], *, names: Sequence[str] = ()
) -> torch.Tensor:
    """What :func:`recompute` equals: ``(B, m, V)`` logits of one pass over all positions with the plan in force."""
    with torch.inference_mode(), entered(loaded, plan, prefix.batch.spans, names):
        answer = prefix.answer_ids.shape[1]
        return run(loaded, prefix.batch.inputs, keep=answer).float()
