"""What interventions must be told before they are entered: other questions of the task, a donor each or a sample."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pidflow.errors import DataError
from pidflow.interventions.draws import row_seed
from pidflow.interventions.intervention import Intervention
from pidflow.models.inputs import Batch
from pidflow.stages._questions import BATCH_SIZE, Questions

SAMPLE = 64  # questions that means are taken over

Plan = tuple[Intervention, ...]


class Informing:
    """Tells the interventions of plans what they need.

    Parameters
    ----------
    questions, table
        The questions of the task.
    plans
        Interventions that are entered together, each.
    seed
        Of the choice of donors and of the sample.
    """

    def __init__(
        self, questions: Questions, table: pd.DataFrame, plans: Sequence[Sequence[Intervention]], *, seed: int
    ) -> None:
        self.questions, self.seed = questions, seed
        self.plans = [tuple(plan) for plan in plans]
        self.sampled = False
        self.donors = donors_of(table, seed=seed) if self._any("donors") else None

    def plans_for(self, rows: np.ndarray) -> list[Plan]:
        """The plans for a batch of these questions; the intact model reads what has to be read."""
        if not self.sampled and self._any("sample"):
            batches = list(self._sample())
            self.plans = [tuple(self._told(each, "sample", batches) for each in plan) for plan in self.plans]
        self.sampled = True
        if self.donors is None:
            return self.plans
        batch = self.questions.batch_of(self.donors[rows])
        known: dict[Intervention, Intervention] = {}
        for each in (each for plan in self.plans for each in plan):
            known.setdefault(each, self._told(each, "donors", batch))
        return [tuple(known[each] for each in plan) for plan in self.plans]

    def _told(self, intervention: Intervention, what: str, others: object) -> Intervention:
        return intervention.informed(self.questions.loaded, others) if intervention.needs == what else intervention

    def _any(self, what: str) -> bool:
        return any(each.needs == what for plan in self.plans for each in plan)

    def _sample(self) -> Sequence[Batch]:
        count, size = len(self.questions), BATCH_SIZE
        chosen = np.random.default_rng(self.seed).permutation(count)[:SAMPLE]
        return [self.questions.batch_of(chosen[first : first + size]) for first in range(0, len(chosen), size)]


def donors_of(table: pd.DataFrame, *, seed: int) -> np.ndarray:
    """For each question the row of another one, which has another picture and another answer if there is such a one.

    The choice depends on the seed and the two questions' ids, not on their order.

    Raises
    ------
    DataError
        If there is one question alone.
    """
    if len(table) < 2:
        raise DataError("a swap needs another question to take states from, but the task has one question alone")
    images, answers = (pd.factorize(table[name])[0] for name in ("image_id", "answer"))
    drawn = np.array([row_seed(seed, name) for name in table["item_id"]], dtype=np.uint64)
    found = np.empty(len(table), dtype=int)
    for row in range(len(table)):
        # Multiplying by an odd number mixes the two draws into one that is another for every pair.
        mixed = (drawn ^ np.uint64(drawn[row])) * np.uint64(0x9E3779B97F4A7C15)
        worse = (images == images[row]).astype(int) + (answers == answers[row])
        worse[row] = 3
        best = np.flatnonzero(worse == worse.min())
        found[row] = best[mixed[best].argmin()]
    return found
