"""Stage ``write_report``: one page with everything a run found, which opens without a network."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, StrictUndefined

from pidflow.analysis import report
from pidflow.figures import _style as look
from pidflow.files.store import read_json, read_table, write_text
from pidflow.names import ATOMS, INFORMATIONS

log = logging.getLogger(__name__)

_INFORMATION_LABELS = {
    "mi_vision": "vision and answer",
    "mi_language": "language and answer",
    "mi_joint": "both and answer",
}
_INFORMATION_COLORS = ("#0072B2", "#E08A00", "#333333")


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
        Parquet files by name: ``pid``, ``answers``, ``claims`` and, where they were made, ``sweeps``.
    questions
        JSON files of stage ``show_questions``, one a model and task.
    page, style, script
        Template, style sheet and script of the page.
    configuration
        The configuration of the run as resolved.
    titles
        What to call each ``task``, ``model`` and ``condition``, by id.
    provenance
        Record of stage ``record_provenance``.

    Raises
    ------
    DataError
        If a table is missing or damaged.
    """
    found = {name: read_table(path) for name, path in tables.items()}
    pid, answers, claims = found["pid"], found["answers"], found["claims"]
    estimator, definition = (configuration["claims"][key][0] for key in ("estimators", "definitions"))
    maps = _sweep_maps(found["sweeps"]) if "sweeps" in found else []
    shown = [_shown(path) for path in questions]
    models = [titles["model"].get(name, name) for name in configuration["run"]["models"]]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    text = environment.from_string(Path(page).read_text(encoding="utf-8")).render(
        title="What drives the answers",
        subtitle=f"{', '.join(models)}: {len(configuration['run']['tasks'])} tasks, "
        f"{len(configuration['run']['conditions'])} conditions",
        sections=[
            ("verdicts", "Verdicts"),
            ("scorecard", "Scorecard"),
            ("explorer", "Explorer"),
            *((each["id"], each["title"]) for each in maps),
            *([("questions", "Questions")] if shown else []),
            ("methods", "Methods"),
            ("provenance", "Provenance"),
        ],
        verdicts=report.verdicts(claims, titles),
        verdict_line=report.verdict_line(claims),
        holm="holm" in claims,
        scorecard=report.scorecard(answers, pid, titles, estimator=estimator, definition=definition),
        atoms=[{"id": atom, "label": look.ATOM_LABELS[atom]} for atom in ATOMS],
        maps=maps,
        questions=shown,
        methods=report.methods(configuration, answers, pid),
        provenance=report.provenance(read_json(provenance)),
        configuration=yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True),
        data=report.embedded(
            _data(pid, maps, titles, estimator=estimator, definition=definition) | {"questions": shown}
        ),
        style=Path(style).read_text(encoding="utf-8"),
        script=Path(script).read_text(encoding="utf-8"),
        library=_drawing_library(),
    )
    write_text(output, text)
    log.info("report: %d numbers, %d verdicts, %.1f MB", len(pid), len(claims), len(text.encode()) / 1e6)


def _shown(path: str) -> dict[str, Any]:
    """The questions of one model and task."""
    found = read_json(path)
    return {name: found[name] for name in ("model", "task", "questions")}


def _data(
    pid: pd.DataFrame,
    maps: list[dict[str, Any]],
    titles: Mapping[str, Mapping[str, str]],
    *,
    estimator: str,
    definition: str,
) -> dict[str, Any]:
    """What the script of the page reads."""
    informations = [{"id": name, "color": color} for name, color in zip(INFORMATIONS, _INFORMATION_COLORS, strict=True)]
    return {
        "curves": report.curves(pid),
        "maps": maps,
        "atoms": [{"id": atom, "color": look.ATOM_COLORS[atom]} for atom in ATOMS],
        "informations": informations,
        "labels": {kind: dict(names) for kind, names in titles.items()}
        | {"atom": look.ATOM_LABELS | _INFORMATION_LABELS},
        "first": {"estimator": estimator, "definition": definition, "condition": "intact"},
    }


def _sweep_maps(sweeps: pd.DataFrame) -> list[dict[str, Any]]:
    """Heat maps of the sweeps: the change of the answer's probability, edge by edge and block by block."""
    rows = sweeps[sweeps["kind"] == "cut"].assign(window=lambda frame: frame["window"].astype(str))
    columns = ["model", "task", "window", "subset", "edge", "centre", "change_first"]
    return [
        {
            "id": "sweeps",
            "title": "Sweeps",
            "caption": "Relative change of the probability of the model's answer when an edge of attention is cut in a "
            "window of blocks around the block on the axis. Orange: it rises, blue: it falls.",
            "choose": ["model", "task", "window", "subset"],
            "x": "centre",
            "x_title": "block in the middle of the window",
            "y": "edge",
            "value": "change_first",
            "value_title": "change",
            "tooltip": ["edge", "centre", "change_first"],
            "table": report.as_columns(rows, columns),
        }
    ]


def _drawing_library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    from vl_convert import javascript_bundle

    bundle = javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")
