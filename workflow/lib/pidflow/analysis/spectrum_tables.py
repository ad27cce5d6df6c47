"""Tables of the spectra of a run: every number, every pass, and what a study planned beside what was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.names import ATOMS, QUANTITIES
from pidflow.spectrum.results import Spectrum, TaskSpectrum

SPECTRUM_COLUMNS = (
    *("model", "task", "mode", "method", "lens", "layer", "atom", "bits", "se", "low", "high", "share"),
    *("entropy", "gap_bits", "offset_vision", "offset_language", "moved_vision", "moved_language"),
    *("raw_sum", "clipped_sum", "check_bits", "twin_error", "twin_failed", "truncated", "truncated_bits"),
    *("questions", "images", "groups", "warning"),
)
PASS_COLUMNS = (
    *("model", "task", "pass", "accuracy", "accuracy_se", "accuracy_published", "accuracy_published_se"),
    *("option_mass", "fired", "threshold", "score", "draws", "spread"),
)


def spectrum_table(found: Sequence[TaskSpectrum]) -> pd.DataFrame:
    """One row an atom, information or interaction of each spectrum; columns :data:`SPECTRUM_COLUMNS`."""
    rows = [row for each in found for spectrum in each.spectra for row in _rows(spectrum, each)]
    return pd.DataFrame(rows, columns=SPECTRUM_COLUMNS)


def pass_table(found: Sequence[TaskSpectrum]) -> pd.DataFrame:
    """One row a pass of each model and task; columns :data:`PASS_COLUMNS`."""
    rows = []
    for each in found:
        for result in each.passes:
            one, published = (stats.jackknife(v[0], np.array(v[1:])) for v in (result.right, result.right_published))
            accuracies = one.value, one.se, published.value, published.se
            how = result.mass, result.fired, each.threshold, each.score, result.draws, result.spread
            rows.append([each.model, each.task, result.key, *accuracies, *how])
    return pd.DataFrame(rows, columns=PASS_COLUMNS)


def catalogue_table(
    catalogue: Mapping[str, Mapping[str, Any]], found: Sequence[TaskSpectrum], groups: Mapping[str, str | None]
) -> pd.DataFrame:
    """The models that a study is about and whether this run has them: ``run``, ``reachable`` or why not."""
    ran = {each.model for each in found}
    rows = [
        [
            model,
            *(entry.get(key) for key in ("hub", "group", "size", "blocks", "reachable", "why")),
            _status(model, entry, ran),
        ]
        for model, entry in catalogue.items()
    ]
    rows += [
        [model, None, groups.get(model), None, None, True, None, "run, not in the catalogue"]
        for model in sorted(ran - set(catalogue))
    ]
    return pd.DataFrame(rows, columns=["model", "hub", "group", "size", "blocks", "reachable", "why", "status"])


def _status(model: str, entry: Mapping[str, Any], ran: set[str]) -> str:
    if model in ran:
        return "run"
    return "reachable, not run" if entry["reachable"] else "not reachable"


def _rows(spectrum: Spectrum, found: TaskSpectrum) -> list[dict[str, Any]]:
    common = {name: getattr(spectrum, name) for name in ("model", "task", "mode", "method", "lens", "layer")}
    common |= {name: getattr(spectrum, name) for name in ("entropy", "gap_bits", "raw_sum", "clipped_sum")}
    common |= {
        f"{kind}_{source}": getattr(spectrum, kind).get(source)
        for kind in ("offset", "moved")
        for source in ("vision", "language")
    }
    common |= {name: getattr(spectrum, name) for name in ("questions", "images", "groups")}
    common |= {name: getattr(found, name) for name in ("truncated", "truncated_bits")}
    common["warning"] = "; ".join(spectrum.warnings)
    replicates = {name: np.asarray(values) for name, values in spectrum.replicates.items()}
    numbers = {name: (spectrum.bits[name], replicates[name]) for name in QUANTITIES}
    parts = [replicates[name] for name in ("mi_vision", "mi_language", "mi_joint")]
    numbers["interaction"] = (spectrum.interaction, parts[0] + parts[1] - parts[2])
    rows = []
    for name, (bits, without) in numbers.items():
        estimate = stats.jackknife(bits, without)
        low, high = estimate.interval()
        twin = spectrum.twin if name in QUANTITIES else None
        check = spectrum.check if name in QUANTITIES else None
        rows.append(
            common
            | {"atom": name, "bits": bits, "se": estimate.se, "low": low, "high": high}
            | {"share": spectrum.shares[name] if name in ATOMS else None}
            | {"check_bits": check.bits[name] if check else None}
            | {"twin_error": twin.bits[name] - twin.truth[name] if twin else None}
            | {"twin_failed": None if twin is None else not twin.passed(name)}
        )
    return rows
