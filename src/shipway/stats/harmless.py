"""Evidence that few of a candidate's conversations are bad, without looking at stable; valid at every look.

The rollout analysis uses it beside `sequential`: a service that is hardly ever bad gives no events whose share could be
compared. The null is "each conversation is bad with probability >= `limit`, whatever the earlier ones were". Betting on
a rate q below the limit multiplies the evidence by (1 - q) / (1 - limit) for a good conversation and by q / limit for a
bad one, which is 1 + lambda (limit - x) with lambda = (limit - q) / (limit (1 - limit)): never more than 1 in
expectation under the null.
"""

import math

from shipway.stats.arguments import check_open_share
from shipway.stats.mixtures import mixture_value

# Rates to bet on, in shares of the limit, and what each is given. Half goes to "never bad", for the services that need
# this: with limit 5 % and a threshold of 39 it takes 79 good conversations (72 if all went there, but then a single bad
# one would end it).
FRACTIONS = (0.0, 0.1, 0.25, 0.5)
SHARES = (1 / 2, 1 / 6, 1 / 6, 1 / 6)
_MAX_CONVERSATIONS = 10**9


def multiplier(rate: float, limit: float, *, bad: bool) -> float:
    """Return what one conversation does to a bet on `rate`; its expectation is 1 at a true rate of `limit`.

    Source: Waudby-Smith and Ramdas 2020, arXiv 2010.09686, the capital process for a bounded mean.
    """
    return rate / limit if bad else (1.0 - rate) / (1.0 - limit)


def e_value_harmless(*, good: float, bad: float, limit: float) -> float:
    """Return the evidence against "rate of bad conversations >= limit"; at 1/alpha or more, at any look, reject it.

    Fractions of conversations are allowed, for forecasts.

    Raises:
        ValueError: `limit` is outside (0, 1) or a count is negative.

    Source: Waudby-Smith and Ramdas 2020, arXiv 2010.09686; the grid of bets is Shipway's.
    """
    check_open_share("limit", limit)
    if not (0.0 <= good < math.inf and 0.0 <= bad < math.inf):
        msg = f"conversations cannot be counted as good={good!r} and bad={bad!r}; both must be 0 or more"
        raise ValueError(msg)
    logs = []
    for fraction, share in zip(FRACTIONS, SHARES, strict=True):
        if fraction == 0.0 and bad > 0.0:
            continue
        loss = bad * math.log(fraction) if bad > 0.0 else 0.0
        gain = good * math.log(multiplier(fraction * limit, limit, bad=False))
        logs.append(math.log(share) + gain + loss)
    return mixture_value(tuple(logs))


def harmless_conversations_needed(limit: float, threshold: float, *, bad_rate: float = 0.0) -> int | None:
    """Return the conversations until the e-value reaches `threshold` if exactly `bad_rate` of them are bad.

    None when it would take more than a billion, as it does at and near the limit. Real runs scatter around it.

    Raises:
        ValueError: `limit` is outside (0, 1) or `bad_rate` outside [0, 1].
    """
    check_open_share("limit", limit)
    if not 0.0 <= bad_rate <= 1.0:
        msg = f"bad_rate must lie between 0 and 1, got {bad_rate!r}"
        raise ValueError(msg)

    def reached(count: int) -> bool:
        return e_value_harmless(good=count * (1.0 - bad_rate), bad=count * bad_rate, limit=limit) >= threshold

    high = 1
    while not reached(high):
        high *= 2
        if high > _MAX_CONVERSATIONS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
