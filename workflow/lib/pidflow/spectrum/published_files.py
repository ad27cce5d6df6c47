"""Predictions that the published pipeline of OpenReview 6WsBGk4Iag left as JSON, read back.

Each item has ``image``, ``num_options`` and ``conversations``; the turn from ``gpt`` holds the response (``value``),
the right letter (``label``), mean embeddings (``v_feature, l_feature``), and for the passes vision-only, language-only
and joint the probabilities over the letters (``v_prob, l_prob, vl_prob``) and, before renormalisation, over the full
vocabulary (``v_orig_prob, …``). They cover the most letters of a data set; a question has the first ``num_options``.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np

from pidflow.errors import DataError
from pidflow.spectrum.predictions import Pass, Predictions, pass_key
from pidflow.spectrum.words import JOINT, LANGUAGE_ONLY, NOISE, VISION_ONLY

_PASSES = {"vl": (JOINT, None), "v": (VISION_ONLY, NOISE), "l": (LANGUAGE_ONLY, NOISE)}
# Files older than the raw probabilities hold the restricted ones alone: their option mass is not known.
_RAW, _RESTRICTED = "{}_orig_prob", "{}_prob"
_ELSE = len(ascii_uppercase)  # stands for a first token that is none of the letters
_LINE = re.compile(r"^\s*\(?([A-Z])[.):]\s*(\S.*?)\s*$", re.MULTILINE)
_ROUNDING = 1e-3
_NOTHING = 1e-30


@dataclass(frozen=True, eq=False)
class _Item:
    """One question as a file has it."""

    image: str
    options: tuple[str, ...]
    answer: int
    greedy: int
    sources: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]
    masses_known: bool


def read_published(training: str | Path, held_out: str | Path) -> Predictions:
    """Predictions of the two parts of a study, as one record.

    Raises
    ------
    DataError
        If a file is no such JSON, a question lacks a field, has fewer than two options or probabilities that are none,
        features are of unequal length, or a part is empty.
    """
    parts = [(where, _items(Path(path))) for where, path in (("training", training), ("held-out", held_out))]
    items = [item for _, of_part in parts for item in of_part]
    lengths = [len(of_part) for _, of_part in parts]
    trained = np.repeat([True, False], lengths)
    most, n = max(len(item.options) for item in items), len(items)
    places = np.where(np.arange(most) < np.array([len(item.options) for item in items])[:, None], np.arange(most), -1)
    names = [f"{where}-{row}" for where, of_part in parts for row in range(len(of_part))]
    passes = {}
    for short, (name, replacement) in _PASSES.items():
        scores = np.full((1, n, most), np.nan)
        for row, item in enumerate(items):
            scores[0, row, : len(item.options)] = item.scores[short]
        greedy = [item.greedy for item in items] if name == JOINT else [-1] * n
        passes[pass_key(name, replacement)] = Pass(
            name=name,
            replacement=replacement,
            begins=scores,
            sequence=np.full_like(scores, np.nan),
            bare=scores,
            greedy=np.array([greedy]),
        )
    return Predictions(
        item_id=np.array(names, dtype=object),
        image_id=np.array([item.image for item in items], dtype=object),
        fold=np.where(trained, 0, 1),
        training=trained,
        options=tuple(item.options for item in items),
        answer=np.array([item.answer for item in items]),
        token_ids=places[:, :, None],
        bare_ids=places,
        vision=_together(items, "v", names),
        language=_together(items, "l", names),
        passes=passes,
        vocabulary=0,
        about={
            "source": "pid-lvlm",
            "questions": dict(zip(("training", "held_out"), lengths, strict=True)),
            "masses_known": all(item.masses_known for item in items),
            "token_ids": "places of the letters; the files hold no ids",
        },
    )


def _together(items: list[_Item], short: str, names: list[str]) -> np.ndarray:
    lengths = [len(item.sources[short]) for item in items]
    if len(set(lengths)) > 1:
        row = next(row for row, length in enumerate(lengths) if length != lengths[0])
        raise DataError(
            f"{short}_feature has {lengths[0]} numbers in question {names[0]} and {lengths[row]} in {names[row]}; "
            "expected one model's in both files"
        )
    return np.stack([item.sources[short] for item in items])


def _items(path: Path) -> list[_Item]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror}); check spectrum.imports") from err
    except (ValueError, RecursionError) as err:
        raise DataError(f"{path}: not JSON ({str(err)[:120]}); expected the output of the published pipeline") from err
    if not isinstance(content, list) or not content:
        found = "an empty one" if content == [] else type(content).__name__
        raise DataError(f"{path}: expected a list of questions, found {found}")
    return [_item(f"{path}: question {row}", each) for row, each in enumerate(content)]


def _item(where: str, entry: Any) -> _Item:
    turns = entry.get("conversations") if isinstance(entry, dict) else None
    turns = [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    said = next((turn for turn in turns if turn.get("from") == "gpt"), None)
    asked = next((turn for turn in turns if turn.get("from") == "human"), {})
    if said is None:
        raise DataError(f"{where} has no turn from 'gpt' in 'conversations'")
    if not entry.get("image"):
        raise DataError(f"{where} has no 'image'; questions about one picture have to be known as such")
    needed = ("value", "label", *(f"{short}_feature" for short in ("v", "l")), *map(_RESTRICTED.format, _PASSES))
    lacking = [name for name in needed if name not in said]
    if lacking:
        raise DataError(f"{where} lacks {', '.join(lacking)}; run the stages of the pipeline that write them")
    raw = all(_RAW.format(short) in said for short in _PASSES)
    scores = {short: _numbers(where, said, (_RAW if raw else _RESTRICTED).format(short)) for short in _PASSES}
    count = _count(where, entry, min(map(len, scores.values())))
    letters = ascii_uppercase[:count]
    label = str(said["label"]).strip().upper().rstrip(".")
    if label not in letters or len(label) != 1:
        raise DataError(f"{where} has the label {said['label']!r}, expected one of the letters {', '.join(letters)}")
    response = str(said["value"]).strip().upper()
    return _Item(
        image=hashlib.sha256(str(entry["image"]).encode()).hexdigest()[:16],
        options=_texts(str(asked.get("value", "")), letters),
        answer=letters.index(label),
        greedy=letters.index(response) if len(response) == 1 and response in letters else _ELSE,
        sources={short: _numbers(where, said, f"{short}_feature") for short in ("v", "l")},
        scores={short: _logarithms(where, values[:count], raw=raw) for short, values in scores.items()},
        masses_known=raw,
    )


def _count(where: str, entry: Mapping[str, Any], given: int) -> int:
    """K of a question."""
    count = entry.get("num_options", given)
    if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= min(given, len(ascii_uppercase)):
        raise DataError(
            f"{where} has num_options {count!r} and probabilities of {given} letters; expected at least 2 options and "
            "a probability of each"
        )
    return count


def _numbers(where: str, said: Mapping[str, Any], name: str) -> np.ndarray:
    try:
        values = np.asarray(said[name], dtype=np.float64).ravel()
    except (TypeError, ValueError) as err:
        raise DataError(f"{where}: {name} is no list of numbers") from err
    if not values.size or not np.isfinite(values).all():
        raise DataError(f"{where}: {name} is empty or holds NaN or infinity")
    return values


def _logarithms(where: str, values: np.ndarray, *, raw: bool) -> np.ndarray:
    """Logarithms; equal and next to nothing where all raw ones are zero, which half precision makes of small ones."""
    total = math.fsum(values)
    if (values < 0).any() or total > 1 + _ROUNDING or (total == 0 and not raw):
        raise DataError(
            f"{where}: probabilities of its options are {values.tolist()}, expected numbers from 0, at most 1 together"
        )
    with np.errstate(divide="ignore"):
        return np.log(values if total > 0 else np.full(len(values), _NOTHING))


def _texts(question: str, letters: str) -> tuple[str, ...]:
    """The texts of the letters where the question has a line for each, else the letters."""
    found = dict(_LINE.findall(question))
    texts = tuple(found.get(letter, "") for letter in letters)
    return texts if all(texts) and len(set(texts)) == len(texts) else tuple(letters)
