"""An alarm for a rate that should stay above a limit, looked at after every observation, for ever.

`operations.quality` feeds it with goldens and judged answers. An e-value that began long ago is spent: a good past has
made it tiny. Here every bet begins anew whenever it has lost, so that a fall is seen as fast after a good year as on
the first day. The price is that no error rate holds for ever; what holds is the mean time to a false alarm.
"""

import math
from collections.abc import Iterable

from shipway.stats.arguments import check_open_share

# Shares of what can be lost at most in one observation; a bet on a true rate q is best at 1 - q / limit.
FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95)


def detector_value(passed: Iterable[bool], limit: float) -> float:
    """Return the evidence that the rate of passes has fallen below `limit`, newest observation last.

    Alarm at `mean_run` or more: while each observation passes with probability >= `limit` whatever the earlier ones
    were, the mean number of observations to the first alarm is at least `mean_run`.

    Raises:
        ValueError: `limit` is outside (0, 1).

    Source: Shin, Ramdas and Rinaldo 2022, arXiv 2203.03532 (e-detectors, their CUSUM form, mixed over a grid).
    """
    check_open_share("limit", limit)
    gains = [math.log1p(fraction * limit / (1.0 - limit)) for fraction in FRACTIONS]
    losses = [math.log1p(-fraction) for fraction in FRACTIONS]
    logs = [0.0] * len(FRACTIONS)
    seen = False
    for has_passed in passed:
        seen = True
        step = losses if has_passed else gains
        logs = [max(log, 0.0) + change for log, change in zip(logs, step, strict=True)]
    if not seen:
        return 0.0
    top = max(logs)
    return math.exp(min(700.0, top)) * sum(math.exp(log - top) for log in logs) / len(FRACTIONS)


def failures_to_alarm(limit: float, mean_run: float) -> int:
    """Return how many failures in a row raise the alarm, when there was nothing before.

    Raises:
        ValueError: `limit` is outside (0, 1) or `mean_run` is not above 1.
    """
    if not (math.isfinite(mean_run) and mean_run > 1.0):
        msg = f"mean_run must be a number above 1, got {mean_run!r}"
        raise ValueError(msg)
    count = 1
    while detector_value([False] * count, limit) < mean_run:
        count += 1
    return count
