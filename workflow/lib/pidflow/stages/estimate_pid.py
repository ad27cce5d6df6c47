"""Stage ``estimate_pid``: the decomposition of one layer of one unit, by every estimator and definition asked for."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from pidflow.errors import PidflowError
from pidflow.names import layer_name
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.pid.gaussian import PIDAtoms, gaussian_pid
from pidflow.pid.results import PIDEstimate
from pidflow.stats import normal_scores, within
from pidflow.store import Identity, checksum_of, identity_of, reading_h5, take, write_json
from pidflow.validation.missed import MissedInformation, missed_information

log = logging.getLogger(__name__)

# Names of the two sources in files and tables; the numerics know them as 1 and 2.
ATOMS = {
    "redundancy": "redundancy",
    "unique_vision": "unique_1",
    "unique_language": "unique_2",
    "synergy": "synergy",
}
INFORMATIONS = {"vision": "mi_1", "language": "mi_2", "joint": "mi_12"}


def run(
    *,
    pca: str,
    flow: str,
    output: str,
    layer: str,
    estimators: list[str],
    definitions: list[str],
    permutations: int,
    jackknife_groups: int,
    seed: int,
    unit: Mapping[str, str] | None = None,
) -> None:
    """Decompose what one layer says about the target.

    Parameters
    ----------
    pca
        Principal scores: input of the estimators ``gaussian`` and ``copula``.
    flow
        Held-out latents, input of the estimator ``flow``; the critic's bound; the planted twin.
    output
        JSON file, see README.
    layer
        Number of the layer, as in the file name.
    estimators, definitions, permutations, jackknife_groups, seed
        As in :func:`pidflow.pid.estimate.estimate_pid`; jackknife groups are made of whole images.
    unit
        Model, task and condition that both files must be about; None: any.

    Raises
    ------
    DataError
        If a file is about another unit, or the latents were not made from these scores.
    """
    name = layer_name(int(layer))
    asked = Identity(**(unit or {}))
    with reading_h5(pca, kind="pca", expected=asked) as file:
        about = identity_of(file)
        identity = {key: _plain(file.attrs[key]) for key in ("model", "task", "condition", "language", "dropped")}
        images = take(file, "image_id")
        scores = [take(file, f"{name}/{source}/scores") for source in ("vision", "language")]
        scores.append(take(file, "target/scores"))
    with reading_h5(flow, kind="flow", expected=replace(asked, made_from=checksum_of(pca))) as file:
        latents = [take(file, f"{name}/{part}", shape=(len(images), None)) for part in ("z1", "z2", "y")]
        bound = take(file, f"{name}/critic/rows", shape=(len(images),))
        twin = {part: take(file, f"{name}/twin/{part}") for part in ("x1", "x2", "y", "z1", "z2", "zy", "covariance")}
    dims = [block.shape[1] for block in scores]
    real = _inputs(scores, latents)
    planted = _inputs([twin[part] for part in ("x1", "x2", "y")], [twin[part] for part in ("z1", "z2", "zy")])
    truth = {definition: gaussian_pid(twin["covariance"], dims, definition=definition) for definition in definitions}

    def estimated(blocks: list[np.ndarray]) -> dict[str, PIDEstimate]:
        return estimate_pid_from_latents(
            *blocks,
            groups=images,
            permutations=permutations,
            jackknife=jackknife_groups,
            seed=seed,
            definitions=definitions,
        )

    found = {}
    for estimator in estimators:
        try:
            estimates, of_twin = estimated(real[estimator]), estimated(planted[estimator])
            missed = missed_information(*real[estimator], bound=bound)
        except PidflowError as error:
            where = f"model '{identity['model']}', task '{identity['task']}', condition '{identity['condition']}'"
            raise type(error)(f"{where}, {name}, estimator '{estimator}': {error}") from error
        twins = {definition: _twin(of_twin[definition], truth[definition]) for definition in definitions}
        found[estimator] = _route(estimates, missed, twins)
        for definition, estimate in estimates.items():
            parts = "  ".join(f"{atom} {getattr(estimate, field):.3f}" for atom, field in ATOMS.items())
            log.info("%s %s %s, %d questions: %s bits", name, estimator, definition, estimate.n, parts)
    write_json(
        output,
        identity=about,
        value={
            "schema_version": 2,
            **identity,
            "layer": int(layer),
            "n": len(images),
            "images": len(np.unique(images)),
            "dims": dims,
            "estimators": found,
        },
    )


def _inputs(scores: list[np.ndarray], latents: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What each estimator estimates from."""
    return {"gaussian": scores, "copula": [normal_scores(block) for block in scores], "flow": latents}


def _route(
    estimates: dict[str, PIDEstimate], missed: MissedInformation, twins: dict[str, dict[str, dict[str, float | bool]]]
) -> dict:
    first = next(iter(estimates.values()))
    return {
        "mi": {name: getattr(first, field) for name, field in INFORMATIONS.items()},
        "mi_se": {name: first.se[field] for name, field in INFORMATIONS.items()},
        "mi_bias": {name: first.mi_bias[field] for name, field in INFORMATIONS.items()},
        "mi_jackknife": {name: first.replicates[field] for name, field in INFORMATIONS.items()},
        "p_value": first.p_value,
        "rows_per_dimension": first.ratio,
        "warnings": sorted({warning for estimate in estimates.values() for warning in estimate.warnings}),
        "missed_information": asdict(missed),
        "definitions": {
            definition: _definition(estimate) | {"twin": twins[definition]}
            for definition, estimate in estimates.items()
        },
    }


def _twin(estimate: PIDEstimate, truth: PIDAtoms) -> dict[str, dict[str, float | bool]]:
    """What the estimator found in the planted twin, beside its truth."""
    found = {}
    for name, field in (ATOMS | {f"mi_{name}": field for name, field in INFORMATIONS.items()}).items():
        bits, se, true = getattr(estimate, field), estimate.se[field], float(getattr(truth, field))
        found[name] = {"truth": true, "bits": bits, "se": se, "passed": within(bits, true, se=se)}
    return found


def _definition(estimate: PIDEstimate) -> dict:
    return {
        "atoms": {name: getattr(estimate, field) for name, field in ATOMS.items()},
        "se": {name: estimate.se[field] for name, field in ATOMS.items()},
        "jackknife": {name: estimate.replicates[field] for name, field in ATOMS.items()},
        "raw": {name: estimate.raw[field] for name, field in ATOMS.items()},
        "union": {
            "raw": estimate.union_raw,
            "corrected": estimate.union_corrected,
            "clipped": estimate.union,
            "bias": estimate.union_bias,
            "null": estimate.union_null,
            "correction": estimate.union_correction,
        },
        "blocks": estimate.blocks,
        "clipped": estimate.clipped,
        "gap_bits": estimate.gap_bits,
        "converged": estimate.converged,
        "warnings": list(estimate.warnings),
    }


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value
