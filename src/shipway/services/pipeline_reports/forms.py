"""The report of a run in each format. `shipway pipeline report` writes them, `notify` sends one."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from shipway.core.errors import UsageError
from shipway.core.findings import Finding, FindingReport, findings_lines
from shipway.core.verdicts import Verdict
from shipway.evals.report_junit import findings_suite, suites_text
from shipway.evals.report_sarif import findings_run, log_text
from shipway.evals.report_text import one_line
from shipway.evals.suggestions import did_you_mean
from shipway.pipeline.findings import RunFindings, StageFindings, as_document
from shipway.pipeline.model import StageState
from shipway.pipeline.render import duration, one_sentence
from shipway.services.pipeline_reports.html import html
from shipway.services.pipeline_reports.markdown import markdown

_LINE_CHARS = 400
_SHOWN = 20


def rendered(run: RunFindings, form: str) -> Iterable[str]:
    """Yield a report of one format piece by piece.

    Raises:
        UsageError: an unknown format.
    """
    if form not in FORMATS:
        raise UsageError(f"no report format {form!r}; {did_you_mean(form, FORMATS)}")
    return FORMATS[form](run)


def terminal(run: RunFindings) -> Iterable[str]:
    """Yield lines for people."""
    yield f"run {run.run.run_id}: {run.verdict.value}\n"
    for stage in run.stages:
        yield f"\n{stage.result.name}: {told(stage)}\n"
        if stage.result.state in {StageState.SKIPPED, StageState.CANCELLED}:
            continue
        for line in findings_lines(stage.report, most=_SHOWN, unchecked=True):
            yield f"  {one_line(line, _LINE_CHARS)}\n"
        if stage.left_out:
            yield f"  {left_out(stage)}\n"


def told(stage: StageFindings) -> str:
    """Return in words what became of a stage: its verdict, how many findings of which kind, how long it took."""
    result = stage.result
    if result.state in {StageState.SKIPPED, StageState.CANCELLED}:
        said = one_line(one_sentence(result.problem), _LINE_CHARS)
        return f"{result.state.value} ({said})" if said else result.state.value
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(stage.counts.items()) if kind != "PASS")
    took = f"from {result.known}" if result.known else duration(result.duration_s)
    may = "; may fail" if result.allowed else ""
    return f"{result.verdict.value} ({'; '.join(part for part in (counts, took) if part)}{may})"


def left_out(stage: StageFindings) -> str:
    """Return in words where the findings are that are not shown."""
    where = f"{stage.file} has them" if stage.file else "a `report` file of the stage would have them"
    return f"{stage.left_out} more findings were counted; {where}"


def as_json(run: RunFindings) -> Iterable[str]:
    """Yield one JSON document."""
    stages = [
        {
            "stage": stage.result.name,
            "state": stage.result.state.value,
            "verdict": stage.result.verdict.value,
            "allowed": stage.result.allowed,
            "duration_s": round(stage.result.duration_s, 3),
            "known": stage.result.known,
            "problem": stage.result.problem,
            "metrics": stage.result.metrics,
            "counts": dict(stage.counts),
            "left_out": stage.left_out,
            "findings": as_document(stage.report, whole=True),
        }
        for stage in run.stages
    ]
    document = {
        "version": 1,
        "run": run.run.run_id,
        "verdict": run.verdict.value,
        "started_at_s": run.run.started_at_s,
        "duration_s": round(run.run.duration_s, 3),
        "stages": stages,
    }
    yield json.dumps(document, ensure_ascii=True, indent=1) + "\n"


def junit(run: RunFindings) -> Iterable[str]:
    """Yield one JUnit document, a suite a stage."""
    yield suites_text([findings_suite(_excused(stage), _notes(stage)) for stage in run.stages])


def sarif(run: RunFindings) -> Iterable[str]:
    """Yield one SARIF log, a run a stage that ran."""
    ran = [stage for stage in run.stages if stage.result.state in {StageState.PASSED, StageState.FAILED}]
    yield log_text([findings_run(_excused(stage), _notes(stage)) for stage in ran])


FORMATS: Mapping[str, Callable[[RunFindings], Iterable[str]]] = MappingProxyType(
    {
        "terminal": terminal,
        "json": as_json,
        "junit": junit,
        "sarif": sarif,
        "markdown": lambda run: [markdown(run, told)],
        "html": lambda run: html(run, told),
    }
)


def _notes(stage: StageFindings) -> Sequence[str]:
    return [left_out(stage)] if stage.left_out else []


def _excused(stage: StageFindings) -> FindingReport:
    """Return a report in which the failures of a stage that may fail, or was left out, count for nothing."""
    report = replace(stage.report, suite=stage.result.name)
    if stage.result.allowed and stage.result.state is StageState.FAILED:
        problems = [
            Finding(stage.result.name, "stage", Verdict.FAIL, message=problem, rule="stage")
            for problem in report.problems
        ]
        excused = [_open(finding) for finding in (*report.findings, *problems)]
        return replace(report, findings=tuple(excused), problems=())
    if stage.result.state in {StageState.SKIPPED, StageState.CANCELLED}:
        return replace(
            report, findings=tuple(replace(finding, details={"skipped": True}) for finding in report.findings)
        )
    return report


def _open(finding: Finding) -> Finding:
    if finding.verdict is Verdict.PASS:
        return finding
    return replace(finding, verdict=Verdict.FAIL, details={**finding.details, "open": "the stage may fail"})
