"""Words that files, tables, figures and rules share."""

from collections.abc import Iterable

# The condition in which nothing intervenes.
INTACT = "intact"
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

# Where a span begins and ends in any prompt: 0 in the image, 1 in the question after it, 2 at the last position.
SPANS = dict.fromkeys(("image", "image-base", "image-tiles", "image-newline", "object", "other"), (0, 0))
SPANS |= {"question": (1, 1), "options": (1, 1), "text": (1, 2), "last": (2, 2)}


# How the pairs of a random control are matched to those of the edge, the closest match first; see interventions/draws.
MATCHES = ("other-sources", "other-targets", "half")
UNMATCHED = "unmatched"
CONTROLS = (*MATCHES, UNMATCHED)


def weakest(controls: Iterable[str]) -> str | None:
    """The least matched of several controls, which is what can be said of all of them; None of none."""
    return max(controls, key=CONTROLS.index, default=None)


def layer_name(layer: int) -> str:
    """Name of a layer in files: 0 is the embedding output, L the state after the last block."""
    return f"layer-{layer:02d}"
