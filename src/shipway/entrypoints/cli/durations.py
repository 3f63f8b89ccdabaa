"""Durations as people type them: 90s, 30m, 12h, 7d."""

import re
from datetime import UTC, datetime

from shipway.core.errors import UsageError

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PATTERN = re.compile(r"(\d{1,6})([smhd])")


def duration_s(text: str, option: str) -> float:
    """Return the seconds of a duration.

    Raises:
        UsageError: it is none, or it is zero.
    """
    match = _PATTERN.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise UsageError(
            f"{option} {text[:40]!r} is not a duration",
            hint="give a whole number from 1 and a unit: s, m, h or d, such as 90s, 30m, 12h or 7d",
        )
    return int(match[1]) * float(_UNITS_S[match[2]])


def moment(at_s: float | None) -> str:
    """Return a Unix time as people read it; None is never."""
    return "never" if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
