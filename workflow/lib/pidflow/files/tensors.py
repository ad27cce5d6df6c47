"""Named tensors in safetensors files: one place that writes and reads them; :mod:`.store` hands them on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pidflow.errors import DataError, first_line
from pidflow.files.identity import Identity
from pidflow.files.json_text import to_json
from pidflow.files.writing import BLANK, check_seal, replacing, seal

if TYPE_CHECKING:
    from torch import Tensor

_CHECKSUM = "checksum"


def write_tensors(path: str | Path, tensors: Mapping[str, "Tensor"], *, identity: Identity | None = None) -> None:
    """Write named tensors as safetensors."""
    from safetensors.torch import save

    # One entry: safetensors writes several in an order that changes from run to run.
    about = to_json({"identity": (identity or Identity()).known(), _CHECKSUM: BLANK}, indent=None)
    content = save(dict(tensors), metadata={"pidflow": about})
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        seal(temporary, at_end=False)


def read_tensors(path: str | Path, *, expected: Identity | None = None) -> dict[str, "Tensor"]:
    """The tensors in a safetensors file of ours.

    Raises
    ------
    DataError
        If the file is missing, damaged, not ours or about something else.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    check_seal(path, at_end=False)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["pidflow"])["identity"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, KeyError, ValueError) as err:
        raise DataError(f"{path}: not readable safetensors ({first_line(err)}); delete it and run again") from err
    Identity.from_mapping(about, where=str(path)).check(expected or Identity(), where=str(path))
    return tensors
