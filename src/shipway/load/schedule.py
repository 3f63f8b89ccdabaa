"""When requests are due, decided before the first one is sent.

A schedule that waits for answers asks less while the target is slow, and so never measures what users would have met
(coordinated omission). Here each request of a rate has its due time from the beginning, and its latency counts from it.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shipway.load.plan import Arrivals, Stage

Span = tuple[float, float]
"""From and until, in seconds since the start."""


def due_times(stages: Sequence[Stage], arrivals: Arrivals, rng: random.Random, most: int) -> list[float]:
    """Return when each request is due, in seconds since the start, in order; at most `most` of them.

    Constant: one request whenever the expected number has grown by one. Poisson: by exponential steps of it.
    """
    found: list[float] = []
    began_s = done = 0.0
    wanted = _step(arrivals, rng)
    for stage in stages:
        inside = stage.duration_s * (stage.start + stage.end) / 2.0
        # What is due at the very end belongs to what follows.
        while wanted < done + inside:
            if len(found) >= most:
                return found
            found.append(began_s + _reached_s(stage, wanted - done))
            wanted += _step(arrivals, rng)
        began_s += stage.duration_s
        done += inside
    return found


def _step(arrivals: Arrivals, rng: random.Random) -> float:
    return 1.0 if arrivals is Arrivals.CONSTANT else rng.expovariate(1.0)


def _reached_s(stage: Stage, count: float) -> float:
    """Return after which time `count` requests are due in a stage."""
    slope = (stage.end - stage.start) / stage.duration_s
    # The root of slope/2 t² + start t = count in the form that loses no digits for a slope near 0.
    root = math.sqrt(max(stage.start * stage.start + 2.0 * slope * count, 0.0))
    below = stage.start + root
    return min(2.0 * count / below, stage.duration_s) if below > 0 else 0.0


@dataclass(frozen=True, slots=True)
class UserSpan:
    """A user who is there from `start_s` until `end_s`, and then finishes the last answer."""

    number: int
    start_s: float
    end_s: float


def user_spans(stages: Sequence[Stage]) -> list[UserSpan]:
    """Return when each user is there: the k-th while the level is at least k."""
    most = math.floor(max(max(stage.start, stage.end) for stage in stages))
    spans = [
        UserSpan(number, start_s, end_s) for number in range(1, most + 1) for start_s, end_s in _present(stages, number)
    ]
    return sorted(spans, key=lambda span: (span.start_s, span.number))


def _present(stages: Sequence[Stage], number: int) -> list[Span]:
    joined: list[Span] = []
    for start_s, end_s in _parts(stages, number):
        if joined and start_s <= joined[-1][1]:
            joined[-1] = (joined[-1][0], end_s)
        else:
            joined.append((start_s, end_s))
    return joined


def _parts(stages: Sequence[Stage], number: int) -> Iterator[Span]:
    began_s = 0.0
    for stage in stages:
        ended_s = began_s + stage.duration_s
        if min(stage.start, stage.end) >= number:
            yield began_s, ended_s
        elif max(stage.start, stage.end) >= number:
            crossed_s = began_s + stage.duration_s * (number - stage.start) / (stage.end - stage.start)
            span = (crossed_s, ended_s) if stage.end > stage.start else (began_s, crossed_s)
            if span[1] > span[0]:
                yield span
        began_s = ended_s


def stage_at(stages: Sequence[Stage], at_s: float) -> int:
    """Return the index of the stage in which a time lies; the last one's for what comes after."""
    ended_s = 0.0
    for index, stage in enumerate(stages):
        ended_s += stage.duration_s
        if at_s < ended_s:
            return index
    return len(stages) - 1
