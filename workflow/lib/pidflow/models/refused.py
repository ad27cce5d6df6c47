"""Models that are refused by name, before any work: what cannot be measured here, and why."""

from typing import Any

from pidflow.errors import ConfigError
from pidflow.models.families._family import Family

_ENCODER_DECODER = "an encoder reads the question and a decoder of its own answers, so image and words share no stream"
REFUSED = {
    "florence2": _ENCODER_DECODER,
    "pix2struct": _ENCODER_DECODER,
    "pp_formulanet": _ENCODER_DECODER,
    "t5gemma2": _ENCODER_DECODER,
    "udop": _ENCODER_DECODER,
    "vision-encoder-decoder": _ENCODER_DECODER,
    "blip": "an encoder of the picture and a captioning decoder of its own",
    "internlm2": "the library has no class for InternLM2; take a conversion whose language model is Qwen2 or Llama",
    "internvl_chat": "its checkpoints bring code of their own, which is not run; take the conversion that ends in -hf",
    "shieldgemma2": "it answers with the probability that a picture breaks a rule, not in words",
    "pi0": "it answers with movements of a robot",
    "evolla": "it reads proteins, not pictures",
    "diffusion_gemma": "it fills in its answer in any order, so no position chooses the next token",
    "cosmos3_omni": "it draws pictures with a tower of its own beside the text",
}
"""By ``model_type``, why."""


def check_type(path: str, config: Any, family: Family) -> None:
    """Refuse a checkpoint that cannot be measured, or that is of another family.

    Raises
    ------
    ConfigError
        Naming the type and what to do.
    """
    kind, inner = config.model_type, _text_type(config)
    for each in (kind, inner):
        if each in REFUSED:
            raise ConfigError(f"model '{path}' is of type '{each}', which is refused: {REFUSED[each]}")
    if any(getattr(each, "is_encoder_decoder", False) for each in (config, config.get_text_config())):
        raise ConfigError(
            f"model '{path}' is of type '{kind}' over '{inner}', which is refused: {_ENCODER_DECODER}; take a variant "
            "whose language model only decodes"
        )
    if family.model_types and kind not in family.model_types:
        raise ConfigError(
            f"model '{path}' is of type '{kind}', but family '{family.name}' means "
            f"'{' or '.join(family.model_types)}'; correct 'family' or 'path'"
        )


def _text_type(config: Any) -> str | None:
    return getattr(config.get_text_config(), "model_type", None)
