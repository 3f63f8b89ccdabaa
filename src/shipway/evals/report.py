"""Evaluations as rows of text, for people; pure functions that the CLI, the console and CI comments call.

`report_forms` turns the same rows into Markdown and JSON. Whatever a stranger wrote is on one line with hidden
characters shown, so that an answer can neither draw on the terminal nor look like a line of the report.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shipway.core.counting import counted
from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow
from shipway.evals.metrics import METRICS, Metric
from shipway.evals.model import Case, Output, RunReport
from shipway.evals.report_failures import Failure, failures
from shipway.evals.report_source import ReportSource, positions
from shipway.evals.report_text import one_line
from shipway.evals.sample import draw_from, score_table
from shipway.evals.thresholds import missing_message

Table = list[dict[str, str]]
"""Rows with the same keys in the same order; the keys are the headings."""

NOT_APPLICABLE = "n/a"
_NONE = "-"
_EXCERPT = 400
_LABEL = 80


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
            "gate": excerpt(row.gate),
            "value": _plain(row.value),
            "baseline": _plain(row.baseline_value),
            "change": _NONE if row.difference is None else f"{row.difference:+.3f}",
            "bound": _plain(row.bound),
            "limit": _plain(row.limit),
            "n": str(row.n),
            "n needed": str(row.n_needed) if row.n_needed is not None else _NONE,
            "missing": f"{row.missing}/{row.expected}" if row.missing else _NONE,
            "note": excerpt(row.message),
        }
        for row in report.rows
    ]


def gate_lines(report: GateReport) -> list[str]:
    """Return the gates, the warnings and the verdict as plain text."""
    lines = text_table(gate_table(report))
    lines += [f"warning: {excerpt(warning)}" for warning in report.warnings]
    failed = [excerpt(row.gate) for row in report.rows if row.verdict not in (None, Verdict.PASS)]
    reason = f" ({'; '.join(failed)})" if failed else ("" if report.rows else " (no gates)")
    return [*lines, f"verdict: {report.verdict.value}{reason}"]


def gate_figures(row: GateRow) -> list[str]:
    """Return what a gate compared, in words: the mean and what it was, the interval, the limit, what it can see."""
    parts = []
    if row.difference is not None:
        change = f"{_plain(abs(row.difference))} {'better' if row.difference > 0 else 'worse'}"
        parts.append(
            f"{_plain(row.baseline_value)} -> {_plain(row.value)}, {change if row.difference else 'no change'}"
        )
    elif row.value is not None:
        parts.append(_plain(row.value))
    if row.n:
        parts.append(f"{counted(row.n, 'case')} in {counted(row.n_clusters, 'cluster')}")
    if row.interval is not None:
        low, high = (f"{end:+.3f}" if row.difference is not None else _plain(end) for end in row.interval)
        parts.append(f"{100 * (1 - row.alpha / row.looks):.3g} % interval {low} to {high}")
    if row.limit is not None:
        parts.append(f"limit {_plain(row.limit)}")
    if row.mde is not None:
        parts.append(f"a change of {_plain(row.mde)} is found four times in five")
    return parts


def more_cases(row: GateRow) -> str:
    """Return how many more cases or repeats would decide what a gate left open; empty for what is decided."""
    if row.verdict is not Verdict.INCONCLUSIVE:
        return ""
    cases = row.needed.cases if row.needed else row.n_needed
    ways = [f"{cases - row.n:,} more cases"] if cases is not None and cases > row.n else []
    if row.needed and row.needed.repeats is not None:
        ways.append(f"{row.needed.repeats} repeats of each")
    return f"{' or '.join(ways)} would decide" if ways else ""


def report_lines(source: ReportSource, metrics: Mapping[str, Metric], cases: int) -> list[str]:
    """Return a whole evaluation as plain text: gates, the table by tag, and the first `cases` that got worse."""
    lines = [
        f"{excerpt(source.id)}: {excerpt(source.release)} against {excerpt(source.against)}",
        *gate_lines(source.gates),
    ]
    left_open = [(row, more_cases(row)) for row in source.gates.rows]
    lines += [f"{excerpt(row.gate)}: {said}" for row, said in left_open if said]
    rows = tag_table(source.run, list(metrics), metrics)
    lines += ["", *text_table(rows)] if metrics else []
    worse = worse_cases(source)
    if worse:
        lines += ["", f"worse than {excerpt(source.against)}: {counted(len(worse), 'case')}"]
        lines += regression_lines(worse[:cases])
    return [*lines, *failure_lines(failed_cases(source, metrics), cases)]


def worse_cases(source: ReportSource) -> list[Regression]:
    """Return the cases that got worse by the metric that the gates look at first; none without a baseline."""
    if source.baseline_run is None:
        return []
    judged = {row.metric for row in source.gates.rows}
    metric = next((name for name in ("supported", "correct", "assertions") if name in judged), "correct")
    return regressions(source.run, source.baseline_run, metric)


def failed_cases(source: ReportSource, metrics: Mapping[str, Metric]) -> list[Failure]:
    """Return the cases that a threshold failed for; none where cases that got worse say it."""
    return failures(source.run, source.gates, metrics) if source.baseline_run is None else []


def tag_table(run: RunReport, names: Sequence[str], metrics: Mapping[str, Metric] = METRICS) -> Table:
    """Return the mean of each metric over all judged cases and by tag, with the number of cases behind it."""
    tags = sorted({tag for case in run.dataset.cases if case.split != "calibration" for tag in case.tags})
    table = score_table(run, names)
    rows: Table = []
    for label, wanted in (("all", ()), *((tag, (tag,)) for tag in tags)):
        row = {"tag": one_line(label, _LABEL)}
        for name in names:
            sample = draw_from(table, run.dataset, metrics[name], wanted)
            row[one_line(name, _LABEL)] = f"{_plain(sample.mean)} (n={sample.n})" if sample.n else _NONE
        rows.append(row)
    return rows


def missing_lines(run: RunReport, names: Sequence[str], metrics: Mapping[str, Metric] = METRICS) -> list[str]:
    """Return a line for each metric that lacks scores it should have, with the first reason."""
    table = score_table(run, names)
    samples = ((name, draw_from(table, run.dataset, metrics[name], ())) for name in names)
    return [f"{one_line(name, _LABEL)}: {missing_message(sample)}" for name, sample in samples if sample.missing]


def regressions(
    candidate: RunReport, baseline: RunReport, metric: str = "correct", metrics: Mapping[str, Metric] = METRICS
) -> list[Regression]:
    """Return the cases that got worse, worst first; the outputs are of the repeat that scored worst.

    A case that was not scored in one of the runs is not among them: gates count it as missing.
    """
    sign = metrics[metric].sign
    before, after = _scores_by_case(baseline, metric), _scores_by_case(candidate, metric)
    worse = [
        (case, float(np.nanmean(before[case.id])), float(np.nanmean(after[case.id])))
        for case in candidate.dataset.cases
        if case.split != "calibration" and case.id in before and case.id in after
    ]
    worse = sorted(
        (item for item in worse if sign * (item[2] - item[1]) < 0), key=lambda item: sign * (item[2] - item[1])
    )
    places = [positions(run.results) if worse else {} for run in (baseline, candidate)]
    found = []
    for case, old, new in worse:
        best = int(np.nanargmax(sign * before[case.id]))
        worst = int(np.nanargmin(sign * after[case.id]))
        outputs = (
            baseline.results[places[0][case.id, best]].output,
            candidate.results[places[1][case.id, worst]].output,
        )
        found.append(Regression(case, metric, old, new, *outputs))
    return found


def regression_lines(items: Iterable[Regression]) -> list[str]:
    """Return the regressions side by side: what was asked and expected, what each release said."""
    lines: list[str] = []
    for item in items:
        lines.append(
            f"{excerpt(item.case.id)}: {item.metric} {_plain(item.baseline_score)} -> {_plain(item.candidate_score)}"
        )
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
            fields.append((f"{name} cites", excerpt(", ".join(output.citations)) or "(nothing)"))
    return fields


def failure_lines(items: Sequence[Failure], most: int) -> list[str]:
    """Return how many cases failed, and what was asked, expected and said in the first `most`; none for none."""
    if not items:
        return []
    lines = ["", f"failed by {items[0].metric}: {counted(len(items), 'case')}"]
    for item in items[:most]:
        lines.append(f"{excerpt(item.case.id)}: {item.metric} {_plain(item.score)}")
        lines += [f"  {heading + ':':<17}{text}" for heading, text in failure_fields(item)]
    return lines


def failure_fields(item: Failure) -> list[tuple[str, str]]:
    """Return headings and one-line texts of a case that failed."""
    return [
        ("question", excerpt(item.case.question)),
        ("expected", excerpt(expectation(item.case))),
        ("answer", excerpt(item.output.answer) or "(empty)"),
    ]


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
    return one_line(text, _EXCERPT)


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


def _scores_by_case(run: RunReport, metric: str) -> dict[str, npt.NDArray[np.float64]]:
    """Return the scores of each case that has one, by repeat."""
    table = score_table(run, (metric,))
    rows = zip(table.case_ids, table.values[metric], strict=True)
    return {case_id: scores for case_id, scores in rows if np.isfinite(scores).any()}


def _plain(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004 - milliseconds need no decimals
