"""Procedurally drawn scenes with the six GQA question types, whose truth is known exactly.

A scene is two to four objects on a 3 x 3 grid of cells. Each object has a shape (its GQA category), a colour, a size
and a texture. The **language prior** is the probability that an attribute takes the value typical of its shape
(circles are typically red, large and solid, ...): at 0 the question says nothing about the answer, at 1 the picture
adds nothing to it, and in between the two sources are redundant to a chosen degree.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from pidflow.errors import ConfigError

IMAGE_SIZE = 48
GRID = 3
CELL = IMAGE_SIZE // GRID

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 200, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 225, 0),
    "black": (0, 0, 0),
    "teal": (0, 128, 128),
}
SHAPES = ("circle", "square", "triangle", "cross", "diamond", "ring")
RADIUS = {"small": 4.5, "large": 7.0}
SIZES = tuple(RADIUS)
TEXTURES = ("solid", "striped", "dotted")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
ATTRIBUTES = {"color": tuple(COLOURS), "size": SIZES, "texture": TEXTURES}
TYPICAL = {
    shape: {name: values[index % len(values)] for name, values in ATTRIBUTES.items()}
    for index, shape in enumerate(SHAPES)
}
FIRST_EVALUATION_SEED = 10**9  # training scenes are drawn from seeds below, evaluation scenes from this one upwards
TASKS = ("choose-attr", "choose-cat", "choose-rel", "compare-attr", "logical-obj", "query-attr")

_SHARED_COLOUR = 0.4  # colours coincide by chance in one pair of six, too seldom to ask about
_OVERSAMPLING = 4
_HOLE = 96  # stripes and dots are pale, not transparent: the silhouette of a small object must survive them


@dataclass(frozen=True)
class SceneObject:
    """One drawn object; ``x, y`` is its centre in pixels, ``row, column`` its grid cell."""

    shape: str
    color: str
    size: str
    texture: str
    row: int
    column: int
    x: float
    y: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Bounding box ``(x, y, width, height)`` in pixels."""
        radius = RADIUS[self.size]
        return (self.x - radius, self.y - radius, 2 * radius, 2 * radius)


@dataclass(frozen=True)
class Scene:
    """Two to four objects of different shapes in different cells, over one light background colour."""

    objects: tuple[SceneObject, ...]
    background: tuple[int, int, int]

    def find(self, shape: str) -> SceneObject | None:
        """The object of that shape, or None."""
        return next((item for item in self.objects if item.shape == shape), None)


@dataclass(frozen=True)
class Question:
    """One question about a scene: text, answer, options offered, boxes and names of the objects asked about."""

    task: str
    text: str
    answer: str
    options: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    objects: tuple[str, ...]


def sample_scene(rng: np.random.Generator, *, language_prior: float = 0.0, objects: tuple[int, int] = (2, 4)) -> Scene:
    """A random scene.

    Parameters
    ----------
    rng
        Source of randomness; the same state gives the same scene.
    language_prior
        Probability, for each attribute of each object, of the value typical of its shape instead of a uniform draw.
    objects
        Smallest and largest number of objects.

    Raises
    ------
    ConfigError
        If ``language_prior`` is not a probability or the number of objects does not fit the shapes there are.
    """
    if not 0.0 <= language_prior <= 1.0:
        raise ConfigError(f"language_prior must be a probability between 0 and 1, found {language_prior}")
    low, high = objects
    if not 1 <= low <= high <= len(SHAPES):
        raise ConfigError(f"the number of objects must lie between 1 and {len(SHAPES)}, found {low} to {high}")
    count = int(rng.integers(low, high + 1))
    shapes = rng.permutation(SHAPES)[:count]
    cells = rng.permutation(GRID * GRID)[:count]
    background = tuple(int(value) for value in rng.integers(226, 256, size=3))
    drawn: list[SceneObject] = []
    for shape, cell in zip(shapes, cells, strict=True):
        values = {
            name: TYPICAL[str(shape)][name] if rng.random() < language_prior else str(rng.choice(choices))
            for name, choices in ATTRIBUTES.items()
        }
        if drawn and rng.random() < _SHARED_COLOUR * (1 - language_prior):
            values["color"] = drawn[int(rng.integers(len(drawn)))].color
        row, column = divmod(int(cell), GRID)
        x, y = (index * CELL + CELL / 2 + float(rng.integers(-1, 2)) for index in (column, row))
        drawn.append(SceneObject(shape=str(shape), row=row, column=column, x=x, y=y, **values))
    return Scene(objects=tuple(drawn), background=background)


def render(scene: Scene) -> Image.Image:
    """The scene as an antialiased ``IMAGE_SIZE`` x ``IMAGE_SIZE`` RGB picture."""
    side = IMAGE_SIZE * _OVERSAMPLING
    picture = Image.new("RGB", (side, side), scene.background)
    for item in scene.objects:
        mask = _mask(item, side)
        drawn = mask.getbbox()  # most of a mask is empty
        picture.paste(COLOURS[item.color], drawn, mask.crop(drawn))
    return picture.reduce(_OVERSAMPLING)


def _mask(item: SceneObject, side: int) -> Image.Image:
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    k = _OVERSAMPLING
    x, y, r = item.x * k, item.y * k, RADIUS[item.size] * k
    box = (x - r, y - r, x + r, y + r)
    match item.shape:
        case "circle":
            draw.ellipse(box, fill=255)
        case "square":
            draw.rectangle((x - 0.88 * r, y - 0.88 * r, x + 0.88 * r, y + 0.88 * r), fill=255)
        case "triangle":
            draw.polygon([(x, y - r), (x - r, y + 0.8 * r), (x + r, y + 0.8 * r)], fill=255)
        case "cross":
            draw.rectangle((x - r, y - 0.36 * r, x + r, y + 0.36 * r), fill=255)
            draw.rectangle((x - 0.36 * r, y - r, x + 0.36 * r, y + r), fill=255)
        case "diamond":
            draw.polygon([(x, y - r), (x - r, y), (x, y + r), (x + r, y)], fill=255)
        case "ring":
            draw.ellipse(box, fill=255)
            draw.ellipse((x - 0.45 * r, y - 0.45 * r, x + 0.45 * r, y + 0.45 * r), fill=0)
    if item.texture == "solid":
        return mask
    holes = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(holes)
    period, half = 4 * k, 0.9 * k
    offsets = np.arange(-2, 3) * period
    for dy in offsets + (period / 2 if item.texture == "striped" else 0):
        if item.texture == "striped":
            pen.rectangle((x - r, y + dy - half, x + r, y + dy + half), fill=_HOLE)
        else:
            for dx in offsets:
                pen.ellipse((x + dx - half, y + dy - half, x + dx + half, y + dy + half), fill=_HOLE)
    return ImageChops.multiply(mask, holes)


def caption(scene: Scene) -> str:
    """A sentence naming every object in reading order, with size, colour, texture, shape and place."""
    ordered = sorted(scene.objects, key=lambda item: (item.row, item.column))
    return " , ".join(
        f"a {item.size} {item.color} {item.texture} {item.shape} at {ROWS[item.row]} {COLUMNS[item.column]}"
        for item in ordered
    )


def ask(scene: Scene, task: str, rng: np.random.Generator, *, answer: str | None = None) -> Question | None:
    """A random question of one type about a scene, or None when the scene allows none.

    Parameters
    ----------
    scene
        The scene asked about.
    task
        One of ``TASKS``.
    rng
        Source of randomness. Option order is a fair coin.
    answer
        Ask only for this answer (used to balance ``yes``/``no``, ``left``/``right`` and the like).

    Raises
    ------
    ConfigError
        If ``task`` is not one of ``TASKS``.
    """
    if task not in _ASK:
        raise ConfigError(f"unknown scene task '{task}', expected one of: {', '.join(TASKS)}")
    return _ASK[task](scene, rng, answer)


def answers(task: str) -> tuple[str, ...]:
    """The answers a task balances over: all of them occur equally often in :func:`ask_balanced`."""
    return {
        "choose-attr": tuple(value for values in ATTRIBUTES.values() for value in values),
        "choose-cat": SHAPES,
        "choose-rel": ("left", "right", "above", "below"),
        "compare-attr": tuple(ATTRIBUTES),
        "logical-obj": ("yes", "no"),
        "query-attr": ("left", "right"),
    }[task]


def ask_about_new_scene(
    task: str, rng: np.random.Generator, *, language_prior: float, answer: str | None, attempts: int = 1000
) -> tuple[Scene, Question]:
    """A scene and a question of one type with the answer asked for (any answer if None), by rejection sampling."""
    for _ in range(attempts):
        scene = sample_scene(rng, language_prior=language_prior)
        question = ask(scene, task, rng, answer=answer)
        if question is not None:
            return scene, question
    raise ConfigError(
        f"no scene in {attempts} has a '{task}' question with answer '{answer}' at language_prior {language_prior}; "
        "lower the prior"
    )


def _shuffled(rng: np.random.Generator, *options: str) -> tuple[str, ...]:
    return tuple(str(option) for option in rng.permutation(options))


def _choose_attr(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    found = [
        (item, name) for item in scene.objects for name in ATTRIBUTES if answer is None or getattr(item, name) == answer
    ]
    if not found:
        return None
    item, name = found[int(rng.integers(len(found)))]
    value = getattr(item, name)
    other = str(rng.choice([choice for choice in ATTRIBUTES[name] if choice != value]))
    options = _shuffled(rng, value, other)
    text = f"is the {item.shape} {options[0]} or {options[1]} ?"
    return Question("choose-attr", text, value, options, (item.box,), (item.shape,))


def _choose_cat(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    colours = [item.color for item in scene.objects]
    found = [
        item for item in scene.objects if colours.count(item.color) == 1 and (answer is None or item.shape == answer)
    ]
    if not found:
        return None
    item = found[int(rng.integers(len(found)))]
    other = str(rng.choice([shape for shape in SHAPES if shape != item.shape]))
    options = _shuffled(rng, item.shape, other)
    text = f"is the {item.color} object a {options[0]} or a {options[1]} ?"
    return Question("choose-cat", text, item.shape, options, (item.box,), (f"{item.color} object",))


def _choose_rel(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    found = []
    for first in scene.objects:
        for second in scene.objects:
            if first.column != second.column:
                found.append((first, second, "left" if first.column < second.column else "right"))
            if first.row != second.row:
                found.append((first, second, "above" if first.row < second.row else "below"))
    found = [triple for triple in found if answer is None or triple[2] == answer]
    if not found:
        return None
    first, second, relation = found[int(rng.integers(len(found)))]
    options = _shuffled(rng, *(("left", "right") if relation in ("left", "right") else ("above", "below")))
    of = " of" if relation in ("left", "right") else ""
    text = f"is the {first.shape} {options[0]} or {options[1]}{of} the {second.shape} ?"
    return Question("choose-rel", text, relation, options, (first.box, second.box), (first.shape, second.shape))


def _compare_attr(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    found = []
    for first in scene.objects:
        for second in scene.objects:
            if first is second:
                continue
            shared = [name for name in ATTRIBUTES if getattr(first, name) == getattr(second, name)]
            different = [name for name in ATTRIBUTES if name not in shared]
            found += [(first, second, name, other) for name in shared for other in different]
    found = [entry for entry in found if answer is None or entry[2] == answer]
    if not found:
        return None
    first, second, name, other = found[int(rng.integers(len(found)))]
    options = _shuffled(rng, name, other)
    text = f"what do the {first.shape} and the {second.shape} share , {options[0]} or {options[1]} ?"
    return Question("compare-attr", text, name, options, (first.box, second.box), (first.shape, second.shape))


def _logical_obj(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    present = [item.shape for item in scene.objects]
    absent = [shape for shape in SHAPES if shape not in present]
    truth = answer if answer is not None else ("yes", "no")[int(rng.integers(2))]
    pair = [str(absent[index]) for index in rng.permutation(len(absent))[:2]]
    if truth == "yes":
        pair[0] = str(rng.choice(present))
    if len(pair) < 2:
        return None
    first, second = _shuffled(rng, *pair)
    boxes = tuple(item.box for item in scene.objects if item.shape in pair)
    return Question("logical-obj", f"is there a {first} or a {second} ?", truth, ("yes", "no"), boxes, (first, second))


def _query_attr(scene: Scene, rng: np.random.Generator, answer: str | None) -> Question | None:
    found = [item for item in scene.objects if item.column != 1 and (answer is None or COLUMNS[item.column] == answer)]
    if not found:
        return None
    item = found[int(rng.integers(len(found)))]
    text = f"on which side is the {item.shape} ?"
    return Question("query-attr", text, COLUMNS[item.column], ("left", "right"), (item.box,), (item.shape,))


_ASK = {
    "choose-attr": _choose_attr,
    "choose-cat": _choose_cat,
    "choose-rel": _choose_rel,
    "compare-attr": _compare_attr,
    "logical-obj": _logical_obj,
    "query-attr": _query_attr,
}
