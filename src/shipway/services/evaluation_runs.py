"""Asking, scoring and judging in looks: while gates are INCONCLUSIVE and repeats can decide, both releases get more.

`services.evaluations` calls this with everything opened; the answers are in a run directory when it returns or raises.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from shipway.core.errors import GateRefusedError
from shipway.core.verdicts import Verdict
from shipway.evals.budget import Meter, Spent
from shipway.evals.gate_report import GateReport
from shipway.evals.gate_spec import GateSpec
from shipway.evals.gates import GateOptions, LookPlan, evaluate_gates, locked_rows, next_look
from shipway.evals.metric_context import DocumentAccess
from shipway.evals.metrics import Metric
from shipway.evals.model import Attempt, CaseResult, RunReport
from shipway.evals.ports import Target
from shipway.evals.quarantine import Quarantine
from shipway.evals.run_directory import RunDirectory, StoredResults
from shipway.evals.runner import Around, RunOutcome, run
from shipway.evals.sample import MAX_MISSING_SHARE
from shipway.evals.scoring import score_attempt
from shipway.services.evaluation_plan import Prepared
from shipway.services.evaluation_scoring import Answers, Opinions, scored

Ask = Callable[[int, int], Awaitable[RunOutcome]]
"""Asks so many repeats from this one on."""


@dataclass(frozen=True, slots=True)
class Running:
    """An evaluation at work: what it goes by, and where its answers are. `access` is by who is asked.

    `meter` counts what answers and judgements take.
    """

    prepared: Prepared
    opinions: Opinions
    directory: RunDirectory
    meter: Meter
    access: Mapping[str, Mapping[str, DocumentAccess] | None] = field(hash=False)
    quarantine: Quarantine


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of all looks; `runs` and `results` are by who was asked."""

    report: GateReport
    runs: Mapping[str, RunReport] = field(hash=False)
    results: Mapping[str, StoredResults] = field(hash=False)
    look: int


def asking(running: Running, targets: Mapping[str, Target], around: Around) -> Ask:
    """Return what asks the targets into the run directory."""
    prepared = running.prepared

    async def ask(first: int, count: int) -> RunOutcome:
        if not prepared.cases:
            return RunOutcome(0, 0, 0)
        plan = replace(prepared.plan, repeats=count, first_repeat=first)
        return await run(targets, prepared.cases, plan, running.directory, around)

    return ask


async def look_until_decided(running: Running, ask: Ask | None) -> Looked:
    """Ask, score and judge; without `ask` the looks are those whose answers are there.

    Raises:
        GateRefusedError: with verdict ERROR, where the budget ends the first look.
    """
    prepared, directory = running.prepared, running.directory
    look, repeats, first = 1, prepared.plan.repeats, 0
    found: Looked | None = None
    options = _options(running)
    while True:
        outcome = None if ask is None else await ask(first, repeats - first)
        if outcome is not None and outcome.stopped == "budget":
            if found is None:
                raise over_budget(running)
            said = f"look {look} of {prepared.looks} was not taken: the budget is used up"
            return replace(found, report=replace(found.report, warnings=(*found.report.warnings, said)))
        judged = await _judged(running, replace(options, look=look), repeats)
        if running.opinions.is_over_budget:
            if found is None:
                raise over_budget(running)
            said = f"look {look} of {prepared.looks} was not judged: the budget is used up"
            return replace(found, report=replace(found.report, warnings=(*found.report.warnings, said)))
        found = judged
        if outcome is not None and outcome.stopped == "fail_fast":
            return replace(found, report=_cut_short(found.report, prepared.plan.fail_fast))
        options = replace(options, locked={**options.locked, **locked_rows(found.report)})
        plan = LookPlan(look, prepared.looks, prepared.extra_repeats, sampling=prepared.sampling)
        following = next_look(found.report, plan)
        if following is None or (ask is None and directory.repeats() < repeats + following.repeats):
            return found
        look, first, repeats = following.number, repeats, repeats + following.repeats


async def score_runs(running: Running, repeats: int) -> tuple[dict[str, RunReport], dict[str, StoredResults]]:
    """Score the answers of everybody who was asked."""
    prepared, opinions = running.prepared, running.opinions
    bindings = prepared.bindings(opinions)
    runs: dict[str, RunReport] = {}
    found: dict[str, StoredResults] = {}
    provenance = running.directory.plan.provenance
    for item in prepared.subjects:
        answers = Answers(running.directory, item.name, prepared.dataset, repeats)
        context = prepared.scoring.context(running.access[item.name])
        results = await scored(answers, prepared.scoring.metrics, opinions, context)
        runs[item.name] = RunReport(
            item.name, item.digest, prepared.dataset, repeats, results, bindings[item.name], provenance
        )
        found[item.name] = results
    return runs, found


def fails_case(prepared: Prepared) -> Callable[[str, Attempt], bool]:
    """Return what counts failed cases for `fail_fast`: no answer, or one that a gate's metric calls wrong."""
    scoring = prepared.scoring
    metrics = deciding_metrics(prepared.specs, scoring.metrics)
    cases = {case.id: case for case in prepared.cases}
    context = scoring.context(None)

    def failed(target: str, attempt: Attempt) -> bool:
        if target != prepared.candidate.name:
            return False
        result = score_attempt(attempt, cases[attempt.case_id], context, metrics)
        return bool(wrong_by(result, metrics))

    return failed


def deciding_metrics(specs: Collection[GateSpec], metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the metrics of gates that call a single answer right or wrong."""
    names = {spec.metric for spec in specs}
    return {
        name: metric
        for name, metric in metrics.items()
        if name in names and metric.kind == "proportion" and metric.task is None and metric.over_repeats is None
    }


def wrong_by(result: CaseResult, metrics: Mapping[str, Metric]) -> str:
    """Return why an answer counts as wrong: it is missing, or the metric that says so; empty when it is not wrong."""
    if result.output.error is not None:
        return result.output.error
    scores = ((name, result.scores.get(name)) for name in metrics)
    return next((name for name, score in scores if score == (0.0 if metrics[name].sign > 0 else 1.0)), "")


def too_many_errors(running: Running) -> str:
    """Return in words that more answers are missing than may be; "" when they are not."""
    lines = []
    for item in running.prepared.subjects:
        there, failed = running.directory.count(item.name)
        if failed > MAX_MISSING_SHARE * there:
            lines.append(f"{item.name}: {failed} of {there} calls failed")
    return "; ".join(lines)


def over_budget(running: Running) -> GateRefusedError:
    """Return the error of a run that its budget ended."""
    caps, shard = running.prepared.caps, running.prepared.shard
    cap = f"{caps.tokens:,} tokens" if caps.tokens is not None else ""
    cap += " and " if cap and caps.usd is not None else ""
    cap += f"${caps.usd:g}" if caps.usd is not None else ""
    part = "" if shard is None else f", shard {shard}'s part of the whole,"
    kept = sum(running.directory.count(item.name)[0] for item in running.prepared.subjects)
    who = "call of the judge" if running.opinions.is_over_budget else "call"
    why = f"is used up: the next {who} would exceed it"
    hint = (
        "nothing was judged. Go on with a larger one: the same command with --resume and"
        " --budget-tokens or --budget-usd; what was answered is not asked again"
    )
    if running.meter.is_blind:
        why = "cannot be held: an answer or a judgement did not tell its cost"
        hint = "let the target tell cost_usd, write its price, or cap the tokens: --budget-tokens N"
    return GateRefusedError(
        Verdict.ERROR,
        f"verdict ERROR: the budget of {cap}{part} {why}; {kept} answers are kept in {running.directory.path}",
        hint=hint,
    )


def spent_by(meter: Meter) -> dict[str, float]:
    """Return what an evaluation took, as reports show it; what nobody knows the price of is left out."""
    found = _amounts(meter.answers, "")
    return {**found, **_amounts(meter.judged, "judge_")} if meter.judged.calls else found


def _amounts(spent: Spent, prefix: str) -> dict[str, float]:
    found: dict[str, float] = {
        f"{prefix}calls": spent.calls,
        f"{prefix}tokens_in": spent.tokens_in,
        f"{prefix}tokens_out": spent.tokens_out,
    }
    return found if spent.usd is None else {**found, f"{prefix}usd": spent.usd}


async def _judged(running: Running, options: GateOptions, repeats: int) -> Looked:
    prepared = running.prepared
    runs, results = await score_runs(running, repeats)
    baseline = prepared.baseline
    before = runs[baseline.name] if baseline is not None else None
    report = evaluate_gates(prepared.specs, runs[prepared.candidate.name], before, options)
    return Looked(report, runs, results, options.look)


def _options(running: Running) -> GateOptions:
    prepared = running.prepared
    return GateOptions(
        metrics=prepared.scoring.metrics,
        first_release=prepared.baseline is None,
        expected_changes=_expected_changes(running),
        looks=prepared.looks,
        judge_drift=running.opinions.drift,
        quarantine=running.quarantine,
    )


def _expected_changes(running: Running) -> frozenset[str]:
    # A release that brings a new corpus is judged on it: that difference is what is being evaluated.
    digests = {binding.corpus for binding in running.prepared.bindings(running.opinions).values()}
    return frozenset({"corpus"}) if len(digests) > 1 else frozenset()


def _cut_short(report: GateReport, cases: int | None) -> GateReport:
    """Return the report of a run that was stopped: what was not asked proves nothing, a case that must not be does."""
    said = f"the run was stopped after {cases} failed cases (fail_fast); gates on all cases cannot pass"
    report = replace(report, warnings=(*report.warnings, said))
    if not any(row.kind == "zero_tolerance" and row.verdict is Verdict.FAIL for row in report.rows):
        return report
    rows = tuple(
        replace(row, verdict=None, message="not judged: the run was stopped") if row.verdict is Verdict.ERROR else row
        for row in report.rows
    )
    return replace(report, rows=rows)
