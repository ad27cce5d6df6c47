"""When an answer counts as right: named rules on what was said and what should have been said, in plain text.

From the strictest rule to the most lenient:

- ``verbatim``: the same text, white space at its ends apart;
- ``caseless``: the same text in any case;
- ``normalised``: the same words; case, punctuation, articles and blanks apart. "Right, right" is "right";
- ``lenient``: so, where a noun equals its plural and a number word its digits.

``published`` is the rule of arXiv 2411.18620: what was said, in lower case, is the answer as the table spells it.
Among the options of one question an answer must never equal two. Where a rule merges two options of a question,
:func:`judge` falls back to the next stricter rule for that question.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

from pidflow.errors import ConfigError

PUBLISHED, LENIENT, NORMALISED, CASELESS, VERBATIM = "published", "lenient", "normalised", "caseless", "verbatim"

_BLANK_PIECE = "\u2581"  # how SentencePiece writes a blank; some decoders leave it in
_ARTICLES = ("a", "an", "the")
_APOSTROPHES = "'’‘ʼ`´"
_SYMBOLS = "#%&@§/"  # punctuation to Unicode, but part of an answer: C#, 50%, 1/2
_IN_NUMBERS = ".,:-"
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+")
# A letter by itself, in brackets or with a mark after it; "A cat" begins with an article.
_MARKED = re.compile(r"\s*\(?([A-Za-z])(?:[).:,]|\s*$)")
_UNITS = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen",
)
_TENS = re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety")
_BELOW_HUNDRED = {word: n for n, word in enumerate(_UNITS)} | {word: 10 * n for n, word in enumerate(_TENS, 2)}
_HUNDRED = "hundred"
_PLURALS = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "person",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "oxen": "ox",
    "knives": "knife",
    "wives": "wife",
    "lives": "life",
    "leaves": "leaf",
    "loaves": "loaf",
    "shelves": "shelf",
    "scarves": "scarf",
    "wolves": "wolf",
    "calves": "calf",
    "halves": "half",
    "thieves": "thief",
}
_NO_PLURALS = ("news", "lens", "does")  # words on -s that are another word without it
_SIBILANTS = ("ses", "xes", "zes", "ches", "shes", "oes")
_SHORTEST_NOUN = 3


def judge(spoken: str, answer: str, *, options: Iterable[str] = (), rule: str = NORMALISED) -> bool:
    """Whether `spoken` is the right answer.

    Parameters
    ----------
    spoken
        What the model said, decoded.
    answer
        The right answer.
    options
        The answers offered, the right one among them or not; none for an open question.
    rule
        One of :data:`RULES`.

    Raises
    ------
    ConfigError
        If there is no such rule.
    """
    offered = _offered(answer, options)
    for name in _from(checked_rule(rule)):
        equal = RULES[name]
        merged = any(equal(one, two) for one, two in permutations(offered, 2))
        if not merged and sum(equal(spoken, option) for option in offered) <= 1:
            return equal(spoken, answer)
    return verbatim(spoken, answer)


def checked_rule(rule: str) -> str:
    """The rule's name itself, if there is such a rule."""
    if rule not in RULES:
        raise ConfigError(f"unknown rule for right answers '{rule}', expected one of: {', '.join(RULES)}")
    return rule


@dataclass(frozen=True)
class Expected:
    """What a question's answer is held against: the right answer, the answers offered, and the rule in use.

    Where options are letters, ``offered`` has the text behind each: an answer that says it counts as the letter.
    """

    answer: str
    options: tuple[str, ...] = ()
    rule: str = NORMALISED
    offered: tuple[str, ...] = ()

    def right(self, spoken: str, *, rule: str | None = None) -> bool:
        """Whether that is the right answer, by the rule in use or another one."""
        if self.offered and rule != PUBLISHED:
            spoken = as_letter(spoken, self.options, self.offered)
        return judge(spoken, self.answer, options=self.options, rule=rule or self.rule)

    def still_open(self, begun: str) -> bool:
        """Whether an answer that has begun so can become right."""
        if self.offered and as_letter(begun, self.options, self.offered) == self.answer:
            return True
        texts = (text for option, text in zip(self.options, self.offered, strict=False) if option == self.answer)
        return any(may_become_right(begun, answer) for answer in (self.answer, *texts))

    @property
    def merged(self) -> bool:
        """Whether the rule takes two of the options for the same answer, so that a stricter one judges."""
        return any(RULES[self.rule](one, two) for one, two in permutations(_offered(self.answer, self.options), 2))


def as_letter(spoken: str, letters: Sequence[str], offered: Sequence[str]) -> str:
    """The letter of a lettered option that was said: "B.", "(b) a cat" and "a cat" are B; else what was said."""
    mark = _MARKED.match(spoken)
    if mark and mark[1].upper() in letters:
        return mark[1].upper()
    said = [letter for letter, text in zip(letters, offered, strict=True) if normalised(spoken, text)]
    return said[0] if len(said) == 1 else spoken


def published(spoken: str, answer: str) -> bool:
    """What was said, in lower case and without white space at its ends, is the answer as it stands."""
    return spoken.strip().lower() == answer


def verbatim(spoken: str, answer: str) -> bool:
    """The same text, white space at its ends apart."""
    return spoken.strip() == answer.strip()


def caseless(spoken: str, answer: str) -> bool:
    """The same text in any case, amounts of white space apart."""
    return _folded(spoken).split() == _folded(answer).split()


def normalised(spoken: str, answer: str) -> bool:
    """The same words (see :func:`words`), said once or several times over."""
    said, wanted = words(spoken), words(answer)
    return said == wanted * _times(said, wanted)


def lenient(spoken: str, answer: str) -> bool:
    """The same words in turn, where a noun equals its plural and a number word its digits: "two" is "2"."""
    said, wanted = _counted(words(spoken)), _counted(words(answer))
    whole = wanted * _times(said, wanted)
    return len(said) == len(whole) and all(map(_same_noun, said, whole))


def _times(said: Sequence[str], wanted: Sequence[str]) -> int:
    """How many times over an answer may have been said, at least once."""
    return max(1, len(said) // len(wanted)) if wanted else 1


RULES: dict[str, Callable[[str, str], bool]] = {
    PUBLISHED: published,
    LENIENT: lenient,
    NORMALISED: normalised,
    CASELESS: caseless,
    VERBATIM: verbatim,
}
_EVER_STRICTER = (LENIENT, NORMALISED, CASELESS, VERBATIM)


@lru_cache(maxsize=65_536)  # a run judges the same few texts over and over
def words(text: str) -> tuple[str, ...]:
    """The words that the rule ``normalised`` compares.

    Case, punctuation and articles are left out. An article is one only before another word, so the option "A" and
    "vitamin A" keep theirs. Marks that belong to a number (2.5, -3, 1/2) or a name (C#, 50%) stay. Text without any
    word is compared as it stands.
    """
    folded = _folded(text)
    letters = (_letter(folded, place) for place in range(len(folded)))
    found = "".join(letters).split()
    kept = tuple(word for place, word in enumerate(found) if word not in _ARTICLES or place == len(found) - 1)
    return kept or tuple(folded.split())


def spellings(answer: str) -> tuple[str, ...]:
    """How an answer may be written: as given, in lower case, capitalised."""
    word = answer.strip()
    return tuple(dict.fromkeys((word, word.lower(), word[:1].upper() + word[1:])))


def may_become_right(begun: str, answer: str) -> bool:
    """Whether a text that begins with `begun` can still be the right answer by any rule; in doubt, yes.

    Its last word may still grow. What has begun otherwise is wrong however it goes on: nobody needs to hear the rest.
    """
    said, wanted = words(begun), words(answer)
    unsure = {"\ufffd", *"0123456789"}
    if unsure & {*begun, *answer} or set(wanted) & {*_BELOW_HUNDRED, _HUNDRED} or not any(map(str.isalnum, begun)):
        return True
    if any(article.startswith(said[-1]) for article in _ARTICLES):
        said = said[:-1]
    while wanted and len(said) > len(wanted) and all(map(_same_noun, said, wanted)):
        said = said[len(wanted) :]  # said once, it may be said again
    if not said or len(said) > len(wanted):
        return not said
    *whole, growing = zip(said, wanted, strict=False)
    grown = any(form.startswith(growing[0]) for form in _forms(growing[1]))
    return grown and all(_same_noun(one, two) for one, two in whole)


def _offered(answer: str, options: Iterable[str]) -> tuple[str, ...]:
    """The right answer and the other answers offered; an option that is the answer in another spelling is no other."""
    others = list(dict.fromkeys(option.strip() for option in options))
    for equal in (verbatim, caseless, normalised, lenient):
        same = [option for option in others if equal(option, answer)]
        if len(same) == 1:
            others.remove(same[0])
        if same:
            break
    return (answer.strip(), *(option for option in others if option != answer.strip()))


def _from(rule: str) -> Sequence[str]:
    """The rule and those that are stricter, in this order."""
    return (rule,) if rule == PUBLISHED else _EVER_STRICTER[_EVER_STRICTER.index(rule) :]


def _folded(text: str) -> str:
    """Text without case, presentation forms and invisible characters."""
    plain = unicodedata.normalize("NFKC", text.replace(_BLANK_PIECE, " ")).casefold()
    return "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")


def _letter(text: str, place: int) -> str:
    """What stands for one character of the text: itself, a blank for punctuation, nothing for an apostrophe."""
    letter = text[place]
    if letter in _APOSTROPHES:
        return ""
    if letter in _SYMBOLS or not unicodedata.category(letter).startswith("P"):
        return letter
    before, after = text[place - 1 : place] if place else "", text[place + 1 : place + 2]
    in_number = (
        letter in _IN_NUMBERS and after.isdigit() and (before.isdigit() or (letter in ".-" and not before.strip()))
    )
    return letter if in_number else " "


def _counted(found: Sequence[str]) -> list[str]:
    """Words with numbers in digits: "twenty", "one" become "21"."""
    counted, place = [], 0
    while place < len(found):
        number, used = _number(found[place:])
        if used:
            counted.append(str(number))
        elif _THOUSANDS.fullmatch(found[place]):
            counted.append(found[place].replace(",", ""))
        else:
            counted.append(found[place])
        place += max(1, used)
    return counted


def _number(found: Sequence[str]) -> tuple[int, int]:
    """The number below a thousand that the words begin with, and how many of them it takes (0: it is none)."""
    number, used = _below_hundred(found)
    if found[used : used + 1] != (_HUNDRED,) or (used and not 0 < number < 10):
        return number, used
    number, used = 100 * (number or 1), used + 1
    joined = used + (found[used : used + 1] == ("and",))
    rest, more = _below_hundred(found[joined:])
    return (number + rest, joined + more) if more and rest else (number, used)


def _below_hundred(found: Sequence[str]) -> tuple[int, int]:
    first = _BELOW_HUNDRED.get(found[0]) if found else None
    if first is None:
        return 0, 0
    unit = _BELOW_HUNDRED.get(found[1], 0) if first >= 20 and len(found) > 1 else 0
    return (first + unit, 2) if 0 < unit < 10 else (first, 1)


def _same_noun(one: str, two: str) -> bool:
    return one == two or one in _singulars(two) or two in _singulars(one)


def _singulars(word: str) -> tuple[str, ...]:
    """What a word may be the plural of."""
    if word in _PLURALS:
        return (_PLURALS[word],)
    if not word.isalpha() or word in _NO_PLURALS or not word.endswith("s") or word.endswith("ss"):
        return ()
    found = [word[:-1]]
    if word.endswith(_SIBILANTS):
        found.append(word[:-2])
    if word.endswith("ies"):
        found.append(word[:-3] + "y")
    return tuple(each for each in found if len(each) >= _SHORTEST_NOUN)


def _forms(word: str) -> tuple[str, ...]:
    """The word, what it may be the plural of, and what its plural may be."""
    plurals = [plural for plural, singular in _PLURALS.items() if singular == word]
    return (word, *_singulars(word), *plurals, f"{word}s", f"{word}es", f"{word[:-1]}ies")
