"""The five verdicts, the same in gates, rollouts, alerts and exit codes."""

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """What the evidence says. Only PASS opens user-visible traffic."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a secret
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"
    NO_DATA = "NO_DATA"


# A broken measurement outranks a bad one: what could not be measured must not hide behind what could.
_SEVERITY = (Verdict.ERROR, Verdict.FAIL, Verdict.NO_DATA, Verdict.INCONCLUSIVE, Verdict.PASS)


def combined(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of a whole; NO_DATA when there is no part."""
    present = set(verdicts)
    return next((verdict for verdict in _SEVERITY if verdict in present), Verdict.NO_DATA)
