"""Stage ``plant_twin``: a parametric bootstrap twin of every layer of one unit, and the latents found in it."""

from collections.abc import Mapping
from dataclasses import replace

from pidflow.errors import DataError
from pidflow.files.store import (
    Identity,
    checksum_of,
    identity_of,
    put,
    read_tensors,
    reading_h5,
    stored_layers,
    take,
    writing_h5,
)
from pidflow.names import layer_name
from pidflow.stages._scores import place_of
from pidflow.stages._waiting import taken


def run(
    *,
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

    Parameters
    ----------
    flow, weights
        Latents and weights from stage ``train_flow``.
    output
        HDF5 with, per layer, rows ``x1``, ``x2``, ``y`` of the twin, the ``covariance`` of the Gaussian they come from
        and the latents ``drawn/z1``, ``drawn/z2``, ``drawn/zy`` they were made from (:mod:`pidflow.pid.planted_twin`),
        and the held-out latents ``z1``, ``z2``, ``zy`` found in them.
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
    from pidflow.pid.planted_twin import another_start, planted_twin
    from pidflow.stages._flows import trained  # more than a second of imports

    with reading_h5(flow, kind="flow", expected=Identity(**(unit or {}))) as file:
        identity = identity_of(file)
        attrs = place_of(file.attrs)
        images = take(file, "image_id")
        folds = take(file, "fold", shape=(len(images),))
        names = [layer_name(layer) for layer in stored_layers(attrs)]
        latents = [
            [take(file, f"{name}/{part}", shape=(len(images), None)) for part in ("z1", "z2", "y")] for name in names
        ]
        losses = [take(file, f"{name}/diagnostics/held_out_loss") for name in names]
    stored = read_tensors(weights, expected=identity)
    twins = []
    for name, blocks, loss in zip(names, latents, losses, strict=True):
        own = {key.removeprefix(f"{name}/"): value for key, value in stored.items() if key.startswith(f"{name}/")}
        if not own:
            raise DataError(f"{weights}: no weights of {name}, which {flow} has; delete both and run again")
        twins.append(planted_twin(*blocks, own, held_out_loss=loss, seed=seed))
    found = trained(
        *([getattr(twin, part) for twin in twins] for part in ("x1", "x2", "y")),
        folds=folds,
        images=images,
        settings=settings,
        seed=another_start(seed),
        threads=threads,
        what="twins",
    )
    attrs |= {"seed": seed, "settings": dict(settings)}
    with writing_h5(output, kind="twin", identity=replace(identity, made_from=checksum_of(flow)), attrs=attrs) as file:
        for name, twin, each in zip(names, twins, found, strict=True):
            for part in ("x1", "x2", "y", "covariance"):
                put(file, f"{name}/{part}", getattr(twin, part))
            for part in ("z1", "z2", "zy"):
                put(file, f"{name}/drawn/{part}", getattr(twin, part))
            for part, values in (("z1", each.z1), ("z2", each.z2), ("zy", each.y)):
                put(file, f"{name}/{part}", values)
