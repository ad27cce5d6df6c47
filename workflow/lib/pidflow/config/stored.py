"""Which states a run stores, and what can be made from them."""

from pidflow.errors import ConfigError
from pidflow.names import layer_numbers


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
