"""Gates on the scores of other people's tools: `metric: promptfoo.pass`, `metric: ragas.faithfulness`.

The cases are those that the tool judged, in all runs together: one that a run lost is missing there, not left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shipway.core.canonical import digest_json
from shipway.core.errors import GateRefusedError, UsageError
from shipway.core.findings import Finding, FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.baseline import NO_JUDGE
from shipway.evals.findings import WHOLE, as_results
from shipway.evals.gate_report import GateReport
from shipway.evals.gate_spec import GateSpec
from shipway.evals.gates import GateOptions, evaluate_gates
from shipway.evals.metric_context import MetricContext
from shipway.evals.metric_names import resolve_metrics
from shipway.evals.metrics import Metric
from shipway.evals.model import Binding, Case, CaseResult, Dataset, Output, RunReport
from shipway.evals.tools.files import SUITES
from shipway.evals.tools.reading import number
from shipway.evals.tools.scored import MEASURED

MOST_REPEATS = 1_000


@dataclass(frozen=True, slots=True)
class ToolVerdict:
    """What a tool's results mean: by gates where there are any on its metrics, else by the tool's own limits."""

    report: FindingReport
    gates: GateReport | None
    verdict: Verdict
    note: str = ""


def is_tool_metric(name: str) -> bool:
    """Tell whether a gate's metric is one of a tool, which is judged when that tool has run."""
    suite, dot, metric = name.partition(".")
    return bool(dot and metric) and suite in SUITES.values()


def judged(
    report: FindingReport, baseline: FindingReport | None, specs: Sequence[GateSpec], *, first_release: bool = False
) -> ToolVerdict:
    """Judge a tool's results by the gates on its metrics.

    A run with problems is an ERROR whatever its scores. Gates on metrics of other tools are left out.

    Raises:
        UsageError: a gate on a metric that the tool did not score, or one that so few cases cannot decide.
        GateRefusedError: the baseline is of another version of the tool, or asks other questions.
    """
    own = [spec for spec in specs if spec.metric.partition(".")[0] == report.suite]
    broken = [*report.problems, *(f"baseline: {problem}" for problem in (baseline.problems if baseline else ()))]
    if broken:
        return ToolVerdict(replace(report, problems=tuple(broken)), None, Verdict.ERROR)
    if not own:
        return _by_own_limits(report)
    reports = [report] if baseline is None else [report, baseline]
    metrics = resolve_metrics([spec.metric for spec in own], foreign=tool_metrics(reports))
    dataset = _dataset(reports)
    if baseline is not None:
        _demand_common(report, baseline)
    names = tuple(dict.fromkeys(spec.metric for spec in own))
    runs = [_run(item, dataset, names) for item in reports]
    options = GateOptions(first_release=first_release, metrics=metrics)
    found = evaluate_gates(own, runs[0], runs[1] if len(runs) > 1 else None, options)
    return ToolVerdict(report, found, found.verdict)


def tool_metrics(reports: Sequence[FindingReport]) -> dict[str, Metric]:
    """Return the metrics that tools scored, for `resolve_metrics(foreign=...)`.

    A metric whose scores are all 0 or 1 is a share, one outside [0, 1] has no bounds.
    """
    found: dict[str, list[Finding]] = {}
    for report in reports:
        for item in report.findings:
            found.setdefault(f"{report.suite}.{item.metric or WHOLE}", []).append(item)
    return {name: _metric(name, items) for name, items in found.items()}


def _by_own_limits(report: FindingReport) -> ToolVerdict:
    measured = sum(bool(item.details.get(MEASURED)) for item in report.findings)
    names = sorted({f"{report.suite}.{item.metric}" for item in report.findings if item.details.get(MEASURED)})
    note = f"{measured} scores have no limit; write gates on {', '.join(names)}" if measured else ""
    limited = [item for item in report.findings if not item.details.get(MEASURED)]
    return ToolVerdict(report, None, replace(report, findings=tuple(limited)).verdict, note)


def _metric(name: str, findings: list[Finding]) -> Metric:
    scores = [score for item in findings if (score := number(item.score)) is not None]
    whole = name.endswith(f".{WHOLE}") or all(score in {0.0, 1.0} for score in scores)
    cases = frozenset(item.case_id or item.name for item in findings)

    def applies(case: Case) -> bool:
        return case.id in cases

    def compute(_case: Case, _output: Output, _context: MetricContext) -> float | None:
        raise UsageError(f"{name} is scored by its tool", hint="run it with `shipway eval tool run`")

    return Metric(
        name,
        compute,
        applies,
        "lower" if any(item.details.get("higher") is False for item in findings) else "higher",
        "proportion" if whole else "mean",
        "answer",
        bounded=whole or all(0 <= score <= 1 for score in scores),
    )


def _dataset(reports: Sequence[FindingReport]) -> Dataset:
    cases: dict[str, Case] = {}
    for report in reports:
        for item in report.findings:
            case_id, asked = item.case_id or item.name, str(item.details.get("question", ""))
            known = cases.get(case_id)
            if known is None or (asked and not known.question):
                cases[case_id] = Case(case_id, asked, tags=_tags(item.details), cluster=_cluster(item.details))
            elif asked and asked != known.question:
                raise GateRefusedError(
                    Verdict.ERROR,
                    f"case {case_id!r} of {report.suite} asks {asked[:80]!r} in one run and {known.question[:80]!r}"
                    " in the other; run both on the same cases",
                )
    return Dataset(reports[0].suite, tuple(cases[name] for name in sorted(cases)))


def _demand_common(report: FindingReport, baseline: FindingReport) -> None:
    """Refuse a baseline that judged none of these cases: nothing can be compared with it."""
    cases, before = ({item.case_id or item.name for item in found.findings} for found in (report, baseline))
    if cases and before and not cases & before:
        raise GateRefusedError(
            Verdict.ERROR,
            f"no case of {report.suite} is in both runs: one has {min(cases)[:80]!r},"
            f" the baseline {min(before)[:80]!r}",
            hint="run both on the same cases",
        )


def _tags(details: Mapping[str, object]) -> tuple[str, ...]:
    tags = details.get("tags")
    return tuple(str(tag) for tag in tags) if isinstance(tags, list) else ()


def _cluster(details: Mapping[str, object]) -> str:
    return str(details.get("cluster") or "")


def _run(report: FindingReport, dataset: Dataset, metrics: Sequence[str]) -> RunReport:
    repeats = 1 + max((item.repeat for item in report.findings), default=0)
    if repeats > MOST_REPEATS:
        raise UsageError(f"{report.suite}: a finding of repeat {repeats}; at most {MOST_REPEATS} are judged")
    results: dict[tuple[str, int], CaseResult] = {}
    for metric in metrics:
        for result in as_results(report, metric):
            place = (result.case_id, result.repeat)
            known = results.get(place, CaseResult(*place, {}))
            results[place] = CaseResult(*place, {**known.scores, **result.scores}, {**known.errors, **result.errors})
    nothing = digest_json(None)
    binding = Binding(dataset.digest, nothing, NO_JUDGE, digest_json([report.suite, report.tool_version]))
    return RunReport(report.suite, binding.metrics, dataset, repeats, tuple(results.values()), binding)
