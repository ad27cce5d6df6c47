"""Models that are refused before any work: what cannot be measured here, and checkpoints that are not whole."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from pidflow.errors import ConfigError, DataError
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
    "git": "its picture is put before the text inside the model, so no position of the prompt stands for it",
    "evolla": "it reads proteins, not pictures",
    "diffusion_gemma": "it fills in its answer in any order, so no position chooses the next token",
    "cosmos3_omni": "it draws pictures with a tower of its own beside the text",
}
"""By ``model_type``, why."""
_BY_SETTING = {
    "index_topk": "its attention chooses keys by an index of its own, with states that no prefix holds",
    "indexer_": "its attention chooses keys by an index of its own, with states that no prefix holds",
    "kv_lora_rank": "its cache keeps keys and values in fewer numbers than it attends with, so no prefix holds them",
}
"""By how a setting of the language model begins, why."""
# Buffers that older versions of the library saved and that newer ones compute: in a checkpoint they do no harm.
_COMPUTED = re.compile(r"(^|\.)(rotary_emb\.inv_freq|position_ids)$")


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
    text = config.get_text_config()
    for begins, why in _BY_SETTING.items():
        names = [name for name in vars(text) if name.startswith(begins) and getattr(text, name)]
        if names:
            raise ConfigError(f"model '{path}' is of type '{kind}', which is refused: {why} ({names[0]})")
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


def check_processor(path: str, processor: Any, config: Any, family: Family) -> None:
    """The processor makes the pictures and tokens that the model was built for."""
    vision, images = getattr(config, "vision_config", None), getattr(processor, "image_processor", None)
    crop = getattr(images, "crop_size", None) if getattr(images, "do_center_crop", False) else None
    pairs = [
        ("pictures of {} pixels", (crop or {}).get("height"), getattr(vision, "image_size", None)),
        ("patches of {} pixels", _patch_of(processor), getattr(vision, "patch_size", None)),
        ("the image token {}", _replaced_token(processor, family), getattr(config, "image_token_id", None)),
    ]
    for what, found, expected in pairs:
        if isinstance(found, int) and isinstance(expected, int) and found != expected:
            raise DataError(
                f"model '{path}': its processor makes {what.format(found)}, its configuration expects "
                f"{what.format(expected)}; the two come from different models, fetch the model again"
            )


def _patch_of(processor: Any) -> Any:
    """Side of a patch of the vision tower where a processor counts in them; others count merged ones."""
    return processor.patch_size if hasattr(processor, "num_additional_image_tokens") else None


def _replaced_token(processor: Any, family: Family) -> Any:
    """Id of the token that a processor repeats for the picture; some call another one their image token."""
    if family.image_token is not None:
        return processor.tokenizer.convert_tokens_to_ids(family.image_token)
    found = getattr(processor.tokenizer, "image_token_id", None)
    return found if found is not None else getattr(processor, "image_token_id", None)


def check_weights(path: str, model: nn.Module, info: Mapping[str, Any]) -> None:
    """Every weight of the checkpoint has its place, every place its weight, and all are numbers."""
    unexpected = [name for name in sorted(info["unexpected_keys"]) if not _COMPUTED.search(name)]
    for names, what in (
        (sorted(info["missing_keys"]), "missing"),
        (sorted(str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"]), "of another shape"),
        (unexpected, "without a place in the model, which its config.json makes smaller than the checkpoint"),
    ):
        if names:
            raise DataError(
                f"model '{path}': {len(names)} weights are {what} ({', '.join(names[:3])}{', …' * (len(names) > 3)}); "
                "the checkpoint is incomplete, changed or of another family, fetch it again"
            )
    for inside, module in model.named_modules():
        with _in_memory(module):
            for name, values in module.named_parameters(inside, recurse=False):
                if not torch.isfinite(values).all():
                    raise DataError(
                        f"model '{path}': weight {name} holds NaN or infinity in {values.dtype}; fetch the model "
                        "again, or set dtype to what it was saved in"
                    )


def _in_memory(module: nn.Module) -> AbstractContextManager[Any]:
    """A module with its own weights there to be read, where they lie on a disk or wait beside a GPU."""
    if not getattr(getattr(module, "_hf_hook", None), "offload", False):
        return nullcontext()
    from accelerate.utils import align_module_device

    return align_module_device(module)
