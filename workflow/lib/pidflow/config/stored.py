"""What a run stores of a forward pass, and what can be made from it."""

from typing import Annotated, Literal

from pydantic import Field

from pidflow.errors import ConfigError
from pidflow.models.answers import RULES
from pidflow.names import BLOCKS, layer_numbers
from pidflow.plugins.settings import Layers, Settings, Unique, Whole


class Extract(Settings):
    """What is stored of a forward pass."""

    target: Literal["state", "logits", "answer-embedding"] = Field(description="What the model is about to say.")
    rule: Literal[tuple(RULES)] = Field(description="When what the model says counts as the right answer.")
    answer_tokens: Whole = Field(ge=1, le=64, description="Bound on the tokens of an answer.")
    storage: Literal["float16", "float32"] = Field(description="Precision on disk.")
    layers: Layers = Field(description="Layers whose states are stored.")
    blocks: Annotated[list[Literal[BLOCKS]], Field(min_length=1), Unique] = Field(
        description="Blocks of tokens whose pooled states are stored."
    )
    shards: Whole = Field(ge=1, le=1000, description="Jobs that share the questions of a task.")


def stored_layers(config: dict, model: str) -> tuple[int, ...]:
    """Numbers of a model's stored layers: 0 is the embedding output, L the state after the last block.

    Raises
    ------
    ConfigError
        If the model has no such layer.
    """
    try:
        return layer_numbers(config["extract"]["layers"], config["models"][model]["blocks"])
    except ValueError as err:
        raise ConfigError(f"config extract.layers: {err} (model '{model}')") from err


def layer_names(config: dict, model: str) -> list[str]:
    """Names of a model's stored layers, of ``00 … LL``: 0 is the embedding output, L the state after the last block."""
    return [f"{layer:02d}" for layer in stored_layers(config, model)]


def language_block(config: dict) -> str:
    """The block that is read as the language source; asked for by who reads states.

    Raises
    ------
    ConfigError
        If the states that decompositions are made from are not stored.
    """
    stored, language = config["extract"]["blocks"], config["pca"]["language"]
    for block, why in (("vision", "is the vision source"), (language, "pca.language reads as the language source")):
        if block not in stored:
            raise ConfigError(
                f"config extract.blocks: lacks '{block}', which {why}; add it, or make nothing beyond `activations`"
            )
    return language


def last_layers_stored(config: dict) -> bool:
    """True; asked for by tables and figures, whose statements are about the last layer of each model.

    Raises
    ------
    ConfigError
        If it is not stored of some model.
    """
    for model in config["run"]["models"]:
        last = config["models"][model]["blocks"]
        if last not in stored_layers(config, model):
            raise ConfigError(
                f"config extract.layers: {config['extract']['layers']} lacks layer {last} of model '{model}', its "
                "last, which tables, claims and figures speak of; add -1, or make nothing beyond `pid`"
            )
    return True
