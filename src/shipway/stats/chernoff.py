"""Bounds of a rate that need no table and take fractions of samples: Chernoff's, a little wider than Clopper-Pearson's.

The rollout's fixed rules ask whether a share is *surely* over its limit, with samples that a design effect has reduced;
its watch asks how high a base rate may be.
"""

import math

from shipway.stats.arguments import check_open_share

_HALVINGS = 60


def divergence(rate: float, other: float) -> float:
    """Compute the relative entropy of two coins, in nats; `other` lies in (0, 1)."""
    heads = rate * math.log(rate / other) if rate > 0.0 else 0.0
    tails = (1.0 - rate) * math.log((1.0 - rate) / (1.0 - other)) if rate < 1.0 else 0.0
    return heads + tails


def surely_differs(rate: float, n: float, limit: float, *, alpha: float) -> bool:
    """Tell whether the mean `rate` of `n` values in [0, 1] would come about with chance `alpha` at most at `limit`.

    Raises:
        ValueError: `limit` or `alpha` is outside (0, 1), `rate` outside [0, 1] or `n` negative.

    Source: Hoeffding 1963, JASA 58(301), theorem 1.
    """
    check_open_share("limit", limit)
    check_open_share("alpha", alpha)
    if not (0.0 <= rate <= 1.0 and n >= 0.0):
        msg = f"need a rate in [0, 1] of n >= 0 samples, got {rate!r} and {n!r}"
        raise ValueError(msg)
    return n * divergence(rate, limit) >= -math.log(alpha)


def rate_upper(successes: float, n: float, *, alpha: float) -> float:
    """Return the largest rate at which so few successes still have a chance of `alpha`; 1 without samples.

    Raises:
        ValueError: `alpha` is outside (0, 1), or not 0 <= successes <= n.

    Source: Hoeffding 1963, JASA 58(301), theorem 1.
    """
    check_open_share("alpha", alpha)
    if not 0.0 <= successes <= n:
        msg = f"need 0 <= successes <= n, got {successes!r} of {n!r}"
        raise ValueError(msg)
    if successes >= n:
        return 1.0
    rate, wanted = successes / n, -math.log(alpha) / n
    low, high = rate, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if middle < 1.0 and divergence(rate, middle) < wanted:
            low = middle
        else:
            high = middle
    return high
