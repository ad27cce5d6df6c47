"""Loading a model of a family (a file of :mod:`pidflow.models.families`): weights, processor, prompt."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
import transformers
from PIL import Image
from torch import nn
from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from pidflow.errors import ConfigError, DataError, PidflowError
from pidflow.models import weights
from pidflow.models.families._family import Family
from pidflow.models.layout import Layout, make_square, padded, padded_layout
from pidflow.models.parts import Parts, parts_of
from pidflow.models.placement import check_covers, devices_of, quantized, resolve_device, resolve_dtype, spread
from pidflow.models.processors import image_token_of, load_processor, placeholder_of
from pidflow.models.prompts import Prompt, prompt_of
from pidflow.models.refused import check_processor, check_type, check_weights
from pidflow.plugins import registry


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
        Commit hash of a hub model; ``sha256:…`` of the content of all that is loaded from a local folder.
    devices
        What it computes on: one device, or, where its blocks are spread, several; first the one that inputs go to.
    image
        How pictures become square, ``"pad"`` or ``"crop"``; None: as the processor says.
    always
        Interventions that belong to the model and are in force in every forward of it: it was trained with them. See
        :func:`pidflow.interventions.intervention.entered`, which enters them.
    """

    family: Family
    model: nn.Module
    processor: Any
    prompting: Prompt
    revision: str
    devices: tuple[torch.device, ...]
    dtype: torch.dtype
    depth: int
    width: int
    image: str | None = None
    always: tuple[Any, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where its inputs go, and whatever is read of it comes back to."""
        return self.devices[0]

    @property
    def prompt(self) -> str:
        """The template of the prompt in use, with ``<image>`` and ``{question}``."""
        return self.prompting.template

    @property
    def tokenizer(self) -> Any:
        """The processor's fast tokenizer."""
        return self.processor.tokenizer

    @cached_property
    def parts(self) -> Parts:
        """Its language model, decoder blocks, final norm and unembedding."""
        return parts_of(self.model, self.family)

    @property
    def text_model(self) -> nn.Module:
        """The language model: embeddings, decoder blocks, final norm."""
        return self.parts.text_model

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder blocks 0 … L-1."""
        return self.parts.layers

    @property
    def final_norm(self) -> nn.Module:
        """The norm between the last block and the unembedding."""
        return self.parts.final_norm

    @property
    def eps(self) -> float:
        """Relative rounding of its arithmetic; with weights in fewer bits that is half precision's at best."""
        return torch.finfo(torch.float16 if getattr(self.model, "is_quantized", False) else self.dtype).eps

    def normed(self, states: torch.Tensor) -> torch.Tensor:
        """States after the final norm, on the device that the states are on."""
        return self.final_norm(states).to(states.device)

    def logits_of(self, normed: torch.Tensor) -> torch.Tensor:
        """The model's logits from states after the final norm, with what its family does to them; on their device."""
        logits = self.parts.unembedding(normed).to(normed.device)
        return self.family.logits(logits, self.text_model.config)

    @property
    def sees(self) -> str:
        """Who sees whom beside what comes before: ``"causal"``, ``"image-block"``, ``"image-span"`` or ``"prefix"``."""
        found = self.family.sees
        return found if isinstance(found, str) else found(self.model.config)

    @property
    def placeholder(self) -> str:
        """What stands for the picture in a prompt."""
        return placeholder_of(self.family, self.processor)

    @property
    def image_token_id(self) -> int:
        """Id of the token that each image feature replaces."""
        return image_token_of(self.family, self.processor, self.model.config)

    @cached_property
    def places(self) -> bool:
        """Whether it is known where its image tokens lie in a picture."""
        from pidflow.models.painted import places_known  # which needs loaded models itself

        return places_known(self)

    @property
    def max_tokens(self) -> int | None:
        """The longest prompt the language model was built for; None if its configuration does not tell."""
        return getattr(self.text_model.config, "max_position_embeddings", None)

    def layout(self, size: tuple[int, int]) -> Layout | None:
        """Where the image tokens of a picture of ``(height, width)`` pixels lie in it; None if nobody knows."""
        if not self.places:
            return None
        unpadded = partial(self.family.layout, self.processor, self.model.config)
        return padded_layout(unpadded, size) if self.image == "pad" else unpadded(size)

    def fit(self, picture: Image.Image) -> Image.Image:
        """The picture as the processor is to see it: padded to a square where that was asked for."""
        return padded(picture, colour=self.processor.image_processor.image_mean) if self.image == "pad" else picture


def family_named(name: str) -> Family:
    """The family of that id."""
    return registry.load("models.families", name).FAMILY


def load(
    family: str,
    path: str,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    device_map: str | Mapping[str, int | str] | None = None,
    quantize: str | None = None,
    prompt: str | None = None,
    instruction: str | None = None,
    image: str | None = None,
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
    device_map
        How modules are spread over several devices (see :func:`pidflow.models.placement.spread`); None: all on one.
    quantize
        ``"8bit"`` or ``"4bit"``: linear maps of the language model's blocks are kept in so few bits, by
        bitsandbytes. It is part of the model's revision.
    prompt, instruction
        See :func:`pidflow.models.prompts.prompt_of`: a name, a template, or None for the checkpoint's own; and what is
        asked for beside the question.
    image
        How a picture becomes square, ``"pad"`` or ``"crop"`` (see :func:`pidflow.models.layout.make_square`); None: as
        the checkpoint's processor says.

    Raises
    ------
    ConfigError
        If the family, revision, dtype, device, device map or prompt make no sense, or the checkpoint is of another
        family.
    DataError
        If the checkpoint is incomplete, damaged, holds more than its configuration says, or cannot be fetched.
    """
    entry = family_named(family)
    laid = spread(device_map, device)
    place = resolve_device(device)
    folder = weights.local_folder(path, revision)
    weights.model_files(folder)  # all there, and all inside
    source = {"local_files_only": True, "trust_remote_code": False}
    with _loading(path, "configuration (config.json)"):
        config = AutoConfig.from_pretrained(folder, **source)
    check_type(path, config, entry)
    wrong = entry.check_folder(folder)
    if wrong is not None:
        raise ConfigError(f"model '{path}': {wrong}")
    kind = resolve_dtype(dtype, place, config)
    how = quantized(quantize, place, kind) | laid
    with _loading(path, "processor or tokenizer"):
        processor = load_processor(folder, config, **source)
    entry.prepare(processor)
    check_processor(path, processor, config, entry)
    prompting = prompt_of(prompt, family=family, processor=processor, config=config, instruction=instruction)
    loader = getattr(transformers, entry.loader)
    if isinstance(device_map, Mapping):
        with torch.device("meta"):
            check_covers(device_map, loader.from_config(config))
    with _loading(path, "weights"):
        model, info = loader.from_pretrained(
            folder,
            dtype=kind,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused here, by name
            **how,
            **source,
        )
    check_weights(path, model, info)
    name = revision or weights.content_digest(folder)
    if not how:
        model = model.to(place)
    if quantize is not None:
        name = f"{name}+{quantize}"
    return wrap(family, model, processor, prompt=prompting, revision=name, image=image)


@contextmanager
def _loading(path: str, what: str) -> Iterator[None]:
    """One sentence for whatever a library raises when a part of a checkpoint is damaged."""
    try:
        with _no_progress_bars():
            yield
    except (PidflowError, MemoryError, torch.OutOfMemoryError):
        raise
    except ImportError as err:
        needs = next((line.strip() for line in str(err).splitlines() if line.strip()), type(err).__name__)
        raise ConfigError(
            f"model '{path}': its {what} needs a package that is not installed ({needs[:200]}); install that package"
        ) from err
    except Exception as err:
        reason = " ".join(str(err).split())[:300]
        raise DataError(
            f"model '{path}': its {what} cannot be loaded ({type(err).__name__}: {reason}); fetch the model again, or "
            "correct 'family' or 'path'"
        ) from err


def wrap(
    family: str,
    model: nn.Module,
    processor: Any,
    *,
    prompt: Prompt | str | None = None,
    revision: str = "in memory",
    image: str | None = None,
) -> LoadedModel:
    """A model and processor built in memory, made ready to be read (evaluation mode, no gradients, left padding)."""
    entry = family_named(family)
    model.eval().requires_grad_(False)
    entry.prepare_model(model)
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
    if image is not None:
        if not entry.makes_square:
            raise ConfigError(
                f"family '{family}' shows pictures in tiles, not as one square; leave 'image: {image}' out"
            )
        make_square(processor.image_processor, image)
    parts = parts_of(model, entry)
    text = parts.text_model.config
    return LoadedModel(
        family=entry,
        model=model,
        processor=processor,
        prompting=prompt,
        revision=revision,
        devices=devices_of(model),
        dtype=next(each.dtype for each in parts.text_model.parameters() if each.is_floating_point()),
        depth=len(parts.layers),
        width=text.hidden_size,
        image=image,
    )


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
