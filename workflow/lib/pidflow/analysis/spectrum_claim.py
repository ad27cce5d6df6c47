"""One claim about the spectrum of predictions, judged: a row of the table ``spectrum-claims``."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class SpectrumClaim:
    """One claim, judged.

    Attributes
    ----------
    id, statement
        What is claimed.
    about, task
        A model, a family, a series or ``all`` models; a task or ``all``.
    estimate, low, high
        The number and its 95 % interval; NaN where it is not defined.
    unit
        ``bits``, ``correlation``, ``share`` or ``depth``.
    threshold, side
        The number is claimed to lie ``above`` or ``below`` the threshold.
    verdict
        From the interval of this row alone.
    p_value, p_holm, verdict_holm
        Two-sided, of the number lying at the threshold; and after Holm's procedure over all rows.
    paper_value, paper_inside
        What is reported, and whether the interval holds it; NaN and empty where nothing is.
    reason
        One sentence with the numbers.
    """

    id: str
    statement: str
    about: str
    task: str
    estimate: float
    low: float
    high: float
    unit: str
    threshold: float
    side: str
    verdict: str
    p_value: float
    p_holm: float
    verdict_holm: str
    paper_value: float
    paper_inside: str
    reason: str


COLUMNS = tuple(field.name for field in fields(SpectrumClaim))
