"""How the stand-in is trained: warm-ups of the parts, caption alignment, visual instruction tuning.

The order follows LLaVA (arXiv 2304.08485): a vision tower and a language model that each know their own world are
joined by a projector, first with captions while only the projector moves, then with questions while the
projector and the language model move. Three choices make a small model learn on two cores:

* one image carries many questions in one row. Each question is a block that attends to the image and to itself only,
  with its position ids restarted after the image, so a block is computed exactly as in a prompt of its own: nothing
  leaks from one question to the next, and the image is paid for once;
* the vision tower is warmed up by naming, for every patch, the words that describe what it shows;
* the language model is warmed up on captions of "word soups", in which each image position holds the sum of the
  embeddings of those words: the projector then has something to be aligned with.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from pidflow.data import scenes
from pidflow.data.readers import easy_vqa
from pidflow.models.attention import Kernel, attending_with
from pidflow.models.continuous_time import softmax_evolved
from pidflow.models.dynamics import ORDINARY, Dynamics
from pidflow.models.standin.architecture import PATCH_SIZE, PROMPT

CAPTION_QUESTION = "what is in the image ?"
_PATCHES = scenes.IMAGE_SIZE // PATCH_SIZE
_PATCHES_PER_CELL = _PATCHES // scenes.GRID
_IGNORE = -100


@dataclass(frozen=True)
class Picture:
    """An image with its truth in words: per patch, in a caption, and as questions ``(task, text, answer)``."""

    image: Image.Image
    patch_words: tuple[tuple[str, ...], ...]
    caption: str
    questions: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Schedule:
    """Optimiser settings of one phase: number of steps, images a step, peak learning rate, share used to warm up."""

    steps: int
    batch: int
    learning_rate: float
    warmup: float = 0.03
    weight_decay: float = 0.01
    clip: float = 1.0

    def factor(self, step: int) -> float:
        """Learning rate at ``step`` over the peak: linear warm-up, then a cosine down to 5 %."""
        ramp = max(1, round(self.warmup * self.steps))
        if step < ramp:
            return (step + 1) / ramp
        progress = (step - ramp) / max(1, self.steps - ramp)
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


def place_words(row: int, column: int) -> tuple[str, str]:
    """The two words for the grid cell that patch ``(row, column)`` lies in."""
    return scenes.ROWS[row // _PATCHES_PER_CELL], scenes.COLUMNS[column // _PATCHES_PER_CELL]


def scene_picture(rng: np.random.Generator, *, language_prior: float, questions: Mapping[str, int]) -> Picture:
    """A new scene with up to ``questions[task]`` questions of each type, answers drawn evenly where possible."""
    scene = scenes.sample_scene(rng, language_prior=language_prior)
    asked = []
    for task, count in questions.items():
        for _ in range(count):
            wanted = str(rng.choice(scenes.answers(task)))
            question = scenes.ask(scene, task, rng, answer=wanted) or scenes.ask(scene, task, rng)
            if question is not None:
                asked.append((task, question.text, question.answer))
    cells = {(item.row, item.column): item for item in scene.objects}
    words = []
    for row in range(_PATCHES):
        for column in range(_PATCHES):
            item = cells.get((row // _PATCHES_PER_CELL, column // _PATCHES_PER_CELL))
            kind = ("nothing",) if item is None else (item.shape, item.color, item.size, item.texture)
            words.append(kind + place_words(row, column))
    return Picture(scenes.render(scene), tuple(words), scenes.caption(scene), tuple(asked))


@dataclass(frozen=True)
class PlainImage:
    """One shape on a plain background (easy-VQA), with the questions asked about it; none of them is about places."""

    pixels: np.ndarray
    shape: str
    color: str
    questions: tuple[tuple[str, str, str], ...]
    background: np.ndarray
    box: tuple[int, int, int, int]

    @classmethod
    def of(cls, image: Image.Image, *, shape: str, color: str, questions: list[tuple[str, str, str]]) -> "PlainImage":
        """Find the background (the commonest colour) and the box ``(left, top, right, bottom)`` of what is on it."""
        pixels = np.asarray(image.convert("RGB"))
        colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
        return cls(pixels, shape, color, tuple(questions), colours[counts.argmax()], easy_vqa.shape_box(image))

    def moved(self, rng: np.random.Generator) -> Picture:
        """The same shape at a place drawn at random, mirrored by a coin; with the words of its patches.

        A patch shows the shape where a tenth of its pixels do, or, if it is smaller, where it shows most.
        """
        left, top, right, bottom = self.box
        height, width = self.pixels.shape[:2]
        x, y = int(rng.integers(width - (right - left) + 1)), int(rng.integers(height - (bottom - top) + 1))
        cut = self.pixels[top:bottom, left:right]
        canvas = np.broadcast_to(self.background, self.pixels.shape).copy()
        canvas[y : y + bottom - top, x : x + right - left] = cut[:, ::-1] if rng.random() < 0.5 else cut
        image = Image.fromarray(canvas)
        small = np.asarray(image.resize((scenes.IMAGE_SIZE,) * 2), dtype=np.int16)
        differs = (np.abs(small - self.background).sum(axis=2) > 60).astype(float)
        covered = differs.reshape(_PATCHES, PATCH_SIZE, _PATCHES, PATCH_SIZE).mean(axis=(1, 3))
        shown = covered >= min(0.1, float(covered.max()))
        words = tuple(
            ((self.shape, self.color) if shown[row, column] else ("nothing",)) + place_words(row, column)
            for row in range(_PATCHES)
            for column in range(_PATCHES)
        )
        return Picture(image, words, f"a {self.color} {self.shape}", self.questions)


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
        self._cache: dict[str, list[int]] = {}

    def _ids(self, text: str) -> list[int]:
        if text not in self._cache:
            self._cache[text] = self.processor.tokenizer.encode(text, add_special_tokens=False)
        return self._cache[text]

    def pack(self, pictures: list[Picture], *, questions: bool, captions: list[bool]) -> Batch:
        """One row per picture: its questions, if asked for, and its caption where ``captions`` says so."""
        rows, tasks, answer_at, places = [], [], [], []
        for index, (picture, captioned) in enumerate(zip(pictures, captions, strict=True)):
            blocks = list(picture.questions) if questions else []
            if captioned:
                blocks.append(("caption", CAPTION_QUESTION, picture.caption))
            ids, positions, labels = list(self.prefix), list(range(len(self.prefix))), [_IGNORE] * len(self.prefix)
            places.append([])
            for task, text, answer in blocks:
                prompt = self._ids(text) + self.suffix
                target = [*(self.processor.tokenizer.encode(answer, add_special_tokens=False)), self.eos]
                if task != "caption":
                    tasks.append(task)
                    answer_at.append((index, len(ids) + len(prompt) - 1))
                block = prompt + target
                places[-1].append(range(len(ids), len(ids) + len(block)))
                ids += block
                positions += range(len(self.prefix), len(self.prefix) + len(block))
                labels += [_IGNORE] * (len(prompt) - 1) + target + [_IGNORE]
            rows.append((ids, positions, labels))
        longest = max(len(row[0]) for row in rows)

        def padded(column: int, fill: int) -> torch.Tensor:
            return torch.tensor([row[column] + [fill] * (longest - len(row[0])) for row in rows])

        most, widest = max(map(len, places)), max(len(block) for row in places for block in row)
        blocks = torch.full((len(rows), most, widest), -1)
        for row, of_row in enumerate(places):
            for number, block in enumerate(of_row):
                blocks[row, number, : len(block)] = torch.tensor(block)
        pixels = self.processor.image_processor([p.image for p in pictures], return_tensors="pt")["pixel_values"]
        targets = torch.zeros(len(pictures), _PATCHES**2, len(self.vocabulary))
        for i, picture in enumerate(pictures):
            for j, words in enumerate(picture.patch_words):
                targets[i, j, [self.vocabulary[word] for word in words]] = 1.0
        return Batch(
            input_ids=padded(0, self.pad),
            position_ids=padded(1, 0),
            labels=padded(2, _IGNORE),
            prefix=len(self.prefix),
            blocks=blocks,
            pixel_values=pixels,
            patch_targets=targets,
            tasks=tuple(tasks),
            answer_at=torch.tensor(answer_at, dtype=torch.long).reshape(-1, 2),
        )


def image_positions(model, batch: Batch) -> torch.Tensor:
    """Boolean (B, T): where the image tokens stand."""
    return batch.input_ids == model.config.image_token_id


def packed_logits(model, batch: Batch, *, soup: bool = False, dynamics: Dynamics = ORDINARY) -> torch.Tensor:
    """Logits (B, T, V) of a packed batch.

    Parameters
    ----------
    soup
        See the image as a soup of its true words, not through the vision tower.
    dynamics
        How the language model's attention evolves.
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
    with attending_with(language, block_attention(batch, dynamics), blocks=None):
        hidden = language(inputs_embeds=inputs, position_ids=batch.position_ids, use_cache=False).last_hidden_state
    return model.lm_head(hidden)


def block_attention(batch: Batch, dynamics: Dynamics) -> Kernel:
    """Attention of packed rows: the prefix sees itself, each block the prefix and itself; nothing else is computed."""
    prefix, (rows, count, widest) = batch.prefix, batch.blocks.shape
    filled = (batch.blocks >= 0).flatten(1)[:, None, :, None]
    places = batch.blocks.flatten(1).clamp(min=0)[:, None, :, None]
    causal = torch.ones(prefix, prefix, dtype=torch.bool).tril()
    own = torch.ones(widest, widest, dtype=torch.bool).tril()
    visible = torch.cat([torch.ones(widest, prefix, dtype=torch.bool), own], dim=1)

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

        before = softmax_evolved(query[:, :, :prefix] @ first.transpose(2, 3) * scaling, causal, dynamics)
        scores = torch.cat(
            [
                (asked @ first.transpose(2, 3)).unflatten(2, (count, widest)),
                asked.unflatten(2, (count, widest)) @ keys.transpose(3, 4),
            ],
            dim=-1,
        )
        weights = softmax_evolved(scores * scaling, visible, dynamics)
        seen = weights[..., :prefix].flatten(2, 3) @ first_values + (weights[..., prefix:] @ values).flatten(2, 3)
        behind = torch.zeros_like(query).scatter_add(2, where, seen * filled)
        out = torch.cat([before @ first_values, behind[:, :, prefix:]], dim=2)
        return out.transpose(1, 2).contiguous(), None

    return kernel


def next_token_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats over the labelled positions."""
    return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORE)


def answers_right(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Boolean per question block: is the first answer token the most likely one?"""
    rows, columns = batch.answer_at.unbind(1)
    return logits[rows, columns].argmax(-1) == batch.labels[rows, columns]


def run_phase(
    parameters: list[nn.Parameter],
    schedule: Schedule,
    batches: Iterator[Batch],
    loss_of: Callable[[Batch], torch.Tensor],
    *,
    each_step: Callable[[int, float], None],
) -> None:
    """Train ``parameters`` for one phase; ``each_step(step, loss)`` is called after every step.

    Raises
    ------
    FloatingPointError
        If the loss stops being finite.
    """
    optimiser = torch.optim.AdamW(
        parameters, lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
    )
    for step in range(schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate * schedule.factor(step)
        loss = loss_of(next(batches))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the training loss became {loss.item()} at step {step}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, schedule.clip)
        optimiser.step()
        each_step(step, loss.item())
