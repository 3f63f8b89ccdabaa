"""Ranking metrics over document ids with binary relevance, computed natively for the gates.

`evals` calls these per case. A document ranked twice counts once, at its first place; later places move up. A case
without relevant documents has no ranking score and is refused: score abstention there instead.
"""

import math
from collections.abc import Collection, Sequence

from shipway.stats.arguments import check_count


def recall_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Compute the share of the relevant documents that are among the first k.

    Raises:
        ValueError: no relevant documents, or `k` < 1.

    Source: trec_eval `recall`.
    """
    hits = _hits(ranked, relevant, k)
    return sum(hits) / len(set(relevant))


def precision_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Compute the share of the first k places that hold a relevant document; empty places count as misses.

    Raises:
        ValueError: no relevant documents, or `k` < 1.

    Source: trec_eval `P`.
    """
    return sum(_hits(ranked, relevant, k)) / k


def hit_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Return 1 when any of the first k documents is relevant, else 0.

    Raises:
        ValueError: no relevant documents, or `k` < 1.

    Source: trec_eval `success`.
    """
    return float(any(_hits(ranked, relevant, k)))


def reciprocal_rank(ranked: Sequence[str], relevant: Collection[str]) -> float:
    """Compute 1 / rank of the first relevant document, 0 when there is none.

    Raises:
        ValueError: no relevant documents.

    Source: trec_eval `recip_rank`.
    """
    for rank, hit in enumerate(_hits(ranked, relevant), start=1):
        if hit:
            return 1.0 / rank
    return 0.0


def ndcg_at_k(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Compute discounted cumulative gain (1 / log2(rank + 1)) over that of the best possible first k.

    Raises:
        ValueError: no relevant documents, or `k` < 1.

    Source: Järvelin and Kekäläinen 2002, ACM TOIS 20(4); trec_eval `ndcg_cut`.
    """
    gained = _discounted(_hits(ranked, relevant, k))
    best = _discounted([True] * min(k, len(set(relevant))))
    return gained / best


def average_precision(ranked: Sequence[str], relevant: Collection[str]) -> float:
    """Average the precision at each relevant document over all relevant documents; those not ranked add 0.

    Raises:
        ValueError: no relevant documents.

    Source: trec_eval `map`.
    """
    return _precision_sum(_hits(ranked, relevant)) / len(set(relevant))


def context_precision(ranked: Sequence[str], relevant: Collection[str], k: int | None = None) -> float:
    """Average the precision at each relevant document over those *retrieved*: order only, blind to what is missing.

    Raises:
        ValueError: no relevant documents, or `k` < 1.

    Source: Es et al. 2023, arXiv 2309.15217 (RAGAS), context precision.
    """
    hits = _hits(ranked, relevant, k)
    found = sum(hits)
    return _precision_sum(hits) / found if found else 0.0


def _hits(ranked: Sequence[str], relevant: Collection[str], k: int | None = None) -> list[bool]:
    if not relevant:
        msg = "a case without relevant documents has no ranking score; score abstention for it instead"
        raise ValueError(msg)
    if k is not None:
        check_count("k", k, minimum=1)
    wanted = set(relevant)
    return [document in wanted for document in list(dict.fromkeys(ranked))[:k]]


def _discounted(hits: Sequence[bool]) -> float:
    return math.fsum(1.0 / math.log2(rank + 1) for rank, hit in enumerate(hits, start=1) if hit)


def _precision_sum(hits: Sequence[bool]) -> float:
    found = 0
    total = 0.0
    for rank, hit in enumerate(hits, start=1):
        if hit:
            found += 1
            total += found / rank
    return total
