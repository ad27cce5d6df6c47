"""Charts of the report: what each shows, what of it a reader can choose, and the table it is drawn from.

A chart of the page is a mapping with

``id``, ``section``, ``title``, ``caption``
    Where it stands and what is written beside it.
``kind``
    ``curves`` over ``x``, ``intervals`` side by side for each of ``compare``, or a ``heat`` map over ``x`` and ``y``.
``choose``, ``first``
    Columns of which a reader sees one value at a time, and the values seen first.
``groups``
    Quantities seen together, by name: ``ids`` of column ``names``, and their ``unit`` where it is not the measure's.
``measures``
    Numbers that can be shown, by name: columns ``value``, ``low``, ``high``, and a ``title`` with the unit.
``named``, ``further``
    Columns that a reader is told of a point by their titles, and others with what they are called.
``table``
    As :func:`pidflow.analysis.report.as_columns` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pidflow.analysis import report
from pidflow.figures import _levels as levels
from pidflow.figures import _style as look
from pidflow.figures._parts import LAYER_LABEL
from pidflow.figures._spectrum import LENS_TITLES
from pidflow.names import ATOMS, INFORMATIONS, INTACT, OWN
from pidflow.stats import interval

ACCURACIES = ("accuracy", "accuracy_vision", "accuracy_language")
# What the page calls quantities and choices; models, tasks and conditions have the titles of the configuration.
_INFORMATION_TITLES = {
    "mi_vision": "vision and answer",
    "mi_language": "language and answer",
    "mi_joint": "both and answer",
}
_ACCURACY_TITLES = {
    "accuracy": "all of the input",
    "accuracy_vision": "vision alone",
    "accuracy_language": "language alone",
}
TITLES: dict[str, dict[str, str]] = {
    "atom": look.ATOM_LABELS | _INFORMATION_TITLES,
    "number": look.ATOM_LABELS | _INFORMATION_TITLES | _ACCURACY_TITLES,
    "target": {OWN: "own answer", INTACT: "answer when intact"},
    "mode": {"repaired": "repaired", "published": "as published, faults included"},
    "method": {"coupling": "exact coupling", "networks": "networks, as published", "clusters": "clusters of sources"},
    "lens": LENS_TITLES,
    "kind": {"cut": "the edge cut", "keep": "all but the edge cut"},
    "window": {"all": "all blocks"},
    "subset": {"all": "all questions", "right": "answered correctly", "wrong": "answered wrongly"},
    "compare": {"model": "models", "task": "tasks"},
}
_VEGA_SHAPES = {
    "redundancy": "diamond",
    "unique_vision": "circle",
    "unique_language": "square",
    "synergy": "triangle-up",
}
_THREE = (("#0072B2", "circle"), ("#E08A00", "square"), ("#333333", "diamond"))
_BITS = {"value": "bits", "low": "low", "high": "high", "title": "bits"}
_SHARE = {"value": "share", "low": "share_low", "high": "share_high", "title": "share of the joint information"}
_ESTIMATED = {"atoms": {"ids": ATOMS, "names": "atom"}, "informations": {"ids": INFORMATIONS, "names": "atom"}}


def looks() -> dict[str, dict[str, str]]:
    """Colour and shape of each quantity, as in the figures."""
    found = {atom: {"color": look.ATOM_COLORS[atom], "shape": _VEGA_SHAPES[atom]} for atom in ATOMS}
    for names in (INFORMATIONS, (*ACCURACIES[1:], ACCURACIES[0])):
        found |= {name: {"color": color, "shape": shape} for name, (color, shape) in zip(names, _THREE, strict=True)}
    return found


def explorer(pid: pd.DataFrame, *, estimator: str, definition: str) -> dict[str, Any]:
    """The decompositions over the layers."""
    rows = _estimated(pid)
    place = [*_held(pid, "model", "task", "condition", "target"), "estimator", "definition"]
    numbers = [*_columns(_BITS), *_columns(_SHARE), *_held(pid, "uncorrected_bits"), "warning", "level"]
    return {
        "id": "explorer",
        "section": "explorer",
        "title": "Atoms over the layers",
        "kind": "curves",
        "caption": "One curve an atom, from the embedding output (layer 0) to the state after the last block. Bands "
        "are 95 % intervals over images. A small point asks for caution, a hollow one means: do not use; the warning "
        "stands beside the number. The address of this page keeps the choice.",
        "choose": place,
        "first": {"estimator": estimator, "definition": definition, "condition": INTACT, "target": OWN},
        "groups": _ESTIMATED,
        "measures": {"bits": _BITS, "share": _SHARE},
        "x": "layer",
        "x_title": LAYER_LABEL,
        "named": ["atom"],
        "further": [["layer", "layer"], ["uncorrected_bits", "bits before correction"], ["warning", "warning"]],
        "table": report.as_columns(rows, [*place, "layer", "atom", *numbers]),
    }


def sweep(sweeps: pd.DataFrame) -> dict[str, Any]:
    """The change of the answer's probability, edge by edge and block by block."""
    rows = sweeps.assign(window=sweeps["window"].astype(str))
    titles = {
        "change_first": "relative change of the probability",
        "random_change_first": "the same, random edges cut instead",
        "excess_change_first": "difference of the two",
    }
    names = dict(zip(titles, ("the edge", "its random control", "the edge beyond its control"), strict=True))
    measures = {}
    for column in _held(sweeps, *titles):
        low, high = f"{column}_low", f"{column}_high"
        if f"{column}_se" in sweeps:
            ends = interval(
                sweeps[column].to_numpy(), sweeps[f"{column}_se"].to_numpy(), sweeps["images"].to_numpy() - 1
            )
            rows = rows.assign(**dict(zip((low, high), ends, strict=True)))
        measures[names[column]] = {"value": column, "low": low, "high": high, "title": titles[column]}
    place = _held(rows, "model", "task", "kind", "window", "subset")
    numbers = [column for each in measures.values() for column in _held(rows, *_columns(each))]
    return {
        "id": "sweeps",
        "section": "sweeps",
        "title": "Edges cut, window by window",
        "kind": "heat",
        "caption": "What becomes of the probability of the model's own answer when an edge of attention is cut in a "
        "window of blocks around the block on the axis. Blue: the answer loses probability, so it needed the edge; "
        "orange: it gains. An effect of one block fills a whole window's width.",
        "choose": place,
        "first": {"kind": "cut", "subset": "all"},
        "measures": measures,
        "x": "centre",
        "x_title": "block in the middle of the window",
        "y": "edge",
        "named": ["edge"],
        "further": [["centre", "block"], *[[name, name] for name in _held(rows, "n", "images")]],
        "table": report.as_columns(rows, [*place, "edge", "centre", *numbers, *_held(rows, "n", "images")]),
    }


def spectrum(tables: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """What models predict with parts of their input replaced: in the end, layer by layer, and over training."""
    known = _estimated(tables["spectrum"])
    last, layers = known[known["layer"].isna()], known[known["layer"].notna()]
    numbers = [*_columns(_BITS), "share", "se", "questions", "images", "warning", "level"]
    share = {"value": "share", "low": None, "high": None, "title": _SHARE["title"]}
    told = [["questions", "questions"], ["images", "images"], ["warning", "warning"]]
    same = {"section": "spectrum", "groups": _ESTIMATED, "measures": {"bits": _BITS, "share": share}}
    how = ["mode", "method"]
    charts = [
        same
        | {
            "id": "predictions",
            "title": "What is said in the end",
            "kind": "intervals",
            "caption": "Information in the predicted answer, by models or by tasks. Lines are 95 % intervals over "
            "images. Bits below zero are no mistake: the joint prediction then knows less than the sources apart.",
            "compare": ["model", "task"],
            "choose": how,
            "first": {"mode": "repaired"},
            "named": ["model", "task", "atom"],
            "further": told,
            "table": report.as_columns(last, ["model", "task", *how, "atom", *numbers]),
        }
    ]
    if len(layers):
        charts.append(
            same
            | {
                "id": "lens",
                "title": "Layer by layer, through a lens",
                "kind": "curves",
                "caption": "What each layer would predict if its last position went through the model's own head. A "
                "layer that looks ignorant may write the answer where this head does not read it; the tuned lens, "
                "where the run has it, reads more.",
                "choose": ["model", "task", *how, "lens"],
                "first": {"mode": "repaired", "lens": "norm"},
                "x": "layer",
                "x_title": LAYER_LABEL,
                "named": ["atom"],
                "further": [["layer", "layer"], *told],
                "table": report.as_columns(layers, ["model", "task", *how, "lens", "layer", "atom", *numbers]),
            }
        )
    if len(training := tables.get("training", ())):
        charts.append(_training(training))
    return charts


def _training(training: pd.DataFrame) -> dict[str, Any]:
    """Checkpoints of a training over its steps."""
    value = {"value": "value", "low": "low", "high": "high", "title": "value"}
    groups = {
        name: {"ids": ids, "names": "number", "unit": unit}
        for name, ids, unit in (
            ("atoms", ATOMS, "bits"),
            ("informations", INFORMATIONS, "bits"),
            ("accuracies", ACCURACIES, "share of right answers"),
        )
    }
    columns = ["series", "task", "model", "step", "phase", "number", *_columns(value)]
    kept = training[training["number"].isin([name for group in groups.values() for name in group["ids"]])]
    return {
        "id": "training",
        "section": "spectrum",
        "title": "Over training",
        "kind": "curves",
        "caption": "Checkpoints of one training over its steps. Bands are 95 % intervals over images.",
        "choose": ["series", "task"],
        "first": {},
        "groups": groups,
        "measures": {"value": value},
        "x": "step",
        "x_title": "training step",
        "named": ["number", "model"],
        "further": [["step", "step"], ["phase", "phase"]],
        "table": report.as_columns(kept, columns),
    }


def _estimated(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of atoms and informations, with the level of their warning."""
    rows = frame[frame["atom"].isin([*ATOMS, *INFORMATIONS])]
    return rows.assign(level=levels.levels_of(rows["warning"]))


def _columns(measure: Mapping[str, str]) -> list[str]:
    return [measure[name] for name in ("value", "low", "high")]


def _held(frame: pd.DataFrame, *columns: str) -> list[str]:
    """Those of the columns that a table has."""
    return [name for name in columns if name in frame]
