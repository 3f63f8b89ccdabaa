"""The HTML report: one file that asks the network for nothing, runs no script, and shows strangers' text as text.

`report_files` writes it; `report_html_cases` renders the cases.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from shipway.core.counting import dollars
from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateRow
from shipway.evals.report import gate_figures, more_cases
from shipway.evals.report_html_cases import cases_html
from shipway.evals.report_source import ReportSource
from shipway.evals.report_style import STYLE
from shipway.evals.report_tables import MOST_GROUPS, Estimate, Group, Groups, Scored, grouped, overall, scored
from shipway.evals.report_text import one_line

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MESSAGE_CHARS = 2_000
_LINE_CHARS = 400
_WIDTH = 400
_MARGIN = 46


def html(source: ReportSource) -> Iterator[str]:
    """Yield the report piece by piece."""
    tables = scored(source)
    verdict = source.verdict.value
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{verdict}: {text(source.release)}</title><style>{STYLE}</style></head>\n<body>\n"
    )
    yield from _head(source)
    yield from _gates(source.gates.rows)
    if source.gates.warnings:
        lines = "".join(f"<p>{text(line, _MESSAGE_CHARS)}</p>" for line in source.gates.warnings)
        yield f'<div class="warnings" role="note"><strong>Warnings</strong>{lines}</div>\n'
    yield from _metrics(source, tables)
    yield from _groups("By tag", "tag", grouped(source, tables, "tag"), tables)
    yield from _groups("By cluster", "cluster", grouped(source, tables, "cluster"), tables)
    yield from cases_html(source, tables)
    yield from _provenance(source)
    yield "</body></html>\n"


def text(value: str, most: int = _LINE_CHARS) -> str:
    """Return a text for HTML, on one line and with hidden characters shown."""
    return escape(one_line(value, most))


def _head(source: ReportSource) -> Iterator[str]:
    verdict = source.verdict
    yield f"<header><h1>{_badge(verdict)}<span>Evaluation of <code>{text(source.release)}</code></span></h1>\n"
    judged = sum(case.split != "calibration" for case in source.run.dataset.cases)
    facts = [
        ("against", source.against),
        ("dataset", f"{source.run.dataset.name}: {judged} cases, {_times(source.run.repeats)}"),
        ("evaluation", source.id + (f" (run {source.run_id})" if source.run_id else "")),
        *[(_COSTS.get(name, name), _amount(name, value)) for name, value in source.cost.items()],
        *_unknown_costs(source.cost),
    ]
    yield f"{_list(facts)}</header>\n"


_COSTS = {
    "usd": "cost",
    "tokens_in": "tokens read",
    "tokens_out": "tokens written",
    "judge_usd": "cost of judging",
    "judge_calls": "calls of the judge",
    "judge_tokens_in": "tokens the judge read",
    "judge_tokens_out": "tokens the judge wrote",
}


def _unknown_costs(cost: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yield what calls were made for at a price that nobody knows, which is not 0."""
    for calls, usd in (("calls", "usd"), ("judge_calls", "judge_usd")):
        if cost.get(calls) and usd not in cost:
            yield _COSTS[usd], "not known"


def _amount(name: str, value: float) -> str:
    return f"{dollars(value)} USD" if name.endswith("usd") else f"{value:,.0f}"


def _times(repeats: int) -> str:
    return "asked once" if repeats == 1 else f"asked {repeats} times"


def _gates(rows: Sequence[GateRow]) -> Iterator[str]:
    yield "<section><h2>Gates</h2>\n"
    if not rows:
        yield '<p class="soft">No gate: nothing was judged.</p>'
    yield '<div class="gates">\n'
    for row in rows:
        said = "none" if row.verdict is None else row.verdict.value
        head = f"{_badge(row.verdict)}<strong>{text(row.gate)}</strong>"
        yield f'<article class="gate v-{said}"><div class="head">{head}</div>\n'
        if row.verdict is not None or row.kind == "cost":
            figures = gate_figures(row)
            yield f"<p><strong>{text(figures[0])}</strong></p>" if figures else ""
            yield f'<p class="small">{text("; ".join(figures[1:]))}</p>' if figures[1:] else ""
        if more_cases(row):
            yield f'<p class="small"><strong>{text(more_cases(row))}</strong></p>'
        if row.message:
            yield f'<p class="small">{text(row.message, _MESSAGE_CHARS)}</p>'
        for line in _small_print(row):
            yield f'<p class="soft small">{text(line, _MESSAGE_CHARS)}</p>'
        yield f"{_interval(row)}</article>\n"
    yield "</div></section>\n"


def _small_print(row: GateRow) -> list[str]:
    lines = []
    if row.missing and row.verdict is not Verdict.ERROR:
        lines.append(f"{row.missing} of {row.expected} scores are missing")
    if row.adjusted_p is not None and row.p_value is not None:
        lines.append(f"p {row.p_value:.3g}; among the gates that compare {row.adjusted_p:.3g}; alpha {row.alpha:g}")
    if row.looks > 1:
        lines.append(f"look {row.look} of {row.looks}, which share alpha")
    return [*lines, *([f"Why: {row.reason}"] if row.reason else [])]


def _interval(row: GateRow) -> str:
    """Draw the interval with its mean and what it was compared with; all that is drawn are numbers."""
    middle = row.difference if row.difference is not None else row.value
    if row.interval is None or middle is None or row.kind == "cost":
        return ""
    marks = [*row.interval, middle, *([row.limit] if row.limit is not None else [])]
    marks += [0.0] if row.difference is not None else []
    low, high = min(marks), max(marks)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return round(_MARGIN + (value - low) / span * (_WIDTH - 2 * _MARGIN), 1)

    parts = [f'<line class="axis" x1="{_MARGIN}" y1="24" x2="{_WIDTH - _MARGIN}" y2="24"/>']
    if row.difference is not None:
        parts.append(f'<line class="axis" x1="{place(0.0)}" y1="12" x2="{place(0.0)}" y2="36"/>')
        parts.append(f'<text x="0" y="28">worse</text><text x="{_WIDTH}" y="28" text-anchor="end">better</text>')
    left, right = (place(value) for value in row.interval)
    parts.append(f'<line class="bar" x1="{left}" y1="24" x2="{right}" y2="24"/>')
    parts.append(f'<circle class="dot" cx="{place(middle)}" cy="24" r="4.5"/>')
    parts.append(f'<text x="{left}" y="46" text-anchor="end">{figure(row.interval[0])}</text>')
    parts.append(f'<text x="{right}" y="46">{figure(row.interval[1])}</text>')
    if row.limit is not None:
        at = place(row.limit)
        parts.append(f'<line class="limit" x1="{at}" y1="12" x2="{at}" y2="36"/>')
        parts.append(f'<text x="{at}" y="9" text-anchor="middle">limit {figure(row.limit)}</text>')
    said = f"interval {figure(row.interval[0])} to {figure(row.interval[1])}, estimate {figure(middle)}"
    return f'<svg viewBox="0 0 {_WIDTH} 50" role="img" aria-label="{said}">{"".join(parts)}</svg>'


def _metrics(source: ReportSource, tables: Scored) -> Iterator[str]:
    everything = overall(source, tables)
    yield (
        "<section><h2>All metrics</h2>\n"
        '<p class="soft small">Means over cases with two-sided 95 % intervals, each for itself: with many of them some '
        "are wrong. They say where to look; the gates above decide.</p>\n"
    )
    headings = ["metric", "candidate", *(["baseline"] if tables.baseline else []), "better is", "cases", "missing"]
    rows = []
    for name, metric in tables.metrics.items():
        found = everything.candidate.get(name)
        if found is None:
            continue
        cells = [_cell(found), *([_cell(everything.baseline.get(name))] if tables.baseline else [])]
        rows.append([text(name), *cells, metric.direction, str(found.n), str(found.missing)])
    yield table_html(headings, rows)
    yield "</section>\n"


def _groups(heading: str, label: str, groups: Groups, tables: Scored) -> Iterator[str]:
    if not groups.rows:
        return
    names = [name for name in tables.metrics if any(name in group.candidate for group in groups.rows)]
    yield f"<section><h2>{heading}</h2>\n"
    if label == "cluster":
        yield (
            '<p class="soft small">Cases of one cluster share a document and fail together. An interval stands for the '
            "questions of that document alone.</p>\n"
        )
    rows = [
        [text(group.label), str(group.cases), *(_both(group, name, tables) for name in names)] for group in groups.rows
    ]
    closed = "" if label == "tag" and len(rows) <= 12 else f"<summary>{len(rows)} {label}s</summary>"  # noqa: PLR2004 - a screen
    table = table_html([label, "cases", *(text(name) for name in names)], rows)
    yield f"<details>{closed}{table}</details>" if closed else table
    if groups.left_out:
        yield f'<p class="soft small">{groups.left_out} smaller ones are left out after the {MOST_GROUPS} largest.</p>'
    yield "</section>\n"


def _both(group: Group, name: str, tables: Scored) -> str:
    now, before = group.candidate.get(name), group.baseline.get(name)
    if tables.baseline is None or before is None or before.mean is None:
        return _cell(now)
    return f'{_cell(now)}<span class="ci">before {figure(before.mean)}</span>'


def _cell(found: Estimate | None) -> str:
    if found is None or found.mean is None:
        return "-" if found is None or not found.missing else f"- ({found.missing} missing)"
    interval = (
        f'<span class="ci">{figure(found.lower)} … {figure(found.upper)}</span>'
        if found.lower is not None and found.upper is not None
        else '<span class="ci">no interval</span>'
    )
    return f"{figure(found.mean)}{interval}"


def table_html(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    head = "".join(f'<th scope="col">{name}</th>' for name in headings)
    body = "\n".join(
        f'<tr><td class="name">{row[0]}</td>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>\n'


def _provenance(source: ReportSource) -> Iterator[str]:
    binding = source.run.binding
    digests = [(name, getattr(binding, name)) for name in ("dataset", "corpus", "judge", "metrics")]
    yield "<section><h2>What the figures rest on</h2>\n"
    yield '<p class="soft small">Runs with other digests measured other things.</p>'
    yield _list(digests)
    for name, run in (("candidate", source.run), ("baseline", source.baseline_run)):
        if run is not None:
            yield f"<p><strong>{name}</strong> <code>{text(run.target)}</code></p>{_list(_flat(run.provenance))}"
    yield "</section>\n"


def _flat(values: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", str(value)))
    return found


def _list(facts: Sequence[tuple[str, str]]) -> str:
    return (
        "<dl>"
        + "".join(f"<dt>{text(name)}</dt><dd>{text(value, _MESSAGE_CHARS)}</dd>" for name, value in facts)
        + "</dl>"
    )


def _badge(verdict: Verdict | None) -> str:
    said = "n/a" if verdict is None else verdict.value
    return f'<span class="badge v-{"none" if verdict is None else said}">{said}</span>'


def figure(value: float) -> str:
    """Return a number as tables show it."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"  # noqa: PLR2004 - milliseconds need no decimals
