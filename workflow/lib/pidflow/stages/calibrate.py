"""Stage ``calibrate``: the estimator of a run, judged on planted cases of the run's own size."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import pandas as pd
import torch

from pidflow.errors import PidflowError
from pidflow.files.store import reading_h5, stored_layers, write_table
from pidflow.flows.gaussianize import FlowConfig, gaussianize
from pidflow.groups import grouped_folds
from pidflow.names import ATOMS, NUMBERED, layer_name
from pidflow.pid.correction import corrected_unless_discrete
from pidflow.pid.estimators._rows import estimates_by, needs_flow
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.pid.labels import any_discrete
from pidflow.pid.planted_twin import another_start, planted_twin
from pidflow.pid.results import MissedInformation, PIDEstimate
from pidflow.plugins.registry import module_of
from pidflow.stats import interval
from pidflow.validation.critic import critic_information
from pidflow.validation.missed import missed_after, missed_beside, missed_information
from pidflow.validation.planted_cases import CASES, Case, planted_cases

log = logging.getLogger(__name__)

COLUMNS = (
    *("case", "replicate", "estimator", "definition", "atom", "truth", "bits", "se", "low", "high"),
    *("n", "d1", "d2", "m", "within", "passed", "note"),
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
        truth by more than its 95 % interval, ``passed`` judges the flag). ``within`` of an atom says that the truth
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
    for estimator in estimators:
        module_of("pid.estimators", estimator)
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
            for layer in stored_layers(file.attrs):
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
    represented = latents.z1, latents.z2, latents.y
    bound = critic_information(blocks, represented, folds=labels, **same)
    how = {"permutations": permutations, "jackknife": jackknife_groups, "definitions": definitions, **same}

    @cache
    def of_twin() -> tuple[dict[str, PIDEstimate], dict[str, PIDEstimate]]:
        """Decompositions of the latents that the twin was made from, and of those that flows find in it."""
        loss = latents.info.held_out_loss
        twin = planted_twin(*represented, latents.weights, held_out_loss=loss, seed=seed)
        again = gaussianize(
            *(twin.x1, twin.x2, twin.y), folds=labels, groups=case.groups, seed=another_start(seed), config=config
        )
        drawn, found = (twin.z1, twin.z2, twin.zy), (again.z1, again.z2, again.y)
        return estimate_pid_from_latents(*drawn, **how), estimate_pid_from_latents(*found, **how)

    for estimator in estimators:
        estimates, rows = estimates_by(estimator, scores=blocks, latents=lambda: represented, **how)
        one = next(iter(estimates.values()))
        missed = missed_beside(one, bound=bound.rows) if rows is None else missed_information(*rows, bound=bound.rows)
        if needs_flow(one.spoke):
            estimates = corrected_unless_discrete(estimates, of_twin, discrete=any_discrete(blocks))
            missed = missed_after(missed, next(iter(estimates.values())))
        yield estimator, estimates, missed


def _rows(case: Case, estimates: Mapping[str, PIDEstimate], missed: MissedInformation) -> Iterator[dict]:
    """A row an atom, for the definitions with a known truth, and one for what was missed."""
    for definition, estimate in estimates.items():
        for word in ATOMS if definition in case.truth else ():
            atom = NUMBERED[word]
            found = {"bits": getattr(estimate, atom), "se": estimate.se[atom]}
            low, high = estimate.interval(atom)
            df = estimate.groups - 1
            yield {
                **{"definition": definition, "atom": word, "truth": case.truth[definition][atom]},
                **found,
                **{"low": low, "high": high},
                "within": case.holds(definition, atom, **found, df=df),
                "passed": case.passes(definition, atom, **found, df=df, flagged=missed.flag),
                "note": case.note,
            }
    total = next(iter(estimates.values()))
    # Its error comes from the rows, which are many.
    low, high = interval(missed.bits, missed.se, total.n - 1)
    yield {
        "definition": "any",
        "atom": "missed_information",
        "truth": max(0.0, case.information - total.mi_12),
        "bits": missed.bits,
        "se": missed.se,
        "low": low,
        "high": high,
        "within": missed.bound <= case.information + (high - missed.bits),
        "passed": case.flag_is_right(flagged=missed.flag, low=total.interval("mi_12")[0]),
        "note": f"{'flag raised' if missed.flag else 'no flag'} (p = {missed.p_value:.2g}); {case.note}",
    }
