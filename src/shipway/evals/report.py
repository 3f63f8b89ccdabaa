"""Evaluations as rows of text, for people; pure functions that the CLI, the console and CI comments call.

`report_forms` turns the same rows into Markdown and JSON.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport
from shipway.evals.metrics import METRICS, Metric
from shipway.evals.model import Case, Output, RunReport
from shipway.evals.sample import draw

Table = list[dict[str, str]]
"""Rows with the same keys in the same order; the keys are the headings."""

NOT_APPLICABLE = "n/a"
_NONE = "-"
_EXCERPT = 400


@dataclass(frozen=True, slots=True)
class Regression:
    """A case that the baseline got right and the candidate did not, with what each of them said."""

    case: Case
    metric: str
    baseline_score: float
    candidate_score: float
    baseline: Output
    candidate: Output


def gate_table(report: GateReport) -> Table:
    """Return one row a gate."""
    return [
        {
            "verdict": row.verdict.value if row.verdict is not None else NOT_APPLICABLE,
            "gate": row.gate,
            "value": _plain(row.value),
            "baseline": _plain(row.baseline_value),
            "change": _NONE if row.difference is None else f"{row.difference:+.3f}",
            "bound": _plain(row.bound),
            "limit": _plain(row.limit),
            "n": str(row.n),
            "n needed": str(row.n_needed) if row.n_needed is not None else _NONE,
            "missing": f"{row.missing}/{row.expected}" if row.missing else _NONE,
            "note": row.message,
        }
        for row in report.rows
    ]


def gate_lines(report: GateReport) -> list[str]:
    """Return the gates, the warnings and the verdict as plain text."""
    lines = text_table(gate_table(report))
    lines += [f"warning: {warning}" for warning in report.warnings]
    failed = [row.gate for row in report.rows if row.verdict not in (None, Verdict.PASS)]
    reason = f" ({'; '.join(failed)})" if failed else ("" if report.rows else " (no gates)")
    return [*lines, f"verdict: {report.verdict.value}{reason}"]


def tag_table(run: RunReport, names: Sequence[str], metrics: Mapping[str, Metric] = METRICS) -> Table:
    """Return the mean of each metric over all judged cases and by tag, with the number of cases behind it."""
    tags = sorted({tag for case in run.dataset.cases if case.split != "calibration" for tag in case.tags})
    rows: Table = []
    for label, wanted in (("all", ()), *((tag, (tag,)) for tag in tags)):
        row = {"tag": label}
        for name in names:
            sample = draw(run, metrics[name], wanted)
            row[name] = f"{_plain(sample.mean)} (n={sample.n})" if sample.n else _NONE
        rows.append(row)
    return rows


def regressions(
    candidate: RunReport, baseline: RunReport, metric: str = "correct", metrics: Mapping[str, Metric] = METRICS
) -> list[Regression]:
    """Return the cases that got worse, worst first; the outputs are of the repeat that scored worst.

    A case that was not scored in one of the runs is not among them: gates count it as missing.
    """
    sign = metrics[metric].sign
    before, after = _by_case(baseline, metric), _by_case(candidate, metric)
    found = [
        Regression(
            case=case,
            metric=metric,
            baseline_score=_mean(before[case.id]),
            candidate_score=_mean(after[case.id]),
            baseline=max(before[case.id], key=lambda scored: sign * scored[0])[1],
            candidate=min(after[case.id], key=lambda scored: sign * scored[0])[1],
        )
        for case in candidate.dataset.cases
        if case.split != "calibration" and case.id in before and case.id in after
    ]
    worse = [item for item in found if sign * (item.candidate_score - item.baseline_score) < 0]
    return sorted(worse, key=lambda item: sign * (item.candidate_score - item.baseline_score))


def regression_lines(items: Iterable[Regression]) -> list[str]:
    """Return the regressions side by side: what was asked and expected, what each release said."""
    lines: list[str] = []
    for item in items:
        lines.append(f"{item.case.id}: {item.metric} {_plain(item.baseline_score)} -> {_plain(item.candidate_score)}")
        lines += [f"  {heading + ':':<17}{text}" for heading, text in regression_fields(item)]
    return lines


def regression_fields(item: Regression) -> list[tuple[str, str]]:
    """Return headings and one-line texts of a regression; the model's own words only where they were changed."""
    fields = [("question", excerpt(item.case.question)), ("expected", excerpt(expectation(item.case)))]
    for name, output in (("baseline", item.baseline), ("candidate", item.candidate)):
        fields.append((name, excerpt(output.answer) or "(empty)"))
        if output.model_text is not None and output.model_text.strip() != output.answer.strip():
            fields.append((f"{name} model", excerpt(output.model_text)))
        if item.baseline.citations != item.candidate.citations:
            fields.append((f"{name} cites", ", ".join(output.citations) or "(nothing)"))
    return fields


def expectation(case: Case) -> str:
    """Return in words what a right answer to a case is."""
    if case.unanswerable:
        return "a refusal"
    terms = [term if isinstance(term, str) else f"one of ({', '.join(term)})" for term in case.must_contain]
    parts = [f"contains {', '.join(terms)}"] if terms else []
    parts += [f"does not contain {', '.join(case.must_not_contain)}"] if case.must_not_contain else []
    parts += [f"from {', '.join(case.expected_sources)}"] if case.expected_sources else []
    return "; ".join(parts) or case.reference or "(nothing stated)"


def excerpt(text: str) -> str:
    """Return a text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"


def text_table(rows: Table) -> list[str]:
    """Return rows as lines with aligned columns."""
    if not rows:
        return []
    headings = list(rows[0])
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in headings}
    return [
        "  ".join(cells[name].ljust(widths[name]) for name in headings).rstrip()
        for cells in ({name: name for name in headings}, *rows)
    ]


def _by_case(run: RunReport, metric: str) -> dict[str, list[tuple[float, Output]]]:
    scored: dict[str, list[tuple[float, Output]]] = {}
    for result in run.results:
        score = result.scores.get(metric)
        if score is not None:
            scored.setdefault(result.case_id, []).append((score, result.output))
    return scored


def _mean(scored: Sequence[tuple[float, Output]]) -> float:
    return statistics.fmean(score for score, _ in scored)


def _plain(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004 - milliseconds need no decimals
