"""Asking targets the cases of a dataset; the evaluation service calls `run`, then `scoring`.

Candidate and baseline answer the same case right after one another, the first of them alternating, so that a slow
minute or a drifting engine touches both alike.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import anyio

from shipway.core.clock import Clock
from shipway.core.errors import DeadlineError, UnavailableError, UpstreamError, UsageError
from shipway.core.record import ABSTAINED
from shipway.evals.model import Attempt, Case, Dataset, Output
from shipway.evals.ports import Target


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How to run.

    `concurrency` counts cases in flight; the targets of one case are asked one after another. `sequential` order
    finishes one target before the next, for an engine that can hold one model only; its comparisons are open to drift.
    A target whose first `give_up_after` calls all find nobody there ends the run: the rest would say the same.

    Raises:
        UsageError: a count below 1 or a time-out that is not positive.
    """

    repeats: int = 1
    concurrency: int = 1
    timeout_s: float = 60.0
    order: Literal["interleaved", "sequential"] = "interleaved"
    seed: int = 0
    give_up_after: int = 5

    def __post_init__(self) -> None:
        """Refuse a plan that would ask nothing or never give up."""
        for name in ("repeats", "concurrency", "give_up_after"):
            if getattr(self, name) < 1:
                raise UsageError(f"run plan: {name} must be at least 1, got {getattr(self, name)}")
        if not self.timeout_s > 0:
            raise UsageError(f"run plan: timeout_s must be above 0, got {self.timeout_s}")


@dataclass(frozen=True, slots=True)
class Progress:
    """One finished call: how many of all are done, and what it was."""

    done: int
    total: int
    target: str
    case_id: str
    repeat: int
    error: str | None


Job = tuple[Case, int, tuple[str, ...]]
"""A case, a repeat and the names of the targets to ask, in order."""


async def run(
    targets: Mapping[str, Target],
    dataset: Dataset,
    plan: RunPlan,
    *,
    clock: Clock,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, tuple[Attempt, ...]]:
    """Ask every target every case `plan.repeats` times; the attempts are in order of repeat and case.

    A call that raises or takes too long is an error on its output. A target that blocks the event loop cannot be timed
    out: run CPU work in a thread. Cancelling the run cancels the calls in flight.

    Raises:
        UsageError: no target or no case.
        UnavailableError: the first calls of a target all found nobody there.
    """
    if not targets or not dataset.cases:
        raise UsageError(f"nothing to run: {len(targets)} targets, {len(dataset.cases)} cases in {dataset.name!r}")
    jobs = schedule(tuple(targets), dataset.cases, plan)
    outputs: dict[tuple[str, str, int], Output] = {}
    pending = iter(jobs)
    total = len(targets) * len(dataset.cases) * plan.repeats

    silence = {
        name: _Silence(name, limit=min(plan.give_up_after, len(dataset.cases) * plan.repeats)) for name in targets
    }

    async def work(pending: Iterator[Job]) -> None:
        for case, repeat, names in pending:
            for name in names:
                output = await _ask(targets[name], case, repeat, plan.timeout_s, clock, silence[name])
                outputs[name, case.id, repeat] = output
                if progress is not None:
                    progress(Progress(len(outputs), total, name, case.id, repeat, output.error))
                if any(found.is_certain for found in silence.values()):
                    group.cancel_scope.cancel()
                    return

    async with anyio.create_task_group() as group:
        for _ in range(min(plan.concurrency, len(jobs))):
            group.start_soon(work, pending)
    # Raised out here, because a task group would wrap it.
    for found in silence.values():
        found.demand_voice()
    return {
        name: tuple(
            Attempt(case.id, repeat, outputs[name, case.id, repeat])
            for repeat in range(plan.repeats)
            for case in dataset.cases
        )
        for name in targets
    }


def schedule(names: Sequence[str], cases: Sequence[Case], plan: RunPlan) -> list[Job]:
    """Return what is asked when; the same seed gives the same order.

    Interleaved, each target goes first equally often (but for a remainder), within each repeat.
    """
    rng = random.Random(plan.seed)  # noqa: S311 - an order that can be repeated, not a secret
    rounds = [(case, repeat) for repeat in range(plan.repeats) for case in cases]
    if plan.order == "sequential":
        return [(case, repeat, (name,)) for name in names for case, repeat in rounds]
    jobs: list[Job] = []
    for repeat in range(plan.repeats):
        start = rng.randrange(len(names))
        for index, case in enumerate(cases):
            first = (start + index) % len(names)
            jobs.append((case, repeat, (*names[first:], *names[:first])))
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
                hint="nothing was judged. Start what answers with `shipway up`; if it is up, `shipway status` names"
                " what is not well and `shipway logs engine-ALIAS` says why",
            )


async def _ask(target: Target, case: Case, repeat: int, timeout_s: float, clock: Clock, silence: _Silence) -> Output:
    started_s = clock.monotonic_s()
    output = Output(error=f"timeout: no answer within {timeout_s:g} s")
    failure: Exception | None = None
    with anyio.move_on_after(timeout_s):
        try:
            output = await target.ask(case, repeat=repeat)
        # A target is foreign code: its failure is a value of the evaluation, not the end of it.
        except Exception as error:  # noqa: BLE001
            failure, output = error, Output(error=f"{type(error).__name__}: {error}")
    silence.note(output, failure)
    if output.latency_ms is not None:
        return output
    return replace(output, latency_ms=(clock.monotonic_s() - started_s) * 1000.0)
