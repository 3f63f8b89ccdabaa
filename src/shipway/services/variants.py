"""Asking several releases the same cases, interleaved: what matrix runs and attribution share.

A release that cannot be opened is a finding, with its reason, unless the caller cannot do without it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread

from shipway.core.errors import GateRefusedError, ShipwayError, UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.budget import Caps, Charge, Meter, estimate
from shipway.evals.metric_context import MetricContext
from shipway.evals.model import Dataset, Output, RunReport
from shipway.evals.ports import ResponseCache, Target
from shipway.evals.run_directory import RunDirectory, read_plan
from shipway.evals.runner import Progress
from shipway.registry.hybrids import contradictions
from shipway.registry.model import Release
from shipway.services.application import Application
from shipway.services.evaluation_charges import release_charge
from shipway.services.evaluation_plan import EvaluationTargets, corpus_digest
from shipway.services.evaluation_scoring import Opinions, Scoring, opened_opinions
from shipway.services.http_processes import needs_processes
from shipway.services.judges.building import JudgeParts
from shipway.services.judges.charging import Judged, judge_share
from shipway.services.run_directories import new_run_id, runs_folder
from shipway.services.runs import TargetsRequest, run_targets

AskTargets = Callable[[Application, TargetsRequest], Awaitable[Mapping[str, RunReport]]]


@dataclass(frozen=True, slots=True)
class Asking:
    """How often and how fast, what it may cost, and where the answers are kept; a run that is there is gone on with.

    `yes` begins although the estimate is over the budget.
    """

    repeats: int
    concurrency: int
    caps: Caps = field(default_factory=Caps)
    seed: int = 0
    yes: bool = False
    out: Path | None = None


@dataclass(frozen=True, slots=True)
class Variants:
    """Releases by the name that tables have for them, and what they are asked.

    Of those in `needed` one that cannot be opened ends it all. One release may stand under several names.
    """

    releases: Mapping[str, Release]
    dataset: Dataset
    scoring: Scoring
    asking: Asking
    needed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class VariantParts:
    """What answers for releases and what judges, who hears of it, and what gives answers again where that may be."""

    targets: EvaluationTargets
    judge: JudgeParts | None = None
    progress: Callable[[Progress], None] | None = None
    tell: Callable[[str], None] = lambda _line: None
    cache: ResponseCache | None = None
    ask: AskTargets = run_targets


@dataclass(frozen=True, slots=True)
class AnswerCost:
    """What an answer takes on average; None where nobody knows."""

    latency_ms: float | None
    tokens: float | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class VariantRuns:
    """The runs and what their answers take by name, why others have none, and where the answers are kept."""

    runs: Mapping[str, RunReport] = field(hash=False)
    costs: Mapping[str, AnswerCost] = field(hash=False)
    problems: Mapping[str, str] = field(hash=False)
    directory: Path


async def run_variants(app: Application, variants: Variants, parts: VariantParts) -> VariantRuns:
    """Open every release, ask all of them the same cases and score the answers; equal releases are asked once.

    Raises:
        UsageError: no case, an estimate over the budget, or a budget in dollars where a price is not known.
        GateRefusedError: with verdict ERROR, where the budget ends the run or the judge cannot be believed.
        ShipwayError: a needed release cannot be opened; the reasons of others are in `problems`.
    """
    if not variants.dataset.cases:
        raise UsageError(f"nothing to run: no cases in {variants.dataset.name!r}")
    directory = variants.asking.out or runs_folder(app) / new_run_id(app)
    async with AsyncExitStack() as stack:
        opened = await _opened(app, variants, parts, stack)
        meter = await _within(app, variants, opened, parts)
        judging = opened_opinions(app, variants.scoring, parts.judge, parts.tell, meter)
        opinions = await stack.enter_async_context(judging)
        if opinions.drift:
            raise GateRefusedError(Verdict.ERROR, f"verdict ERROR: the judge judges otherwise now: {opinions.drift}")
        request = _request(variants, opened, opinions, meter, directory, parts)
        runs = await parts.ask(app, request) if opened.targets else {}
        costs = await anyio.to_thread.run_sync(_costs, request) if opened.targets else {}
    by_name = {name: release.id for name, release in variants.releases.items()}
    return VariantRuns(
        {name: runs[found] for name, found in by_name.items() if found in runs},
        {name: costs[found] for name, found in by_name.items() if found in costs},
        {name: opened.problems[found] for name, found in by_name.items() if found in opened.problems},
        directory,
    )


@dataclass(frozen=True, slots=True)
class _Opened:
    """What was opened, by release id."""

    releases: Mapping[str, Release]
    targets: dict[str, Target] = field(default_factory=dict)
    contexts: dict[str, MetricContext] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


async def _opened(app: Application, variants: Variants, parts: VariantParts, stack: AsyncExitStack) -> _Opened:
    found = _Opened({release.id: release for release in variants.releases.values()})
    needed = {variants.releases[name].id for name in variants.needed}
    for name, release in found.releases.items():
        try:
            wrong = contradictions(release.manifest)
            if wrong:
                raise UsageError("; ".join(wrong))
            if needs_processes(release):
                # Its process is started by the release's id.
                await app.releases.add(release)
            found.contexts[name] = variants.scoring.context(await parts.targets.access(release))
            found.targets[name] = await stack.enter_async_context(parts.targets.opened(release))
        except ShipwayError as error:
            if name in needed:
                raise
            found.problems[name] = error.message
    return found


def _request(
    variants: Variants, opened: _Opened, opinions: Opinions, meter: Meter, directory: Path, parts: VariantParts
) -> TargetsRequest:
    asking = variants.asking
    return TargetsRequest(
        targets=opened.targets,
        dataset=variants.dataset,
        repeats=asking.repeats,
        concurrency=asking.concurrency,
        metrics=variants.scoring.metrics,
        context_of=opened.contexts.__getitem__,
        judge=opinions.judge,
        meter=meter,
        directory=directory,
        judge_digest=opinions.judge_digest,
        similarity=opinions.similarity,
        purse=opinions.purse,
        corpus_of=lambda name: corpus_digest(opened.releases[name]),
        cache=parts.cache,
        progress=parts.progress,
        seed=asking.seed,
    )


async def _within(app: Application, variants: Variants, opened: _Opened, parts: VariantParts) -> Meter:
    """Return the meter with the caps, after checking that they can be obeyed."""
    asking, cases = variants.asking, variants.dataset.cases
    charges = {name: _charge(app, opened.releases[name], parts.targets) for name in opened.targets}
    expected = estimate(cases, asking.repeats, charges)
    judged = Judged(str(variants.dataset.digest), cases, asking.repeats, charges, variants.scoring.tasks)
    judge = None if parts.judge is None else await judge_share(app, judged)
    capped = Meter(charges if judge is None else {**charges, judge.name: judge.charge}, asking.caps)
    capped.demand_prices()
    if judge is not None:
        expected = expected.with_judge(judge.spent, judge.basis)
    excess = asking.caps.excess(expected.spent)
    if excess and not asking.yes:
        raise UsageError(
            f"{len(charges)} releases, {len(variants.dataset.cases)} cases and {asking.repeats} repeats are"
            f" estimated at {excess}; nothing was asked (estimated by {expected.basis})",
            hint="raise the budget, compare fewer, or give --yes to begin all the same: it ends before the call that"
            " would exceed the budget, and its answers are kept",
        )
    return capped


def _costs(request: TargetsRequest) -> dict[str, AnswerCost]:
    """Read what the answers took off the disk; one out of a cache had the latency of another day."""
    directory = RunDirectory(request.directory, read_plan(request.directory), request.dataset.cases)
    try:
        return {
            name: _cost(attempt.output for attempt in directory.every_attempt(name, request.repeats))
            for name in request.targets
        }
    finally:
        directory.close()


def _cost(outputs: Iterable[Output]) -> AnswerCost:
    latencies, tokens, costs = _Mean(), _Mean(), _Mean()
    for output in outputs:
        if output.error is None:
            latencies.add(None if output.cached else output.latency_ms)
            tokens.add(output.tokens_in + output.tokens_out or None)
            costs.add(output.cost_usd)
    return AnswerCost(latencies.value, tokens.value, costs.value)


@dataclass(slots=True)
class _Mean:
    total: float = 0.0
    n: int = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total, self.n = self.total + value, self.n + 1

    @property
    def value(self) -> float | None:
        return self.total / self.n if self.n else None


def _charge(app: Application, release: Release, targets: EvaluationTargets) -> Charge:
    return release_charge(app.project, release, targets.route(release), {})
