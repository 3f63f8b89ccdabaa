"""Asking targets the cases of a dataset; `services.evaluation_runs` calls `run` and scores what the sink has kept.

Candidate and baseline answer the same case right after one another, the first of them alternating, so that a slow
minute or a drifting engine touches both alike.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from shipway.config.credentials import repeatable
from shipway.core.clock import Clock
from shipway.core.errors import (
    DeadlineError,
    RateLimitedError,
    ShipwayError,
    UnavailableError,
    UpstreamError,
    UsageError,
)
from shipway.core.record import ABSTAINED
from shipway.evals.budget import Meter, Reserved
from shipway.evals.model import Attempt, Case, Output
from shipway.evals.ports import RunSink, Target
from shipway.evals.throttle import AdaptiveLimit, retry_after

_BUSY = frozenset({429, 503})
_WORTH_ASKING_AGAIN = frozenset({429, 502, 503, 504})
_FIRST_BACKOFF_S = 0.5
_OWN_AWAY = (
    "nothing was judged. Start what answers with `shipway up`; if it is up, `shipway status` names what is not well and"
    " `shipway logs engine-ALIAS` says why"
)
_FOREIGN_AWAY = "nothing was judged. Is it running, and is the address right?"

Stopped = Literal["", "fail_fast", "budget"]


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How to run.

    `concurrency` counts cases in flight; the targets of one case are asked one after another. `max_concurrency` is how
    far an endpoint that never says "too many" may be taken, None means no further than `concurrency`. `sequential`
    order finishes one target before the next, for an engine that can hold one model only; its comparisons are open to
    drift. A target whose first `give_up_after` calls all find nobody there ends the run: the rest would say the same.
    `fail_fast` ends it after so many failed cases. `first_repeat` is the number of the first repeat.

    Raises:
        UsageError: a count below 1 or a time-out that is not positive.
    """

    repeats: int = 1
    concurrency: int = 1
    timeout_s: float = 60.0
    order: Literal["interleaved", "sequential"] = "interleaved"
    seed: int = 0
    give_up_after: int = 5
    retries: int = 2
    max_concurrency: int | None = None
    fail_fast: int | None = None
    first_repeat: int = 0

    def __post_init__(self) -> None:
        """Refuse a plan that would ask nothing or never give up."""
        for name in ("repeats", "concurrency", "give_up_after", "max_concurrency", "fail_fast"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"run plan: {name} must be at least 1, got {value}")
        for name in ("retries", "first_repeat"):
            if getattr(self, name) < 0:
                raise UsageError(f"run plan: {name} must not be negative, got {getattr(self, name)}")
        if not self.timeout_s > 0:
            raise UsageError(f"run plan: timeout_s must be above 0, got {self.timeout_s}")


@dataclass(frozen=True, slots=True)
class Progress:
    """One finished call: how many of all are done, and what it was.

    `cost_usd` is what all calls together took, None when nobody knows; `eta_s` is None before anything can be told.
    """

    done: int
    total: int
    target: str
    case_id: str
    repeat: int
    error: str | None
    errors: int = 0
    cost_usd: float | None = None
    eta_s: float | None = None
    concurrency: int = 1


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What came of a run: answers asked for now and answers that were there, errors among the first."""

    asked: int
    errors: int
    reused: int
    stopped: Stopped = ""


@dataclass(frozen=True, slots=True)
class Around:
    """What a run needs of the world; `failed` decides which answers `fail_fast` counts, errors alone by default."""

    clock: Clock
    meter: Meter | None = None
    progress: Callable[[Progress], None] | None = None
    failed: Callable[[str, Attempt], bool] = lambda _target, attempt: attempt.output.error is not None
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep


Job = tuple[Case, int, tuple[str, ...]]
"""A case, a repeat and the names of the targets to ask, in order."""


async def run(
    targets: Mapping[str, Target], cases: Sequence[Case], plan: RunPlan, sink: RunSink, around: Around
) -> RunOutcome:
    """Ask every target every case `plan.repeats` times; what the sink has already is not asked again.

    A call that raises or takes too long is an error on its output. A target that blocks the event loop cannot be timed
    out: run CPU work in a thread. Cancelling the run cancels the calls in flight; what had ended is in the sink.

    Raises:
        UsageError: no target or no case.
        UnavailableError: the first calls of a target all found nobody there.
        StoreError: the sink does not take an answer.
    """
    if not targets or not cases:
        raise UsageError(f"nothing to run: {len(targets)} targets, {len(cases)} cases")
    running = _Run(targets, plan, sink, around, schedule(tuple(targets), cases, plan))
    async with anyio.create_task_group() as group:
        running.begin(group)
    return running.ended()


def schedule(names: Sequence[str], cases: Sequence[Case], plan: RunPlan) -> list[Job]:
    """Return what is asked when; the same seed gives the same order.

    Interleaved, each target goes first equally often (but for a remainder), within each repeat.
    """
    rng = random.Random(plan.seed + plan.first_repeat)  # noqa: S311 - an order that can be repeated, not a secret
    repeats = range(plan.first_repeat, plan.first_repeat + plan.repeats)
    if plan.order == "sequential":
        return [(case, repeat, (name,)) for name in names for repeat in repeats for case in cases]
    orders = [(*names[first:], *names[:first]) for first in range(len(names))]
    jobs: list[Job] = []
    for repeat in repeats:
        start = rng.randrange(len(names))
        jobs += [(case, repeat, orders[(start + index) % len(names)]) for index, case in enumerate(cases)]
    return jobs


@dataclass(slots=True)
class _Silence:
    """The calls of a target before anything answered; from then on nothing is counted."""

    name: str
    limit: int
    unreachable: int = 0
    answered: bool = False
    said: str = ""

    @property
    def is_certain(self) -> bool:
        return not self.answered and self.unreachable >= self.limit

    def note(self, output: Output, error: Exception | None) -> None:
        """Count a call; an error that was answered and a late answer show that somebody is there."""
        if isinstance(error, UnavailableError) and not isinstance(error, DeadlineError | UpstreamError):
            self.unreachable += 1
            self.said = self.said or error.message
        elif ABSTAINED not in output.events:
            # Who abstains may not have asked the engine at all.
            self.answered = True

    def demand_voice(self) -> None:
        if self.is_certain:
            raise UnavailableError(
                f"verdict ERROR: the first {self.unreachable} calls of {self.name} all failed: {self.said}",
                hint=_FOREIGN_AWAY if "://" in self.name else _OWN_AWAY,
            )


class _Run:
    """The state of one run; its workers take jobs from one iterator, as many at a time as the limit says."""

    def __init__(
        self, targets: Mapping[str, Target], plan: RunPlan, sink: RunSink, around: Around, jobs: Sequence[Job]
    ) -> None:
        self._targets, self._plan, self._sink, self._around = targets, plan, sink, around
        self._there = {name: sink.finished(name) for name in targets}
        self._reused = sum(
            (case.id, repeat) in self._there[name]
            for case, repeat, names in jobs
            for name in names
            if self._there[name]
        )
        self._total = sum(len(names) for _, _, names in jobs)
        self._pending = iter(jobs)
        self._left = len(jobs)
        self._limit = AdaptiveLimit(plan.concurrency, plan.max_concurrency or plan.concurrency)
        limit = min(plan.give_up_after, len(jobs))
        self._silence = {name: _Silence(name, limit) for name in targets}
        self._random = random.Random(plan.seed)  # noqa: S311 - spreads retries
        self._workers = self._asked = self._errors = self._in_flight = 0
        self._settled = anyio.Event()
        self._failed: set[str] = set()
        self._stopped: Stopped = ""
        self._broken: ShipwayError | None = None
        self._begun_s = around.clock.monotonic_s()
        self._group: TaskGroup

    def begin(self, group: TaskGroup) -> None:
        self._group = group
        self._more_workers()

    def ended(self) -> RunOutcome:
        # Raised out here, because a task group would wrap it.
        if self._broken is not None:
            raise self._broken
        for found in self._silence.values():
            found.demand_voice()
        return RunOutcome(self._asked, self._errors, self._reused, self._stopped)

    def _more_workers(self) -> None:
        for _ in range(self._workers, min(self._limit.limit, self._workers + self._left)):
            self._workers += 1
            self._group.start_soon(self._work)

    async def _work(self) -> None:
        try:
            for case, repeat, names in self._pending:
                self._left -= 1
                for name in names:
                    if (case.id, repeat) in self._there[name]:
                        continue
                    if self._stopped or not await self._case(name, case, repeat):
                        return
                if self._workers > self._limit.limit:
                    return
                self._more_workers()
        except ShipwayError as error:
            # The sink's: what cannot be kept need not be asked for.
            self._broken = error
            self._group.cancel_scope.cancel()
        finally:
            self._workers -= 1

    async def _case(self, name: str, case: Case, repeat: int) -> bool:
        """Ask one target one case; False when the run is to end."""
        meter = self._around.meter
        ticket = None if meter is None else await self._reserved(meter, name, case)
        if self._stopped:
            return False
        output, retries = await self._answer(name, case, repeat)
        if meter is not None and ticket is not None:
            output = self._settle(meter, name, ticket, output)
        attempt = Attempt(case.id, repeat, output, retries)
        self._sink.write(name, attempt)
        self._asked += 1
        self._errors += output.error is not None
        if self._around.progress is not None:
            self._around.progress(self._progress(name, attempt))
        return self._goes_on(name, attempt)

    async def _reserved(self, meter: Meter, name: str, case: Case) -> Reserved | None:
        """Return the ticket of a call; None ends the run: nothing is in flight and the call does not fit."""
        while not self._stopped:
            ticket = meter.reserve(name, case)
            if ticket is not None:
                self._in_flight += 1
                return ticket
            if not self._in_flight:
                self._stopped = "budget"
                break
            # Calls in flight count as the most that they may take; what they took may leave room.
            await self._settled.wait()
        return None

    def _settle(self, meter: Meter, name: str, ticket: Reserved, output: Output) -> Output:
        output = meter.settle(name, ticket, output)
        self._in_flight -= 1
        self._settled.set()
        self._settled = anyio.Event()
        return output

    def _goes_on(self, name: str, attempt: Attempt) -> bool:
        if any(found.is_certain for found in self._silence.values()):
            self._group.cancel_scope.cancel()
            return False
        if self._plan.fail_fast is not None and self._around.failed(name, attempt):
            self._failed.add(attempt.case_id)
            if len(self._failed) >= self._plan.fail_fast:
                self._stopped = "fail_fast"
                return False
        return True

    async def _answer(self, name: str, case: Case, repeat: int) -> tuple[Output, int]:
        """Return the last answer, and how often it was asked for again."""
        silence, clock = self._silence[name], self._around.clock
        retries = 0
        while True:
            while (pause_s := self._limit.paused_until_s - clock.monotonic_s()) > 0:
                await self._around.sleep(pause_s)
            started_s = clock.monotonic_s()
            output, error = await self._once(name, case, repeat, started_s)
            self._adapt(error, started_s)
            # While nobody has answered at all, asking again only takes time.
            again = _may_help(error, answered=silence.answered)
            if retries >= self._plan.retries or not again:
                silence.note(output, error)
                return output, retries
            if isinstance(error, UpstreamError):
                silence.note(output, error)
            backoff_s = _FIRST_BACKOFF_S * 2**retries * (0.5 + self._random.random() / 2)
            retries += 1
            await self._around.sleep(backoff_s)

    def _adapt(self, error: Exception | None, started_s: float) -> None:
        """Tell the limit how a call ended; a pause that the endpoint asks for is everybody's."""
        clock = self._around.clock
        if isinstance(error, UpstreamError) and error.status in _BUSY:
            asked_for_s = retry_after(error.retry_after, clock.now_s())
            self._limit.pushed_back(started_s, clock.monotonic_s(), asked_for_s)
        elif isinstance(error, RateLimitedError):
            self._limit.pushed_back(started_s, clock.monotonic_s(), error.retry_after_s)
        elif error is None:
            self._limit.succeeded()

    async def _once(self, name: str, case: Case, repeat: int, started_s: float) -> tuple[Output, Exception | None]:
        timeout_s = self._plan.timeout_s
        output = Output(error=f"timeout: no answer within {timeout_s:g} s")
        failure: Exception | None = None
        with anyio.move_on_after(timeout_s):
            try:
                output = await self._targets[name].ask(case, repeat=repeat)
            # A target is foreign code: its failure is a value of the evaluation, not the end of it.
            except Exception as error:  # noqa: BLE001
                failure, output = error, Output(error=f"{type(error).__name__}: {repeatable(str(error))}")
        if output.latency_ms is None and not output.cached:
            output = replace(output, latency_ms=(self._around.clock.monotonic_s() - started_s) * 1000.0)
        return output, failure

    def _progress(self, name: str, attempt: Attempt) -> Progress:
        done, meter = self._asked + self._reused, self._around.meter
        elapsed_s = self._around.clock.monotonic_s() - self._begun_s
        return Progress(
            done,
            self._total,
            name,
            attempt.case_id,
            attempt.repeat,
            attempt.output.error,
            errors=self._errors,
            cost_usd=meter.spent.usd if meter is not None else None,
            eta_s=elapsed_s / self._asked * (self._total - done),
            concurrency=self._workers,
        )


def _may_help(error: Exception | None, *, answered: bool) -> bool:
    """Tell whether asking again may help: somebody is busy or was away for a moment."""
    match error:
        case UpstreamError():
            return error.status in _WORTH_ASKING_AGAIN
        case RateLimitedError():
            return True
        case DeadlineError():
            return False
        case UnavailableError():
            return answered
        case _:
            return False
