"""States captured while interventions are in force, and interventions on edges in short."""

from pidflow.interventions.intervention import FOLDER, entered
from pidflow.models.capture import capture
from pidflow.plugins import registry


def on_edge(source, target, layers=None, kind="cut", *, seed=0, **settings):
    """An intervention of a kind on an edge: ``on_edge("image", "last", (1,), "keep")``."""
    return registry.load(FOLDER, kind).Intervention(
        source, target, layers, **({"seed": seed} if kind == "random" else {}), **settings
    )


def captured_under(interventions, loaded, batch, names=()):
    """What one forward pass leaves behind under interventions."""
    with entered(loaded, interventions, batch.spans, names):
        return capture(loaded, batch)
