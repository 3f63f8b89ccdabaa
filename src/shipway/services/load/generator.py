"""The generator: sends what is due when it is due, whatever became of what was sent before.

Rates are an open loop: due times are drawn before the first request. Users are a closed loop with pauses. In both the
latency counts from when a request was due, so that what the generator itself delays is never hidden.
"""

import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from shipway.core.clock import Clock
from shipway.load.plan import Kind, LoadPlan
from shipway.load.sample import Outcome, Sample
from shipway.load.schedule import UserSpan, due_times, stage_at, user_spans
from shipway.services.load.asking import Prepared

Ask = Callable[[Prepared], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class GeneratorParts:
    """What generating needs. `prepare` makes the next request; `progress` gets the seconds that passed and all."""

    ask: Ask
    prepare: Callable[[random.Random], Prepared]
    clock: Clock
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    progress: Callable[[float, float], None] = lambda _passed, _all: None


@dataclass(slots=True)
class Generated:
    """What was sent; `unsent` were due while `max_in_flight` were unanswered, or over `max_requests`."""

    samples: list[Sample] = field(default_factory=list)
    unsent: int = 0
    most_in_flight: int = 0
    ended_s: float = 0.0


async def generate(plan: LoadPlan, parts: GeneratorParts) -> Generated:
    """Run a plan to its end and wait for its last answers, each of which is bounded by its time-out."""
    run = _Run(plan, parts, random.Random(plan.seed))  # noqa: S311 - arrivals are no secret
    await (run.rates() if plan.kind is Kind.RATE else run.users())
    run.found.samples.sort(key=lambda sample: sample.due_s)
    run.found.ended_s = run.now_s()
    return run.found


class _Run:
    def __init__(self, plan: LoadPlan, parts: GeneratorParts, rng: random.Random) -> None:
        self._plan = plan
        self._parts = parts
        self._rng = rng
        self._stages = plan.whole
        self._in_flight = 0
        self._sent = 0
        self._told_s = 0
        self._began_s = 0.0
        self.found = Generated()

    def now_s(self) -> float:
        """Return the seconds since the start."""
        return self._parts.clock.monotonic_s() - self._began_s

    async def rates(self) -> None:
        """Send each request at its time."""
        due = due_times(self._stages, self._plan.arrivals, self._rng, self._plan.max_requests)
        requests = random.Random(self._plan.seed + 1)  # noqa: S311
        self._begin()
        async with anyio.create_task_group() as group:
            for due_s in due:
                # Before its time comes, so that making it costs no time then.
                request = self._parts.prepare(requests)
                await self._until(due_s)
                if self._in_flight >= self._plan.max_in_flight:
                    self.found.unsent += 1
                    continue
                self._in_flight += 1
                group.start_soon(self._one, request, due_s)
            await self._until(self._plan.duration_s)

    async def users(self) -> None:
        """Let each user come at the beginning of a span and ask, read and pause until its end."""
        self._begin()
        async with anyio.create_task_group() as group:
            for span in user_spans(self._stages):
                group.start_soon(self._user, span, random.Random(self._rng.getrandbits(64)))  # noqa: S311
            while self.now_s() < self._plan.duration_s:
                await self._until(min(math.floor(self.now_s()) + 1.0, self._plan.duration_s))

    def _begin(self) -> None:
        self._began_s = self._parts.clock.monotonic_s()

    async def _user(self, span: UserSpan, rng: random.Random) -> None:
        # Those who are there from the beginning do not all ask in the same instant.
        due_s = span.start_s + rng.uniform(0.0, self._plan.think_s[1])
        while due_s < span.end_s:
            request = self._parts.prepare(rng)
            await self._until(due_s)
            if self._sent >= self._plan.max_requests or self._in_flight >= self._plan.max_in_flight:
                self.found.unsent += 1
                if self._sent >= self._plan.max_requests:
                    return
            else:
                self._in_flight += 1
                await self._one(request, due_s)
            due_s = self.now_s() + rng.uniform(*self._plan.think_s)
            # A pause of nothing must still let others run.
            await self._parts.sleep(0)

    async def _until(self, at_s: float) -> None:
        await self._parts.sleep(max(at_s - self.now_s(), 0.0))
        whole = math.floor(self.now_s())
        if whole > self._told_s:
            self._told_s = whole
            self._parts.progress(min(self.now_s(), self._plan.duration_s), self._plan.duration_s)

    async def _one(self, request: Prepared, due_s: float) -> None:
        self._sent += 1
        self.found.most_in_flight = max(self.found.most_in_flight, self._in_flight)
        sent_s = self.now_s()
        try:
            outcome = await self._parts.ask(request)
        finally:
            self._in_flight -= 1
        stage = stage_at(self._stages, due_s)
        relative = _since(outcome, self._began_s)
        self.found.samples.append(Sample(request.template, stage, due_s, sent_s, relative, request.is_stream))


def _since(outcome: Outcome, began_s: float) -> Outcome:
    first_s = None if outcome.first_s is None else outcome.first_s - began_s
    return Outcome(
        outcome.ended_s - began_s,
        first_s,
        outcome.error,
        outcome.is_timeout,
        outcome.is_broken_stream,
        outcome.mean_gap_s,
        outcome.longest_gap_s,
        outcome.tokens,
    )
