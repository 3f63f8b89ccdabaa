"""Argument checks shared by the statistics modules, so that every refusal reads the same."""

import math


def check_open_share(name: str, value: float) -> None:
    """Refuse a value outside the open interval (0, 1).

    Raises:
        ValueError: `value` is NaN, <= 0 or >= 1.
    """
    if not 0.0 < value < 1.0:
        msg = f"{name} must lie strictly between 0 and 1, got {value!r}"
        raise ValueError(msg)


def check_positive(name: str, value: float) -> None:
    """Refuse a value that is not a positive finite number.

    Raises:
        ValueError: `value` is NaN, infinite or <= 0.
    """
    if not (math.isfinite(value) and value > 0.0):
        msg = f"{name} must be a positive finite number, got {value!r}"
        raise ValueError(msg)


def check_count(name: str, value: int, *, minimum: int) -> None:
    """Refuse a count below its minimum.

    Raises:
        ValueError: `value` < `minimum`.
    """
    if value < minimum:
        msg = f"{name} must be at least {minimum}, got {value!r}"
        raise ValueError(msg)
