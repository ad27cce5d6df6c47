"""Stage ``write_report``: one page with everything a run found, which opens without a network."""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, StrictUndefined

from pidflow.analysis import report
from pidflow.figures import _style as look
from pidflow.files.store import read_json, read_table, write_text
from pidflow.names import ATOMS
from pidflow.stages import _charts as charts

log = logging.getLogger(__name__)

# Of the legend on top of the page.
_MEANINGS = {
    "redundancy": "the image tokens tell it, and the text tokens tell it too",
    "unique_vision": "only the image tokens tell it",
    "unique_language": "only the text tokens tell it; what attention moved there from the picture counts here",
    "synergy": "only both together tell it",
}
_PATHS = {
    "redundancy": "M5 0L10 5L5 10L0 5Z",
    "unique_vision": "M5 0.5A4.5 4.5 0 1 1 5 9.5A4.5 4.5 0 1 1 5 0.5Z",
    "unique_language": "M1 1H9V9H1Z",
    "synergy": "M5 0.5L10 9.5H0Z",
}
_VERDICTS = [*((name, name) for name in ("model", "task", "condition", "verdict"))]
_VERDICTS += [("verdict_holm", "all rows together"), ("reason", "why")]
_OF_SPECTRUM = [("about", "about"), ("task", "task"), ("verdict", "verdict"), ("verdict_holm", "all rows together")]
_OF_SPECTRUM += [("reported", "reported"), ("paper_inside", "inside the interval"), ("reason", "why")]


def run(
    *,
    output: str,
    tables: Mapping[str, str],
    questions: Sequence[str] = (),
    page: str,
    style: str,
    script: str,
    configuration: Mapping[str, Any],
    titles: Mapping[str, Mapping[str, str]],
    provenance: str,
) -> None:
    """Write the report.

    Parameters
    ----------
    output
        The page.
    tables
        Parquet files by name: ``pid``, ``answers``, ``claims`` and, where they were made, ``sweeps``; ``spectrum``,
        ``training`` and ``spectrum-claims``.
    questions
        JSON files of stage ``show_questions``, one a model and task.
    page, style, script
        Template, style sheet and script of the page.
    configuration
        The configuration of the run as resolved.
    titles
        What to call each ``task``, ``model``, ``condition``, ``estimator`` and ``definition``, by id.
    provenance
        Record of stage ``record_provenance``.

    Raises
    ------
    DataError
        If a table is missing or damaged.
    """
    found = {name: read_table(path) for name, path in tables.items()}
    pid, answers, claims = found["pid"], found["answers"], found["claims"]
    chosen = {key: configuration["claims"][f"{key}s"][0] for key in ("estimator", "definition")}
    sections = _chart_sections(found, titles, chosen)
    shown = [_shown(path) for path in questions]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    text = environment.from_string(Path(page).read_text(encoding="utf-8")).render(
        title="What drives the answers",
        subtitle=_subtitle(configuration["run"], titles),
        sections=[
            ("verdicts", "Verdicts"),
            ("scorecard", "Scorecard"),
            *((name, section["title"]) for name, section in sections.items()),
            *([("questions", "Questions")] if shown else []),
            ("methods", "Methods"),
            ("provenance", "Provenance"),
        ],
        verdicts=report.verdicts(claims, titles),
        verdict_columns=_VERDICTS,
        verdict_line=report.verdict_line(claims),
        scorecard=report.scorecard(answers, pid, titles, **chosen),
        atoms=[
            {"id": atom, "label": look.ATOM_LABELS[atom], "color": look.ATOM_COLORS[atom]}
            | {"meaning": _MEANINGS[atom], "path": _PATHS[atom]}
            for atom in ATOMS
        ],
        chart_sections=sections,
        questions=shown,
        methods=report.methods(configuration, found, titles),
        provenance=report.provenance(read_json(provenance)),
        configuration=yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True),
        data=report.embedded(
            {
                "charts": [chart for section in sections.values() for chart in section["charts"]],
                "titles": charts.TITLES | {kind: dict(names) for kind, names in titles.items()},
                "looks": charts.looks(),
                "questions": shown,
            }
        ),
        style=Path(style).read_text(encoding="utf-8"),
        script=Path(script).read_text(encoding="utf-8"),
        library=_drawing_library(),
    )
    write_text(output, text)
    log.info("report: %d numbers, %d verdicts, %.1f MB", len(pid), len(claims), len(text.encode()) / 1e6)


def _subtitle(run: Mapping[str, Sequence[str]], titles: Mapping[str, Mapping[str, str]]) -> str:
    """Which models were asked what."""
    models = ", ".join(titles["model"].get(name, name) for name in run["models"])
    counts = (f"{len(run[key])} {key.removesuffix('s' * (len(run[key]) == 1))}" for key in ("tasks", "conditions"))
    return f"{models}: {', '.join(counts)}"


def _chart_sections(
    found: Mapping[str, pd.DataFrame], titles: Mapping[str, Mapping[str, str]], chosen: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """The sections with charts that the tables of this run allow for, by id."""
    plain = {"about": "", "claims": None}
    sections = {"explorer": plain | {"title": "Explorer", "charts": [charts.explorer(found["pid"], **chosen)]}}
    if "sweeps" in found:
        sections["sweeps"] = plain | {"title": "Sweeps", "charts": [charts.sweep(found["sweeps"])]}
    if "spectrum" in found:
        sections["spectrum"] = {
            "title": "Spectrum",
            "about": "What the model predicts with a part of its input replaced, decomposed: not what can be read "
            "from a state, but what the answer needs. Bits here and bits of the explorer are not comparable.",
            "charts": charts.spectrum(found),
            "claims": report.spectrum_verdicts(found["spectrum-claims"], titles) | {"columns": _OF_SPECTRUM},
        }
    return sections


def _shown(path: str) -> dict[str, Any]:
    """The questions of one model and task."""
    found = read_json(path)
    return {name: found[name] for name in ("model", "task", "questions")}


@cache
def _drawing_library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    from vl_convert import javascript_bundle

    bundle = javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")
