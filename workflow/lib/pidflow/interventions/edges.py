"""Attention edges by name: from one span to another."""

from collections.abc import Mapping
from dataclasses import dataclass

from pidflow.errors import ConfigError
from pidflow.names import edge_parts


@dataclass(frozen=True)
class Edge:
    """From the positions of one span to those of another; ``target`` attends to ``source``.

    A source may be several spans, joined by ``+``: ``image+question``.
    """

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}->{self.target}"


@dataclass(frozen=True)
class Moved:
    """An intervention of the configuration that is moved through the model, in place of an edge."""

    id: str
    target: str = ""
    source: str = ""

    def __str__(self) -> str:
        return self.id


# The two-stage picture of arXiv 2411.18620, and which patches take part in its first stage.
DEFAULT_EDGES = (
    Edge("image", "question"),
    Edge("image", "last"),
    Edge("question", "last"),
    Edge("last", "last"),
    Edge("object", "question"),
    Edge("other", "question"),
)


def edge_of(wanted: Edge | str | Mapping[str, str]) -> Edge:
    """An edge from ``"image->question"`` or ``{"source": "image", "target": "question"}``."""
    if isinstance(wanted, Edge):
        return wanted
    if isinstance(wanted, str):
        found = edge_parts(wanted)
        if found is not None:
            return Edge(*(part.strip() for part in found))
    elif set(wanted) == {"source", "target"}:
        return Edge(wanted["source"], wanted["target"])
    raise ConfigError(f"an edge is 'source->target' or has a source and a target, found {wanted!r}")
