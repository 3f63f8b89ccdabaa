"""Mixtures of likelihood ratios over a grid of odds: the arithmetic under `sequential` and `sample_ratio`.

A state keeps one log-weight per alternative on the grid. Each observation multiplies every weight by a factor whose
expectation under the null is 1 (or less), therefore so does their sum: by Ville's inequality it ever reaches 1/alpha
with probability at most alpha.
"""

import math
from collections.abc import Mapping

# exp(700) is about the largest power that is still a finite, JSON-safe float.
_MAX_LOG = 700.0


def candidate_share(ratio: float, weight: float) -> float:
    """Compute the probability that an event is the candidate's, given its rate ratio and its weight in (0, 1)."""
    return weight * ratio / (weight * ratio + 1.0 - weight)


def is_informative(weight: float) -> bool:
    """Tell whether the assignment was a matter of chance; at weight 0 or 1 an observation says nothing.

    Raises:
        ValueError: `weight` is NaN or outside [0, 1].
    """
    if not 0.0 <= weight <= 1.0:
        msg = f"candidate_weight must lie between 0 and 1, got {weight!r}; read it from the conversation's record"
        raise ValueError(msg)
    return 0.0 < weight < 1.0


def uniform_log_weights(size: int) -> tuple[float, ...]:
    """Return the log-weights of a mixture before any observation; they sum to 1."""
    return (-math.log(size),) * size


def log_factor(ratio: float, null: float, weight: float, counts: tuple[int, int]) -> float:
    """Compute the log-likelihood ratio of `ratio` against `null` for (candidate, stable) observations at one weight."""
    candidates, stable = counts
    normaliser = math.log((weight * ratio + 1.0 - weight) / (weight * null + 1.0 - weight))
    return candidates * math.log(ratio / null) - (candidates + stable) * normaliser


def bet(
    log_weights: tuple[float, ...],
    ratios: tuple[float, ...],
    null: float,
    weight: float,
    counts: tuple[int, int],
) -> tuple[float, ...]:
    """Return the log-weights after (candidate, stable) observations at one weight in (0, 1)."""
    return tuple(
        log_weight + log_factor(ratio, null, weight, counts)
        for log_weight, ratio in zip(log_weights, ratios, strict=True)
    )


def mixture_value(log_weights: tuple[float, ...]) -> float:
    """Sum the weights; at most about 1e304 so that the value stays finite in JSON and in a database column."""
    peak = max(log_weights)
    log_sum = peak + math.log(math.fsum(math.exp(value - peak) for value in log_weights))
    return math.exp(min(log_sum, _MAX_LOG))


def stored_number(payload: Mapping[str, object], key: str) -> float:
    """Read one finite number from a stored state.

    Raises:
        ValueError: it is missing or no finite number.
    """
    value = payload.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        msg = f"stored state has no finite number under {key!r}, got {value!r}; start the analysis afresh"
        raise ValueError(msg)
    return float(value)


def stored_count(payload: Mapping[str, object], key: str) -> int:
    """Read one count from a stored state.

    Raises:
        ValueError: it is missing, negative or not whole.
    """
    value = stored_number(payload, key)
    if value < 0.0 or not value.is_integer():
        msg = f"stored state has no count under {key!r}, got {value!r}; start the analysis afresh"
        raise ValueError(msg)
    return int(value)


def stored_numbers(payload: Mapping[str, object], key: str) -> tuple[float, ...]:
    """Read a list of finite numbers from a stored state.

    Raises:
        ValueError: it is missing, no list, or holds something else.
    """
    values = payload.get(key)
    if not isinstance(values, list | tuple):
        msg = f"stored state has no list under {key!r}, got {values!r}; start the analysis afresh"
        raise ValueError(msg)  # noqa: TRY004 - a damaged row, not a caller's wrong type
    return tuple(stored_number({key: value}, key) for value in values)
