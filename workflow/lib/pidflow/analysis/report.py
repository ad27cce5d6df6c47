"""What the report of a run holds: verdicts, scorecard, methods in words, and the tables of its charts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pidflow import stats
from pidflow.names import ATOMS, INFORMATIONS, INTACT, OWN

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = (stats.SUPPORTED, stats.NOT_SUPPORTED, stats.UNDETERMINED)
_CURVES = ("model", "task", "condition", "estimator", "definition", "layer", "atom", "bits", "low", "high")
_SHARES = ("share", "share_low", "share_high")
# Columns of the table of decompositions that tables of before may lack.
_FURTHER = ("target", "uncorrected_bits")
_DIGITS = 5


def as_columns(frame: pd.DataFrame, columns: Sequence[str]) -> dict[str, Any]:
    """A table for the page: its columns, words as places in a list, numbers to five significant digits, gaps null."""
    found: dict[str, list] = {}
    words: dict[str, list[str]] = {}
    for name in columns:
        values = frame[name]
        if values.dtype.kind in "fiub":
            numbers = values.to_numpy(dtype=float)
            found[name] = [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in numbers]
        else:
            words[name] = list(dict.fromkeys(map(str, values)))
            place = {word: index for index, word in enumerate(words[name])}
            found[name] = [place[str(value)] for value in values]
    return {"length": len(frame), "columns": found, "words": words}


def curves(pid: pd.DataFrame) -> dict[str, Any]:
    """The table of decompositions for the explorer."""
    kept = [*_CURVES, *_SHARES, "warning", *(name for name in _FURTHER if name in pid)]
    return as_columns(pid[pid["atom"].isin([*ATOMS, *INFORMATIONS])], kept)


def called(frame: pd.DataFrame, titles: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """A table with titles of tasks, models and conditions for their ids."""
    return frame.assign(**{name: frame[name].replace(dict(of_kind)) for name, of_kind in titles.items()})


def verdicts(claims: pd.DataFrame, titles: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """The claims, one group a statement with its rows and how often each verdict was given."""
    groups = []
    for statement, rows in claims.groupby("statement", sort=False):
        counts = [(verdict, int((rows["verdict"] == verdict).sum())) for verdict in VERDICTS]
        groups.append(
            {
                "statement": str(statement),
                "counts": [(verdict, count) for verdict, count in counts if count],
                "rows": called(rows, titles).to_dict("records"),
            }
        )
    return groups


def verdict_line(claims: pd.DataFrame) -> str:
    """How many statements were judged, and how."""
    counts = claims["verdict"].value_counts()
    said = ", ".join(f"{int(counts[verdict])} {verdict}" for verdict in VERDICTS if verdict in counts)
    return f"{claims['statement'].nunique()} published statements, judged {len(claims)} times: {said or 'no verdict'}."


def scorecard(
    answers: pd.DataFrame,
    pid: pd.DataFrame,
    titles: Mapping[str, Mapping[str, str]],
    *,
    estimator: str,
    definition: str,
) -> list[dict[str, Any]]:
    """Accuracy of every unit, the intact model first, and its atoms at the last layer where it was decomposed."""
    chosen = pid[(pid["estimator"] == estimator) & (pid["definition"] == definition)]
    if "target" in chosen:
        chosen = chosen[chosen["target"] == OWN]
    rows = []
    first = answers["condition"].ne(INTACT)
    ordered = answers.assign(first=first).sort_values(["model", "task", "first"], kind="stable")
    for unit in ordered.to_dict("records"):
        here = chosen
        for name in ("model", "task", "condition"):
            here = here[here[name] == unit[name]]
        last = here[here["layer"] == here["layer"].max()].set_index("atom")["bits"]
        interval = f"{unit['accuracy_low']:.1%} to {unit['accuracy_high']:.1%}"
        rows.append(
            {name: titles[name].get(unit[name], unit[name]) for name in ("model", "task", "condition")}
            | {
                "n": unit["n"],
                "accuracy": f"{unit['accuracy']:.1%} ({interval})",
                "atoms": [f"{last[atom]:.2f}" if atom in last.index else "–" for atom in ATOMS],
            }
        )
    return rows


def methods(configuration: Mapping[str, Any], answers: pd.DataFrame, pid: pd.DataFrame) -> list[str]:
    """The methods of the run in words, with its own numbers."""
    run, extract, pca, pid_settings = (configuration[key] for key in ("run", "extract", "pca", "pid"))
    intact = answers[answers["condition"] == INTACT]
    accuracy = f"{intact['accuracy'].min():.1%} to {intact['accuracy'].max():.1%}" if len(intact) else "unknown"
    layers = f"{pid['layer'].nunique()}" if len(pid) else "no"
    kept = "the questions that the intact model answers correctly" if pca["correct_only"] else "all questions"
    interventions = [
        f"{name} ({_in_words(configuration['interventions'][name])})" for name in run["conditions"] if name != INTACT
    ]
    again = (
        f"They were run again under {_count(interventions, 'intervention')}: {'; '.join(interventions)}. "
        if interventions
        else ""
    )
    warned = float((pid["warning"] != "").mean()) if len(pid) else 0.0
    return [
        f"We asked {_count(run['models'], 'model')} ({', '.join(run['models'])}) {int(intact['n'].sum()):,} questions "
        f"of {_count(run['tasks'], 'task')} ({', '.join(run['tasks'])}). The intact models answered {accuracy} of the "
        f"questions of a task correctly, by the rule '{extract['rule']}'. "
        f"{again}States of {layers} layers were pooled over the image (vision) and over the span '{pca['language']}' "
        f"(language); the target is the {extract['target']} that the intact model is about to say.",
        f"Of {kept}, each source was projected on at most {pca['max_components']} principal components that hold "
        f"{pca['variance']:.0%} of its variance, the target on {pca['target_components']}. Normalizing flows, one for "
        "each source and one for the target that both share, were trained jointly and cross-fitted over "
        f"{configuration['items']['folds']} folds that no image crosses. Their latents were decomposed by the "
        f"estimators {', '.join(pid_settings['estimators'])} under the definitions "
        f"{', '.join(pid_settings['definitions'])}. "
        f"Intervals are Student's t at 95 % over {pid_settings['jackknife_groups']} jackknife groups of images. "
        f"{warned:.0%} of the numbers carry a warning.",
    ]


def _count(values: Sequence[Any], noun: str) -> str:
    return f"{len(values)} {noun}{'' if len(values) == 1 else 's'}"


def _in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value}" for key, value in settings.items() if key != "title" and not isinstance(value, dict)
    )


def provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the tables were made from, with what and where, for the foot of the page."""
    repository, machine = record["repository"], record["machine"]
    commit = "no clone" if repository is None else repository["commit"] + ", changed since" * repository["changed"]
    weights = {about["model"]: about["revision"] for about in record["inputs"]["units"].values()}
    return [
        ("commit", commit),
        ("seed", str(record["seed"])),
        *((f"weights of {model}", revision) for model, revision in weights.items()),
        ("processor", f"{machine['processor']}, {_count(range(machine['cores']), 'core')}, {machine['system']}"),
        ("GPU", "; ".join(machine["gpus"]) or "none"),
        *record["versions"].items(),
        *((f"table {name}", f"SHA-256 {checksum}") for name, checksum in record["tables"].items()),
    ]


def embedded(value: Any) -> str:
    """A value as JSON that may stand inside a script of a page."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
