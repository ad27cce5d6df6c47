"""Stage ``collect_spectrum``: the spectra of a run as tables, and every reported number judged on them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pidflow.analysis import breadth, emergence, spectrum_claims, spectrum_tables
from pidflow.analysis.spectrum_cells import Cell, ModelInfo, cells_of
from pidflow.spectrum.modes import REPAIRED, TUNED
from pidflow.spectrum.records import from_json
from pidflow.spectrum.results import TaskSpectrum
from pidflow.store import Identity, read_json, write_table

log = logging.getLogger(__name__)


def run(
    *,
    spectra: Sequence[str],
    tables: Mapping[str, Sequence[str]],
    models: Mapping[str, Mapping[str, Any]],
    catalogue: Mapping[str, Mapping[str, Any]],
    expected: Mapping[str, Sequence[str]],
    seed: int,
) -> None:
    """Collect the spectra of a run.

    Parameters
    ----------
    spectra
        One JSON file a model and task, named ``…/{model}/{task}.json``.
    tables
        Where each table goes, a parquet and a csv file: ``spectrum, passes, breadth, correlations, types, scaling,
        order, training, emergence, catalogue, spectrum-claims``; docs/spectrum.md says what the columns mean.
    models
        By id, what the study knows of each (:class:`pidflow.analysis.spectrum_cells.ModelInfo`).
    catalogue, expected
        Config section ``breadth``.
    seed
        Of permutations and resamples.

    Raises
    ------
    DataError
        When a file is missing, damaged or about something else than its path says.
    """
    found = [_read(path) for path in spectra]
    infos = {name: ModelInfo(**info) for name, info in models.items()}
    cells = cells_of(found, infos, mode=REPAIRED)
    lens = next((s.lens for each in found for s in each.spectra if s.lens not in (None, TUNED)), None)
    judged = spectrum_claims.judge(cells, found, expected=expected, lens=lens, seed=seed)
    for claim in judged:
        if claim.estimate == claim.estimate:
            log.info("%s of %s on %s: %s. %s", claim.id, claim.about, claim.task, claim.verdict, claim.reason)
    for name, paths in tables.items():
        frame = _made(name, found, cells, infos, catalogue, expected, judged, seed)
        for path in paths:
            write_table(path, frame)
        log.info("%s: %d rows", name, len(frame))


def _made(
    name: str,
    found: Sequence[TaskSpectrum],
    cells: Sequence[Cell],
    infos: Mapping[str, ModelInfo],
    catalogue: Mapping[str, Mapping[str, Any]],
    expected: Mapping[str, Sequence[str]],
    judged: Sequence[spectrum_claims.SpectrumClaim],
    seed: int,
) -> pd.DataFrame:
    groups = {model: info.group for model, info in infos.items()}
    make: dict[str, Callable[[], pd.DataFrame]] = {
        "spectrum": lambda: spectrum_tables.spectrum_table(found),
        "passes": lambda: spectrum_tables.pass_table(found),
        "breadth": lambda: breadth.breadth_table(cells),
        "correlations": lambda: breadth.correlation_table(cells, seed=seed),
        "types": lambda: breadth.type_table(cells, seed=seed),
        "scaling": lambda: breadth.scaling_table(cells),
        "order": lambda: breadth.order_table(cells, expected),
        "training": lambda: emergence.training_table(cells),
        "emergence": lambda: emergence.emergence_table(cells),
        "catalogue": lambda: spectrum_tables.catalogue_table(catalogue, found, groups),
        "spectrum-claims": lambda: spectrum_claims.spectrum_claims_table(judged),
    }
    return make[name]()


def _read(path: str) -> TaskSpectrum:
    model, task = Path(path).with_suffix("").parts[-2:]
    return from_json(read_json(path, expected=Identity(model=model, task=task)), where=path)
