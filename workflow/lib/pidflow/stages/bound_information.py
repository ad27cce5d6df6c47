"""Stage ``bound_information``: what a held-out critic proves of the joint information of every layer of one unit."""

import logging
from collections.abc import Mapping
from dataclasses import fields, replace

from pidflow.files.store import checksum_of, identity_of, put, reading_h5, take, writing_h5
from pidflow.names import layer_name
from pidflow.stages._scores import left_out, made_from, read_scores
from pidflow.stages._waiting import taken
from pidflow.stats import normal_scores

log = logging.getLogger(__name__)


def run(
    *,
    pca: str,
    flow: str,
    output: str,
    seed: int,
    threads: int,
    unit: Mapping[str, str] | None = None,
    code: str | None = None,
) -> None:
    """Take the bounds that wait, or bound the information of all layers from below.

    Parameters
    ----------
    pca, flow
        Principal scores and latents, the two representations of the rows that critics are trained on; normal scores
        take the place of latents where a layer has none.
    output
        HDF5 with the fields of :class:`pidflow.validation.critic.CriticBound` per layer.
    seed
        Random state.
    threads
        CPU threads.
    unit
        Model, task and condition that both files must be about; None: any.
    code
        Digest of the code that makes the result: what other code has made is not taken.

    Raises
    ------
    DataError
        If a file is about another unit, or the latents were not made from these scores.
    """
    if taken(output=output, flow=flow, code=code, seed=seed):
        return
    import torch  # more than a second of imports

    from pidflow.validation.critic import critic_information_of_layers

    torch.set_num_threads(threads)
    scores = read_scores(pca, unit)
    rows = (len(scores.images), None)
    with reading_h5(flow, kind="flow", expected=made_from(pca, unit)) as file:
        identity = replace(identity_of(file), made_from=checksum_of(flow))
        latents = {
            layer: tuple(take(file, f"{layer_name(layer)}/{part}", shape=rows) for part in ("z1", "z2", "y"))
            for layer in scores.layers
            if not left_out(file, layer_name(layer))
        }
    blocks = {layer: scores.of_layer(layer) for layer in scores.layers}
    bounds = critic_information_of_layers(
        [(rows, latents.get(layer) or tuple(map(normal_scores, rows))) for layer, rows in blocks.items()],
        folds=scores.folds,
        groups=scores.images,
        seed=seed,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    with writing_h5(output, kind="bound", identity=identity, attrs=scores.place | {"seed": seed}) as file:
        for layer, bound in zip(scores.layers, bounds, strict=True):
            name = layer_name(layer)
            for field in fields(bound):
                put(file, f"{name}/{field.name}", getattr(bound, field.name))
            log.debug("%s: a held-out critic proves %.3f (error %.3f) bits in all", name, bound.bits, bound.se)
