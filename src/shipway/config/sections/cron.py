"""Five cron fields as every CI system takes them; `ci` checks its schedule with it.

Source: crontab of POSIX.1-2017, with steps and names; what GitHub, GitLab, CircleCI, Jenkins and Argo do not all know
is refused: 7 for Sunday, steps without a range, @daily, ?, L, W, #, H and a field of seconds.
"""

from dataclasses import dataclass, field

_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SIGNS = frozenset("?LW#H")
_SUNDAY = 7


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = field(default=())

    @property
    def range(self) -> str:
        named = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        return f"{self.least}-{self.most}{named}"


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _WEEKDAYS),
)


def cron_fields(text: str) -> str:
    """Return the fields with one space between them and numbers for names, which not every system knows.

    Raises:
        ValueError: they are none, or no moment is like that; the message names the field and its range.
    """
    words = text.split()
    if not text:
        return ""
    if text.lstrip().startswith("@"):
        raise ValueError(f"{text!r} is not known everywhere; give five fields such as 0 3 * * *")
    if len(words) != len(_FIELDS):
        names = ", ".join(item.name for item in _FIELDS)
        counted = "1 field" if len(words) == 1 else f"{len(words)} fields"
        raise ValueError(f"{text!r} has {counted}; give five ({names}), such as 0 3 * * *")
    items = [_items(item, word) for item, word in zip(_FIELDS, words, strict=True)]
    days, months = _values(_FIELDS[2], items[2]), _values(_FIELDS[3], items[3])
    if words[4] == "*" and min(days) > max(_DAYS_OF_MONTH[month - 1] for month in months):
        raise ValueError(f"day of month: no month of {words[3]} has a day {min(days)}, so it would never start")
    return " ".join(",".join(shown for shown, _ in of_field) for of_field in items)


def _values(item: _Field, items: list[tuple[str, range]]) -> set[int]:
    return {value for _, values in items for value in values if item.least <= value <= item.most}


def _items(item: _Field, word: str) -> list[tuple[str, range]]:
    """Return the parts of a field between commas: as numbers, and which values they stand for."""
    return [_item(item, part) for part in word.split(",")]


def _item(item: _Field, part: str) -> tuple[str, range]:
    span, slash, step = part.partition("/")
    first, dash, last = span.partition("-")
    if span == "*":
        shown, begin, end = "*", item.least, item.most
    else:
        begin = _number(item, first, part)
        end = _number(item, last, part) if dash else begin
        shown = f"{begin}-{end}" if dash else str(begin)
    if begin > end:
        raise ValueError(f"{item.name}: {part!r} ends before it begins; list both parts with a comma")
    if not slash:
        return shown, range(begin, end + 1)
    if span != "*" and not dash:
        raise ValueError(f"{item.name}: {part!r} is not known everywhere; write {begin}-{item.most}/{step or 2}")
    if not _is_number(step) or not 1 <= int(step) <= item.most - item.least:
        raise ValueError(f"{item.name}: the step of {part!r} must be a number of 1-{item.most - item.least}")
    return f"{shown}/{int(step)}", range(begin, end + 1, int(step))


def _number(item: _Field, word: str, part: str) -> int:
    if word.upper() in item.names:
        return item.least + item.names.index(word.upper())
    if _is_number(word) and item.least <= int(word) <= item.most:
        return int(word)
    if item.names == _WEEKDAYS and word == str(_SUNDAY):
        raise ValueError(f"{item.name}: 7 is Sunday for some systems alone; write 0 or SUN")
    told = "; ?, L, W, # and H are not known everywhere" if _SIGNS.intersection(word.upper()) else ""
    raise ValueError(f"{item.name}: {part!r} is not in {item.range}{told}")


def _is_number(word: str) -> bool:
    # Not what other scripts call digits, and no numbers as long as a page.
    return word.isascii() and word.isdigit() and len(word) <= len("00")
