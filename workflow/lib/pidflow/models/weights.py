"""Where a model's files are, which of them a load reads, and a digest of those. Imports neither torch nor transformers.

A model is a local folder or a hub id with a full commit. A commit never changes, so a hub model that is whole in the
local cache is read from it and the network is never asked.
"""

import hashlib
import json
import os
import re
from functools import cache
from pathlib import Path

from pidflow.errors import ConfigError, DataError, shown
from pidflow.files.writing import state_of

# Checkpoints in the format of their authors' code, and the same weights in the format that is read here.
CONVERTED = {
    "liuhaotian/llava-v1.5-7b": "llava-hf/llava-1.5-7b-hf",
    "liuhaotian/llava-v1.5-13b": "llava-hf/llava-1.5-13b-hf",
    "liuhaotian/llava-v1.6-mistral-7b": "llava-hf/llava-v1.6-mistral-7b-hf",
    "liuhaotian/llava-v1.6-vicuna-7b": "llava-hf/llava-v1.6-vicuna-7b-hf",
    "liuhaotian/llava-v1.6-vicuna-13b": "llava-hf/llava-v1.6-vicuna-13b-hf",
    "liuhaotian/llava-v1.6-34b": "llava-hf/llava-v1.6-34b-hf",
    "lmms-lab/llama3-llava-next-8b": "llava-hf/llama3-llava-next-8b-hf",
}

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
_RECIPE = "training.json"  # of the shipped models: says how they were made and is not read


def check_source(path: str, revision: str | None) -> None:
    """Refuse, before anything runs, a model that no load could find.

    Raises
    ------
    ConfigError
        If the path is neither a folder nor a hub id, a hub id has no full commit, a folder has one, or the id is that
        of a checkpoint in its authors' own format.
    """
    if os.path.isdir(path):
        if revision is not None:
            raise ConfigError(f"model '{path}' is a local folder, which has no revision; remove 'revision: {revision}'")
        return
    if path in CONVERTED or path.startswith("liuhaotian/"):
        other = CONVERTED.get(path, "its conversion by llava-hf")
        raise ConfigError(f"model '{path}' is in its authors' own format, which is not read here; set path to {other}")
    if not _HUB_ID.fullmatch(path):
        raise ConfigError(f"model path {shown(path)} is neither an existing folder nor a hub id 'owner/name'")
    if revision is None or not _COMMIT.fullmatch(revision):
        raise ConfigError(
            f"model '{path}' is not an existing folder, so it names a hub model, whose 'revision' must be a full "
            f"commit hash (40 hexadecimal digits), found {shown(revision)}; branches and tags move, results must not"
        )


@cache
def source_digest(path: str, revision: str | None) -> str:
    """What tells two models apart before a job runs: the commit, or a digest of a folder's files.

    Small files count with their content, large ones with size and time, so no gigabyte is read to plan a run. Where the
    folder lies does not count.

    Raises
    ------
    ConfigError, DataError
        As :func:`check_source` and :func:`model_files`.
    """
    check_source(path, revision)
    if revision is not None:
        return f"{path}@{revision}"
    digest = hashlib.sha256()
    for name, file in model_files(Path(path)).items():
        digest.update(f"{name}\0{state_of(file)}\0".encode())
    return digest.hexdigest()[:16]


def content_digest(folder: Path) -> str:
    """Digest of the content of every file that a load of a folder reads, its weights in full: ``sha256:…``."""
    digest = hashlib.sha256()
    for name, file in model_files(folder).items():
        digest.update(f"{name}\0{state_of(file, hashed_bytes=file.stat().st_size)}\0".encode())
    return f"sha256:{digest.hexdigest()[:40]}"


def model_files(folder: Path) -> dict[str, Path]:
    """The files that a load of a folder reads, by name: configuration, tokenizer, processor, weights.

    Raises
    ------
    DataError
        If there is no configuration, there are no safetensors weights, an index is damaged or names a file that is
        missing, or a file lies outside the folder.
    """
    if not (folder / "config.json").is_file():
        raise DataError(f"model '{folder}': no config.json, so the folder holds no model; correct path")
    small = {file.name for pattern in _SMALL_FILES for file in folder.glob(pattern) if file.is_file()}
    names = sorted((small - {_RECIPE}) | set(weight_names(folder)))
    return {name: _inside(folder, name) for name in names}


def weight_names(folder: Path) -> list[str]:
    """Names of the weight files of a folder, as its index lists them or the single one.

    Raises
    ------
    DataError
        As :func:`model_files`.
    """
    if (folder / _SINGLE).exists():
        return [_SINGLE]
    if not (folder / _INDEX).exists():
        pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in folder.glob(pattern))
        what = f"only pickled weights ({pickled[0]}), which can run code and are not read" if pickled else "no weights"
        raise DataError(f"model '{folder}': holds {what}; expected {_SINGLE} or {_INDEX}, save it as safetensors")
    try:
        names = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        found = sorted({str(name) for name in names})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise DataError(
            f"model '{folder}': {_INDEX} is damaged ({type(err).__name__}), expected a mapping 'weight_map' from "
            "tensors to files; fetch it again"
        ) from err
    if not found:
        raise DataError(f"model '{folder}': {_INDEX} names no file; fetch it again")
    return found


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder, all links resolved; the hub's cache keeps what its snapshots link to beside them."""
    base = folder.resolve()
    home = base.parent.parent if base.parent.name == "snapshots" and base.parent.parent.name[:8] == "models--" else base
    file = (base / name).resolve()
    if os.path.isabs(name) or ".." in Path(name).parts or not file.is_relative_to(home):
        raise DataError(
            f"model '{folder}': {shown(name)} leads out of the folder, to {file}; weights must lie inside it, copy "
            "them there or correct the index"
        )
    if not file.is_file():
        raise DataError(f"model '{folder}': {shown(name)} is missing; fetch it again")
    return file


def local_folder(path: str, revision: str | None) -> Path:
    """The folder to load a model from: a local one, or what the hub's cache keeps of a commit. Nothing is fetched.

    Raises
    ------
    ConfigError
        As :func:`check_source`.
    DataError
        If the model is not whole in the cache: says what is cached, and the command that fetches the rest.
    """
    check_source(path, revision)
    if revision is None:
        return Path(path)
    folder, lacks = _cached(path, revision)
    if lacks is None:
        return folder
    others = [each.name for each in sorted(folder.parent.glob("*")) if each.name != revision]
    holds = f"has it without {lacks}" if folder.is_dir() else "does not have it"
    holds += f", only {', '.join(others)}" if others else ""
    raise DataError(
        f"model '{path}' at {revision}: the cache {folder.parents[2]} {holds}, and a study fetches nothing; where "
        f"there is a network run `hf download {path} --revision {revision}`, for a gated model after `hf auth login`"
    )


def _cached(path: str, revision: str) -> tuple[Path, str | None]:
    """Where the cache keeps a commit, and what is missing there; None if nothing is."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE, f"models--{path.replace('/', '--')}", "snapshots", revision)
    for names in (
        ("config.json",),
        ("tokenizer.json", "tokenizer_config.json"),
        ("processor_config.json", "preprocessor_config.json"),
    ):
        if not any((folder / name).is_file() for name in names):
            return folder, names[0]
    try:
        model_files(folder)
    except DataError as err:
        missing = re.search(r"'([^']*safetensors)'|pickled|no weights", str(err))
        return folder, "its weights" if missing is None or missing[1] is None else missing[1]
    return folder, None
