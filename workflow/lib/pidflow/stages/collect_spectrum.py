"""Stage ``collect_spectrum``: the spectra of a run as tables, and every reported number judged on them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pidflow.analysis import breadth, emergence, spectrum_claims, spectrum_tables
from pidflow.analysis.spectrum_cells import NUMBERS, Cell, ModelInfo, cells_of
from pidflow.errors import DataError, first_line
from pidflow.files.store import Identity, read_json, write_table
from pidflow.spectrum.modes import REPAIRED, TUNED
from pidflow.spectrum.records import from_json
from pidflow.spectrum.results import TaskSpectrum

log = logging.getLogger(__name__)


def run(
    *,
    spectra: Sequence[str],
    tables: Mapping[str, Sequence[str]],
    models: Mapping[str, Mapping[str, Any]],
    catalogue: Mapping[str, Mapping[str, Any]],
    expected: str | None,
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
    catalogue
        Models that the study is about, as config section ``breadth`` has them.
    expected
        YAML file with orders that were written down before (:class:`pidflow.analysis.breadth.Expected`), or None.
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
    orders = [] if expected is None else read_expected(expected)
    judged = spectrum_claims.judge(cells, found, expected=orders, lens=lens, seed=seed)
    for claim in judged:
        if claim.estimate == claim.estimate:
            log.info("%s of %s on %s: %s. %s", claim.id, claim.about, claim.task, claim.verdict, claim.reason)
    for name, paths in tables.items():
        frame = _made(name, found, cells, infos, catalogue, orders, judged, seed)
        for path in paths:
            write_table(path, frame)
        log.info("%s: %d rows", name, len(frame))


def _made(
    name: str,
    found: Sequence[TaskSpectrum],
    cells: Sequence[Cell],
    infos: Mapping[str, ModelInfo],
    catalogue: Mapping[str, Mapping[str, Any]],
    expected: Sequence[breadth.Expected],
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
        "order": lambda: breadth.order_table(cells, expected, seed=seed),
        "training": lambda: emergence.training_table(cells),
        "emergence": lambda: emergence.emergence_table(cells),
        "catalogue": lambda: spectrum_tables.catalogue_table(catalogue, found, groups),
        "spectrum-claims": lambda: spectrum_claims.spectrum_claims_table(judged),
    }
    return make[name]()


def read_expected(path: str) -> list[breadth.Expected]:
    """The orders in a YAML file: a list of ``{id, why, quantity, task, order}``, `order` a list of lists of models.

    Raises
    ------
    DataError
        When the file is missing, or an entry has other keys or a quantity that is none.
    """
    import yaml

    try:
        entries = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as err:
        raise DataError(f"{path}: not a readable list of expected orders ({first_line(err)})") from err
    keys = {"id", "why", "quantity", "task", "order"}
    found = []
    for place, entry in enumerate(entries or []):
        if not isinstance(entry, dict) or set(entry) != keys or not all(isinstance(e, list) for e in entry["order"]):
            raise DataError(f"{path}: entry {place} must have {', '.join(sorted(keys))}, order a list of lists")
        each = breadth.Expected(**entry | {"order": tuple(map(tuple, entry["order"]))})
        if each.number not in NUMBERS:
            raise DataError(
                f"{path}: unknown quantity '{each.quantity}', expected gain or one of: {', '.join(NUMBERS)}"
            )
        found.append(each)
    return found


def _read(path: str) -> TaskSpectrum:
    model, task = Path(path).with_suffix("").parts[-2:]
    return from_json(read_json(path, expected=Identity(model=model, task=task)), where=path)
