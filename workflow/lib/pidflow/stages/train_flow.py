"""Stage ``train_flow``: cross-fitted Gaussian latents of every layer of one unit, trained as one stack."""

import logging
from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
import torch

from pidflow.flows.gaussianize import FlowConfig, FlowInfo, Gaussianized, gaussianize_layers
from pidflow.names import layer_name
from pidflow.store import (
    Identity,
    checksum_of,
    digest_of,
    identity_of,
    put,
    reading_h5,
    take,
    write_tensors,
    writing_h5,
)
from pidflow.validation.critic import CriticBound, critic_information_of_layers
from pidflow.validation.planted_twin import Twin, planted_twin

log = logging.getLogger(__name__)


def run(
    *,
    pca: str,
    output: str,
    weights: str,
    settings: dict,
    seed: int,
    threads: int,
    unit: Mapping[str, str] | None = None,
) -> None:
    """Train the flows of all layers and folds of one unit.

    Parameters
    ----------
    pca
        Principal scores from stage ``fit_pca``.
    output
        HDF5 with, per layer, the held-out latents ``z1``, ``z2``, ``y``, the training record and diagnostics; the
        bound of a held-out critic (``critic``, from scores or latents, whichever serves better); and the
        planted twin: its rows, its covariance and the latents that the same training finds for it (``twin``).
    weights
        Weights of all flows as safetensors.
    settings
        Fields of :class:`pidflow.flows.gaussianize.FlowConfig` that differ from its defaults.
    seed
        Random state.
    threads
        CPU threads.
    unit
        Model, task and condition that the scores must be about; None: any.

    Raises
    ------
    ConfigError
        If ``settings`` names an unknown field, or a value is out of range.
    DataError
        If the scores are about another unit.
    """
    config = FlowConfig.checked(settings, where="config flow")
    torch.set_num_threads(threads)
    with reading_h5(pca, kind="pca", expected=Identity(**(unit or {}))) as file:
        identity = identity_of(file)
        attrs = {name: file.attrs[name] for name in ("model", "task", "condition", "layers")}
        layers = range(int(attrs["layers"]) + 1)
        folds, images = take(file, "fold"), take(file, "image_id")
        vision, language = (
            [take(file, f"{layer_name(layer)}/{source}/scores") for layer in layers]
            for source in ("vision", "language")
        )
        target = take(file, "target/scores")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    same = {"folds": folds, "groups": images, "seed": seed, "device": device}

    def trained_on(vision: list, language: list, target: np.ndarray | list, *, what: str) -> list[Gaussianized]:
        def progress(step: int, active: int) -> None:
            log.info("%s, step %d: %d flows still training", what, step, active)

        return gaussianize_layers(vision, language, target, config=config, progress=progress, **same)

    trained = trained_on(vision, language, target, what="flows")
    twins = [planted_twin(result, seed=seed) for result in trained]
    in_twins = trained_on(*([getattr(twin, part) for twin in twins] for part in ("x1", "x2", "y")), what="twins")
    bounds = critic_information_of_layers(
        [
            ((*scores, target), (result.z1, result.z2, result.y))
            for *scores, result in zip(vision, language, trained, strict=True)
        ],
        **same,
    )
    tensors = {
        f"{layer_name(layer)}/{name}": tensor.clone()  # layers may share a tensor, safetensors may not
        for layer, result in zip(layers, trained, strict=True)
        for name, tensor in result.weights.items()
    }
    identity = replace(identity, settings=digest_of([identity.settings, settings, seed]), made_from=checksum_of(pca))
    write_tensors(weights, tensors, identity=identity)
    with writing_h5(output, kind="flow", identity=identity, attrs=attrs | {"seed": seed, "settings": settings}) as file:
        put(file, "image_id", images)
        put(file, "fold", folds)
        for layer, result, bound, twin, in_twin in zip(layers, trained, bounds, twins, in_twins, strict=True):
            name = layer_name(layer)
            for part in ("z1", "z2", "y"):
                put(file, f"{name}/{part}", getattr(result, part))
            _put_info(file, f"{name}/diagnostics", result.info)
            log.info("%s: a held-out critic proves %.3f (error %.3f) bits in all", name, bound.bits, bound.se)
            _put_info(file, f"{name}/critic", bound)
            _put_info(file, f"{name}/twin", twin)
            for part, latent in (("z1", in_twin.z1), ("z2", in_twin.z2), ("zy", in_twin.y)):
                put(file, f"{name}/twin/{part}", latent)


def _put_info(file, where: str, info: FlowInfo | CriticBound | Twin) -> None:
    for field in fields(info):
        value = getattr(info, field.name)
        if hasattr(value, "__dataclass_fields__"):
            for inner in fields(value):
                put(file, f"{where}/{field.name}/{inner.name}", getattr(value, inner.name))
        else:
            put(file, f"{where}/{field.name}", value)
