"""Stage ``import_predictions``: what another program left, as predictions that are estimated like any others."""

import logging

from pidflow.errors import DataError, PidflowError
from pidflow.files import store
from pidflow.spectrum.lens_databases import read_lens
from pidflow.spectrum.predictions_file import write_predictions
from pidflow.spectrum.published_files import read_published
from pidflow.spectrum.words import PID_LVLM

log = logging.getLogger(__name__)


def run(
    *,
    training: str,
    held_out: str,
    output: str,
    model_id: str,
    task: str,
    format: str,
    vision: str | None = None,
    language: str | None = None,
    seed: int = 0,
) -> None:
    """Read the two parts of a study and write its predictions.

    Parameters
    ----------
    training, held_out
        Files of the two parts.
    output
        The predictions (see :mod:`pidflow.spectrum.predictions_file`).
    model_id, task
        What model and questions are called here.
    format
        One of :data:`pidflow.spectrum.words.FORMATS`.
    vision, language
        Layers, where states are read.
    seed
        Of the folds in which classifiers of states are learnt.

    Raises
    ------
    DataError
        With model and task in front.
    """
    try:
        checksums = [store.checksum_of(path) for path in (training, held_out)]
        if checksums[0] == checksums[1]:
            raise DataError(
                f"{training} and {held_out} hold the same; results would be evaluated on what they learnt from"
            )
        if format == PID_LVLM:
            predictions = read_published(training, held_out)
        else:
            predictions = read_lens(training, held_out, vision=vision, language=language, seed=seed)
        identity = store.Identity(
            model=model_id,
            task=task,
            settings=store.digest_of([format, vision, language, seed]),
            made_from=store.digest_of(checksums),
        )
        write_predictions(output, predictions, identity=identity)
    except PidflowError as err:
        raise type(err)(f"{model_id}, {task}: {err}") from err
    counts = predictions.about.get("questions", len(predictions))
    log.info("%s, %s: imported %s, passes %s", model_id, task, counts, ", ".join(predictions.passes))
