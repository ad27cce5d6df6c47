"""Where the language model of a family begins: what it is called with, the picture in its embeddings."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from pidflow.errors import ConfigError
from pidflow.models.loading import LoadedModel


class Entered(Exception):
    """The language model was reached, and goes no further."""


@contextmanager
def language_arguments(loaded: LoadedModel, *, stop: bool = False) -> Iterator[dict[str, Any]]:
    """Keyword arguments of the language model's first call inside, what it caches in apart.

    Where a family makes embeddings inside its language model, they are those that come of it.

    Parameters
    ----------
    stop
        Raise :class:`Entered` then, so that no block runs.
    """
    found: dict[str, Any] = {}
    embedder = loaded.family.embedder

    def begins(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if found:
            return
        if args:
            raise ConfigError(f"family '{loaded.family.name}' enters its language model by position; not supported")
        found.update((name, value) for name, value in kwargs.items() if name != "past_key_values")
        if stop and (embedder is None or found.get("inputs_embeds") is not None):
            raise Entered

    def embedded(_: nn.Module, __: tuple[Any, ...], result: torch.Tensor) -> None:
        found.update(input_ids=None, inputs_embeds=result)
        if stop:
            raise Entered

    with ExitStack() as hooks:
        hooks.callback(loaded.text_model.register_forward_pre_hook(begins, with_kwargs=True).remove)
        if embedder is not None:
            hooks.callback(loaded.model.get_submodule(embedder).register_forward_hook(embedded).remove)
        yield found
