"""Pictures that a stand-in is trained and judged on: drawn scenes, moved easy-VQA shapes, their truth in words."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from PIL import Image

from pidflow.data import scenes
from pidflow.data.readers import easy_vqa
from pidflow.models.standin.architecture import PATCH_SIZE

_PATCHES = scenes.IMAGE_SIZE // PATCH_SIZE
_PATCHES_PER_CELL = _PATCHES // scenes.GRID


@dataclass(frozen=True)
class Picture:
    """An image with its truth in words: per patch, in a caption, and as questions ``(task, text, answer)``."""

    image: Image.Image
    patch_words: tuple[tuple[str, ...], ...]
    caption: str
    questions: tuple[tuple[str, str, str], ...]


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
    def of(
        cls, image: Image.Image, *, shape: str, color: str, questions: tuple[tuple[str, str, str], ...]
    ) -> "PlainImage":
        """Find the background and the box ``(left, top, right, bottom)`` of what is on it."""
        background, box = easy_vqa.background(image), easy_vqa.shape_box(image)
        return cls(np.asarray(image.convert("RGB")), shape, color, questions, background, box)

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
class EasyImage:
    """One picture of easy-VQA, not opened yet: what is on it, and the questions asked about it."""

    split: str
    index: int
    shape: str
    color: str
    questions: tuple[tuple[str, str, str], ...]


class PictureSource:
    """An endless supply of training pictures: new scenes by seed, easy-VQA pictures of the train split.

    Parameters
    ----------
    seed
        Determines every picture.
    language_prior
        Probability that an attribute follows its shape's typical value.
    questions
        Of each type of question about a scene, how many are asked.
    easy_questions
        The types of questions that are asked about easy-VQA's pictures; None: all. Without any, such pictures are drawn
        for captions only.
    shown
        ``"own"``, or ``"other"``: every question is asked of another question's picture, which tells nothing about it.
    """

    def __init__(
        self,
        *,
        seed: int,
        language_prior: float,
        questions: Mapping[str, int],
        easy_questions: Collection[str] | None = None,
        shown: str = "own",
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.language_prior, self.questions, self.shown = language_prior, questions, shown
        self.easy = [
            replace(
                each, questions=tuple(q for q in each.questions if easy_questions is None or q[0] in easy_questions)
            )
            for each in easy_images("train")
        ]

    @property
    def asks_easy(self) -> bool:
        """Whether anything is asked about easy-VQA's pictures."""
        return any(each.questions for each in self.easy)

    def draw(self, count: int, *, easy_share: float) -> list[Picture]:
        """``count`` pictures, a share ``easy_share`` of them easy-VQA."""
        found = [self._easy() if self.rng.random() < easy_share else self._scene() for _ in range(count)]
        if self.shown == "own":
            return found
        others = [self._easy() if self.rng.random() < easy_share else self._scene() for _ in range(count)]
        return [
            replace(each, image=other.image, patch_words=other.patch_words)
            for each, other in zip(found, others, strict=True)
        ]

    def _easy(self) -> Picture:
        return _opened(self.easy[int(self.rng.integers(len(self.easy)))]).moved(self.rng)

    def _scene(self) -> Picture:
        rng = np.random.default_rng(int(self.rng.integers(scenes.FIRST_EVALUATION_SEED)))
        return scene_picture(rng, language_prior=self.language_prior, questions=self.questions)


def easy_images(split: str) -> list[EasyImage]:
    """The easy-VQA images of a split whose shape and colour their questions tell."""
    images = []
    for index, entries in _easy_questions(split).items():
        truth = {task: answer for task, _, answer in entries}
        if easy_vqa.TASKS["shape"] in truth and easy_vqa.TASKS["colour"] in truth:
            shape, color = truth[easy_vqa.TASKS["shape"]], truth[easy_vqa.TASKS["colour"]]
            images.append(EasyImage(split, index, shape, color, tuple(entries)))
    return images


@cache
def _opened(easy: EasyImage) -> PlainImage:
    image = _load(easy.split, easy.index)
    return PlainImage.of(image, shape=easy.shape, color=easy.color, questions=easy.questions)


def held_out_pictures(count: int, *, seed: int, shown: str = "own") -> list[Picture]:
    """``count`` scenes by seeds no training scene uses, and as many pictures of easy-VQA's test split.

    Shown ``"other"``, each question goes with the picture before its own.
    """
    found = []
    for index in range(count):
        rng = np.random.default_rng(seed + index)
        found.append(scene_picture(rng, language_prior=0.0, questions=dict.fromkeys(scenes.TASKS, 1)))
    unseen = (("nothing",),) * _PATCHES**2
    asked = list(_easy_questions("test").items())[:count]
    easy = [Picture(_load("test", index), unseen, "", tuple(entries)) for index, entries in asked]
    if shown == "other":
        found, easy = (
            [replace(each, image=part[place - 1].image) for place, each in enumerate(part)] for part in (found, easy)
        )
    return found + easy


def _easy_questions(split: str) -> dict[int, list[tuple[str, str, str]]]:
    asked = defaultdict(list)
    for question in easy_vqa.questions(split):
        asked[question.image_index].append((question.task, question.text, question.answer))
    return asked


def _load(split: str, index: int) -> Image.Image:
    with Image.open(easy_vqa.image_path(split, index)) as image:
        return image.convert("RGB")
