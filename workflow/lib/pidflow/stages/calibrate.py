"""Stage ``calibrate``: the estimator of a run, judged on planted cases of the run's own size."""

import logging
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import torch

from pidflow.errors import ConfigError, PidflowError
from pidflow.flows.gaussianize import FlowConfig, gaussianize
from pidflow.groups import grouped_folds
from pidflow.names import layer_name
from pidflow.pid.estimate import ESTIMATORS
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.pid.results import PIDEstimate
from pidflow.stats import normal_scores
from pidflow.store import reading_h5, write_table
from pidflow.validation.critic import critic_information
from pidflow.validation.missed import MissedInformation, missed_information
from pidflow.validation.planted_cases import CASES, Case, planted_cases

log = logging.getLogger(__name__)

# Names of the two sources in tables; the numerics know them as 1 and 2.
ATOMS = {
    "redundancy": "redundancy",
    "unique_vision": "unique_1",
    "unique_language": "unique_2",
    "synergy": "synergy",
}
COLUMNS = (
    "case",
    "replicate",
    "estimator",
    "definition",
    "atom",
    "truth",
    "bits",
    "se",
    "n",
    "d1",
    "d2",
    "m",
    "within",
    "passed",
    "note",
)


def run(
    *,
    pca: Sequence[str],
    scorecard: Sequence[str],
    estimators: Sequence[str],
    definitions: Sequence[str],
    permutations: int,
    jackknife_groups: int,
    folds: int,
    seed: int,
    threads: int,
    replicates: int = 1,
    cases: Sequence[str] = CASES,
    settings: Mapping | None = None,
) -> None:
    """Estimate every planted case as a run would, and write what came out beside the truth.

    Parameters
    ----------
    pca
        Principal scores of every unit of the run: their fewest rows and largest dimensions are those of the cases.
    scorecard
        Where the table goes, usually one parquet and one csv file. A row an atom, plus, for each estimator, a row
        ``missed_information``: what the held-out critic proves beyond the estimate, beside what is truly missing (the
        critic's number is a lower bound on that, so they need not agree: ``within`` says that it does not exceed the
        truth by more than 1.96 standard errors, ``passed`` judges the flag). ``within`` of an atom says that the truth
        is in its interval; what is not within and has passed was announced as missed information.
    estimators, definitions, permutations, jackknife_groups, folds
        As in the run.
    seed
        Random state of the cases and of the estimates.
    threads
        CPU threads.
    replicates
        Draws of each case.
    cases
        Which, from :data:`pidflow.validation.planted_cases.CASES`.
    settings
        Fields of :class:`pidflow.flows.gaussianize.FlowConfig` that differ from its defaults, as in the run.

    Raises
    ------
    ConfigError
        For an unknown case or estimator.
    PidflowError
        When an estimate is refused, with the case in the message.
    """
    unknown = [estimator for estimator in estimators if estimator not in ESTIMATORS]
    if unknown:
        raise ConfigError(f"calibration: unknown estimator {unknown[0]!r}, expected some of {', '.join(ESTIMATORS)}")
    torch.set_num_threads(threads)
    n, dims = size_of_run(pca)
    rows = []
    for replicate in range(replicates):
        for case in planted_cases(n, dims, seed=seed + replicate, names=cases):
            try:
                judged = _judged(
                    case,
                    estimators=estimators,
                    definitions=definitions,
                    permutations=permutations,
                    jackknife_groups=jackknife_groups,
                    folds=folds,
                    seed=seed,
                    config=FlowConfig.checked(settings or {}, where="config flow"),
                )
                found = [
                    {"case": case.name, "replicate": replicate, "estimator": estimator, **row}
                    for estimator, estimates, missed in judged
                    for row in _rows(case, estimates, missed)
                ]
            except PidflowError as error:
                raise type(error)(f"calibration case '{case.name}', n={n}, dims={dims}: {error}") from error
            log.info("%s: %d of %d rows passed", case.name, sum(row["passed"] for row in found), len(found))
            rows += found
    frame = pd.DataFrame(rows).assign(n=n, d1=dims[0], d2=dims[1], m=dims[2])[list(COLUMNS)]
    for path in scorecard:
        write_table(path, frame)


def size_of_run(pca: Sequence[str]) -> tuple[int, tuple[int, int, int]]:
    """The fewest rows of any unit, and the largest dimensions ``(d1, d2, m)`` of any of its layers."""
    rows, widths = [], []
    for path in pca:
        with reading_h5(path, kind="pca") as file:
            rows.append(len(file["rows"]))
            target = file["target/scores"].shape[1]
            for layer in range(int(file.attrs["layers"]) + 1):
                group = file[layer_name(layer)]
                widths.append((*(group[f"{source}/scores"].shape[1] for source in ("vision", "language")), target))
    return min(rows), tuple(max(column) for column in zip(*widths, strict=True))


def _judged(
    case: Case,
    *,
    estimators: Sequence[str],
    definitions: Sequence[str],
    permutations: int,
    jackknife_groups: int,
    folds: int,
    seed: int,
    config: FlowConfig,
) -> Iterator[tuple[str, dict[str, PIDEstimate], MissedInformation]]:
    """What the run would find by each estimator."""
    same = {"groups": case.groups, "seed": seed}
    labels = grouped_folds(len(case.y), folds=folds, **same)
    blocks = case.x1, case.x2, case.y
    latents = gaussianize(*blocks, folds=labels, config=config, **same)
    inputs = {
        "gaussian": blocks,
        "copula": tuple(normal_scores(block) for block in blocks),
        "flow": (latents.z1, latents.z2, latents.y),
    }
    bound = critic_information(inputs["gaussian"], inputs["flow"], folds=labels, **same)
    for estimator in estimators:
        estimates = estimate_pid_from_latents(
            *inputs[estimator], permutations=permutations, jackknife=jackknife_groups, definitions=definitions, **same
        )
        yield estimator, estimates, missed_information(*inputs[estimator], bound=bound.rows)


def _rows(case: Case, estimates: Mapping[str, PIDEstimate], missed: MissedInformation) -> Iterator[dict]:
    """A row an atom, for the definitions with a known truth, and one for what was missed."""
    for definition, estimate in estimates.items():
        for name, atom in ATOMS.items():
            if definition not in case.truth:
                continue
            bits, se = getattr(estimate, atom), estimate.se[atom]
            yield {
                "definition": definition,
                "atom": name,
                "truth": case.truth[definition][atom],
                "bits": bits,
                "se": se,
                "within": case.holds(definition, atom, bits=bits, se=se),
                "passed": case.passes(definition, atom, bits=bits, se=se, flagged=missed.flag),
                "note": case.note,
            }
    total = next(iter(estimates.values()))
    yield {
        "definition": "any",
        "atom": "missed_information",
        "truth": max(0.0, case.information - total.mi_12),
        "bits": missed.bits,
        "se": missed.se,
        "within": missed.bound <= case.information + 1.96 * missed.se,
        "passed": case.flag_is_right(flagged=missed.flag, mi_12=total.mi_12, se=total.se["mi_12"]),
        "note": f"{'flag raised' if missed.flag else 'no flag'} (p = {missed.p_value:.2g}); {case.note}",
    }
