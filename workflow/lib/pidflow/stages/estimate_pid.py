"""Stage ``estimate_pid``: decompositions of all layers of one unit, by every estimator and definition asked for."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import h5py
import numpy as np

from pidflow.errors import DataError, PidflowError, UnboundedError
from pidflow.files.store import reading_h5, take, write_json
from pidflow.names import ATOMS, condition_and_target, layer_name
from pidflow.pid.correction import corrected_unless_discrete
from pidflow.pid.estimators._rows import Blocks, estimates_by, needs_flow
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.pid.gaussian import gaussian_pid
from pidflow.pid.records import to_json
from pidflow.pid.results import QUANTITIES, Decomposition, TwinEstimate
from pidflow.stages._scores import Scores, left_out, made_from, read_scores
from pidflow.validation.missed import missed_after, missed_beside, missed_information

log = logging.getLogger(__name__)


def run(
    *,
    pca: str,
    flow: str,
    twin: str,
    bound: str,
    outputs: Sequence[str],
    estimators: Sequence[str],
    definitions: Sequence[str],
    permutations: int,
    jackknife_groups: int,
    seed: int,
    unit: Mapping[str, str] | None = None,
) -> None:
    """Decompose what every layer states about the target; what flows found is corrected by what they lose in its twin.

    Parameters
    ----------
    pca
        Principal scores, what estimators that need scores start from.
    flow
        Held-out latents, what estimators that need a flow start from.
    twin
        The planted twin of each layer that has one, which the same estimators are tried on.
    bound
        The critic's bound on the joint information.
    outputs
        One JSON file a layer, from layer 0 on (:mod:`pidflow.pid.records`).
    estimators, definitions, permutations, jackknife_groups, seed
        As in :func:`pidflow.pid.estimate.estimate_pid`; jackknife groups are made of whole images.
    unit
        Model, task and condition that all files must be about; None: any.

    Raises
    ------
    DataError
        When a file is about another unit, the files were not made from each other, or there are more or fewer outputs
        than layers.
    PidflowError
        When an estimate is refused, with its place in the message.
    """
    scores = read_scores(pca, unit)
    if len(outputs) != len(scores.layers):
        raise DataError(
            f"{pca}: has {len(scores.layers)} layers, expected the {len(outputs)} that the configuration says; correct "
            f"the number of blocks of model '{scores.attrs['model']}', or extract.layers"
        )
    settings = {"permutations": permutations, "jackknife": jackknife_groups, "seed": seed, "definitions": definitions}
    from_scores, from_flow = made_from(pca, unit), made_from(flow, unit)
    with (
        reading_h5(flow, kind="flow", expected=from_scores) as latents,
        reading_h5(twin, kind="twin", expected=from_flow) as twins,
        reading_h5(bound, kind="bound", expected=from_flow) as bounds,
    ):
        for layer, output in zip(scores.layers, outputs, strict=True):
            name = layer_name(layer)
            read = _Layer.of(name, latents, twins, bounds, rows=len(scores.images))
            found = _decomposed(scores, layer, read, estimators, settings)
            write_json(output, to_json(found), identity=scores.identity)


@dataclass(frozen=True)
class _Layer:
    """What is known of one layer beside its scores: latents and its twin if it has them, the critic's bound."""

    latents: Blocks | None
    bound: np.ndarray
    twin: "_Twin | None"

    @classmethod
    def of(cls, name: str, flow: h5py.File, twin: h5py.File, bound: h5py.File, *, rows: int) -> "_Layer":
        """The layer of that name in the three files."""

        def blocks(file: h5py.File, *parts: str) -> Blocks:
            return tuple(take(file, f"{name}/{part}", shape=(rows, None)) for part in parts)

        return cls(
            latents=None if left_out(flow, name) else blocks(flow, "z1", "z2", "y"),
            bound=take(bound, f"{name}/rows", shape=(rows,)),
            twin=None
            if left_out(twin, name)
            else _Twin(
                scores=blocks(twin, "x1", "x2", "y"),
                drawn=blocks(twin, "drawn/z1", "drawn/z2", "drawn/zy"),
                latents=blocks(twin, "z1", "z2", "zy"),
                covariance=take(twin, f"{name}/covariance"),
            ),
        )


@dataclass(frozen=True)
class _Twin:
    """A twin's rows, the latents they were made from (`drawn`), and those that flows find in them."""

    scores: Blocks
    drawn: Blocks
    latents: Blocks
    covariance: np.ndarray


def _decomposed(
    scores: Scores, layer: int, read: _Layer, estimators: Sequence[str], settings: dict
) -> list[Decomposition]:
    """The records of one layer, one for each estimator and definition."""
    blocks, twin = scores.of_layer(layer), read.twin
    dims = tuple(block.shape[1] for block in blocks)
    truth = _truth(twin.covariance, dims, settings["definitions"]) if twin else {}
    common = {name: scores.attrs[name] for name in ("model", "task", "language", "dropped")}
    common |= dict(zip(("condition", "target"), condition_and_target(scores.attrs["condition"]), strict=True))
    common |= {"layer": layer, "images": len(np.unique(scores.images)), "dims": dims}
    same = settings | {"groups": scores.images}
    perfect = cache(lambda: estimate_pid_from_latents(*twin.drawn, **same))
    found = []
    for estimator in estimators:
        try:
            estimates, real = estimates_by(estimator, scores=blocks, latents=lambda: read.latents, **same)
            of_twin = {}
            first = next(iter(estimates.values()))
            gaussian = real is not None and first.bounded
            missed = missed_information(*real, bound=read.bound) if gaussian else missed_beside(first, bound=read.bound)
            if gaussian and twin:
                of_twin, _ = estimates_by(first.spoke, scores=twin.scores, latents=lambda: twin.latents, **same)
            if gaussian and needs_flow(first.spoke):
                estimates = corrected_unless_discrete(
                    estimates, lambda found=of_twin: (perfect(), found), discrete=twin is None
                )
                missed = missed_after(missed, next(iter(estimates.values())))
        except PidflowError as error:
            where = f"model '{common['model']}', task '{common['task']}', condition '{common['condition']}'"
            raise type(error)(f"{where}, {layer_name(layer)}, estimator '{estimator}': {error}") from error
        for definition, estimate in estimates.items():
            known = of_twin and truth and of_twin[definition].bounded
            beside = TwinEstimate.of(of_twin[definition], truth[definition]) if known else None
            record = Decomposition(**common, estimator=estimator, estimate=estimate, twin=beside, missed=missed)
            parts = "  ".join(f"{atom} {record.bits[atom]:.3f}" for atom in ATOMS)
            log.debug("%s %s %s, %d questions: %s bits", layer_name(layer), estimator, definition, record.n, parts)
            found.append(record)
    return found


def _truth(covariance: np.ndarray, dims: tuple[int, ...], definitions: Sequence[str]) -> dict[str, dict[str, float]]:
    """The seven quantities of the twin by definition; empty where its information has no bound."""
    try:
        exact = {name: gaussian_pid(covariance, dims, definition=name) for name in definitions}
    except UnboundedError:
        return {}
    return {name: {each: float(getattr(one, each)) for each in QUANTITIES} for name, one in exact.items()}
