"""Times of the week in which a step may begin, such as "Mon-Fri 09:00-17:00". Pure."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(_DAYS)
_WINDOW = re.compile(
    rf"(?P<days>(?:{_DAY})(?:-(?:{_DAY}))?(?:,(?:{_DAY})(?:-(?:{_DAY}))?)*)\s+"
    r"(?P<from>[0-2]?\d:[0-5]\d)-(?P<to>[0-2]?\d:[0-5]\d)",
    re.IGNORECASE,
)
_MINUTES_A_DAY = 24 * 60
_EXAMPLE = "use days and a time of day, such as 'Mon-Fri 09:00-17:00' or 'Sat,Sun 10:00-12:00'"
_QUARTER = timedelta(minutes=15)
_QUARTERS_A_WEEK = 7 * 24 * 4


def window_problem(text: str) -> str:
    """Return why a text is no window, "" when it is one."""
    found = _WINDOW.fullmatch(text.strip())
    if found is None:
        return f"{text!r} is no window; {_EXAMPLE}"
    start, end = _minute(found["from"]), _minute(found["to"])
    if max(start, end) > _MINUTES_A_DAY:
        return f"{text!r} has a time after 24:00; {_EXAMPLE}"
    if start >= end:
        return f"{text!r} ends before it begins; for a night use two windows, one to 24:00 and one from 00:00"
    return ""


def is_open(windows: Sequence[str], timezone: str, now_s: float) -> bool:
    """Tell whether a Unix time lies in one of the windows; without windows it always does."""
    return not windows or _within(windows, datetime.fromtimestamp(now_s, ZoneInfo(timezone)))


def next_opening(windows: Sequence[str], timezone: str, now_s: float) -> str:
    """Return when the next window opens, to the quarter of an hour, as local time; "" when none does within a week."""
    moment = _opening(windows, timezone, now_s)
    return "" if moment is None else moment.strftime("%a %Y-%m-%d %H:%M %Z")


def opens_in_s(windows: Sequence[str], timezone: str, now_s: float) -> float | None:
    """Return the seconds until one of the windows is open, 0 when one is; None when none opens within a week."""
    if is_open(windows, timezone, now_s):
        return 0.0
    moment = _opening(windows, timezone, now_s)
    return None if moment is None else max(0.0, moment.timestamp() - now_s)


def _opening(windows: Sequence[str], timezone: str, now_s: float) -> datetime | None:
    local = datetime.fromtimestamp(now_s, ZoneInfo(timezone)).replace(second=0, microsecond=0)
    moment = local - timedelta(minutes=local.minute % 15)
    for _ in range(_QUARTERS_A_WEEK + 1):
        moment += _QUARTER
        if _within(windows, moment):
            return moment
    return None


def _within(windows: Sequence[str], local: datetime) -> bool:
    return any(_contains(window, local) for window in windows)


def _contains(window: str, local: datetime) -> bool:
    found = _WINDOW.fullmatch(window.strip())
    if found is None:
        return False
    minute = local.hour * 60 + local.minute
    return local.weekday() in _days(found["days"]) and _minute(found["from"]) <= minute < _minute(found["to"])


def _days(text: str) -> set[int]:
    days: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.partition("-")
        start, end = _DAYS.index(first), _DAYS.index(last or first)
        # "Fri-Mon" goes over the end of the week.
        days |= set(range(start, end + 1)) if start <= end else {*range(start, 7), *range(end + 1)}
    return days


def _minute(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
