"""Where words stand in a prompt: the options in the question, names of objects, the turns around it."""

import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from pidflow.models.answers import LENIENT, judge, lenient

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
    answer
        The right answer, which tells the true option from the false ones.
    objects
        Names of the objects asked about; found inside the question as whole words, in any case and number.
    system, instruction
        Parts of the prompt around the question; empty where it has none.
    picture
        Width and height of the original picture in pixels; None: not known, nothing counts as padding.
    """

    text: str
    question: tuple[int, int]
    options: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    name: str = "item"
    answer: str = ""
    objects: tuple[str, ...] = ()
    system: str = ""
    instruction: str = ""
    picture: tuple[int, int] | None = None

    @property
    def asked(self) -> str:
        """The question itself."""
        return self.text[slice(*self.question)]


def option_places(prompt: PromptText) -> dict[str, list[tuple[int, int]]]:
    """Where each option stands in the question as whole words, in characters of the prompt.

    What stands inside the words of a longer option is not the shorter one: "light" in "traffic light".
    """
    found = {option: _word_places(prompt, option) for option in dict.fromkeys(prompt.options)}
    everywhere = [place for places in found.values() for place in places]

    def alone(place: tuple[int, int]) -> bool:
        return not any(one <= place[0] and place[1] <= two and (one, two) != place for one, two in everywhere)

    return {option: [place for place in places if alone(place)] for option, places in found.items()}


def _word_places(prompt: PromptText, wanted: str) -> list[tuple[int, int]]:
    """Where some words stand in the question as whole words, in any case."""
    begin, end = prompt.question
    question, word = _caseless(prompt.text[begin:end]), _caseless(wanted.strip())
    places = []
    start = question.find(word) if word else -1
    while start >= 0:
        stop = start + len(word)
        if _word_ends(question, start) and _word_ends(question, stop):
            places.append((begin + start, begin + stop))
            start = question.find(word, stop)
        else:
            start = question.find(word, start + 1)
    return places


def noun_places(prompt: PromptText) -> list[tuple[int, int]]:
    """Where the objects' names stand in the question, as they are or in the other number ("jars" for "jar")."""
    begin, end = prompt.question
    said = [match.span() for match in re.finditer(r"[^\W_]+", prompt.text[begin:end])]
    places = []
    for name in dict.fromkeys(prompt.objects):
        places += _word_places(prompt, name)
        count = len(name.split())
        for first, last in zip(said, said[count - 1 :], strict=False) if count else ():
            place = begin + first[0], begin + last[1]
            if lenient(prompt.text[slice(*place)], name):
                places.append(place)
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


def place_outside(prompt: PromptText, part: str) -> tuple[int, int] | None:
    """Where a part of the prompt stands that is none of the question: after it, else before it."""
    part = part.strip()
    begin, end = prompt.question
    start = prompt.text.find(part, end) if part else -1
    if start < 0 and part:
        start = prompt.text.find(part, 0, begin)
    return None if start < 0 else (start, start + len(part))


def is_right(prompt: PromptText, option: str) -> bool:
    """Whether an option is the right answer, in the options' own words."""
    return bool(prompt.answer) and judge(option, prompt.answer, options=prompt.options, rule=LENIENT)


def covering(chars: np.ndarray, valid: np.ndarray, text: str, span: tuple[int, int]) -> np.ndarray:
    """Positions of the tokens that share a visible character with ``text[span]``."""
    start, end = span
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end -= len(piece) - len(piece.rstrip())
    return np.flatnonzero(valid & (chars[:, 0] < end) & (chars[:, 1] > start) & (chars[:, 1] > chars[:, 0]))
