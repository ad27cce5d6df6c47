"""Which tokens are the image, the question, the options, the object asked about: boolean masks over a padded batch.

Spans come from the token ids that the model is fed: image tokens by their id and the processor's own geometry, words by
the character offsets that the tokenizer reported **while making those ids**. Nothing is tokenised a second time: a
substring on its own is often cut differently. Every span is decoded again and compared with the text it stands for.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pidflow.errors import ConfigError, DataError
from pidflow.models.layout import BASE, NEWLINE, TILE, Layout

_KATAKANA = "KATAKANA"
# Scripts without blanks between words, as names of their letters begin: any two neighbours may belong to two words.
_UNSPACED = ("CJK", "HIRAGANA", _KATAKANA, "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")


@dataclass(frozen=True)
class PromptText:
    """The text that was tokenised for one item, placeholders already expanded, and where its question stands in it.

    Attributes
    ----------
    text
        The whole prompt, ``<image>`` repeated once per image token.
    question
        Start and end of the question, in characters of ``text``.
    options
        Words offered as answers; found inside the question as whole words, in any case.
    boxes
        ``x, y, width, height`` of the objects asked about, in pixels of the original picture.
    name
        The item, for messages.
    """

    text: str
    question: tuple[int, int]
    options: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    name: str = "item"


@dataclass(frozen=True)
class Spans:
    """Named token sets of a batch, in padded coordinates.

    Attributes
    ----------
    masks
        Boolean ``(B, T)`` per name: ``image``, ``question``, ``text`` (everything after the image), ``last`` (the last
        prompt position), ``options``, ``object`` (image tokens whose patch touches a box), ``other`` (the other image
        tokens); where the picture is tiled also ``image-base``, ``image-tiles``, ``image-newline``. ``options`` and
        ``object`` may be empty in a row, the rest never are (``other`` is empty only if the object fills the picture).
    valid
        Boolean ``(B, T)``, False on padding.
    """

    masks: Mapping[str, torch.Tensor]
    valid: torch.Tensor

    def __getitem__(self, name: str) -> torch.Tensor:
        """A span, or the union of several: ``spans["image+question"]``."""
        if "+" in name:
            return torch.stack([self[part.strip()] for part in name.split("+")]).any(0)
        if name not in self.masks:
            raise ConfigError(f"unknown span '{name}', expected one of: {', '.join(self.masks)}")
        return self.masks[name]

    @property
    def spoken(self) -> torch.Tensor:
        """Positions of the model's own answer where it was fed back after the prompt (the span ``answer``)."""
        return self.masks["answer"] if "answer" in self.masks else torch.zeros_like(self.valid)

    def take(self, rows: Any) -> "Spans":
        """The spans of some rows (indices may repeat)."""
        return Spans({name: mask[rows] for name, mask in self.masks.items()}, self.valid[rows])

    def to(self, device: torch.device) -> "Spans":
        """The same spans on another device."""
        return Spans({name: mask.to(device) for name, mask in self.masks.items()}, self.valid.to(device))


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
    image_token_id: int,
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
    image_token_id
        Id of the placeholder that image features replace.

    Raises
    ------
    DataError
        If a decoded span is not the text it should be, image tokens do not match the picture's layout, or a question
        holds special tokens.
    """
    ids, valid, chars = input_ids.numpy(), attention_mask.numpy().astype(bool), offsets.numpy()
    found = _Found(ids.shape)
    reader = _Reader(tokenizer)
    for row, (prompt, layout) in enumerate(zip(prompts, layouts, strict=True)):
        image = _image_positions(ids[row], valid[row], image_token_id, layout, prompt)
        touched = layout.touching(np.array(prompt.boxes)) if prompt.boxes else np.zeros(len(layout), dtype=bool)
        found.row("image", row)[image] = True
        found.row("object", row)[image[touched]] = True
        found.row("other", row)[image[~touched]] = True
        if NEWLINE in layout.kind:
            for name, kind in (("image-base", BASE), ("image-tiles", TILE), ("image-newline", NEWLINE)):
                found.row(name, row)[image[layout.kind == kind]] = True
        question = _covering(chars[row], valid[row], prompt.text, prompt.question)
        found.row("question", row)[question] = True
        found.row("text", row)[image[-1] + 1 :] = True
        found.row("last", row)[-1] = True
        options = found.row("options", row)
        for start, end in _option_places(prompt):
            tokens = _covering(chars[row], valid[row], prompt.text, (start, end))
            options[tokens] = True
            reader.check_option(ids[row, tokens], prompt, prompt.text[start:end])
        reader.check_question(ids[row, question], prompt)
        reader.check(ids[row, image[-1] + 1 :], prompt, "text", prompt.text[chars[row, image[-1], 1] :])
    masks = {name: torch.from_numpy(mask) for name, mask in found.masks.items()}
    return Spans(masks=masks, valid=torch.from_numpy(valid))


def _image_positions(
    ids: np.ndarray, valid: np.ndarray, image_token_id: int, layout: Layout, prompt: PromptText
) -> np.ndarray:
    positions = np.flatnonzero((ids == image_token_id) & valid)
    if len(positions) != len(layout) or not len(positions) or np.any(np.diff(positions) != 1):
        raise DataError(
            f"{prompt.name}: expected {len(layout)} image tokens in one run (from the picture's size and the "
            f"processor's resizing, cropping and tiling), found {len(positions)}; the processor's patch_size, "
            "vision_feature_select_strategy or num_additional_image_tokens does not fit the model"
        )
    return positions


def _covering(chars: np.ndarray, valid: np.ndarray, text: str, span: tuple[int, int]) -> np.ndarray:
    """Positions of the tokens that share a visible character with ``text[span]``."""
    start, end = span
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end -= len(piece) - len(piece.rstrip())
    return np.flatnonzero(valid & (chars[:, 0] < end) & (chars[:, 1] > start) & (chars[:, 1] > chars[:, 0]))


def _option_places(prompt: PromptText) -> list[tuple[int, int]]:
    """Where the options stand in the question as whole words, in characters of the prompt."""
    begin, end = prompt.question
    question = _caseless(prompt.text[begin:end])
    places = []
    for option in prompt.options:
        word = _caseless(option.strip())
        start = question.find(word) if word else -1
        while start >= 0:
            stop = start + len(word)
            if _word_ends(question, start) and _word_ends(question, stop):
                places.append((begin + start, begin + stop))
                start = question.find(word, stop)
            else:
                start = question.find(word, start + 1)
    return places


def _caseless(text: str) -> str:
    """The text without case, character by character: a letter whose caseless form is longer stays, so places stay."""
    return "".join(folded if len(folded := letter.casefold()) == 1 else letter for letter in text)


def _word_ends(text: str, index: int) -> bool:
    """Whether a word may end before this place and another begin at it."""
    if not 0 < index < len(text):
        return True
    before, after = text[index - 1], text[index]
    if not (_of_a_word(before) and _of_a_word(after)):
        return True
    scripts = _unspaced_script(before), _unspaced_script(after)
    if _is_mark(after) or scripts == (_KATAKANA, _KATAKANA):  # a loan word is written in one script
        return False
    return scripts != ("", "")


def _of_a_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_" or _is_mark(letter)


def _is_mark(letter: str) -> bool:
    """A vowel sign or accent of its own, which belongs to the letter before it."""
    return unicodedata.category(letter).startswith("M")


def _unspaced_script(letter: str) -> str:
    """The script of a letter if it is written without blanks between words, else nothing."""
    name = unicodedata.name(letter, "").removeprefix("HALFWIDTH ")
    return next((script for script in _UNSPACED if name.startswith(script)), "")


class _Reader:
    """Decodes spans and compares them with the text they stand for."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.unknown = tokenizer.unk_token_id
        self.special = set(tokenizer.all_special_ids) - {self.unknown}
        self.special_words = tuple(tokenizer.all_special_tokens)

    def check_question(self, ids: np.ndarray, prompt: PromptText) -> None:
        """The question is there, whole, and made of ordinary tokens."""
        if self.special.intersection(ids.tolist()):
            raise DataError(
                f"{prompt.name}: the question {_quoted(prompt)!r} holds a special token of the tokenizer; remove it"
            )
        self.check(ids, prompt, "question", _quoted(prompt))

    def check(self, ids: np.ndarray, prompt: PromptText, name: str, expected: str) -> None:
        """The self-check: the span says what the text says; unknown words count as whatever stands there."""
        pieces: list[list[int]] = [[]]
        for index in ids.tolist():
            if index == self.unknown:
                pieces.append([])
            elif index not in self.special:
                pieces[-1].append(index)
        decoded = [_plain(self.tokenizer.decode(piece)) for piece in pieces]
        for word in self.special_words:  # a template may hold some, such as [/INST]: left out on both sides
            expected = expected.replace(word, "")
        wanted = _plain(expected)
        if not _holds_in_turn(wanted, decoded):
            raise DataError(
                f"{prompt.name}: the span '{name}' decodes to {self.tokenizer.decode(ids)!r}, expected {expected!r}; "
                "the tokenizer changes this text or glues it to its neighbours: rephrase the question or the prompt"
            )

    def check_option(self, ids: np.ndarray, prompt: PromptText, expected: str) -> None:
        """An option's tokens spell at least the option."""
        decoded = self.tokenizer.decode(ids)
        if _plain(expected) not in _plain(decoded) and self.unknown not in ids:
            raise DataError(
                f"{prompt.name}: the tokens of option {expected!r} decode to {decoded!r}; "
                f"rephrase the question {_quoted(prompt)!r}"
            )


def _holds_in_turn(text: str, pieces: Sequence[str]) -> bool:
    """Whether the text is these pieces one after the other, with something, whatever it is, between any two of them."""
    first, *rest = pieces
    if not rest:
        return text == first
    *middle, last = rest
    if not text.startswith(first):
        return False
    place = len(first)
    for piece in middle:  # the leftmost place leaves the most room for what follows
        place = text.find(piece, place + 1)
        if place < 0:
            return False
        place += len(piece)
    return text.endswith(last) and len(text) - len(last) > place


def _plain(text: str) -> str:
    """Text as the comparison sees it: compatibility-normalised, caseless, without white space."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _quoted(prompt: PromptText) -> str:
    return prompt.text[prompt.question[0] : prompt.question[1]]
