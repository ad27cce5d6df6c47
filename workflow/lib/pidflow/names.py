"""Words that files, tables, figures and rules share."""

import re
from collections.abc import Iterable, Sequence

# Blocks of tokens whose pooled states files hold, in the order of files.
BLOCKS = ("vision", "question", "text", "last")
# The condition in which nothing intervenes.
INTACT = "intact"
# Which target a condition is decomposed against: what the model says under it, or what the intact model says.
OWN = "own"
TARGETS = (OWN, INTACT)
# What stands in column `task` where a row is about all tasks of a run together.
ALL_TASKS = "all"
# How many tasks it takes to ask what an effect depends on.
MIN_TASKS = 4

ATOMS = ("redundancy", "unique_vision", "unique_language", "synergy")
INFORMATIONS = ("mi_vision", "mi_language", "mi_joint")
QUANTITIES = (*ATOMS, *INFORMATIONS)
# The numerics know the two sources as 1 and 2; files and tables call them vision and language.
NUMBERED = dict(
    zip(QUANTITIES, ("redundancy", "unique_1", "unique_2", "synergy", "mi_1", "mi_2", "mi_12"), strict=True)
)

# Where a span begins at the earliest and ends at the latest in any prompt: -1 before the image, 0 in it, 1 in the
# question after it, 2 at the last position.
SPANS = dict.fromkeys(("image", "base", "tiles", "separators", "padding", "object", "other"), (0, 0))
SPANS |= dict.fromkeys(
    ("question", "options", "true-option", "false-option", "object-words", "question-without-options"), (1, 1)
)
SPANS |= {
    "text": (1, 2),
    "last": (2, 2),
    "bos": (-1, 1),
    "system": (-1, 0),
    "instruction": (-1, 2),
    "template": (-1, 2),
}
# What spans were called before.
RENAMED_SPANS = {"image-base": "base", "image-tiles": "tiles", "image-newline": "separators"}
# A span by a regular expression over the prompt, between slashes; a slash inside it is written \/.
_PATTERN = r"/(?:[^/\\\n]|\\.)+/"
_PIECES = re.compile(rf"{_PATTERN}|\+|[^+/]+|/")
_EDGE = re.compile(rf"((?:{_PATTERN}|[^/])+?)->((?:{_PATTERN}|[^/])+)")


def span_parts(span: str) -> tuple[str, ...]:
    """The spans that are joined by ``+``; a ``+`` inside a regular expression joins nothing."""
    found = [""]
    for piece in _PIECES.findall(span):
        if piece == "+":
            found.append("")
        else:
            found[-1] += piece
    return tuple(found)


def pattern_of(part: str) -> str | None:
    """The regular expression of a span that is written as one, ``/red|blue/``; None of any other span."""
    return part[1:-1].replace("\\/", "/") if re.fullmatch(_PATTERN, part) else None


def extent(span: str) -> tuple[int, int]:
    """Where a span or several joined by ``+`` begin at the earliest and end at the latest (see :data:`SPANS`)."""
    found = [(-1, 2) if pattern_of(part) is not None else SPANS[part] for part in span_parts(span)]
    return min(begin for begin, _ in found), max(end for _, end in found)


def edge_parts(edge: str) -> tuple[str, str] | None:
    """Source and target of ``source->target``; None where that is not one edge."""
    found = _EDGE.fullmatch(edge)
    if found is None or any("->" in each and pattern_of(each) is None for each in span_parts(found[2])):
        return None
    return found[1], found[2]


# How the pairs of a random control are matched to those of the edge, the closest match first; see interventions/draws.
MATCHES = ("other-sources", "other-targets", "half")
UNMATCHED = "unmatched"
CONTROLS = (*MATCHES, UNMATCHED)


def weakest(controls: Iterable[str]) -> str | None:
    """The least matched of several controls, which is what can be said of all of them; None of none."""
    return max(controls, key=CONTROLS.index, default=None)


def analysis_of(condition: str, target: str = OWN) -> str:
    """Name, in paths from the principal components on, of a condition decomposed against a target of `TARGETS`."""
    return condition if target == OWN else f"{condition}@{target}"


def condition_and_target(analysis: str) -> tuple[str, str]:
    """The condition and the target of a name of :func:`analysis_of`."""
    condition, _, target = analysis.partition("@")
    return condition, target or OWN


def layer_numbers(wanted: str | Sequence[int], depth: int) -> tuple[int, ...]:
    """The layers of a model of so many blocks that ``"all"`` or a list means; -1 is the last.

    Raises
    ------
    ValueError
        If the model has no such layer.
    """
    if wanted == "all":
        return tuple(range(depth + 1))
    found = tuple(sorted({layer + depth + 1 if layer < 0 else layer for layer in wanted}))
    if not found or found[0] < 0 or found[-1] > depth:
        raise ValueError(f"{list(wanted)} are not layers of a model of {depth} blocks, which has 0 to {depth}")
    return found


def layer_name(layer: int) -> str:
    """Name of a layer in files: 0 is the embedding output, L the state after the last block."""
    return f"layer-{layer:02d}"
