"""A checkpoint's processor, for pictures and text alone: parts for videos and sound are left out.

The library builds a processor with all its parts or not at all, and those for videos need packages that pictures do
not.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoProcessor, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from pidflow.errors import ConfigError
from pidflow.models.families._family import Family

_IMAGE_TOKEN_KEYS = ("image_token_id", "image_token_index", "image_patch_id", "img_context_token_id")
_LEFT_OUT = ("video_processor", "feature_extractor", "audio_processor")
_NAMED_IN = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")


def load_processor(folder: Path, config: Any, **source: Any) -> Any:
    """The processor of a checkpoint, pictures through the PIL backend whatever else is installed."""
    kind = getattr(transformers, _class_name(folder, config) or "", None)
    if isinstance(kind, type) and absent_of(kind):
        return pictures_only(kind).from_pretrained(folder, backend="pil", **source)
    return AutoProcessor.from_pretrained(folder, backend="pil", **source)


def placeholder_of(family: Family, processor: Any) -> str:
    """What stands for the picture in the prompts of a family."""
    own = [getattr(processor, name, None) for name in ("image_placeholder_token", "image_token")]
    own.append(getattr(processor.tokenizer, "image_token", None))
    found = next((each for each in (family.placeholder, *own) if each), None)
    if found is None:
        raise ConfigError(f"family '{family.name}': its processor does not tell what stands for a picture in prompts")
    return str(getattr(found, "content", found))


def image_token_of(family: Family, processor: Any, config: Any) -> int:
    """Id of the token that each image feature replaces."""
    if family.image_token is not None:
        return processor.tokenizer.convert_tokens_to_ids(family.image_token)
    found = next((i for key in _IMAGE_TOKEN_KEYS if isinstance(i := getattr(config, key, None), int)), None)
    found = getattr(processor, "image_token_id", None) if found is None else found
    if found is None:
        raise ConfigError(
            f"family '{family.name}': neither configuration nor processor tells which token the picture replaces"
        )
    return found


class _Pictures(ProcessorMixin):
    """Stands between a class of processors and the library's own: takes the parts for pictures and text alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(_all_parts(type(self)), args, strict=False)) | kwargs
        super().__init__(**{name: value for name, value in given.items() if name not in _LEFT_OUT})

    @classmethod
    def get_attributes(cls) -> list[str]:
        """Names of the parts that it has."""
        return [name for name in _all_parts(cls) if name not in _LEFT_OUT]

    @classmethod
    def _get_arguments_from_pretrained(cls, *args: Any, **kwargs: Any) -> list[Any]:
        found = iter(super()._get_arguments_from_pretrained(*args, **kwargs))
        return [None if name in _LEFT_OUT else next(found) for name in _all_parts(cls)]


@cache
def pictures_only(kind: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """A class of processors without its parts for videos and sound."""
    return type(kind.__name__, (kind, _Pictures), dict.fromkeys(_LEFT_OUT) | {"__module__": kind.__module__})


def absent_of(kind: type[ProcessorMixin]) -> dict[str, None]:
    """The parts of a class of processors that are left out."""
    return {name: None for name in _all_parts(kind) if name in _LEFT_OUT}


def _all_parts(kind: type) -> list[str]:
    return ProcessorMixin.get_attributes.__func__(kind)


def _class_name(folder: Path, config: Any) -> str | None:
    for name in _NAMED_IN:
        file = Path(folder, name)
        named = json.loads(file.read_text(encoding="utf-8")).get("processor_class") if file.is_file() else None
        if named:
            return named
    return PROCESSOR_MAPPING_NAMES.get(config.model_type)
