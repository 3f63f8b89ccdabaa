"""A load test from its first request to its verdict; `shipway load` and pipelines call this."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio

from shipway.core.clock import Clock
from shipway.core.errors import UnavailableError
from shipway.load.judging import Usage, checks, confidence_of_each, late
from shipway.load.plan import Kind, LoadPlan, Stage
from shipway.load.report import LoadReport, Part
from shipway.load.sample import Sample
from shipway.load.summary import figures
from shipway.services.load.asking import Prepared
from shipway.services.load.generator import Ask, Generated, GeneratorParts, generate
from shipway.services.load.machine import MachineWatch


@dataclass(frozen=True, slots=True)
class LoadParts:
    """What a load test needs; without a watch, `unwatched` says why nobody looks at the target's processes."""

    ask: Ask
    prepare: Callable[[random.Random], Prepared]
    clock: Clock
    watch: MachineWatch | None = None
    unwatched: str = "the target's processes are not on this machine"
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    progress: Callable[[float, float], None] = lambda _passed, _all: None
    notes: tuple[str, ...] = field(default=())


async def run_load(target: str, plan: LoadPlan, parts: LoadParts) -> LoadReport:
    """Ask once, then run the plan, and judge it.

    Raises:
        UnavailableError: the first request was not answered, so there is nothing to load.
    """
    first = await parts.ask(parts.prepare(random.Random(plan.seed)))  # noqa: S311 - which question is no secret
    if first.error:
        hint = "look at the address, the model's name and the key (--key)"
        raise UnavailableError(f"{target}: {first.error}; nothing was loaded", hint=hint)
    generator = GeneratorParts(parts.ask, parts.prepare, parts.clock, parts.sleep, parts.progress)
    async with anyio.create_task_group() as group:
        if parts.watch is not None:
            group.start_soon(parts.watch.watch)
        found = await generate(plan, generator)
        group.cancel_scope.cancel()
    usage = Usage(reason=parts.unwatched) if parts.watch is None else parts.watch.usage()
    return judged(target, plan, found, usage, parts.notes)


def judged(target: str, plan: LoadPlan, found: Generated, usage: Usage, notes: tuple[str, ...] = ()) -> LoadReport:
    """Return what a run came to; its warm-up and stages that are not measured decide nothing."""
    stages = plan.whole
    measured = [sample for sample in found.samples if stages[sample.stage].measured]
    confidence = confidence_of_each(plan.limits)
    whole = figures(measured, sum(stage.duration_s for stage in stages if stage.measured), confidence)
    late_count, problem = late(found.samples)
    problems = [problem] if problem else []
    if found.unsent:
        problems.append(
            f"{found.unsent} requests were not sent: {plan.max_in_flight} were unanswered at once, or there were"
            f" {plan.max_requests}; raise max_in_flight or max_requests, or ask less"
        )
    return LoadReport(
        target=target,
        kind=plan.kind,
        whole=whole,
        checks=checks(plan.limits, whole, usage),
        stages=_stages(plan, measured, confidence),
        templates=_templates(measured, whole.seconds, confidence),
        usage=usage,
        late=late_count,
        most_in_flight=found.most_in_flight,
        problems=tuple(problems),
        notes=notes,
        confidence=confidence,
    )


def _stages(plan: LoadPlan, samples: Sequence[Sample], confidence: float) -> tuple[Part, ...]:
    parts = []
    for index, stage in enumerate(plan.whole):
        if stage.measured:
            own = [sample for sample in samples if sample.stage == index]
            name = level(plan.kind, stage)
            parts.append(Part(name, figures(own, stage.duration_s, confidence), name))
    return tuple(parts)


def _templates(samples: Sequence[Sample], seconds: float, confidence: float) -> tuple[Part, ...]:
    names = dict.fromkeys(sample.template for sample in samples)
    return tuple(
        Part(name, figures([sample for sample in samples if sample.template == name], seconds, confidence))
        for name in names
    )


def level(kind: Kind, stage: Stage) -> str:
    """Return a stage's level as people read it."""
    unit = "/s" if kind is Kind.RATE else " users"
    height = f"{stage.start:g}" if stage.start == stage.end else f"{stage.start:g} to {stage.end:g}"
    return f"{height}{unit}, {stage.duration_s:g} s"
