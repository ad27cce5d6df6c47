"""What is known beforehand of a model that lacks edges of attention: in which blocks an edge is open."""

from collections.abc import Mapping, Sequence
from typing import Any

from pidflow.names import edge_parts, span_parts


def open_blocks(edge: str, closed: Sequence[Mapping[str, Any]], *, depth: int) -> tuple[int, ...]:
    """Blocks in which the model has an edge ``source->target``.

    Parameters
    ----------
    closed
        The model's closed edges: ``source``, ``target`` (names joined by ``+``) and ``blocks`` (``"all"`` or ``[first,
        last]``) each, as its entry in the configuration says them.
    depth
        Number of its blocks.
    """
    source, target = edge_parts(edge)
    gone: set[int] = set()
    for each in closed:
        covers = {source} <= set(span_parts(each["source"])) and {target} <= set(span_parts(each["target"]))
        if covers:
            first, last = (0, depth - 1) if each["blocks"] == "all" else each["blocks"]
            gone |= set(range(first, last + 1))
    return tuple(block for block in range(depth) if block not in gone)
