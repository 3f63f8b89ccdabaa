"""Evidence that a rate exceeds what was known of it, with nothing to compare it with; valid at every look.

The rollout analysis uses it where everybody is on the candidate and no stable arm is left. The mirror image of
`harmless`: the null is "each conversation is bad with probability <= `limit`, whatever the earlier ones were".
"""

import math

from shipway.stats.arguments import check_open_share
from shipway.stats.mixtures import mixture_value

# Rates to bet on, in multiples of the limit; those beyond `_HIGHEST` are cut there.
MULTIPLES = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_HIGHEST = 0.99


def e_value_above(*, good: int, bad: int, limit: float) -> float:
    """Return the evidence against "rate of bad conversations <= limit"; at 1/alpha or more, at any look, reject it.

    Raises:
        ValueError: `limit` is outside (0, 1) or a count is negative.

    Source: Waudby-Smith and Ramdas 2020, arXiv 2010.09686; the grid of bets is Shipway's.
    """
    check_open_share("limit", limit)
    if good < 0 or bad < 0:
        msg = f"conversations cannot be counted as good={good!r} and bad={bad!r}; both must be 0 or more"
        raise ValueError(msg)
    logs = []
    for multiple in MULTIPLES:
        rate = min(multiple * limit, max(_HIGHEST, (1.0 + limit) / 2.0))
        gain = bad * math.log(rate / limit) + good * math.log((1.0 - rate) / (1.0 - limit))
        logs.append(gain - math.log(len(MULTIPLES)))
    return mixture_value(tuple(logs))
