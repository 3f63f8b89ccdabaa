"""What both arms did in the last hour, in slots of 30 seconds: what the fixed rules look at. Pure.

`folding` adds records to a `WindowsFolding`; the frozen `Windows` is part of the evidence and stays below 40 kB.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

SLOT_S = 30.0
SLOTS = 120
# Buckets of the latency histogram per doubling.
_PARTS = 4


@dataclass(frozen=True, slots=True)
class ArmWindow:
    """One arm in some slots.

    Of each kind of trouble there are the requests and the conversations that had it for the first time. `slow` is over
    the limit of the rule p99, `slower` over stable's p99 of before plus what the rule allows. `unsafe` had a safety
    event; `checked`, `unsafe_checked`, `scored` and `score_sum` come from observations. `latencies` is a
    histogram as (bucket, requests).
    """

    requests: int = 0
    failures: int = 0
    failed: int = 0
    slow: int = 0
    slowed: int = 0
    slower: int = 0
    slowered: int = 0
    unsafe: int = 0
    endangered: int = 0
    checked: int = 0
    unsafe_checked: int = 0
    scored: int = 0
    score_sum: float = 0.0
    latencies: tuple[tuple[int, int], ...] = ()

    def quantile_ms(self, q: float) -> float | None:
        """Estimate a quantile of the latency, to about 12 %; None without a request."""
        total = sum(count for _, count in self.latencies)
        rank, seen = math.ceil(q * total), 0
        for bucket, count in self.latencies:
            seen += count
            if seen >= rank:
                return bucket_ms(bucket)
        return None


_COUNTS = tuple(name for name in ArmWindow.__slots__ if name != "latencies")
(REQUESTS, FAILURES, FAILED, SLOW, SLOWED, SLOWER, SLOWERED, UNSAFE, ENDANGERED) = range(9)
(CHECKED, UNSAFE_CHECKED, SCORED, SCORE_SUM) = range(9, 13)
_SIZE = len(_COUNTS)
_COUNTS_OF = attrgetter(*_COUNTS)


@dataclass(frozen=True, slots=True)
class Windows:
    """The slots of the last hour in order of time, as (slot, stable, candidate)."""

    slots: tuple[tuple[int, ArmWindow, ArmWindow], ...] = ()

    def arms(self, now_s: float, window_s: float, *, latencies: bool = False) -> tuple[ArmWindow, ArmWindow]:
        """Return (candidate, stable) over the slots that began within the last `window_s`; histograms if asked for."""
        first = (now_s - window_s) / SLOT_S
        inside = [slot for slot in self.slots if slot[0] >= first]
        return (
            _sum([slot[2] for slot in inside], latencies=latencies),
            _sum([slot[1] for slot in inside], latencies=latencies),
        )

    def stable_like_candidate(
        self, now_s: float, window_s: float, share: Callable[[ArmWindow], tuple[float, int]]
    ) -> tuple[float, int]:
        """Return stable's (sum, samples) had its samples come when the candidate's did; `share` gives an arm's own.

        While weights change an incident may be most of the candidate's time and little of stable's: each slot counts
        as much as the candidate was asked in it.
        """
        first = (now_s - window_s) / SLOT_S
        total = weights = 0.0
        samples = 0
        for slot, stable, candidate in self.slots:
            if slot >= first:
                (found, n), weight = share(stable), share(candidate)[1]
                samples += n
                if n and weight:
                    total += weight * found / n
                    weights += weight
        return (samples * total / weights if weights else 0.0), samples

    def to_list(self) -> list[Any]:
        """Return the JSON form: [slot, stable, candidate], an arm as its numbers and its histogram."""
        return [[slot, _plain(stable), _plain(candidate)] for slot, stable, candidate in self.slots]

    @classmethod
    def from_list(cls, data: Sequence[Any]) -> "Windows":
        """Return the windows of a JSON form."""
        return cls(tuple((slot, _arm(stable), _arm(candidate)) for slot, stable, candidate in data))


class WindowsFolding:
    """Windows while records are added; `result` freezes them again. Only the slots that change are copied."""

    def __init__(self, start: Windows) -> None:
        self._start = start
        self._frozen = {slot: (stable, candidate) for slot, stable, candidate in start.slots}
        self._newest = start.slots[-1][0] if start.slots else -1
        self._changed: dict[int, tuple[OpenArm, OpenArm]] = {}

    def arm(self, at_s: float, *, is_candidate: bool) -> "OpenArm | None":
        """Return the counts to add to at a time; None for what is older than the windows."""
        slot = int(at_s // SLOT_S)
        if slot <= self._newest - SLOTS:
            return None
        pair = self._changed.get(slot)
        if pair is None:
            self._newest = max(self._newest, slot)
            stable, candidate = self._frozen.get(slot, (_NOTHING, _NOTHING))
            pair = self._changed[slot] = (OpenArm(stable), OpenArm(candidate))
        return pair[is_candidate]

    def result(self) -> Windows:
        """Return the windows; slots older than the newest `SLOTS` are gone."""
        if not self._changed:
            return self._start
        changed = {slot: (stable.frozen(), candidate.frozen()) for slot, (stable, candidate) in self._changed.items()}
        merged = {**self._frozen, **changed}
        return Windows(tuple((slot, *merged[slot]) for slot in sorted(merged) if slot > self._newest - SLOTS))


class OpenArm:
    """One arm's numbers of one slot while they change."""

    __slots__ = ("counts", "latencies")

    def __init__(self, start: ArmWindow) -> None:
        self.counts: list[Any] = [getattr(start, name) for name in _COUNTS]
        self.latencies = dict(start.latencies)

    def latency(self, latency_ms: float) -> None:
        """Add one request's latency."""
        bucket = latency_bucket(latency_ms)
        self.latencies[bucket] = self.latencies.get(bucket, 0) + 1

    def frozen(self) -> ArmWindow:
        """Return the numbers as they are now."""
        return ArmWindow(*[*self.counts, tuple(sorted(self.latencies.items()))])


_NOTHING = ArmWindow()


def latency_bucket(latency_ms: float) -> int:
    """Return the histogram's bucket of a latency."""
    mantissa, exponent = math.frexp(max(1.0, latency_ms))
    return exponent * _PARTS + int((mantissa - 0.5) * 2 * _PARTS)


def bucket_ms(bucket: int) -> float:
    """Return the middle of a bucket."""
    exponent, part = divmod(bucket, _PARTS)
    return math.ldexp(0.5 + (part + 0.5) / (2 * _PARTS), exponent)


def _sum(arms: Sequence[ArmWindow], *, latencies: bool) -> ArmWindow:
    if not arms:
        return _NOTHING
    counts: list[Any] = [sum(column) for column in zip(*map(_COUNTS_OF, arms), strict=True)]
    merged: Counter[int] = Counter()
    for arm in arms if latencies else ():
        merged.update(dict(arm.latencies))
    return ArmWindow(*[*counts, tuple(sorted(merged.items()))])


def _plain(arm: ArmWindow) -> list[Any]:
    return [*(getattr(arm, name) for name in _COUNTS), [list(item) for item in arm.latencies]]


def _arm(data: Sequence[Any]) -> ArmWindow:
    return ArmWindow(*[*data[:_SIZE], tuple((bucket, count) for bucket, count in data[_SIZE])])
