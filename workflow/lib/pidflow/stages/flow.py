"""Stage ``train_flow``: cross-fitted Gaussian latents of every layer of one unit, trained as one stack."""

import logging
from dataclasses import fields

import torch
from safetensors.torch import save_file

from pidflow.critic import missed_information
from pidflow.errors import ConfigError
from pidflow.flow import FlowConfig, FlowInfo, gaussianize_layers
from pidflow.store import layer_name, put, reading_h5, replacing, take, writing_h5

log = logging.getLogger(__name__)


def run(*, pca: str, output: str, weights: str, settings: dict, seed: int, threads: int) -> None:
    """Train the flows of all layers and folds of one unit.

    Parameters
    ----------
    pca
        Principal scores from stage ``fit_pca``.
    output
        HDF5 with, per layer, the held-out latents ``z1``, ``z2``, ``y``, the training record and diagnostics, and what
        a held-out critic finds beyond their Gaussian information.
    weights
        Weights of all flows as safetensors.
    settings
        Fields of :class:`pidflow.flow.FlowConfig` that differ from its defaults.
    seed
        Random state.
    threads
        CPU threads.

    Raises
    ------
    ConfigError
        If ``settings`` names an unknown field.
    """
    known = [field.name for field in fields(FlowConfig)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ConfigError(f"config flow: unknown key '{unknown[0]}', expected one of: {', '.join(known)}")
    torch.set_num_threads(threads)
    with reading_h5(pca, kind="pca") as file:
        attrs = {name: file.attrs[name] for name in ("model", "task", "condition", "layers")}
        layers = range(int(attrs["layers"]) + 1)
        folds, images = take(file, "fold"), take(file, "image_id")
        vision, language = (
            [take(file, f"{layer_name(layer)}/{source}/scores") for layer in layers]
            for source in ("vision", "language")
        )
        target = take(file, "target/scores")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trained = gaussianize_layers(
        vision,
        language,
        target,
        folds=folds,
        groups=images,
        seed=seed,
        device=device,
        config=FlowConfig(**settings),
        progress=lambda step, active: log.info("step %d: %d flows still training", step, active),
    )
    tensors = {
        f"{layer_name(layer)}/{name}": tensor.clone()  # layers may share a tensor, safetensors may not
        for layer, result in zip(layers, trained, strict=True)
        for name, tensor in result.weights.items()
    }
    with replacing(weights) as temporary:
        save_file(tensors, temporary)
    with writing_h5(output, kind="flow", attrs=attrs | {"seed": seed, "settings": settings}) as file:
        put(file, "image_id", images)
        put(file, "fold", folds)
        for layer, result in zip(layers, trained, strict=True):
            name = layer_name(layer)
            for part in ("z1", "z2", "y"):
                put(file, f"{name}/{part}", getattr(result, part))
            _put_info(file, f"{name}/diagnostics", result.info)
            missed = missed_information(
                result.z1, result.z2, result.y, folds=folds, groups=images, seed=seed, device=device
            )
            log.info("%s: a held-out critic finds %.3f (error %.3f) bits more", name, missed.bits, missed.se)
            for field in ("bits", "se", "flag", "p_value", "gaussian_bits"):
                put(file, f"{name}/missed_information/{field}", getattr(missed, field))
            put(file, f"{name}/missed_information/bound", missed.bound.bits)


def _put_info(file, where: str, info: FlowInfo) -> None:
    for field in fields(info):
        value = getattr(info, field.name)
        if hasattr(value, "__dataclass_fields__"):
            for inner in fields(value):
                put(file, f"{where}/{field.name}/{inner.name}", getattr(value, inner.name))
        else:
            put(file, f"{where}/{field.name}", value)
