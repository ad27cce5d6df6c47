"""The self-check of a model, made once for all jobs that ask it."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from pidflow.errors import DataError
from pidflow.files import store
from pidflow.interventions.model_check import ModelCheck, check_model, own_questions
from pidflow.models.loading import LoadedModel
from pidflow.versions import library_versions

log = logging.getLogger(__name__)

MODEL_CHECK = "model_check"  # what results call it


def checked(loaded: LoadedModel, *, kept: Mapping[str, str] | None = None) -> ModelCheck:
    """What is true of a model, on questions of the check's own.

    Parameters
    ----------
    kept
        ``folder``, where what was found is left for other jobs, and ``code``, a digest of the code behind it; None: it
        is found anew. A file there is named by everything that it depends on, so none is ever out of date.

    Raises
    ------
    NumericsError
        If the model fails it (see :func:`pidflow.interventions.model_check.check_model`).
    """
    path = None if kept is None else Path(kept["folder"], f"{_made_from(loaded, kept['code'])}.json")
    found = _read(path)
    if found is None:
        together, *alone = own_questions(loaded)
        found = check_model(loaded, together, alone)
        if path is not None:
            store.write_json(path, found)
    for line in found.lines():
        log.info("self-check: %s", line)
    return found


def _made_from(loaded: LoadedModel, code: str) -> str:
    return store.digest_of(
        {
            "revision": loaded.revision,
            "family": loaded.family.name,
            "prompt": loaded.prompting.digest,
            "image": loaded.image,
            "dtype": str(loaded.dtype),
            "devices": [str(device) for device in loaded.devices],
            "versions": library_versions(),
            "code": code,
        }
    )


def _read(path: Path | None) -> ModelCheck | None:
    """What another job found; None where there is nothing whole."""
    if path is not None and path.is_file():
        with suppress(DataError):
            values = store.read_json(path)
            lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
            if values.keys() == {each.name for each in fields(ModelCheck)}:
                return ModelCheck(**values | lists)
    return None
