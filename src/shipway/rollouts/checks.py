"""Checks that a rollout asks for: a smoke suite before the candidate has users, pinned cases where users are missing.

`entering` and `progress` say when, `ports.Checks` has them done, and the result is part of what `decide` observes.
"""

from dataclasses import dataclass

from shipway.core.verdicts import Verdict

SMOKE = "smoke"
"""The smoke suite against the candidate."""
REPLAY = "replay"
"""The gate's cases, candidate against stable, because too few users come."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check said; ERROR is that it could not be done."""

    verdict: Verdict
    text: str
