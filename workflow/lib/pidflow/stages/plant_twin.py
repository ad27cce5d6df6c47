"""Stage ``plant_twin``: a parametric bootstrap twin of every layer of one unit, and the latents found in it."""

import logging
from collections.abc import Mapping
from dataclasses import replace

from pidflow.errors import DataError
from pidflow.files.store import checksum_of, identity_of, put, read_tensors, reading_h5, take, writing_h5
from pidflow.names import layer_name
from pidflow.stages._waiting import taken

log = logging.getLogger(__name__)


def run(
    *,
    pca: str,
    flow: str,
    weights: str,
    output: str,
    settings: Mapping,
    seed: int,
    threads: int,
    unit: Mapping[str, str] | None = None,
    code: str | None = None,
) -> None:
    """Take the twins that wait, or draw one of every layer from its flow and train flows on them as on the real rows.

    A layer with codes or clusters has no twin, which would have none of them (:mod:`pidflow.pid.correction`).

    Parameters
    ----------
    pca
        Principal scores, in which codes and clusters show.
    flow, weights
        Latents and weights from stage ``train_flow``.
    output
        HDF5 with, per layer, rows ``x1``, ``x2``, ``y`` of the twin, the ``covariance`` of the Gaussian they come from
        and the latents ``drawn/z1``, ``drawn/z2``, ``drawn/zy`` they were made from (:mod:`pidflow.pid.planted_twin`),
        and the held-out latents ``z1``, ``z2``, ``zy`` found in them; or attribute ``discrete`` where there is no twin.
    settings, seed, threads, unit
        As in stage ``train_flow``: the twin is judged by the same training, from another start.
    code
        Digest of the code that makes the result: what other code has made is not taken.

    Raises
    ------
    ConfigError
        If ``settings`` names an unknown field, or a value is out of range.
    DataError
        If a file is about another unit, latents and weights were not made together, or a layer lacks its weights.
    """
    if taken(output=output, flow=flow, code=code, seed=seed, settings=settings):
        return
    from pidflow.pid.labels import any_discrete
    from pidflow.stages._scores import leave_out, made_from, read_scores

    scores = read_scores(pca, unit)
    rows = (len(scores.images), None)
    discrete = {layer: any_discrete(scores.of_layer(layer)) for layer in scores.layers}
    latents = {}
    with reading_h5(flow, kind="flow", expected=made_from(pca, unit)) as file:
        identity = identity_of(file)
        for layer in (layer for layer in scores.layers if not discrete[layer]):
            name = layer_name(layer)
            blocks = [take(file, f"{name}/{part}", shape=rows) for part in ("z1", "z2", "y")]
            latents[layer] = blocks, take(file, f"{name}/diagnostics/held_out_loss")
    stored = read_tensors(weights, expected=identity)
    found = {}
    if latents:
        found = _planted(latents, stored, scores, settings=settings, seed=seed, threads=threads, weights=weights)
    attrs = scores.place | {"seed": seed, "settings": dict(settings)}
    with writing_h5(output, kind="twin", identity=replace(identity, made_from=checksum_of(flow)), attrs=attrs) as file:
        for layer in scores.layers:
            name = layer_name(layer)
            if discrete[layer]:
                leave_out(file, name)
                log.debug("%s has no twin: its rows have codes or clusters", name)
                continue
            twin, each = found[layer]
            for part in ("x1", "x2", "y", "covariance"):
                put(file, f"{name}/{part}", getattr(twin, part))
            for part in ("z1", "z2", "zy"):
                put(file, f"{name}/drawn/{part}", getattr(twin, part))
            for part, values in (("z1", each.z1), ("z2", each.z2), ("zy", each.y)):
                put(file, f"{name}/{part}", values)


def _planted(latents: Mapping, stored: Mapping, scores, *, settings: Mapping, seed: int, threads: int, weights: str):
    """By layer, its twin and what flows find in it."""
    from pidflow.pid.planted_twin import another_start, planted_twin
    from pidflow.stages._flows import trained  # more than a second of imports

    twins = {}
    for layer, (blocks, loss) in latents.items():
        name = layer_name(layer)
        own = {key.removeprefix(f"{name}/"): value for key, value in stored.items() if key.startswith(f"{name}/")}
        if not own:
            raise DataError(f"{weights}: no weights of {name}, which the flow has; delete both and run again")
        twins[layer] = planted_twin(*blocks, own, held_out_loss=loss, seed=seed)
    found = trained(
        *([getattr(twin, part) for twin in twins.values()] for part in ("x1", "x2", "y")),
        folds=scores.folds,
        images=scores.images,
        settings=settings,
        seed=another_start(seed),
        threads=threads,
        what="twins",
    )
    return {layer: (twin, each) for (layer, twin), each in zip(twins.items(), found, strict=True)}
