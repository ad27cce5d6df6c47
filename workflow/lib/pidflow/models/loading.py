"""Loading a model of a family (a file of :mod:`pidflow.models.families`): weights, processor, prompt."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from pidflow import plugins
from pidflow.errors import ConfigError, DataError
from pidflow.models.families._family import Family
from pidflow.models.layout import Layout
from pidflow.models.prompts import Prompt, prompt_of

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HASHED_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to be read: weights in evaluation mode, processor padding on the left.

    Attributes
    ----------
    depth
        Number of decoder blocks L.
    width
        Residual width.
    prompting
        The prompt in use.
    revision
        Commit hash of a hub model; ``sha256:…`` of the weights of a local folder (``files:…``, of names and sizes
        only, beyond a gibibyte).
    """

    family: Family
    model: nn.Module
    processor: Any
    prompting: Prompt
    revision: str
    device: torch.device
    dtype: torch.dtype
    depth: int
    width: int

    @property
    def prompt(self) -> str:
        """The template of the prompt in use, with ``<image>`` and ``{question}``."""
        return self.prompting.template

    @property
    def tokenizer(self) -> Any:
        """The processor's fast tokenizer."""
        return self.processor.tokenizer

    @property
    def text_model(self) -> nn.Module:
        """The language model: embeddings, decoder blocks, final norm."""
        return self.model.get_submodule(self.family.text_model)

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder blocks 0 … L-1."""
        return self.model.get_submodule(self.family.layers)

    @property
    def final_norm(self) -> nn.Module:
        """The norm between the last block and the unembedding."""
        return self.model.get_submodule(self.family.final_norm)

    @property
    def unembedding(self) -> nn.Module:
        """The map from the normed state to token logits."""
        return self.model.get_submodule(self.family.unembedding)

    @property
    def image_token_id(self) -> int:
        """Id of the placeholder that each image feature replaces."""
        return self.model.config.image_token_id

    @property
    def max_tokens(self) -> int:
        """The longest prompt the language model was built for."""
        return self.text_model.config.max_position_embeddings

    def layout(self, size: tuple[int, int]) -> Layout:
        """Where the image tokens of a picture of ``(height, width)`` pixels lie in it."""
        return self.family.layout(self.processor, self.model.config, size)


def family_named(name: str) -> Family:
    """The family of that id."""
    return plugins.load("models.families", name).FAMILY


def load(
    family: str,
    path: str,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    prompt: str | None = None,
    instruction: str | None = None,
) -> LoadedModel:
    """A checkpoint from a local folder or, by exact commit, from the Hugging Face hub.

    Only safetensors weights are read and no code that comes with a checkpoint is run.

    Parameters
    ----------
    family
        A file of :mod:`pidflow.models.families`: ``"llava"``, ``"llava-next"``.
    path
        A folder, or a hub id ``owner/name``.
    revision
        The full commit hash (40 hexadecimal digits); required for a hub id, refused for a folder.
    dtype
        ``"float32"``, ``"float16"``, ``"bfloat16"`` or ``"auto"``: float32 on a CPU, else what the checkpoint says.
    device
        A torch device, or ``"auto"``: cuda, else mps, else cpu.
    prompt, instruction
        See :func:`pidflow.models.prompts.prompt_of`: a name, a template, or None for the checkpoint's own; and what is
        asked for beside the question.

    Raises
    ------
    ConfigError
        If the family, revision, dtype, device or prompt make no sense, or the checkpoint is of another family.
    DataError
        If the checkpoint is incomplete.
    """
    entry = family_named(family)
    place = _resolve_device(device)
    local = Path(path).is_dir()
    source: dict[str, Any] = {"local_files_only": True} if local else {"revision": _pinned(path, revision)}
    if local and revision is not None:
        raise ConfigError(f"model '{path}' is a local folder, which has no revision; remove 'revision: {revision}'")
    source["trust_remote_code"] = False
    try:
        config = AutoConfig.from_pretrained(path, **source)
        if config.model_type != entry.model_type:
            raise ConfigError(
                f"model '{path}' is of type '{config.model_type}', but family '{family}' means '{entry.model_type}'; "
                "correct 'family' or 'path'"
            )
        kind = _resolve_dtype(dtype, place, config)
        with _no_progress_bars():
            # The PIL backend is asked for so that installing torchvision later cannot move the pixels.
            processor = AutoProcessor.from_pretrained(path, backend="pil", **source)
            prompting = prompt_of(prompt, family=family, processor=processor, config=config, instruction=instruction)
            model, info = AutoModelForImageTextToText.from_pretrained(
                path, dtype=kind, use_safetensors=True, attn_implementation="sdpa", output_loading_info=True, **source
            )
    except (OSError, ValueError, SafetensorError) as err:
        raise ConfigError(f"model '{path}' cannot be loaded: {err}") from err
    broken = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if broken:
        raise DataError(
            f"model '{path}': {len(broken)} weights are missing or of another shape ({', '.join(broken[:3])}, …); "
            "the checkpoint is incomplete or of another family"
        )
    name = _fingerprint(Path(path)) if local else str(revision)
    return wrap(family, model.to(place), processor, prompt=prompting, revision=name)


def wrap(
    family: str, model: nn.Module, processor: Any, *, prompt: Prompt | str | None = None, revision: str = "in memory"
) -> LoadedModel:
    """A model and processor built in memory, made ready to be read (evaluation mode, no gradients, left padding)."""
    entry = family_named(family)
    model.eval().requires_grad_(False)
    tokenizer = processor.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"family '{family}' needs a fast tokenizer (spans come from its offsets), found {type(tokenizer)}"
        )
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if not isinstance(prompt, Prompt):
        prompt = prompt_of(prompt, family=family, processor=processor, config=model.config)
    weights = next(model.parameters())
    text = model.get_submodule(entry.text_model).config
    return LoadedModel(
        family=entry,
        model=model,
        processor=processor,
        prompting=prompt,
        revision=revision,
        device=weights.device,
        dtype=weights.dtype,
        depth=text.num_hidden_layers,
        width=text.hidden_size,
    )


def _pinned(path: str, revision: str | None) -> str:
    if not _HUB_ID.fullmatch(path):
        raise ConfigError(f"model path '{path}' is neither an existing folder nor a hub id 'owner/name'")
    if revision is None or not _COMMIT.fullmatch(revision):
        raise ConfigError(
            f"model '{path}' is not an existing folder, so it names a hub model, whose 'revision' must be a full "
            f"commit hash (40 hexadecimal digits), found {revision!r}; branches and tags move, results must not"
        )
    return revision


def _resolve_device(device: str) -> torch.device:
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as err:
        raise ConfigError(f"unknown device '{device}', expected auto, cpu, cuda, cuda:1, mps, …") from err
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device '{device}' was asked for, but torch sees no CUDA device; set device: auto or cpu")
    return place


def _resolve_dtype(dtype: str, device: torch.device, config: Any) -> torch.dtype:
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        return config.dtype or torch.float32
    if dtype not in DTYPES:
        raise ConfigError(f"unknown dtype '{dtype}', expected auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def _fingerprint(folder: Path) -> str:
    """A name for the weights in a folder that changes when they do."""
    files = sorted(folder.glob("*.safetensors"))
    sizes = [file.stat().st_size for file in files]
    if sum(sizes) > _HASHED_BYTES:
        listing = "\n".join(f"{file.name} {size}" for file, size in zip(files, sizes, strict=True))
        return f"files:{hashlib.sha256(listing.encode()).hexdigest()[:40]}"
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()[:40]}"


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Silence the library's bars, which fill job logs."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
