"""Which tokens are the image, the question, the options, the object asked about: boolean masks over a padded batch.

Spans come from the token ids that the model is fed: image tokens by their id and the processor's own geometry, words by
the character offsets that the tokenizer reported **while making those ids**. Nothing is tokenised a second time: a
substring on its own is often cut differently. Every span is decoded again and compared with the text it stands for.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from pidflow.errors import ConfigError
from pidflow.models.layout import BASE, NEWLINE, TILE, Layout
from pidflow.models.prompt_text import PromptText, covering, is_right, noun_places, option_places, place_outside
from pidflow.models.span_check import SpanReader
from pidflow.names import SPANS, pattern_of, span_parts


@dataclass(frozen=True, eq=False)
class Tokenised:
    """A prompt as tokens: its text, start and end of each token ``(T, 2)`` and of the picture's run in it."""

    text: str
    chars: np.ndarray
    picture: tuple[int, int]

    def matching(self, pattern: str) -> np.ndarray:
        """Boolean ``(T,)``: tokens that share a visible character with a match of a regular expression.

        What is searched is the prompt without its picture.
        """
        first, last = self.picture
        found = np.zeros(len(self.chars), dtype=bool)
        for match in re.finditer(pattern, self.text[:first] + self.text[last:]):
            start, end = (place if place < first else place + last - first for place in match.span())
            found[covering(self.chars, np.ones(len(self.chars), dtype=bool), self.text, (start, end))] = True
        inside = (self.chars[:, 0] >= first) & (self.chars[:, 1] <= last) & (self.chars[:, 1] > self.chars[:, 0])
        return found & ~inside


@dataclass(frozen=True)
class Spans:
    """Named token sets of a batch, in padded coordinates.

    Attributes
    ----------
    masks
        Boolean ``(B, T)`` per name, those of :data:`pidflow.names.SPANS` and, once an answer is spoken, ``answer``:

        - ``image``; in it ``object`` (tokens whose patch touches a box), ``other`` (the others), ``base`` (the whole
          picture at low resolution), ``tiles`` (high resolution), ``separators`` (tokens that are no patch), and
          ``padding`` (patches that show nothing of the picture);
        - ``question``; in it ``options``, of these ``true-option`` and ``false-option``, ``object-words`` (names of the
          objects), ``question-without-options``;
        - ``bos`` (the token that begins the sequence; whatever stands first where the tokenizer has none), ``system``
          (the system turn), ``instruction`` (what is asked for beside the question), ``last`` (the last prompt
          position), ``template`` (what is none of these), ``text`` (everything after the image).

        ``image``, ``question``, ``text`` and ``last`` are never empty in a row, others may be; ``object`` and ``other``
        are where the family does not tell what its image tokens show.
    valid
        Boolean ``(B, T)``, False on padding.
    prompts
        The rows as tokens, for spans by a regular expression; empty where spans were made by hand.
    patches
        Boolean ``(B, K)`` per name, where the picture enters through cross-attention: its keys, of ``image`` all, in it
        ``object``, ``other``, ``tiles``, ``separators`` (class tokens, tiles that are not used) and ``padding``.
    mutual
        ``(B, T)`` whole numbers: positions of the same number other than 0 see each other both ways; None: nobody sees
        what comes later.
    """

    masks: Mapping[str, torch.Tensor]
    valid: torch.Tensor
    prompts: tuple[Tokenised, ...] = ()
    mutual: torch.Tensor | None = None
    patches: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def __getitem__(self, name: str) -> torch.Tensor:
        """A span, the union of several, or one by a regular expression: ``image+question``, ``/red|blue/``."""
        parts = span_parts(name)
        if len(parts) > 1:
            return torch.stack([self[part.strip()] for part in parts]).any(0)
        if name in self.masks:
            return self.masks[name]
        pattern = pattern_of(name)
        if pattern is None:
            raise ConfigError(
                f"unknown span '{name}', expected one of: {', '.join(self.masks)}; or a regular expression between "
                "slashes"
            )
        if len(self.prompts) != len(self.valid):
            raise ConfigError(f"span '{name}': these spans were made without the text of their prompts")
        found = torch.zeros_like(self.valid)
        for row, prompt in enumerate(self.prompts):
            found[row, : len(prompt.chars)] = torch.from_numpy(_matching(prompt, pattern))
        return found & self.valid

    @property
    def spoken(self) -> torch.Tensor:
        """Positions of the model's own answer where it was fed back after the prompt (the span ``answer``)."""
        return self.masks["answer"] if "answer" in self.masks else torch.zeros_like(self.valid)

    def patches_of(self, name: str) -> torch.Tensor | None:
        """Keys ``(B, K)`` of the picture in cross-attention that a span, or a union, names; None: it has none."""
        named = [self.patches[part.strip()] for part in span_parts(name) if part.strip() in self.patches]
        return torch.stack(named).any(0) if named else None

    def take(self, rows: Any) -> "Spans":
        """The spans of some rows (indices may repeat)."""
        prompts = (
            tuple(self.prompts[row] for row in np.arange(len(self.prompts))[_on_host(rows)]) if self.prompts else ()
        )
        mutual = None if self.mutual is None else self.mutual[rows]
        masks = {name: mask[rows] for name, mask in self.masks.items()}
        patches = {name: mask[rows] for name, mask in self.patches.items()}
        return Spans(masks, self.valid[rows], prompts, mutual, patches)

    def to(self, device: torch.device) -> "Spans":
        """The same spans on another device."""
        masks = {name: mask.to(device) for name, mask in self.masks.items()}
        mutual = None if self.mutual is None else self.mutual.to(device)
        patches = {name: mask.to(device) for name, mask in self.patches.items()}
        return Spans(masks, self.valid.to(device), self.prompts, mutual, patches)

    def without_padding(self, real: torch.Tensor) -> "Spans":
        """The spans of a single row at its real positions, boolean ``(T,)``."""
        chars = real.cpu().numpy()
        prompts = tuple(replace(prompt, chars=prompt.chars[chars]) for prompt in self.prompts)
        mutual = None if self.mutual is None else self.mutual[:, real]
        masks = {name: mask[:, real] for name, mask in self.masks.items()}
        return Spans(masks, self.valid[:, real], prompts, mutual, self.patches)

    def followed(self, new: torch.Tensor, *, growing: Sequence[str]) -> "Spans":
        """The spans with more positions after the prompt, which join some of them and the span ``answer``.

        Parameters
        ----------
        new
            Boolean ``(B, n)``: which of the positions are real.
        growing
            Names of the spans that they join.
        """
        masks = {
            name: torch.cat([mask, new if name in growing else torch.zeros_like(new)], 1)
            for name, mask in (dict(self.masks) | {"answer": self.spoken}).items()
        }
        mutual = None if self.mutual is None else torch.cat([self.mutual, torch.zeros_like(new).long()], 1)
        return Spans(masks, torch.cat([self.valid, new], 1), self.prompts, mutual, self.patches)


@lru_cache(maxsize=4096)  # every block and window asks for the same
def _matching(prompt: Tokenised, pattern: str) -> np.ndarray:
    return prompt.matching(pattern)


def _on_host(rows: Any) -> Any:
    return rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows


@dataclass
class _Found:
    """Masks of a batch while they are filled row by row."""

    shape: tuple[int, int]
    masks: dict[str, np.ndarray] = field(default_factory=dict)

    def row(self, name: str, index: int) -> np.ndarray:
        return self.masks.setdefault(name, np.zeros(self.shape, dtype=bool))[index]


def find_spans(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    offsets: torch.Tensor,
    *,
    prompts: Sequence[PromptText],
    layouts: Sequence[Layout],
    tokenizer: Any,
    pictures: Sequence[np.ndarray],
) -> Spans:
    """The spans of a left-padded batch.

    Parameters
    ----------
    input_ids, attention_mask
        ``(B, T)``, as fed to the model.
    offsets
        ``(B, T, 2)`` start and end of each token in its prompt's characters, from the same tokenisation.
    prompts, layouts
        One per row.
    tokenizer
        Used to decode spans for the self-check.
    pictures
        Per row the positions of the tokens that stand for the picture, one run as long as its layout.

    Raises
    ------
    DataError
        If a decoded span is not the text it should be, image tokens do not match the picture's layout, or a question
        holds special tokens.
    """
    ids, valid, chars = input_ids.numpy(), attention_mask.numpy().astype(bool), offsets.numpy()
    found = _Found(ids.shape)
    reader = SpanReader(tokenizer)
    tokenised = []
    for row, (prompt, layout, image) in enumerate(zip(prompts, layouts, pictures, strict=True)):
        picture = int(chars[row, image[0], 0]), int(chars[row, image[-1], 1])
        tokenised.append(Tokenised(prompt.text, chars[row], picture))
        _note_image(found, row, image, layout, prompt)
        question = covering(chars[row], valid[row], prompt.text, prompt.question)
        found.row("question", row)[question] = True
        found.row("text", row)[image[-1] + 1 :] = True
        found.row("last", row)[-1] = True
        for option, places in option_places(prompt).items():
            side = "true-option" if is_right(prompt, option) else "false-option"
            for start, end in places:
                tokens = covering(chars[row], valid[row], prompt.text, (start, end))
                reader.check_option(ids[row, tokens], prompt, prompt.text[start:end])
                for name in ("options", side):
                    found.row(name, row)[tokens] = True
        _note_rest(found, row, ids[row], valid[row], chars[row], prompt=prompt, tokenizer=tokenizer)
        reader.check_question(ids[row, question], prompt)
        reader.check(ids[row, image[-1] + 1 :], prompt, "text", prompt.text[chars[row, image[-1], 1] :])
    masks = {name: torch.from_numpy(found.masks.get(name, np.zeros(ids.shape, dtype=bool))) for name in SPANS}
    return Spans(masks=masks, valid=torch.from_numpy(valid), prompts=tuple(tokenised))


def patch_spans(layouts: Sequence[Layout], prompts: Sequence[PromptText]) -> dict[str, torch.Tensor]:
    """The spans inside pictures whose patches are keys of cross-attention, boolean ``(B, K)`` each."""
    found = _Found((len(layouts), len(layouts[0])))
    for row, (layout, prompt) in enumerate(zip(layouts, prompts, strict=True)):
        _note_image(found, row, np.arange(len(layout)), layout, prompt)
    return {name: torch.from_numpy(mask) for name, mask in found.masks.items()}


def _note_image(found: _Found, row: int, image: np.ndarray, layout: Layout, prompt: PromptText) -> None:
    """The spans inside the picture, whose tokens stand at the positions ``image``."""
    found.row("image", row)[image] = True
    placed = np.isfinite(layout.rectangle).all(1)
    touched = layout.touching(np.array(prompt.boxes)) if prompt.boxes else np.zeros(len(layout), dtype=bool)
    found.row("object", row)[image[touched]] = True
    if placed.any():  # where nobody knows what a token shows, none is known to show something else
        found.row("other", row)[image[~touched]] = True
    patch = placed if placed.any() else layout.kind != NEWLINE
    found.row("separators", row)[image[~patch]] = True
    for name, kind in (("base", BASE), ("tiles", TILE)):
        found.row(name, row)[image[patch & (layout.kind == kind)]] = True
    if prompt.picture is not None:
        shown = layout.touching(np.array([[0, 0, *prompt.picture]]))
        found.row("padding", row)[image[placed & ~shown]] = True


def _note_rest(
    found: _Found,
    row: int,
    ids: np.ndarray,
    valid: np.ndarray,
    chars: np.ndarray,
    *,
    prompt: PromptText,
    tokenizer: Any,
) -> None:
    """The spans that are parts of the question beside its options, or parts of the prompt around it."""
    question, image = found.row("question", row), found.row("image", row)
    found.row("question-without-options", row)[question & ~found.row("options", row)] = True
    for place in noun_places(prompt):
        found.row("object-words", row)[covering(chars, valid, prompt.text, place)] = True
    real = np.flatnonzero(valid)
    begins = real[ids[real] == tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else real[:0]
    begins = begins[:1] if len(begins) else real[:1]
    bos = found.row("bos", row)
    bos[begins[~image[begins]]] = True
    for name in ("system", "instruction"):
        place = place_outside(prompt, getattr(prompt, name))
        if place is not None:
            tokens = covering(chars, valid, prompt.text, place)
            found.row(name, row)[tokens[~(image | question | bos)[tokens]]] = True
    named = [found.row(name, row) for name in ("image", "question", "bos", "system", "instruction", "last")]
    found.row("template", row)[valid & ~np.any(named, axis=0)] = True
