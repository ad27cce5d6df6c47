"""What the report of a run holds: verdicts, scorecard, methods in words, and the tables of its charts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pidflow import stats
from pidflow.analysis.targets import of_one_target
from pidflow.names import ATOMS, INTACT

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = (stats.SUPPORTED, stats.NOT_SUPPORTED, stats.UNDETERMINED)
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
            said = ["" if value is None or value != value else str(value) for value in values]
            words[name] = list(dict.fromkeys(said))
            place = {word: index for index, word in enumerate(words[name])}
            found[name] = [place[word] for word in said]
    return {"length": len(frame), "columns": found, "words": words}


def called(frame: pd.DataFrame, titles: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """A table with titles for the ids in its columns."""
    return frame.assign(
        **{name: frame[name].replace(dict(of_kind)) for name, of_kind in titles.items() if name in frame}
    )


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


def spectrum_verdicts(claims: pd.DataFrame, titles: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The claims about the spectrum that have a number, as ``groups``; the ``line`` states how many have none."""
    judged = claims[claims["estimate"].notna()]
    reported = [f"{value:g}" if np.isfinite(value) else "" for value in judged["paper_value"]]
    lacking = len(claims) - len(judged)
    line = verdict_line(judged) if len(judged) else "No published statement can be judged on this run."
    if lacking:
        line += f" {lacking} more are about models, tasks, families or sizes that this run lacks."
    groups = verdicts(judged.assign(reported=reported), {**titles, "about": titles["model"]})
    return {"line": line, "groups": groups}


def scorecard(
    answers: pd.DataFrame,
    pid: pd.DataFrame,
    titles: Mapping[str, Mapping[str, str]],
    *,
    estimator: str,
    definition: str,
) -> list[dict[str, Any]]:
    """Accuracy of every unit, the intact model first, and its atoms at the last layer where it was decomposed.

    ``conditions`` counts the rows of a model and task at the first of them and is 0 at the others.
    """
    chosen = pid[(pid["estimator"] == estimator) & (pid["definition"] == definition)]
    if "target" in chosen:
        chosen = of_one_target(chosen)
    rows = []
    first = answers["condition"].ne(INTACT)
    ordered = answers.assign(first=first).sort_values(["model", "task", "first"], kind="stable")
    counts = ordered.groupby(["model", "task"]).size()
    for unit in ordered.to_dict("records"):
        here = chosen
        for name in ("model", "task", "condition"):
            here = here[here[name] == unit[name]]
        last = here[here["layer"] == here["layer"].max()].set_index("atom")["bits"]
        bits = {atom: float(last[atom]) for atom in ATOMS if atom in last.index}
        joint = sum(max(value, 0.0) for value in bits.values())
        half = (unit["accuracy_high"] - unit["accuracy_low"]) / 2
        rows.append(
            {name: titles[name].get(unit[name], unit[name]) for name in ("model", "task", "condition")}
            | {
                "n": unit["n"],
                "conditions": 0 if unit["first"] else int(counts[unit["model"], unit["task"]]),
                "accuracy": f"{100 * unit['accuracy']:.1f} ± {100 * half:.1f} %",
                "atoms": [f"{bits[atom]:.2f}" if atom in bits else "–" for atom in ATOMS],
                "shares": {atom: 100 * max(value, 0.0) / joint for atom, value in bits.items() if joint > 0},
            }
        )
    return rows


def methods(
    configuration: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], titles: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """The methods of the run in words, with its own numbers: of all that it has tables of."""
    found = _of_states(configuration, tables["answers"], tables["pid"], titles)
    if "sweeps" in tables:
        found.append(_of_sweeps(configuration, tables["sweeps"]))
    if "spectrum" in tables:
        found.append(_of_spectrum(configuration, tables["spectrum"]))
    return found


def _of_states(
    configuration: Mapping[str, Any],
    answers: pd.DataFrame,
    pid: pd.DataFrame,
    titles: Mapping[str, Mapping[str, str]],
) -> list[str]:
    run, extract, pca, pid_settings = (configuration[key] for key in ("run", "extract", "pca", "pid"))

    def listed(kind: str, names: Sequence[str]) -> str:
        return ", ".join(titles.get(kind, {}).get(name, name) for name in names)

    intact = answers[answers["condition"] == INTACT]
    accuracy = f"{intact['accuracy'].min():.1%} to {intact['accuracy'].max():.1%}" if len(intact) else "unknown"
    layers = f"{pid['layer'].nunique()}" if len(pid) else "no"
    kept = "the questions that the intact model answers correctly" if pca["correct_only"] else "all questions"
    interventions = [
        f"{listed('condition', [name])} ({_in_words(configuration['interventions'][name])})"
        for name in run["conditions"]
        if name != INTACT
    ]
    again = (
        f"They were run again under {_count(interventions, 'intervention')}: {'; '.join(interventions)}. "
        if interventions
        else ""
    )
    warned = float((pid["warning"] != "").mean()) if len(pid) else 0.0
    return [
        f"We asked {_count(run['models'], 'model')} ({listed('model', run['models'])}) {int(intact['n'].sum()):,} "
        f"questions of {_count(run['tasks'], 'task')} ({listed('task', run['tasks'])}). The intact models answered "
        f"{accuracy} of the questions of a task correctly, by the rule '{extract['rule']}'. "
        f"{again}States of {layers} layers were pooled over the image (vision) and over the span '{pca['language']}' "
        f"(language); the target is the {extract['target']} that the intact model is about to say.",
        f"Of {kept}, each source was projected on at most {pca['max_components']} principal components that hold "
        f"{pca['variance']:.0%} of its variance, the target on {pca['target_components']}. Normalizing flows, one for "
        "each source and one for the target that both share, were trained jointly and cross-fitted over "
        f"{configuration['items']['folds']} folds that no image crosses. Their latents were decomposed by the "
        f"estimators {listed('estimator', pid_settings['estimators'])} under the definitions "
        f"{listed('definition', pid_settings['definitions'])}. "
        f"Intervals are Student's t at 95 % over {pid_settings['jackknife_groups']} jackknife groups of images. "
        f"{warned:.0%} of the numbers carry a warning.",
    ]


def _of_sweeps(configuration: Mapping[str, Any], sweeps: pd.DataFrame) -> str:
    settings = configuration["sweep"]
    controls = f", beside the controls {', '.join(settings['controls'])}" if settings["controls"] else ""
    return (
        f"{_count(sweeps['edge'].unique(), 'edge')} of attention were cut around each block in turn, in windows of "
        f"{settings['window']} blocks{controls}, for {int(sweeps['n'].max()):,} questions of a task at most. Effects "
        "are relative changes of the probability of the model's own first answer token, with 95 % intervals over "
        "images."
    )


def _of_spectrum(configuration: Mapping[str, Any], spectrum: pd.DataFrame) -> str:
    asked, settings = configuration["spectrum"], configuration["spectrum_pid"]
    who = f"{_count(spectrum['model'].unique(), 'model')} on {_count(spectrum['task'].unique(), 'task')}"
    warned = float((spectrum["warning"] != "").mean()) if len(spectrum) else 0.0
    return (
        f"Predictions of {who} were decomposed as well: the pass '{settings['vision']}' stands for vision alone, "
        f"'{settings['language']}' for language alone, with {settings['replacement']} in place of what is left out "
        f"({asked['draws']} draws, statistics from folds {', '.join(map(str, asked['training']))}, which are not "
        f"evaluated). Options are scored by '{settings['score']}'; where they have less than "
        f"{settings['threshold']:g} of the probability, the prediction counts as uniform. {warned:.0%} of these "
        "numbers carry a warning."
    )


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
