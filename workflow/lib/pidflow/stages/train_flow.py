"""Stage ``train_flow``: cross-fitted Gaussian latents of every layer of one unit, trained as one stack."""

import logging
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from importlib import import_module

import h5py

from pidflow.files.store import checksum_of, digest_of, put, write_tensors, writing_h5
from pidflow.flows.gaussianize import FlowInfo
from pidflow.names import layer_name
from pidflow.stages._flows import trained
from pidflow.stages._scores import leave_out, read_scores
from pidflow.stages._waiting import run_along

log = logging.getLogger(__name__)


def run(
    *,
    pca: str,
    output: str,
    weights: str,
    settings: Mapping,
    seed: int,
    threads: int,
    everywhere: bool = True,
    unit: Mapping[str, str] | None = None,
    along: Mapping[str, Mapping] | None = None,
) -> None:
    """Train the flows of all layers and folds of one unit.

    Parameters
    ----------
    pca
        Principal scores from stage ``fit_pca``.
    output
        HDF5 with, per layer, the held-out latents ``z1``, ``z2``, ``y``, the training record and diagnostics.
    weights
        Weights of all flows as safetensors.
    settings
        Fields of :class:`pidflow.flows.gaussianize.FlowConfig` that differ from its defaults.
    seed
        Random state.
    threads
        CPU threads.
    everywhere
        False: not of layers whose rows are codes or clusters, where no estimator of the run reads a flow. Their groups
        are empty and marked.
    unit
        Model, task and condition that the scores must be about; None: any.
    along
        What is to be made of the flow while torch is there (:func:`pidflow.stages._waiting.run_along`).

    Raises
    ------
    ConfigError
        If ``settings`` names an unknown field, or a value is out of range.
    DataError
        If the scores are about another unit.
    """
    scores = read_scores(pca, unit)
    layers = list(scores.layers)
    if not everywhere:  # by name, since what counts as a cluster is part of the digest of such runs alone
        any_discrete = import_module("pidflow.pid.labels").any_discrete
        layers = [layer for layer in layers if not any_discrete(scores.of_layer(layer))]
    log.info("flows of %d of %d layers", len(layers), len(scores.layers))
    blocks = [scores.of_layer(layer) for layer in layers]
    found = trained(
        *([each[part] for each in blocks] for part in range(3)),
        folds=scores.folds,
        images=scores.images,
        settings=settings,
        seed=seed,
        threads=threads,
        what="flows",
    )
    tensors = {
        f"{layer_name(layer)}/{name}": tensor.clone()  # layers may share a tensor, safetensors may not
        for layer, each in zip(layers, found, strict=True)
        for name, tensor in each.weights.items()
    }
    made = digest_of([scores.identity.settings, dict(settings), seed, everywhere])
    identity = replace(scores.identity, settings=made, made_from=checksum_of(pca))
    write_tensors(weights, tensors, identity=identity)
    attrs = scores.place | {"seed": seed, "settings": dict(settings)}
    with writing_h5(output, kind="flow", identity=identity, attrs=attrs) as file:
        put(file, "image_id", scores.images)
        put(file, "fold", scores.folds)
        for layer in sorted({*scores.layers} - {*layers}):
            leave_out(file, layer_name(layer))
        for layer, each in zip(layers, found, strict=True):
            name = layer_name(layer)
            for part in ("z1", "z2", "y"):
                put(file, f"{name}/{part}", getattr(each, part))
            _put_info(file, f"{name}/diagnostics", each.info)
    run_along(along or {}, threads=threads)


def _put_info(file: h5py.File, where: str, info: FlowInfo) -> None:
    for field in fields(info):
        value = getattr(info, field.name)
        if is_dataclass(value):
            _put_info(file, f"{where}/{field.name}", value)
        else:
            put(file, f"{where}/{field.name}", value)
