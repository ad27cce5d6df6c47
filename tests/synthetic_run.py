"""A made-up run: decompositions, answers and diagnostics as the pipeline makes them, with a known story.

Vision-unique information peaks early and fades, language-unique information rises late, synergy is small; under the cut
of image-to-question attention vision-unique information and synergy rise, the more so the more a task needs the image,
and its random control does a fifth of that.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from pidflow.names import ATOMS, INTACT, NUMBERED, layer_name
from pidflow.pid.results import Decomposition, MissedInformation, PIDEstimate, TwinEstimate
from pidflow.stats import interval, jackknife_se

TASKS = (
    *("choose-attr", "choose-cat", "choose-rel", "compare-attr", "logical-obj", "query-attr"),
    *("easy-colour", "easy-shape", "easy-yesno"),
)
CUT, RANDOM, BLIND = "image-question", "image-question-random", "no-image"
# How the pairs of the random control are matched.
MATCH = "other-sources"
STRENGTH = {INTACT: 0.0, RANDOM: 0.2, BLIND: 1.3}  # of an intervention, relative to the cut
GROUPS = 20
ROWS = 900
DIMS = (10, 10, 5)
SE = 0.02


def need_of_vision(task: str) -> float:
    """Between 0.3 and 1: how strongly the task depends on the image."""
    return 0.3 + 0.7 * TASKS.index(task) / (len(TASKS) - 1)


def truth(task: str, condition: str, depth: np.ndarray) -> dict[str, np.ndarray]:
    """Atoms in bits over relative depth."""
    need = need_of_vision(task)
    vision = 0.9 * need * np.exp(-(((depth - 0.2) / 0.25) ** 2)) + 0.02
    language = 1.6 / (1 + np.exp(-(depth - 0.6) / 0.08)) + 0.05
    redundancy = 0.25 + 0.1 * np.sin(3 * depth)
    synergy = 0.012 + 0.0 * depth
    effect = STRENGTH.get(condition, 1.0) * need * depth
    vision, synergy, language = vision + 0.5 * effect, synergy + 0.25 * effect, language - 0.3 * effect
    return dict(zip(ATOMS, (redundancy, vision, language, synergy), strict=True))


def records(
    *,
    models=("standin",),
    tasks=TASKS,
    conditions=(INTACT, CUT),
    layers=9,
    estimators=("gaussian", "flow"),
    definitions=("mmi", "broja"),
    se=SE,
    seed=0,
) -> list[Decomposition]:
    """Decompositions of every layer; of one layer all estimators and definitions find the same."""
    rng = np.random.default_rng(seed)
    found = []
    for model in models:
        for task in tasks:
            for condition in conditions:
                values = truth(task, condition, np.linspace(0, 1, layers))
                for layer in range(layers):
                    atoms = {atom: max(0.0, float(v[layer]) + se * rng.standard_normal()) for atom, v in values.items()}
                    missed = 0.21 if layer == 0 and task == TASKS[-1] else 0.0
                    each = record(model, task, condition, layer, atoms, se=se, rng=rng, missed=missed)
                    found += [
                        replace(each, estimator=estimator, estimate=replace(each.estimate, definition=definition))
                        for estimator in estimators
                        for definition in definitions
                    ]
    return found


def record(
    model,
    task,
    condition,
    layer,
    atoms,
    *,
    se=SE,
    rng=None,
    jackknife=None,
    n=ROWS,
    clipped=None,
    missed=0.0,
    twin_errors=None,
    warnings=(),
) -> Decomposition:
    """One decomposition by the flow and BROJA with the given atoms.

    Parameters
    ----------
    jackknife
        Replicates of some atoms; the others scatter with an error of about ``se``.
    n
        Rows.
    clipped
        Whether the union information was moved; without synergy when omitted.
    missed
        Bits that the critic proves beyond the estimate.
    twin_errors
        By how much some atoms come out wrong in the twin.
    """
    rng = np.random.default_rng(layer) if rng is None else rng
    spread = se * np.sqrt(GROUPS) / (GROUPS - 1)
    replicates = {atom: value + spread * rng.standard_normal(GROUPS) for atom, value in atoms.items()}
    replicates = seven(replicates | {name: np.asarray(values) for name, values in (jackknife or {}).items()})
    bits = seven(atoms)
    union = bits["mi_1"] + bits["mi_2"] - bits["redundancy"]
    clipped = atoms["synergy"] == 0.0 if clipped is None else clipped
    estimate = PIDEstimate(
        definition="broja",
        **bits,
        se={name: float(jackknife_se(values)) for name, values in replicates.items()},
        p_value=1 / 21,
        union_raw=union,
        union_corrected=union + 0.05 * clipped,
        union=union,
        clipped=clipped,
        union_bias=0.0,
        union_null=0.0,
        union_correction="cross-fit",
        mi_bias=dict.fromkeys(("mi_1", "mi_2", "mi_12"), 0.0),
        raw=bits,
        gap_bits=0.0,
        converged=True,
        n=n,
        ratio=n / sum(DIMS),
        replicates={name: values.tolist() for name, values in replicates.items()},
        blocks="made up",
        warnings=tuple(warnings),
    )
    of_twin = {atom: 1.0 + (twin_errors or {}).get(atom, 0.0) for atom in ATOMS}
    twin = TwinEstimate(
        truth=seven(dict.fromkeys(ATOMS, 1.0)), bits=seven(of_twin), se=dict.fromkeys(bits, se), groups=GROUPS
    )
    proved = MissedInformation(gaussian_bits=bits["mi_12"], bound=bits["mi_12"] + (missed or -0.1), se=0.03)
    return Decomposition(
        **{"model": model, "task": task, "condition": condition, "layer": layer},
        **{"estimator": "flow", "language": "text", "images": n // 3, "dropped": 0, "dims": DIMS},
        estimate=estimate,
        twin=twin,
        missed=proved,
    )


def seven(atoms: dict) -> dict:
    """Four atoms, and the informations they add up to, as the numerics call them."""
    redundancy, vision, language, synergy = (atoms[atom] for atom in ATOMS)
    sums = (redundancy + vision, redundancy + language, redundancy + vision + language + synergy)
    return dict(zip(NUMBERED.values(), (redundancy, vision, language, synergy, *sums), strict=True))


def by_layer(found: list[Decomposition]) -> dict[str, list[Decomposition]]:
    """Decompositions by the name of the file that holds them."""
    files = {}
    for each in found:
        name = f"{each.model}/{each.task}/{each.condition}/{layer_name(each.layer)}.json"
        files.setdefault(name, []).append(each)
    return files


def answers(task: str, condition: str, *, layers=9, seed=0) -> pd.DataFrame:
    """Answers of one task, three questions an image, as in ``answers/…parquet``."""
    rng = np.random.default_rng([seed, TASKS.index(task)])
    need = need_of_vision(task)
    accuracy = 0.95 - 0.1 * need - 0.45 * STRENGTH.get(condition, 1.0) * need
    uniform = rng.random(ROWS)
    frame = pd.DataFrame(
        {
            "item_id": [f"{task}-{i}" for i in range(ROWS)],
            "image_id": [f"image-{i // 3}" for i in range(ROWS)],
            "answer": "yes",
            "predicted": np.where(uniform < accuracy, "yes", "no"),
            "probability": np.clip(accuracy + 0.05 * rng.standard_normal(ROWS), 0, 1),
            "answer_probability": np.clip(accuracy - 0.1 + 0.05 * rng.standard_normal(ROWS), 0, 1),
            "correct": uniform < accuracy,
            "uncut": False,
            "control": pd.array([MATCH if condition == RANDOM else None] * ROWS, dtype="string"),
        }
    )
    for layer in range(layers):
        height = accuracy / (1 + np.exp(-(layer / (layers - 1) - 0.7) / 0.07))
        frame[f"lens_{layer:02d}"] = np.clip(height + 0.1 * rng.standard_normal(ROWS), 0, 1)
    return frame


def diagnostics(*, layers=9, widths=(10, 10, 5), seed=0):
    """Layer number, block widths and named statistics, as in the diagnostics of a flow file."""
    rng = np.random.default_rng(seed)
    blocks = dict(zip(("vision", "language", "target"), widths, strict=True))
    for layer in range(layers):
        values = {}
        for at, scale in (("input", 20.0), ("latent", 0.6)):
            values[f"{at}_gaussianity/anderson_darling"] = scale * rng.gamma(4, 0.25, sum(widths))
            values[f"{at}_gaussianity/anderson_darling_p"] = rng.random(sum(widths)) * (0.06 if at == "input" else 1.0)
            values[f"{at}_gaussianity/kurtosis"] = 1.0 + 0.02 * scale * (1 + 0.1 * rng.standard_normal())
            values[f"{at}_gaussianity/skewness"] = 3.0 * scale * (1 + 0.1 * rng.standard_normal())
        values["best_step"] = np.array([100, 120, 90])
        yield layer, blocks, values


def calibration(*, seed=0) -> pd.DataFrame:
    """A scorecard of planted cases: estimates scattered about the truth, one case that fails."""
    rng = np.random.default_rng(seed)
    rows = []
    for case in ("gaussian", "warped", "bent", "discrete", "xor", "independent"):
        for estimator in ("gaussian", "flow"):
            for atom in ATOMS:
                true = 0.0 if case == "independent" else float(rng.gamma(2, 0.3))
                if case == "xor":
                    true = 1.0 if atom == "synergy" else 0.0
                bits = (
                    true * (0.6 if estimator == "gaussian" and case != "gaussian" else 1.0) + SE * rng.standard_normal()
                )
                bits = SE * rng.standard_normal() if case == "xor" else bits
                low, high = interval(bits, SE, GROUPS - 1)
                rows.append(
                    {
                        "case": case,
                        "estimator": estimator,
                        "definition": "broja",
                        "atom": atom,
                        "truth": true,
                        "bits": bits,
                        "se": SE,
                        "low": low,
                        "high": high,
                        "n": ROWS,
                        "d1": 10,
                        "d2": 10,
                        "m": 4,
                        "within": (near := low - 0.05 < true < high + 0.05),
                        "passed": near or case == "xor",
                        "note": "",
                    }
                )
    return pd.DataFrame(rows)
