"""Estimator ``mixed``: what is discrete is decomposed as such, codes and clusters alike (:mod:`pidflow.pid.mixed`).

The Gaussian estimators see the distance between two clusters as information without end, the flow tears them apart.
Where nothing is discrete this is estimator ``copula``.
"""

from typing import Any

from pidflow.pid.estimators._rows import Blocks
from pidflow.pid.results import PIDEstimate


def estimates(blocks: Blocks, **settings: Any) -> dict[str, PIDEstimate]:
    """One result a definition; settings as in :func:`pidflow.pid.from_latents.estimates_of_rows`."""
    from pidflow.pid.labels import CLUSTERS, CODES, CONTINUOUS, labels_of, overlapping_labels
    from pidflow.pid.mixed import mixed_estimates

    of_target = labels_of(blocks[2])
    alone = [labels_of(block) for block in blocks[:2]]
    kinds = {each.kind for each in alone}
    if of_target.kind == CONTINUOUS and CLUSTERS in kinds and CODES not in kinds:
        of_target = overlapping_labels(blocks[2], alone)
    labels = [*(labels_of(block, beside=of_target) for block in blocks[:2]), of_target]
    return mixed_estimates(blocks, labels, **settings)
