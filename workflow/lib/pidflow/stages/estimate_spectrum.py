"""Stage ``estimate_spectrum``: how the information in a model's predictions divides between picture and words."""

import logging
from collections.abc import Mapping
from typing import Any

from pidflow.errors import PidflowError
from pidflow.files.store import Identity, checksum_of, write_json
from pidflow.spectrum.estimate import How, estimate_spectrum
from pidflow.spectrum.predictions_file import read_predictions
from pidflow.spectrum.records import to_json

log = logging.getLogger(__name__)


def run(
    *, predictions: str, spectrum: str, model: str, task: str, settings: Mapping[str, Any], threads: int, seed: int
) -> None:
    """Decompose the predictions of one model on one task.

    Parameters
    ----------
    predictions
        File of stage ``extract_predictions``, or of an import.
    spectrum
        JSON file to write (:mod:`pidflow.spectrum.records`).
    model, task
        What the predictions must be about.
    settings
        Config section ``spectrum_pid`` (:class:`pidflow.spectrum.estimate.How`).
    threads
        Of torch, which mode ``published`` trains networks with; does not affect results.

    Raises
    ------
    PidflowError
        When predictions are damaged, about something else, or do not allow what is asked for, with model and task.
    """
    how = How(**settings)
    if "published" in how.modes:
        import torch

        torch.set_num_threads(threads)
    read = read_predictions(predictions, expected=Identity(model=model, task=task))
    try:
        found = estimate_spectrum(read, how, model=model, task=task, seed=seed)
    except PidflowError as err:
        raise type(err)(f"model '{model}', task '{task}': {err}") from err
    for each in found.passes:
        log.info(
            "%s: right %.3f, option mass %.3f, threshold fired %.3f", each.key, each.right[0], each.mass, each.fired
        )
    for each in found.spectra:
        for warning in each.warnings if each.lens is None else ():
            log.warning("%s by %s: %s", each.mode, each.method, warning)
    identity = Identity(model=model, task=task, made_from=checksum_of(predictions))
    write_json(spectrum, to_json(found), identity=identity)
