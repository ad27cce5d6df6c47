"""What OpenReview 6WsBGk4Iag reports, number by number, as statements about the models of a run.

A number is compared with its sign (what is claimed to rise, rises) and with its size: ``paper_inside`` tells whether
the interval found here holds the reported value. The paper's tasks and families are judged where the run has tasks and
families of these names; where it has none, the row says so. The same statements about the run's own tasks stand beside
them, without a value. Units of the scaling deltas are not stated in our source: only their signs are judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from scipy.special import stdtr

from pidflow import stats
from pidflow.analysis import breadth
from pidflow.analysis.emergence import LEAST_BITS, crossing, series_of
from pidflow.analysis.spectrum_cells import Cell, layers
from pidflow.analysis.spectrum_claim import COLUMNS, SpectrumClaim
from pidflow.analysis.spectrum_reported import (
    CORRELATED,
    CORRELATIONS,
    GROUP_TYPES,
    NAN,
    SCALED,
    SCALING,
    SIGNS,
    TASK_TYPES,
)
from pidflow.spectrum.results import TaskSpectrum

# Synergy below this share of its largest value counts as negligible.
NEGLIGIBLE = 0.1
MIDDLE = 0.5


def judge(
    cells: Sequence[Cell],
    found: Sequence[TaskSpectrum],
    *,
    expected: Sequence[breadth.Expected] = (),
    lens: str | None = None,
    seed: int = 0,
) -> list[SpectrumClaim]:
    """Every reported number, judged on these cells.

    Parameters
    ----------
    expected
        Orders of models that were written down before.
    lens
        Through which layers are read; None judges nothing about layers.
    """
    claims = [
        *_correlations(cells, seed),
        *_types(cells, seed),
        *_scaling(cells),
        *_layers(found, lens),
        *_training(cells),
        *_order(cells, expected, seed),
    ]
    return stats.family_wise(claims)


def spectrum_claims_table(claims: Sequence[SpectrumClaim]) -> pd.DataFrame:
    """Claims as rows."""
    return pd.DataFrame([asdict(claim) for claim in claims], columns=COLUMNS)


def _correlations(cells: Sequence[Cell], seed: int) -> Iterator[SpectrumClaim]:
    table = breadth.correlation_table(cells, seed=seed)
    for task, reported in _with_reported(dict.fromkeys(table["task"]), CORRELATIONS):
        for place, (x, y) in enumerate(CORRELATED):
            paper = CORRELATIONS[reported][place] if reported else NAN
            above = bool(np.sign(paper if np.isfinite(paper) else SIGNS[place]) > 0)
            more = "more" if above else "less"
            words = f"models with more {_words(x)} have {more} {_words(y)} (Spearman over models)"
            row = table[(table["task"] == task) & (table["x"] == x) & (table["y"] == y)]
            if row.empty or not np.isfinite(row["rho"].iloc[0]):
                note = _no_models(row, task)
                found = (NAN, NAN, NAN, NAN)
            else:
                found = tuple(row[["rho", "low", "high", "p_value"]].iloc[0])
                note = f"over {row['models'].iloc[0]} models"
            yield _claim(f"{x}-with-{y}", words, "all", task, found, "correlation", 0.0, above, paper, note)


def _types(cells: Sequence[Cell], seed: int) -> Iterator[SpectrumClaim]:
    table = breadth.type_table(cells, seed=seed)
    for kind, papers, threshold, what in (
        ("task", TASK_TYPES, breadth.LEANING, (breadth.SYNERGY_DRIVEN, breadth.KNOWLEDGE_DRIVEN)),
        ("group", GROUP_TYPES, 0.0, (breadth.FUSION_CENTRIC, breadth.LANGUAGE_CENTRIC)),
    ):
        of_kind = table[table["kind"] == kind].set_index("name")
        for name, reported in _with_reported(of_kind.index, papers):
            above = papers.get(reported, True)
            statement = f"the {'task' if kind == 'task' else 'family'} is {what[0] if above else what[1]}"
            if name in of_kind.index and np.isfinite(of_kind.loc[name, "number"]):
                row = of_kind.loc[name]
                found, note = (*row[["number", "low", "high"]], NAN), f"type {row['type']}"
            else:
                found, note = (NAN,) * 4, f"the run has no {kind} '{name}' with enough models"
            about, task = ("all", name) if kind == "task" else (name, "all")
            unit = "correlation" if kind == "task" else "share"
            yield _claim(f"{kind}-type", statement, about, task, found, unit, threshold, above, NAN, note)


def _scaling(cells: Sequence[Cell]) -> Iterator[SpectrumClaim]:
    table = breadth.scaling_table(cells)
    for group in [*SCALING, *(group for group in dict.fromkeys(table["group"]) if group not in SCALING)]:
        of_group = table[table["group"] == group]
        steps = list(dict.fromkeys(zip(of_group["smaller"], of_group["larger"], strict=True)))
        for place in range(max(len(steps), len(SCALING.get(group, ())))):
            for index, name in enumerate(SCALED):
                paper = SCALING[group][place][index] if place < len(SCALING.get(group, ())) else NAN
                if group in SCALING and not np.isfinite(paper):
                    continue
                above = paper > 0 if np.isfinite(paper) else name != "unique_language"
                rise = "raises" if above else "lowers"
                words = f"step {place + 1} in size {rise} {_words(name)} (mean over tasks)"
                found, note = (NAN,) * 4, f"the run has no two sizes of family '{group}' for this step"
                if place < len(steps):
                    here = of_group[(of_group["smaller"] == steps[place][0]) & (of_group["number"] == name)].iloc[0]
                    found = (*here[["change", "low", "high"]], NAN)
                    note = f"from {steps[place][0]:g} to {steps[place][1]:g} billion parameters, {here['tasks']} tasks"
                unit = "share" if name == "accuracy" else "bits"
                yield _claim(
                    f"scaling-{name}", words, group, "all", found, unit, 0.0, above, paper, note, same_unit=False
                )


def _layers(found: Sequence[TaskSpectrum], lens: str | None) -> Iterator[SpectrumClaim]:
    for each in found if lens else ():
        profile = layers(each, lens)
        if len(profile) < 3 or max(s.bits["mi_joint"] for s in profile) < LEAST_BITS:
            continue
        depth = np.linspace(0, 1, len(profile))
        groups = min(s.groups for s in profile)

        def curves(name: str, profile: list = profile, groups: int = groups) -> np.ndarray:
            values = [[s.bits[name], *s.replicates[name][:groups]] for s in profile]
            return np.array(values).T  # without any group first

        joint, language, synergy = (curves(name) for name in ("mi_joint", "unique_language", "synergy"))
        rise = np.array([crossing(depth, row) for row in joint])
        last = len(profile) - 1
        yield _jackknifed(
            "information-emerges-late",
            "half of the joint information is there only after the middle layer",
            each,
            rise,
            ("depth", MIDDLE, True),
            f"at layer {rise[0] * last:.1f} of {last}" if np.isfinite(rise[0]) else "no layer has information",
        )
        for name, curve, place, words in (
            ("language-peaks-penultimate", language, last - 1, "language-unique information peaks at the penultimate"),
            ("synergy-peaks-last", synergy, last, "synergy peaks at the last"),
        ):
            others = np.delete(curve, place, axis=1).max(1)
            yield _jackknifed(
                name,
                f"{words} layer (there minus the largest elsewhere)",
                each,
                curve[:, place] - others,
                ("bits", 0.0, True),
                f"largest at layer {int(curve[0].argmax())} of {last} ({curve[0].max():.3f} bits)",
            )


def _training(cells: Sequence[Cell]) -> Iterator[SpectrumClaim]:
    for (series, task), checkpoints in series_of(cells).items():
        phases = list(dict.fromkeys(cell.info.phase for cell in checkpoints))
        if len(phases) < 2 or None in phases:
            continue
        before = [cell for cell in checkpoints if cell.info.phase == phases[0]][-1]
        after = checkpoints[-1]
        synergy = [cell.estimate("synergy") for cell in (before, after)]
        negligible = stats.difference(
            synergy[0], stats.Estimate(NEGLIGIBLE * synergy[1].value, NEGLIGIBLE * synergy[1].se, synergy[1].df)
        )
        yield _estimated(
            "no-synergy-in-alignment",
            f"synergy at the end of the first phase is below {NEGLIGIBLE:.0%} of that at the end of training",
            series,
            task,
            negligible,
            ("bits", 0.0, False),
            f"{synergy[0].value:.3f} bits after {phases[0]}, {synergy[1].value:.3f} after {phases[-1]}",
        )
        yield _estimated(
            "synergy-emerges-in-tuning",
            "synergy rises after the first phase (end of training minus end of the first phase)",
            series,
            task,
            stats.difference(synergy[1], synergy[0]),
            ("bits", 0.0, True),
            f"{phases[0]} to {phases[-1]}",
        )


def _order(cells: Sequence[Cell], expected: Sequence[breadth.Expected], seed: int) -> Iterator[SpectrumClaim]:
    why = {each.id: each.why for each in expected}
    for _, row in breadth.order_table(cells, expected, seed=seed).iterrows():
        statement = f"{_words(row['number'])} comes in the order written down before (Kendall's tau): {why[row['id']]}"
        found = (row["tau"], row["low"], row["high"], NAN)
        note = f"over {row['models']} models, found {row['found']}"
        yield _claim(f"order-{row['id']}", statement, "all", row["task"], found, "correlation", 0.0, True, NAN, note)


def _jackknifed(
    name: str, statement: str, each: TaskSpectrum, values: np.ndarray, claimed: tuple[str, float, bool], note: str
) -> SpectrumClaim:
    known = np.isfinite(values).all()
    found = stats.jackknife(values[0], values[1:]) if known else stats.Estimate(NAN, NAN, 0)
    return _estimated(name, statement, each.model, each.task, found, claimed, note)


def _estimated(
    name: str, statement: str, about: str, task: str, found: stats.Estimate, claimed: tuple[str, float, bool], note: str
) -> SpectrumClaim:
    unit, threshold, above = claimed
    p = 2 * float(stdtr(found.df, -abs(found.value - threshold) / found.se)) if found.se > 0 else NAN
    numbers = (found.value, *found.interval(), p)
    return _claim(name, statement, about, task, numbers, unit, threshold, above, NAN, note)


def _claim(
    name: str,
    statement: str,
    about: str,
    task: str,
    found: tuple[float, float, float, float],
    unit: str,
    threshold: float,
    above: bool,
    paper: float,
    note: str,
    *,
    same_unit: bool = True,
) -> SpectrumClaim:
    value, low, high, p = (float(number) for number in found)
    inside = ""
    if np.isfinite(value) and np.isfinite(paper) and same_unit:
        inside = "yes" if low <= paper <= high else "no"
    side = "above" if above else "below"
    if np.isfinite(value):
        reason = f"{value:z.3f} {unit} (95 % interval {low:z.3f} to {high:z.3f}; claimed {side} {threshold:g}); {note}."
    else:
        reason = f"No number: {note}."
    verdict = stats.verdict(low, high, threshold=threshold, above=above) if np.isfinite(value) else stats.UNDETERMINED
    if not high - low > stats.ROUNDING and p < 1 - stats.LEVEL:  # a perfect order is one in every resample
        verdict = stats.SUPPORTED if (value > threshold) == above else stats.NOT_SUPPORTED
    return SpectrumClaim(
        id=name,
        statement=statement,
        about=about,
        task=task,
        estimate=value,
        low=low,
        high=high,
        unit=unit,
        threshold=threshold,
        side=side,
        verdict=verdict,
        p_value=p,
        p_holm=NAN,
        verdict_holm=stats.UNDETERMINED,
        paper_value=paper,
        paper_inside=inside,
        reason=reason,
    )


def _with_reported(run: Iterable[str], reported: Iterable[str]) -> list[tuple[str, str | None]]:
    """Tasks or families of a run with the reported one that each belongs to, and reported ones that the run lacks.

    ``pope-coco-random`` belongs to ``pope``.
    """
    found, reported = [], list(reported)
    for name in run:
        found.append((name, next((each for each in reported if name == each or name.startswith(f"{each}-")), None)))
    return [*((each, each) for each in reported if each not in {of for _, of in found}), *found]


def _no_models(row: pd.DataFrame, task: str) -> str:
    if row.empty:
        return f"the run has no task '{task}'"
    count = int(row["models"].iloc[0])
    if count < breadth.LEAST_MODELS:
        return f"{count} models, a rank correlation needs {breadth.LEAST_MODELS}"
    return "one of the numbers is the same in all models"


def _words(name: str) -> str:
    return {
        "mi_joint": "joint information",
        "interaction": "interaction information",
        "unique_language": "language-unique information",
        "vision_dependence": "dependence on vision",
    }.get(name, name.replace("_", " "))
