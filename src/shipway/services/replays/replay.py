"""Replaying: the candidate and what is stable answer the same recorded questions, interleaved; paired gates judge.

Nobody knows the right answers to what users asked. So the candidate is held to what is stable: it must not leave
unanswered what stable answers, and by the project's own judge, where there is one, not answer worse. `shipway replay`
calls this; the answers are kept in a run folder like those of an evaluation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from shipway.core.errors import UsageError
from shipway.core.ids import ulid
from shipway.core.verdicts import Verdict
from shipway.evals.assertions import is_refusal
from shipway.evals.gate_report import GateReport
from shipway.evals.gate_spec import GateSpec, NonRegressionGate, ZeroToleranceGate
from shipway.evals.gates import GateOptions, check_gates, evaluate_gates
from shipway.evals.metric_context import MetricContext
from shipway.evals.metric_names import resolve_metrics
from shipway.evals.metrics import METRICS, Metric
from shipway.evals.model import Case, Output, RunReport
from shipway.registry.model import Release
from shipway.services.application import Application
from shipway.services.evaluation_plan import corpus_digest
from shipway.services.evaluation_scoring import load_scoring
from shipway.services.replays.conversations import TargetsInOrder
from shipway.services.replays.traffic import Recorded
from shipway.services.variants import AnswerCost, Asking, VariantParts, Variants, run_variants

KIND = "replay"
ANSWERED = "answered"
_JUDGED = "answer_relevance"
_SHOWN_WORSE = 20


def answered(_case: Case, output: Output, _context: MetricContext) -> float | None:
    """Score 1 when there is an answer and it is no refusal, else 0."""
    return float(bool(output.answer.strip()) and not is_refusal(output))


_ANSWERED = Metric(
    ANSWERED, answered, applies=lambda _case: True, direction="higher", kind="proportion", source="answer"
)


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """Which release answers, against which one (empty: what is stable now), and how it is asked."""

    release: str
    asking: Asking
    against: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """A finished replay; without a run nothing was asked, and `problem` says why.

    `worse` are cases that stable answered and the candidate did not. `costs` are by release.
    """

    id: str
    release: str
    against: str
    recorded: Recorded
    report: GateReport
    directory: Path | None = None
    costs: Mapping[str, AnswerCost] = field(default_factory=dict, hash=False)
    worse: tuple[str, ...] = ()
    problem: str = ""

    @property
    def verdict(self) -> Verdict:
        """Return what the gates say; NO_DATA when too few questions were kept to say anything."""
        return Verdict.NO_DATA if self.problem else self.report.verdict


def routed(app: Application, route: str) -> Application:
    """Return the application that evaluates a route, whatever `evals.route` says."""
    project = app.project
    evals = project.evals.model_copy(update={"route": route})
    return replace(app, loaded=replace(app.loaded, project=project.model_copy(update={"evals": evals})))


async def replay(app: Application, request: ReplayRequest, recorded: Recorded, parts: VariantParts) -> Replay:
    """Ask both releases, judge, and keep what came of it; `app` is `routed`.

    Raises:
        NotFoundError: no such release.
        UsageError: there is nothing to compare with, a release without the route, or an estimate over the budget.
        GateRefusedError: with verdict ERROR, where the budget ends it.
    """
    release = await app.releases.get(request.release)
    before = await _against(app, release, request.against)
    for one in (release, before):
        if recorded.route not in one.manifest["policy"]["routes"]:
            raise UsageError(f"release {one.id} has no route {recorded.route!r}, whose traffic was recorded")
    metrics = _metrics(app, release, recorded.route)
    specs = _specs(metrics)
    found = Replay(f"replay_{ulid(app.clock.now_s()).lower()}", release.id, before.id, recorded, GateReport(()))
    try:
        check_gates(specs, recorded.dataset, metrics)
    except UsageError as error:
        return await _kept(app, replace(found, problem=f"{error.message}; nothing was asked"))
    asked = Variants(
        {release.id: release, before.id: before},
        recorded.dataset,
        await load_scoring(app, recorded.dataset, metrics),
        request.asking,
        needed=frozenset({release.id, before.id}),
    )
    in_order = replace(parts, targets=TargetsInOrder(parts.targets, recorded.turns)) if recorded.turns.before else parts
    ran = await run_variants(app, asked, in_order)
    run, stable = ran.runs[release.id], ran.runs[before.id]
    expected = frozenset({"corpus"}) if corpus_digest(release) != corpus_digest(before) else frozenset()
    report = evaluate_gates(specs, run, stable, GateOptions(metrics=metrics, expected_changes=expected))
    return await _kept(
        app,
        replace(found, report=report, directory=ran.directory, costs=ran.costs, worse=_worse(run, stable)),
    )


async def _against(app: Application, release: Release, named: str) -> Release:
    if named:
        found = await app.releases.get(named)
    else:
        stable = await app.releases.label(app.environment)
        if stable is None:
            raise UsageError(
                f"nothing is stable in {app.environment!r} to compare {release.id} with", hint="name one: --against REL"
            )
        found = await app.releases.get(stable)
    if found.id == release.id:
        raise UsageError(f"{release.id} would be compared with itself", hint="name another release: --against REL")
    return found


def _metrics(app: Application, release: Release, route: str) -> dict[str, Metric]:
    """Return what is looked at: the names of the gates first, then what is shown beside them."""
    kind = release.manifest["policy"]["routes"][route]["kind"]
    found: dict[str, Metric] = {ANSWERED: _ANSWERED}
    if kind == "rag":
        found |= {name: METRICS[name] for name in ("supported", "tenant_leak")}
    judge = app.project.evals.judge or ""
    if judge:
        found |= resolve_metrics([_JUDGED], has_judge=True, judge=judge)
    return found


def _specs(metrics: Mapping[str, Metric]) -> list[GateSpec]:
    specs: list[GateSpec] = [NonRegressionGate(name) for name in (ANSWERED, "supported", _JUDGED) if name in metrics]
    return [*specs, *([ZeroToleranceGate("tenant_leak")] if "tenant_leak" in metrics else [])]


def _worse(run: RunReport, before: RunReport) -> tuple[str, ...]:
    """Return the cases that were answered before and are not now."""
    had = {result.case_id for result in before.results if result.scores.get(ANSWERED)}
    has = {result.case_id for result in run.results if result.scores.get(ANSWERED)}
    return tuple(sorted(had - has))


async def _kept(app: Application, found: Replay) -> Replay:
    body = {
        "id": found.id,
        "release": found.release,
        "against": found.against,
        "route": found.recorded.route,
        "environment": app.environment,
        "cases": len(found.recorded.dataset.cases),
        "verdict": found.verdict.value,
        "problem": found.problem,
        "gates": [{"gate": row.gate, "verdict": row.verdict, "message": row.message} for row in found.report.rows],
        "worse": list(found.worse[:_SHOWN_WORSE]),
        "directory": str(found.directory or ""),
        "at_s": app.clock.now_s(),
        "actor": app.actor,
    }
    await app.state.documents.put(KIND, f"{found.release}/{found.id}", body)
    await app.audit(
        "replay.judged", found.release, against=found.against, replay=found.id, verdict=found.verdict.value,
        cases=len(found.recorded.dataset.cases),
    )  # fmt: skip
    return found
