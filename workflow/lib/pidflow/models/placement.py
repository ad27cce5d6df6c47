"""Where a model runs and in which precision."""

from typing import Any

import torch

from pidflow.arguments import shown
from pidflow.errors import ConfigError

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
