"""What a model itself would answer: the greedy continuations of its most likely first tokens."""

import torch
from transformers import DynamicCache

from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.models.speech import end_tokens, logits_after, text_of, until_end


def own_answers(
    loaded: LoadedModel, batch: Batch, logits: torch.Tensor, cache: DynamicCache, *, count: int, at_most: int
) -> list[list[str]]:
    """Per row `count` answers as text, from the most to the least likely first token; special tokens begin none.

    Parameters
    ----------
    batch, logits, cache
        The prompts, the logits ``(B, V)`` after them, and the pass's keys and values, which grow and shrink.
    at_most
        Largest number of tokens of an answer.
    """
    ends, special = end_tokens(loaded), torch.tensor(sorted(loaded.tokenizer.all_special_ids), device=logits.device)
    allowed = logits.float().index_fill(1, special[special < logits.shape[1]], -torch.inf)
    begun = allowed.topk(min(count, logits.shape[1]), 1).indices.tolist()
    found: list[list[str]] = [[] for _ in begun]
    for rank in range(len(begun[0])):
        said = [[row[rank]] for row in begun]
        for _ in range(at_most - 1):
            if all(ids[-1] in ends for ids in said):
                break
            after = logits_after(loaded, batch, cache, said)
            for row, ids in enumerate(said):
                if ids[-1] not in ends:
                    ids.append(int(after[row, len(ids) - 1].argmax()))
        for row, ids in enumerate(said):
            found[row].append(text_of(loaded.tokenizer, list(until_end(ids, ends))))
    return found
