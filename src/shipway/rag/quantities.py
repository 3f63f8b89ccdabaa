"""Numbers with their units, written in any of the usual ways; `support` compares answers with passages by them.

`forty-five days`, `45-day` and `45 days` are one quantity, and so are `€ 4.90`, `EUR 4.90` and `4.90 euros`.
"""

import re
from typing import NamedTuple

_UNDER_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_BY_TEN = "twenty thirty forty fifty sixty seventy eighty ninety"
_RANKS = "first second third fourth fifth sixth seventh eighth ninth tenth"
_MONTHS = "january february march april may june july august september october november december"
_ONES = {word: value for value, word in enumerate(_UNDER_TWENTY.split())}
_TENS = {word: 10 * value for value, word in enumerate(_BY_TEN.split(), start=2)}
_ORDINALS = {word: value for value, word in enumerate(_RANKS.split(), start=1)}
_SCALES = {"hundred": 100, "thousand": 1000}

_UNITS = {
    alias: unit
    for unit, aliases in {
        "s": "s sec second seconds",
        "min": "min minute minutes",
        "h": "h hour hours hourly",
        "day": "day days daily",
        "week": "week weeks weekly",
        "month": "month months monthly",
        "year": "year years yearly annual",
        "g": "g gram grams",
        "kg": "kg kilo kilos kilogram kilograms",
        "ml": "ml millilitre millilitres milliliter milliliters",
        "l": "l litre litres liter liters",
        "mm": "mm millimetre millimetres millimeter millimeters",
        "cm": "cm centimetre centimetres centimeter centimeters",
        "m": "m metre metres meter meters",
        "km": "km kilometre kilometres kilometer kilometers",
        "w": "w watt watts",
        "kw": "kw kilowatt kilowatts",
        "v": "v volt volts",
        "bar": "bar",
        "degree": "degree degrees °c",
        "percent": "percent percents % pct",
        "eur": "eur euro euros €",
        "usd": "usd dollar dollars $",
        "gbp": "gbp pound pounds £",
        "cent": "cent cents",
        "mb": "mb megabyte megabytes",
        "gb": "gb gigabyte gigabytes",
        "tb": "tb terabyte terabytes",
        **{month: f"{month} {month[:3]}" for month in _MONTHS.split()},
    }.items()
    for alias in aliases.split()
}
_CURRENCIES = frozenset({"eur", "usd", "gbp"})
# Words that may stand between a number and its unit.
_BETWEEN = frozenset({"working", "calendar", "business", "full", "more", "paid"})

# A number behind letters and a hyphen is part of a name (article TW-4102).
_TOKEN = re.compile(
    r"(?<![a-z]-)(?<!\w)\d{1,2}:\d{2}|(?<![a-z]-)(?<![a-z0-9])\d+(?:[.,]\d+)*|°c|[€$£%]|[a-z]+", re.IGNORECASE
)
_THOUSANDS = re.compile(r"^\d{1,3}(?:,\d{3})+(?:\.\d+)?$")
_ORDINAL_SUFFIX = frozenset({"st", "nd", "rd", "th"})


class Quantity(NamedTuple):
    """A number in canonical digits (or a time of day `14:00`) and its canonical unit; "" when it has none."""

    value: str
    unit: str


def quantities(text: str) -> tuple[Quantity, ...]:
    """Return the quantities of a text in order."""
    tokens = [match.group().lower() for match in _TOKEN.finditer(text)]
    found, index = [], 0
    while index < len(tokens):
        value, after = _number(tokens, index)
        if value is None:
            index += 1
            continue
        unit = _unit(tokens, index, after)
        # "one of them" counts nothing; "one week" does.
        if not (tokens[index] in {"one", "second", "may"} and not unit):
            found.append(Quantity(value, unit))
        index = after
    return tuple(found)


def _number(tokens: list[str], index: int) -> tuple[str | None, int]:
    token = tokens[index]
    if token[0].isdigit():
        ordinal = index + 1 < len(tokens) and tokens[index + 1] in _ORDINAL_SUFFIX
        return _digits(token), index + 1 + ordinal
    if token in _ORDINALS:
        # "30 seconds" never comes here; "second" alone is a rank.
        return str(_ORDINALS[token]), index + 1
    return _spelled(tokens, index)


def _spelled(tokens: list[str], index: int) -> tuple[str | None, int]:
    total, start = 0, index
    if tokens[index] in _TENS:
        total = _TENS[tokens[index]]
        index += 1
        if index < len(tokens) and 0 < _ONES.get(tokens[index], 0) < 10:  # noqa: PLR2004 - forty-five, not forty-eleven
            total += _ONES[tokens[index]]
            index += 1
    elif tokens[index] in _ONES:
        total = _ONES[tokens[index]]
        index += 1
    if index == start:
        return None, index
    if index < len(tokens) and tokens[index] in _SCALES:
        total *= _SCALES[tokens[index]]
        index += 1
    return str(total), index


def _digits(token: str) -> str:
    if ":" in token:
        hours, minutes = token.split(":")
        return f"{int(hours):02d}:{minutes}"
    if _THOUSANDS.match(token):
        token = token.replace(",", "")
    whole, _, fraction = token.replace(",", ".").partition(".")
    fraction = fraction.rstrip("0")
    return f"{int(whole)}.{fraction}" if fraction else str(int(whole))


def _unit(tokens: list[str], start: int, after: int) -> str:
    following = after + (after < len(tokens) and tokens[after] in _BETWEEN)
    if following < len(tokens) and tokens[following] in _UNITS:
        return _UNITS[tokens[following]]
    if start and _UNITS.get(tokens[start - 1]) in _CURRENCIES:
        return _UNITS[tokens[start - 1]]
    return ""
