"""Where a model runs, in which precision, and on how many devices."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from torch import nn

from pidflow.arguments import shown
from pidflow.errors import ConfigError

QUANTIZED = {"8bit": "load_in_8bit", "4bit": "load_in_4bit"}
# Not in fewer bits: the unembedding and what sees the picture, under the names that families have for them.
_WHOLE = (
    r"(.*\.)?(lm_head|vision_\w+|visual|embed_vision|multi_modal_projector|language_projection|qformer|connector|aligner"
    r"|generation_\w+|per_layer_model_projection)"
)
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
DISK = "disk"
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
    _check_installed(f"quantize: {kind}", ("accelerate", "bitsandbytes"), extra="quantized")
    how: dict[str, Any] = {QUANTIZED[kind]: True, "llm_int8_skip_modules": [_WHOLE]}
    if kind == "4bit":
        how |= {"bnb_4bit_compute_dtype": dtype, "bnb_4bit_quant_type": "nf4"}
    return {"quantization_config": transformers.BitsAndBytesConfig(**how), "device_map": {"": device}}


def spread(device_map: str | Mapping[str, int | str] | None, device: str) -> dict[str, Any]:
    """What ``from_pretrained`` takes to lay a model's modules on several devices; nothing where the map is None.

    Parameters
    ----------
    device_map
        One of :data:`DEVICE_MAPS`: the library divides the modules by the memory there is. Or by module, named as in
        the model, its device: the number of a GPU, ``"cpu"`` or ``"disk"`` (weights are read whenever they are used).
    device
        The ``device`` of the same entry.

    Raises
    ------
    ConfigError
        If there is no such map or device, both `device` and a map are given, or accelerate is not installed.
    """
    if device_map is None:
        return {}
    if device != "auto":
        raise ConfigError(f"device: {device} and a device_map contradict each other; leave one of them out")
    _check_installed("device_map", ("accelerate",), extra="device-map")
    found: dict[str, Any] = {"offload_folder": _scratch().name}
    if isinstance(device_map, str):
        if device_map not in DEVICE_MAPS:
            raise ConfigError(f"unknown device_map {shown(device_map)}, expected {', '.join(DEVICE_MAPS)} or a mapping")
        return found | {"device_map": device_map}
    for place in device_map.values():
        if place != DISK:
            resolve_device(_named(place))
    return found | {"device_map": dict(device_map)}


@cache
def _scratch() -> TemporaryDirectory[str]:
    """For weights on disk that the library cannot read as a checkpoint holds them; gone when the process ends."""
    return TemporaryDirectory(prefix="pidflow-")


def _named(place: int | str) -> str:
    return f"cuda:{place}" if isinstance(place, int) else place


def _check_installed(asked: str, packages: tuple[str, ...], *, extra: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(f"{asked} needs {' and '.join(missing)}; pip install 'pidflow[{extra}]'")


def check_covers(device_map: Mapping[str, Any], model: nn.Module) -> None:
    """Every weight of a model has a device, and every module that a map names is there.

    Raises
    ------
    ConfigError
        Naming the first that is not, and modules that could be named.
    """
    names = [name for name, _ in model.named_parameters()]
    modules = [name for name, _ in model.named_modules()]
    unknown = [name for name in device_map if name not in modules and name not in names]
    outside = [name for name in names if not any(_lies_in(name, module) for module in device_map)]
    if unknown or outside:
        problem = f"the model has no module {shown(unknown[0])}" if unknown else f"weight {outside[0]} has no device"
        some = ", ".join(name for name in modules if name and name.count(".") <= 1)
        raise ConfigError(f"device_map: {problem}; name modules that hold all weights, such as {some}")


def _lies_in(name: str, module: str) -> bool:
    return not module or name == module or name.startswith(f"{module}.")


def devices_of(model: nn.Module) -> tuple[torch.device, ...]:
    """The devices that a model computes on, first the one that it takes its inputs on."""
    parts = [model, *model.modules()]
    with suppress(NotImplementedError):
        parts.insert(0, model.get_input_embeddings())
    found = [place for part in parts for place in _execution(part)]
    return tuple(dict.fromkeys(found)) or (next(model.parameters()).device,)


def _execution(module: nn.Module) -> list[torch.device]:
    """Where accelerate runs a module that it laid somewhere."""
    hook = getattr(module, "_hf_hook", None)
    places = [getattr(each, "execution_device", None) for each in getattr(hook, "hooks", (hook,))]
    return [torch.device(place) for place in places if place is not None]
