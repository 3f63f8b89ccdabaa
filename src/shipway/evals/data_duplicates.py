"""Cases that ask the same, word for word or nearly; `data_checks` calls this.

Near-duplicates are found exactly, not by hashing: texts that share enough runs of words must share one of their rarest
ones, so only those are compared.
"""

import heapq
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from shipway.core.canonical import digest_json
from shipway.evals.data_words import asked, asker, grams, words
from shipway.evals.model import Case

_RUN = 3
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Pair:
    """Two cases, in the order of the dataset, and the share of word runs that they have in common (Jaccard)."""

    first: Case
    second: Case
    shared: float


def duplicates(cases: Sequence[Case]) -> list[Pair]:
    """Return every case that repeats an earlier one: same words, same asker, same context."""
    first: dict[Hashable, Case] = {}
    found: list[Pair] = []
    for case in cases:
        key = (tuple(words(asked(case))), asker(case), digest_json(list(case.context)))
        if key in first:
            found.append(Pair(first[key], case, 1.0))
        else:
            first[key] = case
    return found


def near_duplicates(cases: Sequence[Case], threshold: float) -> list[Pair]:
    """Return every case that nearly repeats an earlier one of the same asker, with the earliest such.

    `threshold` is the least Jaccard similarity of their runs of three words. Exact duplicates are left out.
    """
    by_asker: dict[Hashable, dict[tuple[str, ...], Case]] = defaultdict(dict)
    for case in cases:
        by_asker[asker(case)].setdefault(tuple(words(asked(case))), case)
    return [pair for distinct in by_asker.values() for pair in _near(distinct, threshold)]


def _near(distinct: dict[tuple[str, ...], Case], threshold: float) -> Iterator[Pair]:
    cases = list(distinct.values())
    runs = [grams(text, _RUN) for text in distinct]
    frequency = Counter(run for found in runs for run in found)
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, found in enumerate(runs):
        rare = sorted(found, key=lambda run: (frequency[run], run))
        # Two sets that share `threshold` of their union share one of so many first ones (prefix filter).
        # Source: Chaudhuri, Ganti and Kaushik 2006.
        prefix = rare[: len(rare) - math.ceil(threshold * len(rare) - _ROUNDING) + 1]
        # Ascending and lazy: where everything repeats everything, the first one looked at is the match.
        earlier = (other for other, _ in itertools.groupby(heapq.merge(*(holders[run] for run in prefix))))
        match = next(((other, share) for other, share in _shares(runs, found, earlier) if share >= threshold), None)
        if match is not None:
            yield Pair(cases[match[0]], cases[place], match[1])
        for run in prefix:
            holders[run].append(place)


def _shares(
    runs: Sequence[frozenset[tuple[str, ...]]], found: frozenset[tuple[str, ...]], earlier: Iterable[int]
) -> Iterator[tuple[int, float]]:
    for other in earlier:
        common = len(found & runs[other])
        yield other, common / (len(found) + len(runs[other]) - common)
