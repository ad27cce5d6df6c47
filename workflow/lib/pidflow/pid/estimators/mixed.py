"""Estimator ``mixed``: what is discrete is decomposed as such, codes and clusters alike (:mod:`pidflow.pid.mixed`).

The Gaussian estimators see the distance between two clusters as information without end, the flow tears them apart.
Where nothing is discrete this is estimator ``copula``.
"""

from typing import Any

import numpy as np

from pidflow.errors import UnboundedError
from pidflow.pid.estimators._rows import Blocks
from pidflow.pid.results import PIDEstimate


def estimates(blocks: Blocks, **settings: Any) -> dict[str, PIDEstimate]:
    """One result a definition; settings as in :func:`pidflow.pid.from_latents.estimates_of_rows`."""
    from pidflow.pid.labels import CLUSTERS, CODES, CONTINUOUS, labels_of
    from pidflow.pid.mixed import mixed_estimates
    from pidflow.pid.overlapping import overlapping_labels

    _refuse_many_codes(*blocks)
    of_target = labels_of(blocks[2])
    alone = [labels_of(block) for block in blocks[:2]]
    kinds = {each.kind for each in alone}
    if of_target.kind == CONTINUOUS and CLUSTERS in kinds and CODES not in kinds:
        of_target = overlapping_labels(blocks[2], alone)
    labels = [*(labels_of(block, beside=of_target) for block in blocks[:2]), of_target]
    return mixed_estimates(blocks, labels, **settings)


def _refuse_many_codes(x1: np.ndarray, x2: np.ndarray, y: np.ndarray) -> None:
    """A target whose rows repeat where those of the sources do not is no continuous one; codes need enough rows each.

    Raises
    ------
    UnboundedError
        When there are too many codes: taken for clusters they would be told far beyond their entropy.
    """
    from pidflow.pid.labels import ROWS_PER_CODE, rounded

    codes, asked = (len(np.unique(rounded(each), axis=0)) for each in (y, np.column_stack([x1, x2, y])))
    most = len(y) // ROWS_PER_CODE
    if most < codes <= asked // 2:
        raise UnboundedError(
            f"y takes {codes} distinct values in {len(y)} rows: more than the {most} that can be told apart as codes, "
            "too few for a continuous target; take more rows, or another target"
        )
