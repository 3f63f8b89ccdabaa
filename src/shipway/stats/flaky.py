"""Whether one case has got worse, given that it may have been unsteady before; gates warn by it and never block.

"It passed 20 of 20 times before, so it must pass 5 of 5 now" blocks 94 % of unchanged releases over 100 cases.
"""

import math

import numpy as np
from scipy import special

from shipway.stats.arguments import check_count


def tail_probability(passed_before: int, asked_before: int, passed: int, asked: int) -> float:
    """Compute how likely it is that an unchanged case passes `passed` times of `asked` or fewer.

    The pass rate has the Jeffreys posterior Beta(s + 1/2, f + 1/2) of what it did before.

    Raises:
        ValueError: counts that cannot be.

    Source: beta-binomial predictive distribution; Gelman et al. 2013, Bayesian Data Analysis, 2.4 and 2.8.
    """
    for name, successes, n in (("before", passed_before, asked_before), ("now", passed, asked)):
        check_count(f"n {name}", n, minimum=1)
        if not 0 <= successes <= n:
            msg = f"successes {name} must lie between 0 and {n}, got {successes!r}"
            raise ValueError(msg)
    a, b = passed_before + 0.5, asked_before - passed_before + 0.5
    k = np.arange(passed + 1)
    chosen = special.gammaln(asked + 1) - special.gammaln(k + 1) - special.gammaln(asked - k + 1)
    logs = chosen + special.betaln(k + a, asked - k + b) - special.betaln(a, b)
    return min(1.0, math.fsum(np.exp(logs)))
