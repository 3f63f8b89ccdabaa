"""The stages that judge; they call what `gate run`, `eval run`, `dataset check` and `eval run --estimate` call."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.entrypoints.corpus_parts import corpora
from shipway.entrypoints.dataset_parts import dataset_tools
from shipway.entrypoints.evaluation_parts import evaluation_targets
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.rag_parts import build_parts
from shipway.entrypoints.stages import evaluation as options
from shipway.entrypoints.stages.work.checking import finished
from shipway.entrypoints.stages.work.handing_on import handed_evaluation
from shipway.entrypoints.stages.work.releases import release_of, released
from shipway.entrypoints.stages.work.serving import served
from shipway.entrypoints.wiring import opened
from shipway.evals.gate_report import GateReport, GateRow
from shipway.evals.metrics import Metric
from shipway.evals.model import Case, CaseResult, RunReport
from shipway.evals.report import gate_figures
from shipway.evals.text import contains
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.ports import BuiltinStage, StageContext
from shipway.pipeline.spec import StageSpec
from shipway.services.application import Application
from shipway.services.datasets import check, read_named
from shipway.services.evaluation_runs import deciding_metrics, wrong_by
from shipway.services.evaluations import EvaluationParts, EvaluationRequest, estimated, evaluate
from shipway.services.gates import gate_specs, judged_again, judged_handed


def gate(project: Path | None) -> BuiltinStage:
    """Return the stage that judges by the gates of chosen kinds."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Gate.model_validate(dict(stage.with_))
        return await _judged(root, stage, context, wanted, wanted.kinds)

    return run


def regression(project: Path | None) -> BuiltinStage:
    """Return the stage that compares with what is stable."""
    return _of_kind(project, "non_regression")


def safety(project: Path | None) -> BuiltinStage:
    """Return the stage that tolerates nothing."""
    return _of_kind(project, "zero_tolerance")


def rag_integration(project: Path | None) -> BuiltinStage:
    """Return the stage that looks whether documents are found."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Retrieval.model_validate(dict(stage.with_))
        async with opened(root) as app:
            name = await released(app, stage, context)
            found = await read_named(app.loaded, wanted.dataset)
            built = await corpora().build(app, build_parts(app), lambda _done, _total: None)
            request = EvaluationRequest(name, dataset=wanted.dataset, repeats=1, gates=False, alone=True)
            async with served(app, context), evaluation_targets(app) as targets:
                done = await evaluate(app, request, targets, parts=EvaluationParts(judge=LocalJudgeParts(app)))
        there = {item.path for item in built.manifest.documents}
        findings = [*_visible(found.file.dataset.cases, there), *_scored(done.run, wanted)]
        numbers = {item.metric: item.score for item in findings if item.metric and item.score is not None}
        report = FindingReport(stage.name, "", tuple(findings))
        return await finished(root, stage, context, report, {"documents": len(there), **numbers})

    return run


def spot_check(project: Path | None) -> BuiltinStage:
    """Return the stage that asks a part of the cases."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.SpotCheck.model_validate(dict(stage.with_))
        async with opened(root) as app:
            name = await released(app, stage, context)
            request = EvaluationRequest(name, dataset=wanted.dataset, repeats=1, gates=False, alone=True)
            request = replace(request, tags=tuple(wanted.tags), share=wanted.share)
            async with served(app, context), evaluation_targets(app) as targets:
                done = await evaluate(app, request, targets, parts=EvaluationParts(judge=LocalJudgeParts(app)))
            metrics = deciding_metrics(gate_specs(app.project), done.metrics)
        findings = list(_spotted(done.run, metrics, wanted.most_wrong))
        numbers = {"cases": len(done.run.results), "wrong": len(findings) - 1}
        return await finished(root, stage, context, FindingReport(stage.name, "", tuple(findings)), numbers)

    return run


def data(project: Path | None) -> BuiltinStage:
    """Return the stage that checks datasets."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Data.model_validate(dict(stage.with_))
        findings: list[Finding] = []
        problems: list[str] = []
        cases = 0
        async with opened(root) as app:
            tools = dataset_tools(app)
            for name in wanted.datasets or ("",):
                found = await read_named(app.loaded, name)
                report = await check(app, found, tools, wanted.against)
                cases += len(found.file.dataset.cases)
                # A rule that had nothing to look at blocks nothing.
                findings += [item for item in report.findings if item.verdict is not Verdict.NO_DATA]
                problems += report.problems
        whole = FindingReport(stage.name, "", tuple(findings), tuple(problems))
        return await finished(root, stage, context, whole, {"cases": cases})

    return run


def cost(project: Path | None) -> BuiltinStage:
    """Return the stage that compares the estimate with the budget."""
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Cost.model_validate(dict(stage.with_))
        async with opened(root) as app, evaluation_targets(app) as targets:
            request = EvaluationRequest(
                wanted.release or await released(app, stage, context),
                dataset=wanted.dataset,
                repeats=wanted.repeats,
                budget_usd=wanted.budget_usd,
                budget_tokens=wanted.budget_tokens,
            )
            found = await estimated(app, request, targets)
            usd = _first(wanted.budget_usd, app.project.evals.budget.max_cost_usd)
            tokens = _first(wanted.budget_tokens, app.project.evals.budget.max_tokens)
        findings = [
            _within("cost_usd", found.spent.usd, usd, found.unknown or found.basis),
            _within("tokens", found.spent.tokens, tokens, found.basis),
        ]
        numbers: dict[str, float] = {"calls": found.spent.calls, "tokens": round(found.spent.tokens)}
        numbers |= {"cost_usd": round(found.spent.usd, 6)} if found.spent.usd is not None else {}
        return await finished(root, stage, context, FindingReport(stage.name, "", tuple(findings)), numbers)

    return run


def _of_kind(project: Path | None, kind: str) -> BuiltinStage:
    root = project or Path.cwd()

    async def run(stage: StageSpec, context: StageContext) -> StageOutcome:
        wanted = options.Judging.model_validate(dict(stage.with_))
        return await _judged(root, stage, context, wanted, (kind,))

    return run


async def _judged(
    root: Path, stage: StageSpec, context: StageContext, wanted: options.Judging, kinds: Collection[str]
) -> StageOutcome:
    async with opened(root) as app:
        name, report = await _report(app, stage, context, wanted)
    rows = [row for row in report.rows if row.kind != "cost" and (not kinds or row.kind in kinds)]
    if wanted.metrics:
        rows = [row for row in rows if any(fnmatchcase(row.metric, pattern) for pattern in wanted.metrics)]
    findings = tuple(_of_row(row) for row in rows)
    if not findings:
        what = f"of kind {' or '.join(kinds)}" if kinds else "at all"
        findings = (Finding("gate", "gates", Verdict.NO_DATA, message=f"there is no gate {what}", rule="gate/none"),)
    numbers = {row.metric: row.value for row in rows if row.value is not None}
    whole = FindingReport(stage.name, "", findings)
    return await finished(root, stage, context, whole, {"release": name, "gates": len(rows), **numbers})


async def _report(
    app: Application, stage: StageSpec, context: StageContext, wanted: options.Judging
) -> tuple[str, GateReport]:
    judge = LocalJudgeParts(app)
    if wanted.dataset:
        name = wanted.release or await released(app, stage, context)
        request = EvaluationRequest(name, dataset=wanted.dataset)
        async with served(app, context), evaluation_targets(app) as targets:
            return name, (await evaluate(app, request, targets, parts=EvaluationParts(judge=judge))).report
    if wanted.release:
        return wanted.release, (await judged_again(app, wanted.release, judge)).report
    name = release_of(stage, context)
    handed = await handed_evaluation(app, stage, context, name)
    if handed is not None:
        return name, (await judged_handed(app, handed, judge)).report
    return name, (await judged_again(app, name, judge)).report


def _of_row(row: GateRow) -> Finding:
    rule = f"gate/{row.kind}"
    if row.verdict is None:
        message = row.message or "does not apply: there is nothing to compare with"
        return Finding("gate", row.gate, Verdict.PASS, message=message, rule=rule, details={"level": "warning"})
    message = "" if row.verdict is Verdict.PASS else row.message or "; ".join(gate_figures(row))
    return Finding("gate", row.gate, row.verdict, row.metric, row.value, message, rule=rule)


def _visible(cases: Collection[Case], there: Collection[str]) -> Iterator[Finding]:
    wanted = {source for case in cases for source in case.expected_sources}
    if not wanted:
        message = "no case names the sources of its answer (expected_sources)"
        yield Finding("rag", "sources", Verdict.NO_DATA, message=message, rule="rag/visible")
    for source in sorted(wanted):
        seen = source in there
        message = "" if seen else "was not ingested: it is not in the corpus that was built"
        verdict = Verdict.PASS if seen else Verdict.FAIL
        yield Finding("rag", source, verdict, message=message, location=source, rule="rag/visible")


def _spotted(run: RunReport, metrics: Mapping[str, Metric], most: float) -> Iterator[Finding]:
    """Yield how many answers are wrong, and each of them; those that may be are told and decide nothing."""
    found = [(result, wrong_by(result, metrics)) for result in run.results]
    wrong = [(result, why) for result, why in found if why]
    share = len(wrong) / len(found)
    verdict = Verdict.PASS if share <= most else Verdict.FAIL
    message = f"{len(wrong)} of {len(found)} cases are wrong, {most:.0%} may be"
    yield Finding("spot-check", "wrong", verdict, "wrong", share, message, rule="spot-check/wrong")
    details = {"open": f"{most:.0%} of the cases may be wrong"} if verdict is Verdict.PASS else {}
    for result, why in wrong:
        case = result.case_id
        yield Finding(
            "spot-check", case, Verdict.FAIL, message=why, case_id=case, rule="spot-check/case", details=details
        )


def _scored(run: RunReport, wanted: options.Retrieval) -> Iterator[Finding]:
    yield _mean("recall", [_score(result, wanted.recall_metric) for result in run.results], wanted.recall_min)
    cases = {case.id: case for case in run.dataset.cases}
    shares = [_share(cases[result.case_id], result) for result in run.results if result.case_id in cases]
    yield _mean("keyword_score", shares, wanted.keyword_min)


def _mean(name: str, scores: Collection[float | None], least: float) -> Finding:
    there = [score for score in scores if score is not None]
    if not there:
        message = f"no case has what {name} is made of"
        return Finding("rag", name, Verdict.NO_DATA, message=message, rule=f"rag/{name}")
    mean = sum(there) / len(there)
    verdict = Verdict.PASS if mean >= least else Verdict.FAIL
    message = "" if mean >= least else f"{name} is {mean:.3f} over {len(there)} cases, at least {least:g} is demanded"
    return Finding("rag", name, verdict, name, round(mean, 6), message, rule=f"rag/{name}")


def _score(result: CaseResult, metric: str) -> float | None:
    # An answer that could not be had found nothing.
    return 0.0 if result.output.error else result.scores.get(metric)


def _share(case: Case, result: CaseResult) -> float | None:
    if not case.must_contain:
        return None
    held = [any(contains(result.output.answer, term) for term in _ways(item)) for item in case.must_contain]
    return sum(held) / len(held)


def _ways(term: str | tuple[str, ...]) -> tuple[str, ...]:
    return (term,) if isinstance(term, str) else term


def _within(name: str, value: float | None, most: float | None, basis: str) -> Finding:
    found = Finding("cost", name, Verdict.PASS, name, value, rule=f"cost/{name}")
    if most is None:
        return replace(found, message="there is no budget", details={"level": "warning"})
    if value is None:
        return replace(found, verdict=Verdict.NO_DATA, message=f"nobody can say what it costs: {basis}")
    if value > most:
        return replace(
            found, verdict=Verdict.FAIL, message=f"{value:,.6g} estimated, the budget is {most:,.6g} ({basis})"
        )
    return found


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
