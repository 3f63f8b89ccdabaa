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
from shipway.core.errors import UsageError
from shipway.evals.model import Attempt, Case, Dataset, Output
from shipway.evals.ports import Target


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How to run.

    `concurrency` counts cases in flight; the targets of one case are asked one after another. `sequential` order
    finishes one target before the next, for an engine that can hold one model only; its comparisons are open to drift.

    Raises:
        UsageError: a count below 1 or a time-out that is not positive.
    """

    repeats: int = 1
    concurrency: int = 1
    timeout_s: float = 60.0
    order: Literal["interleaved", "sequential"] = "interleaved"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a plan that would ask nothing or never give up."""
        for name in ("repeats", "concurrency"):
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
    """
    if not targets or not dataset.cases:
        raise UsageError(f"nothing to run: {len(targets)} targets, {len(dataset.cases)} cases in {dataset.name!r}")
    jobs = schedule(tuple(targets), dataset.cases, plan)
    outputs: dict[tuple[str, str, int], Output] = {}
    pending = iter(jobs)
    total = len(targets) * len(dataset.cases) * plan.repeats

    async def work(pending: Iterator[Job]) -> None:
        for case, repeat, names in pending:
            for name in names:
                output = await _ask(targets[name], case, repeat, plan.timeout_s, clock)
                outputs[name, case.id, repeat] = output
                if progress is not None:
                    progress(Progress(len(outputs), total, name, case.id, repeat, output.error))

    async with anyio.create_task_group() as group:
        for _ in range(min(plan.concurrency, len(jobs))):
            group.start_soon(work, pending)
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


async def _ask(target: Target, case: Case, repeat: int, timeout_s: float, clock: Clock) -> Output:
    started_s = clock.monotonic_s()
    output = Output(error=f"timeout: no answer within {timeout_s:g} s")
    with anyio.move_on_after(timeout_s):
        try:
            output = await target.ask(case, repeat=repeat)
        # A target is foreign code: its failure is a value of the evaluation, not the end of it.
        except Exception as error:  # noqa: BLE001
            output = Output(error=f"{type(error).__name__}: {error}")
    if output.latency_ms is not None:
        return output
    return replace(output, latency_ms=(clock.monotonic_s() - started_s) * 1000.0)
