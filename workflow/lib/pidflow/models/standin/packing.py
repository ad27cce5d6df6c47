"""Many questions about one picture in one row, each computed as in a prompt of its own.

Each question is a block that attends to the image and to itself only, with its position ids restarted after the image:
nothing leaks from one question to the next, and the image is paid for once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from pidflow.data import scenes
from pidflow.errors import ConfigError
from pidflow.models.attention import Kernel, attending_with
from pidflow.models.continuous_time import softmax_evolved
from pidflow.models.dynamics import ORDINARY, Dynamics
from pidflow.models.standin.architecture import PATCH_SIZE, PROMPT
from pidflow.models.standin.pictures import Picture

CAPTION_QUESTION = "what is in the image ?"
IGNORE = -100
_PATCHES = scenes.IMAGE_SIZE // PATCH_SIZE
# Spans of a packed row, as :class:`pidflow.models.spans.Spans` names them: what is said counts as last.
SPANS = ("bos", "image", "question", "template", "last")


@dataclass(frozen=True)
class Closed:
    """An edge that the language model does not have: ``target`` never attends to ``source`` in these blocks.

    Both are names among `SPANS`, or several joined by ``+``; ``blocks`` None means all.
    """

    source: str
    target: str
    blocks: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in (*self.source.split("+"), *self.target.split("+")):
            if name not in SPANS:
                raise ConfigError(
                    f"closed edge {self.source}->{self.target}: packed rows know no span '{name}', expected some of: "
                    f"{', '.join(SPANS)}"
                )


@dataclass(frozen=True)
class Batch:
    """Rows of question blocks.

    Attributes
    ----------
    input_ids, position_ids, labels
        ``(B, T)``.
    prefix
        Positions before the first block, the image among them; the same in every row.
    blocks
        Positions of each question's tokens, ``(B, blocks, longest)``, -1 where there is none.
    prefix_spans, block_spans
        Which of `SPANS` each position of the prefix ``(prefix,)`` and of the blocks ``(B, blocks, longest)`` is in.
    pixel_values, patch_targets
        The pictures, and which words describe each patch ``(B, patches, V)``.
    tasks, answer_at
        Of each question its task, and row and position before its answer ``(questions, 2)``.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    labels: torch.Tensor
    prefix: int
    blocks: torch.Tensor
    prefix_spans: torch.Tensor
    block_spans: torch.Tensor
    pixel_values: torch.Tensor
    patch_targets: torch.Tensor
    tasks: tuple[str, ...]
    answer_at: torch.Tensor


class Packer:
    """Turns pictures into packed training rows with one processor."""

    def __init__(self, processor) -> None:
        self.processor = processor
        tokenizer = processor.tokenizer
        self.vocabulary = tokenizer.get_vocab()
        self.eos = tokenizer.eos_token_id
        self.pad = tokenizer.pad_token_id
        before, after = PROMPT.split("{question}")
        before = before.replace("<image>", "<image>" * _PATCHES**2)
        self.prefix = tokenizer.encode(before)
        self.suffix = tokenizer.encode(after, add_special_tokens=False)
        names = {self.vocabulary["<image>"]: "image", tokenizer.bos_token_id: "bos"}
        named = [names.get(token, "template") for token in self.prefix]
        self.prefix_spans = torch.tensor([SPANS.index(name) for name in named])
        self._cache: dict[str, list[int]] = {}

    def _ids(self, text: str) -> list[int]:
        if text not in self._cache:
            self._cache[text] = self.processor.tokenizer.encode(text, add_special_tokens=False)
        return self._cache[text]

    def pack(self, pictures: list[Picture], *, questions: bool, captions: list[bool]) -> Batch:
        """One row per picture: its questions, if asked for, and its caption where ``captions`` states it."""
        rows, tasks, answer_at, places, spans = [], [], [], [], []
        for index, (picture, captioned) in enumerate(zip(pictures, captions, strict=True)):
            blocks = list(picture.questions) if questions else []
            if captioned:
                blocks.append(("caption", CAPTION_QUESTION, picture.caption))
            ids, positions, labels = list(self.prefix), list(range(len(self.prefix))), [IGNORE] * len(self.prefix)
            places.append([])
            spans.append([])
            for task, text, answer in blocks:
                prompt = self._ids(text) + self.suffix
                target = [*(self.processor.tokenizer.encode(answer, add_special_tokens=False)), self.eos]
                if task != "caption":
                    tasks.append(task)
                    answer_at.append((index, len(ids) + len(prompt) - 1))
                block = prompt + target
                places[-1].append(range(len(ids), len(ids) + len(block)))
                between = len(self.suffix) - 1
                named = (
                    ["question"] * (len(prompt) - 1 - between) + ["template"] * between + ["last"] * (1 + len(target))
                )
                spans[-1].append([SPANS.index(name) for name in named])
                ids += block
                positions += range(len(self.prefix), len(self.prefix) + len(block))
                labels += [IGNORE] * (len(prompt) - 1) + target + [IGNORE]
            rows.append((ids, positions, labels))
        longest = max(len(row[0]) for row in rows)

        def padded(column: int, fill: int) -> torch.Tensor:
            return torch.tensor([row[column] + [fill] * (longest - len(row[0])) for row in rows])

        most, widest = max(map(len, places)), max(len(block) for row in places for block in row)
        blocks = torch.full((len(rows), most, widest), -1)
        block_spans = torch.zeros_like(blocks)
        for row, of_row in enumerate(places):
            for number, block in enumerate(of_row):
                blocks[row, number, : len(block)] = torch.tensor(block)
                block_spans[row, number, : len(block)] = torch.tensor(spans[row][number])
        pixels = self.processor.image_processor([p.image for p in pictures], return_tensors="pt")["pixel_values"]
        targets = torch.zeros(len(pictures), _PATCHES**2, len(self.vocabulary))
        for i, picture in enumerate(pictures):
            for j, words in enumerate(picture.patch_words):
                targets[i, j, [self.vocabulary[word] for word in words]] = 1.0
        return Batch(
            input_ids=padded(0, self.pad),
            position_ids=padded(1, 0),
            labels=padded(2, IGNORE),
            prefix=len(self.prefix),
            blocks=blocks,
            prefix_spans=self.prefix_spans,
            block_spans=block_spans,
            pixel_values=pixels,
            patch_targets=targets,
            tasks=tuple(tasks),
            answer_at=torch.tensor(answer_at, dtype=torch.long).reshape(-1, 2),
        )


def image_positions(model, batch: Batch) -> torch.Tensor:
    """Boolean (B, T): where the image tokens stand."""
    return batch.input_ids == model.config.image_token_id


def packed_logits(
    model, batch: Batch, *, soup: bool = False, dynamics: Dynamics = ORDINARY, closed: tuple[Closed, ...] = ()
) -> torch.Tensor:
    """Logits (B, T, V) of a packed batch.

    Parameters
    ----------
    soup
        See the image as a soup of its true words, not through the vision tower.
    dynamics
        How the language model's attention evolves.
    closed
        Edges that it does not have.
    """
    embed = model.get_input_embeddings()
    inputs = embed(batch.input_ids)
    if soup:
        features = batch.patch_targets @ embed.weight
    else:
        tower = model.model.vision_tower(batch.pixel_values, output_hidden_states=True)
        features = model.model.multi_modal_projector(tower.hidden_states[model.config.vision_feature_layer][:, 1:])
    inputs = inputs.masked_scatter(image_positions(model, batch)[..., None], features.to(inputs.dtype))
    language = model.model.language_model
    with attending_with(language, block_attention(batch, dynamics, closed), blocks=None):
        hidden = language(inputs_embeds=inputs, position_ids=batch.position_ids, use_cache=False).last_hidden_state
    return model.lm_head(hidden)


def block_attention(batch: Batch, dynamics: Dynamics, closed: tuple[Closed, ...] = ()) -> Kernel:
    """Attention of packed rows: the prefix sees itself, each block the prefix and itself; nothing else is computed."""
    prefix, (rows, count, widest) = batch.prefix, batch.blocks.shape
    filled = (batch.blocks >= 0).flatten(1)[:, None, :, None]
    places = batch.blocks.flatten(1).clamp(min=0)[:, None, :, None]
    causal = torch.ones(prefix, prefix, dtype=torch.bool).tril()
    own = torch.ones(widest, widest, dtype=torch.bool).tril()
    visible = torch.cat([torch.ones(widest, prefix, dtype=torch.bool), own], dim=1)
    opened = _opened(batch, closed)

    def kernel(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *,
        scaling: float,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        heads, width = query.shape[1], query.shape[3]
        where = places.expand(rows, heads, count * widest, width)
        asked, keys, values = (states.gather(2, where) for states in (query, key, value))
        keys, values = (states.unflatten(2, (count, widest)) for states in (keys, values))
        first, first_values = key[:, :, :prefix], value[:, :, :prefix]

        inside, across = opened(module.layer_idx)
        before = softmax_evolved(query[:, :, :prefix] @ first.transpose(2, 3) * scaling, causal & inside, dynamics)
        scores = torch.cat(
            [
                (asked @ first.transpose(2, 3)).unflatten(2, (count, widest)),
                asked.unflatten(2, (count, widest)) @ keys.transpose(3, 4),
            ],
            dim=-1,
        )
        weights = softmax_evolved(scores * scaling, visible & across, dynamics)
        seen = weights[..., :prefix].flatten(2, 3) @ first_values + (weights[..., prefix:] @ values).flatten(2, 3)
        behind = torch.zeros_like(query).scatter_add(2, where, seen * filled)
        out = torch.cat([before @ first_values, behind[:, :, prefix:]], dim=2)
        return out.transpose(1, 2).contiguous(), None

    return kernel


def _opened(batch: Batch, closed: tuple[Closed, ...]) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    """Per block, which pairs no closed edge joins: within the prefix, and from each question block to both."""
    rows, count, widest = batch.blocks.shape
    of_prefix = batch.prefix_spans.expand(rows, count, len(batch.prefix_spans))
    keys = torch.cat([of_prefix, batch.block_spans], dim=2)

    @cache
    def opened(layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        inside = torch.ones(batch.prefix, batch.prefix, dtype=torch.bool)
        across = torch.ones(rows, 1, count, widest, keys.shape[2], dtype=torch.bool)
        for edge in closed:
            if edge.blocks is None or layer in edge.blocks:
                source, target = (_numbers(name) for name in (edge.source, edge.target))
                seen, asking = (torch.isin(batch.prefix_spans, each) for each in (source, target))
                inside &= ~(asking[:, None] & seen)
                across &= ~(torch.isin(batch.block_spans, target)[..., None] & torch.isin(keys, source)[:, :, None])[
                    :, None
                ]
        return inside, across

    return opened


def _numbers(names: str) -> torch.Tensor:
    """The numbers of spans joined by ``+``."""
    return torch.tensor([SPANS.index(name) for name in names.split("+")])
