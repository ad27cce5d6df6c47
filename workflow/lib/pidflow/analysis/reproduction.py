"""What a published study reports, beside what a run of its kit finds: one row a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from pidflow.errors import ConfigError, DataError

COLUMNS = (
    *("study", "id", "statement", "model", "task", "condition", "published", "here", "low", "high", "unit"),
    *("verdict", "agrees"),
)
AGREES, DIFFERS, UNDETERMINED = "agrees", "differs", "undetermined"


@dataclass(frozen=True)
class Reported:
    """One result of a published study, as far as its text gives it.

    Attributes
    ----------
    id
        The statement of a table of this run that it is compared with.
    published
        What was reported: a number as text, or ``yes``, ``no``, ``supported``.
    verdicts
        Verdicts of that statement that agree with it.
    """

    id: str
    published: str
    verdicts: tuple[str, ...]


_HOLDS = ("supported",)
REPORTED = MappingProxyType(
    {
        # The abstract and the statements of the paper; where they name a number, it is given.
        "2602.15580": (
            Reported("vision-peaks-early", "supported", _HOLDS),
            Reported("vision-decays", "supported", _HOLDS),
            Reported("language-surges-late", "supported", _HOLDS),
            Reported("language-dominates-last", "about 0.82", _HOLDS),
            Reported("synergy-is-small", "below 0.02", _HOLDS),
            Reported("knockout-traps-vision", "supported", _HOLDS),
            Reported("knockout-raises-synergy", "supported", _HOLDS),
            Reported("knockout-raises-cost", "supported", _HOLDS),
            *(
                Reported(f"knockout-{effect}-by-{what}", "supported", _HOLDS)
                for effect in ("traps-vision", "raises-synergy", "raises-cost")
                for what in ("dependence", "redundancy")
            ),
            Reported("trajectories-agree", "above 0.96", _HOLDS),
        ),
        "2411.18620": (
            Reported("question-needs-image", "yes", ("yes",)),
            Reported("last-needs-question", "yes", ("yes",)),
            Reported("image-reaches-last", "no", ("no",)),
            Reported("first-stage-precedes-second", "supported", _HOLDS),
        ),
        # Judged by the claims of the spectrum, which bring their own published numbers.
        "6WsBGk4Iag": (),
    }
)
"""By study what it reports. A claim that carries a published number of its own needs no entry."""


def reproduction(study: str, claims: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row for each published result and each model, task and condition that it was looked for in.

    Parameters
    ----------
    study
        One of :data:`REPORTED`.
    claims
        Tables of judged statements: columns ``id``, ``statement``, ``model`` (or ``about``), ``task``, ``verdict``,
        ``low``, ``high``, the number as ``estimate`` or ``value``, and perhaps ``condition``, ``unit`` and
        ``paper_value``.

    Returns
    -------
    DataFrame
        Columns :data:`COLUMNS`: what was ``published``, the number ``here`` with its 95 % interval, the ``verdict`` on
        the statement here, and whether the two ``agrees``, ``differs`` or stay ``undetermined``.

    Raises
    ------
    ConfigError
        If there is no such study.
    DataError
        If a table is no table of statements.
    """
    if study not in REPORTED:
        raise ConfigError(f"unknown study '{study}', expected one of: {', '.join(REPORTED)}")
    reported = {each.id: each for each in REPORTED[study]}
    rows = []
    for table in claims:
        number, about = (
            next((name for name in names if name in table), None)
            for names in (("estimate", "value"), ("model", "about"))
        )
        if number is None or about is None or not {"id", "statement", "verdict"} <= set(table):
            raise DataError(f"expected a table of judged statements, found the columns {', '.join(table)}")
        for row in table.to_dict("records"):
            known = reported.get(row["id"])
            own = row.get("paper_value", np.nan)
            if known is None and not np.isfinite(own):
                continue
            agreeing = _HOLDS if known is None else known.verdicts
            rows.append(
                {
                    **{name: row.get(name, "") for name in COLUMNS},
                    "study": study,
                    "model": row[about],
                    "published": f"{own:g}" if known is None else known.published,
                    "here": row[number],
                    "agrees": _compared(row["verdict"], agreeing),
                }
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _compared(verdict: str, agreeing: Sequence[str]) -> str:
    if verdict == UNDETERMINED:
        return UNDETERMINED
    return AGREES if verdict in agreeing else DIFFERS
