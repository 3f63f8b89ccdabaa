"""How often an agent succeeds in all, or in any, of k attempts at one task, from n attempts that were made.

`evals` calls these per case. Both are unbiased: the plain c/n to the power of k is not.
"""

import math

from shipway.stats.arguments import check_count


def pass_hat_k(successes: int, attempts: int, k: int) -> float:
    """Estimate the probability that k attempts at the task all succeed: C(c, k) / C(n, k).

    Raises:
        ValueError: `k` < 1, fewer attempts than k, or more successes than attempts.

    Source: Yao et al. 2024, tau-bench, arXiv 2406.12045.
    """
    _check(successes, attempts, k)
    return math.comb(successes, k) / math.comb(attempts, k)


def pass_at_k(successes: int, attempts: int, k: int) -> float:
    """Estimate the probability that any of k attempts at the task succeeds: 1 - C(n - c, k) / C(n, k).

    Raises:
        ValueError: `k` < 1, fewer attempts than k, or more successes than attempts.

    Source: Chen et al. 2021, Evaluating Large Language Models Trained on Code, arXiv 2107.03374.
    """
    _check(successes, attempts, k)
    return 1.0 - math.comb(attempts - successes, k) / math.comb(attempts, k)


def _check(successes: int, attempts: int, k: int) -> None:
    check_count("k", k, minimum=1)
    check_count("attempts", attempts, minimum=k)
    check_count("successes", successes, minimum=0)
    if successes > attempts:
        msg = f"successes must be at most the {attempts} attempts, got {successes}"
        raise ValueError(msg)
