"""Where a model runs and in which precision."""

from importlib.util import find_spec
from typing import Any

import torch
import transformers

from pidflow.arguments import shown
from pidflow.errors import ConfigError

QUANTIZED = {"8bit": "load_in_8bit", "4bit": "load_in_4bit"}
# Not in fewer bits: the unembedding and what sees the picture, under the names that families have for them.
_WHOLE = (
    r"(.*\.)?(lm_head|vision_\w+|visual|embed_vision|multi_modal_projector|language_projection|qformer|connector|aligner"
    r"|generation_\w+|per_layer_model_projection)"
)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def resolve_device(device: str) -> torch.device:
    """The device of that name; "auto": the first of cuda, mps and cpu that there is."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        place = None
    if place is None or place.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {shown(device)}, expected auto, cpu, mps, cuda or cuda:<number>")
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device '{device}' was asked for, but torch sees no CUDA device; set device: auto or cpu")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device '{device}' was asked for, but torch sees {torch.cuda.device_count()} CUDA devices, numbered from 0"
        )
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' was asked for, but this machine has none; set device: auto or cpu")
    return place


def resolve_dtype(dtype: str, device: torch.device, config: Any) -> torch.dtype:
    """The precision of that name; "auto": what the checkpoint is stored in, on a CPU float32."""
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        return config.dtype or torch.float32
    if dtype not in DTYPES:
        raise ConfigError(f"unknown dtype '{dtype}', expected auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def quantized(kind: str | None, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What ``from_pretrained`` takes to load linear maps in 8 or 4 bits; nothing where `kind` is None.

    Raises
    ------
    ConfigError
        If there is no such kind, or a package is missing.
    """
    if kind is None:
        return {}
    if kind not in QUANTIZED:
        raise ConfigError(f"unknown quantize {shown(kind)}, expected {', '.join(QUANTIZED)} or null")
    missing = [name for name in ("accelerate", "bitsandbytes") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"quantize: {kind} needs {' and '.join(missing)}; pip install 'pidflow[quantized]'")
    how: dict[str, Any] = {QUANTIZED[kind]: True, "llm_int8_skip_modules": [_WHOLE]}
    if kind == "4bit":
        how |= {"bnb_4bit_compute_dtype": dtype, "bnb_4bit_quant_type": "nf4"}
    return {"quantization_config": transformers.BitsAndBytesConfig(**how), "device_map": {"": device}}
