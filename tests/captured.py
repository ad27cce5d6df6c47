"""States captured while edges are cut."""

from pidflow.interventions.knockout import knockout
from pidflow.models.capture import capture


def captured_under(plan, loaded, batch):
    """What one forward pass leaves behind under a plan, a list of plans (one a row) or none."""
    if plan is None:
        return capture(loaded, batch)
    with knockout(loaded, plan, batch.spans):
        return capture(loaded, batch)
