"""What a language model is fed, with parts of it replaced and everything else as it was.

The joint pass is recorded where the language model is entered: embeddings with the picture already in them, positions
(all axes of M-RoPE), masks, and whatever else a family hands over. A masked pass enters there again with other
embeddings in some places. Positions and masks are those of the joint pass, and the picture is encoded once.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import DynamicCache

from pidflow.errors import ConfigError, NumericsError
from pidflow.models.capture import BLOCKS, Captured, capturing
from pidflow.models.entry import Entered, language_arguments
from pidflow.models.forward import fed_names, positions, run
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.models.prompts import IMAGE, QUESTION
from pidflow.models.spans import Spans

IMAGE_PART, LANGUAGE, QUESTION_PART = "image", "language", "question"
# What hides the question from a part that reads the picture with it in view.
_QFORMER_MASK = "qformer_attention_mask"
# Arguments of language models through which a picture enters elsewhere than at layer 0.
_DEEPSTACK, _CROSS = "deepstack_visual_embeds", "cross_attention_states"
# How tokens that stand around a picture are called in the vocabularies of many families.
_AROUND = re.compile(r"im(age|g)|vision|picture|pixel", re.IGNORECASE)
# "A." or "(B)" at the beginning of a line, and the most tokens that it takes.
_LETTERS, _LETTER_TOKENS = r"/(?m)^\(?[A-Z][.):]\s/", 4
# A pass entered by hand may differ from the ordinary one by this much, relative to the largest logit.
_SAME = 1e-4


@dataclass(frozen=True)
class Part:
    """One part of the input that can be replaced: its tokens ``(N, d)`` of the whole batch, and the row of each."""

    values: torch.Tensor
    rows: torch.Tensor


@dataclass(frozen=True, eq=False)
class Fed:
    """What the language model is fed for a batch of questions.

    Attributes
    ----------
    arguments
        Keyword arguments of its forward, cache apart.
    places
        Boolean ``(B, T)``: the ``image`` tokens, the user's ``language``, and the words of the ``question`` without its
        options.
    """

    arguments: Mapping[str, Any]
    places: Mapping[str, torch.Tensor]

    @property
    def embeddings(self) -> torch.Tensor:
        """``(B, T, d)``: the input of layer 0."""
        return self.arguments["inputs_embeds"]

    def parts(self) -> dict[str, Part]:
        """Every part by name; a picture that enters elsewhere too has more than one, all named ``image…``."""
        found = {}
        for name, mask in self.places.items():
            found[name] = Part(self.embeddings[mask], torch.nonzero(mask)[:, 0])
        for depth, values in enumerate(self.arguments.get(_DEEPSTACK) or ()):
            found[f"{IMAGE_PART}-deepstack-{depth}"] = Part(values, found[IMAGE_PART].rows)
        crossing = self.arguments.get(_CROSS)
        if crossing is not None:
            flat = crossing.reshape(-1, crossing.shape[-1])
            rows = torch.arange(len(self.embeddings), device=flat.device)
            found[f"{IMAGE_PART}-{_CROSS}"] = Part(flat, rows.repeat_interleave(len(flat) // len(rows)))
        return found

    def replaced(self, new: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """The arguments with other values in some parts, each shaped as in :meth:`parts`."""
        arguments, embeddings = dict(self.arguments), self.embeddings.clone()
        for name, values in new.items():
            values = values.to(embeddings)
            if name in self.places:
                embeddings[self.places[name]] = values
            elif name.startswith(f"{IMAGE_PART}-deepstack-"):
                levels = list(arguments[_DEEPSTACK])
                levels[int(name.rsplit("-", 1)[1])] = values
                arguments[_DEEPSTACK] = levels
            else:
                arguments[_CROSS] = values.reshape(arguments[_CROSS].shape)
        return arguments | {"inputs_embeds": embeddings}

    def sources(self) -> dict[str, torch.Tensor]:
        """Mean embedding ``(B, d)`` float32 of the picture and of the user's language, as they enter."""
        parts, count = self.parts(), len(self.embeddings)
        crossing = f"{IMAGE_PART}-{_CROSS}"
        chosen = {"vision": parts[crossing if crossing in parts else IMAGE_PART], "language": parts[LANGUAGE]}
        return {name: _means(part, count) for name, part in chosen.items()}


def _means(part: Part, count: int) -> torch.Tensor:
    total = torch.zeros(count, part.values.shape[1], device=part.values.device)
    total.index_add_(0, part.rows, part.values.float())
    return total / torch.bincount(part.rows, minlength=count)[:, None]


def picture_parts(parts: Mapping[str, Part]) -> list[str]:
    """Names of all parts through which the picture enters."""
    return [name for name in parts if name.split("-")[0] == IMAGE_PART]


def places_of(spans: Spans) -> dict[str, torch.Tensor]:
    """Which positions are the picture, the user's language (options and instruction too), the question's own words."""
    return {
        IMAGE_PART: spans["image"],
        LANGUAGE: spans["question+instruction"],
        QUESTION_PART: spans["question"] & ~_with_letters(spans),
    }


def _with_letters(spans: Spans) -> torch.Tensor:
    """The options, with the letters that stand before them at the beginning of a line."""
    options, letters = spans["options"], spans[_LETTERS] if spans.prompts else torch.zeros_like(spans.valid)
    for _ in range(_LETTER_TOKENS):
        options = options | (letters & torch.nn.functional.pad(options, (0, 1))[:, 1:])
    return options


def enter(loaded: LoadedModel, batch: Batch) -> Fed:
    """What the language model is fed for a batch, without running it."""
    with torch.inference_mode(), language_arguments(loaded, stop=True) as found, suppress(Entered):
        run(loaded, batch.inputs)
    return _fed(loaded, batch, found)


def enter_unasked(loaded: LoadedModel, batch: Batch) -> Fed | None:
    """What the language model is fed where the part that reads the picture is not shown the question.

    None where that part never is (see :attr:`pidflow.models.families._family.Family.reads_question`).

    Raises
    ------
    ConfigError
        If it reads the question and there is no mask that hides it.
    """
    if not loaded.family.reads_question:
        return None
    if _QFORMER_MASK not in batch.inputs:
        raise ConfigError(
            f"family '{loaded.family.name}' reads the picture with the question in view, and takes no {_QFORMER_MASK} "
            "that would hide it; its passes without the question still hold language: leave them out of spectrum.passes"
        )
    hidden = torch.zeros_like(batch.inputs[_QFORMER_MASK])
    return enter(loaded, replace(batch, inputs=batch.inputs | {_QFORMER_MASK: hidden}))


@dataclass(frozen=True, eq=False)
class PassOutput:
    """What one pass left: pooled states and next-token logits, and the keys and values to go on from."""

    captured: Captured
    cache: DynamicCache


def joint_pass(loaded: LoadedModel, batch: Batch) -> tuple[PassOutput, Fed]:
    """The ordinary pass over a batch, and what its language model was fed."""
    cache = DynamicCache()
    with torch.inference_mode(), language_arguments(loaded) as found, capturing(loaded, batch) as states:
        output = PassOutput(states.captured(run(loaded, batch.inputs, cache=cache)[:, -1]), cache)
    return output, _fed(loaded, batch, found)


def masked_pass(loaded: LoadedModel, batch: Batch, arguments: Mapping[str, Any]) -> PassOutput:
    """A pass that enters the language model with arguments made by :meth:`Fed.replaced`."""
    cache = DynamicCache()
    with torch.inference_mode(), capturing(loaded, batch) as states:
        final = loaded.text_model(**arguments, use_cache=True, past_key_values=cache).last_hidden_state
        return PassOutput(states.captured(loaded.logits_of(final[:, -1].to(loaded.device))), cache)


def check_entry(loaded: LoadedModel, batch: Batch) -> float:
    """Largest difference of logits between the joint pass and one entered by hand that replaces nothing.

    Raises
    ------
    NumericsError
        If it is more than rounding: then something of the family's forward lies outside what is entered.
    """
    joint, fed = joint_pass(loaded, batch)
    again = masked_pass(loaded, batch, fed.replaced({}))
    difference = float((joint.captured.logits - again.captured.logits).abs().max())
    scale = float(joint.captured.logits.abs().max()) + 1.0
    allowed = scale * max(_SAME, 4 * loaded.eps)
    if not difference <= allowed:
        raise NumericsError(
            f"family '{loaded.family.name}': a pass that replaces nothing differs from the joint one by "
            f"{difference:.3g} in a logit, expected at most {allowed:.2g}; its predictions cannot be probed"
        )
    return difference


def _fed(loaded: LoadedModel, batch: Batch, found: Mapping[str, Any]) -> Fed:
    arguments = {name: value for name, value in found.items() if name != "use_cache"}
    if arguments.get("inputs_embeds") is None:
        arguments["inputs_embeds"] = loaded.model.get_input_embeddings()(arguments["input_ids"])
    arguments["input_ids"] = None
    if not isinstance(arguments["inputs_embeds"], torch.Tensor) or arguments["inputs_embeds"].ndim != 3:
        raise ConfigError(f"family '{loaded.family.name}' does not hand embeddings to its language model")
    arguments["inputs_embeds"] = arguments["inputs_embeds"].to(loaded.device)
    return Fed(arguments, places_of(batch.spans))


def prompt_without_image(loaded: LoadedModel) -> str:
    """The prompt's template without the picture, the tokens around it and the line it stands on."""
    before, after = loaded.prompt.split(IMAGE)
    names = sorted((name for name in loaded.tokenizer.get_added_vocab() if _AROUND.search(name)), key=len, reverse=True)
    for name in names:
        before, after = before.removesuffix(name), after.removeprefix(name)
    if before[-1:].isspace() or not before:
        after = after.lstrip("\n ")
    return before + after


def without_image(loaded: LoadedModel, questions: list[str]) -> Batch:
    """The questions without any picture, left-padded, on the model's device; only the last position is a span."""
    template = prompt_without_image(loaded)
    encoded = loaded.tokenizer(
        [template.replace(QUESTION, question) for question in questions], padding=True, return_tensors="pt"
    )
    mask = encoded["attention_mask"]
    valid = mask.bool()
    spans = dict.fromkeys(BLOCKS.values(), valid) | {"last": torch.zeros_like(valid)}
    spans["last"][:, -1] = True
    inputs = {"input_ids": encoded["input_ids"], "attention_mask": mask}
    taken = fed_names(loaded.model)
    if "mm_token_type_ids" in taken:
        inputs["mm_token_type_ids"] = torch.zeros_like(mask)
    inputs["position_ids"] = positions(loaded, inputs)
    inputs = {name: values for name, values in inputs.items() if name in taken}
    return Batch(inputs, Spans(spans, valid), torch.zeros(len(questions), dtype=torch.bool)).to(loaded)


def plain_pass(loaded: LoadedModel, batch: Batch) -> PassOutput:
    """An ordinary pass over a batch of text."""
    cache = DynamicCache()
    with torch.inference_mode(), capturing(loaded, batch) as states:
        return PassOutput(states.captured(run(loaded, batch.inputs, cache=cache)[:, -1]), cache)
