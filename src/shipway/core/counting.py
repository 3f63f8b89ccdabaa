"""Numbers of things and amounts of money in words; whatever tells people how many or how much asks here."""

import math

_DIGITS = 4


def counted(number: int, noun: str) -> str:
    """Return `1 case`, `0 cases`, `1,200 cases`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def dollars(amount_usd: float) -> str:
    """Return an amount with four digits after the point, of a smaller one as many as its first two take."""
    digits = _DIGITS
    if 0 < abs(amount_usd) < 1:
        digits = max(_DIGITS, 1 - math.floor(math.log10(abs(amount_usd))))
    return f"{amount_usd:,.{digits}f}"
