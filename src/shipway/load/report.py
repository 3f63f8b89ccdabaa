"""The result of a load test, as JSON, as lines, and as figures for a pipeline's gates."""

from dataclasses import asdict, dataclass, field
from typing import Any

from shipway.core.verdicts import Verdict, combined
from shipway.load.judging import Check, Usage
from shipway.load.plan import Kind
from shipway.load.summary import QUANTILES, Figures
from shipway.stats.order_statistics import Quantile

SCHEMA = 1
_MOST_REASONS = 10
_CLOSED = (
    "users wait for answers before they ask again: while the target is slow they ask less, so a tail reads better than "
    "under a rate of requests"
)


@dataclass(frozen=True, slots=True)
class Part:
    """The figures of one stage, or of one kind of request; `asked` is the level of a stage."""

    name: str
    figures: Figures
    asked: str = ""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A load test that has ended. `problems` say why it measured nothing that could be judged."""

    target: str
    kind: Kind
    whole: Figures
    checks: tuple[Check, ...]
    stages: tuple[Part, ...] = ()
    templates: tuple[Part, ...] = ()
    usage: Usage = field(default_factory=Usage)
    late: int = 0
    most_in_flight: int = 0
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tool: str = "shipway"
    confidence: float = 0.95

    @property
    def verdict(self) -> Verdict:
        """Return what it came to: ERROR with problems, NO_DATA without limits or requests."""
        return Verdict.ERROR if self.problems else combined(check.verdict for check in self.checks)


def metrics(report: LoadReport) -> dict[str, float]:
    """Return the figures that a pipeline gates on, by the names that limits have."""
    whole = report.whole
    found: dict[str, float | None] = {
        "requests": whole.requests,
        "errors": whole.errors,
        "requests_per_s": whole.per_s,
        "error_rate": whole.error_rate.value if whole.error_rate else None,
        **{name: quantile.value for name, quantile in whole.quantiles.items()},
        "broken_streams": whole.broken_streams,
        "timeouts": whole.timeouts,
        "tokens_per_s": whole.tokens_per_s,
        "cpu": report.usage.cpu,
        "memory": report.usage.memory,
        "late": report.late,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def as_json(report: LoadReport) -> dict[str, Any]:
    """Return the JSON form."""
    return {
        "schema": SCHEMA,
        "tool": report.tool,
        "target": report.target,
        "verdict": report.verdict.value,
        "model": "open" if report.kind is Kind.RATE else "closed",
        "confidence_of_each_interval": report.confidence,
        "metrics": metrics(report),
        "checks": [{**asdict(check), "verdict": check.verdict.value} for check in report.checks],
        "whole": _figures(report.whole),
        "stages": [{"name": part.name, "asked": part.asked, **_figures(part.figures)} for part in report.stages],
        "requests": [{"name": part.name, **_figures(part.figures)} for part in report.templates],
        "usage": asdict(report.usage),
        "late": report.late,
        "most_in_flight": report.most_in_flight,
        "problems": list(report.problems),
        "notes": list(notes(report)),
    }


def _figures(found: Figures) -> dict[str, Any]:
    value = asdict(found)
    return {**value, "requests_per_s": found.per_s, "tokens_per_s": found.tokens_per_s}


def notes(report: LoadReport) -> tuple[str, ...]:
    """Return what a reader of the figures has to know."""
    closed = (_CLOSED,) if report.kind is Kind.USERS and report.tool == "shipway" else ()
    return (*closed, *report.notes)


def lines(report: LoadReport) -> list[str]:
    """Return the lines for a terminal."""
    whole = report.whole
    head = (
        f"{report.target}: {whole.requests} requests in {whole.seconds:.1f} s ({whole.per_s:.2f}/s),"
        f" {whole.errors} errors, {whole.timeouts} timeouts, {whole.broken_streams} broken streams"
    )
    found = [head, *_table(report)]
    found += [f"{count} x {reason or 'unknown error'}" for reason, count in list(whole.reasons.items())[:_MOST_REASONS]]
    if any(reason.startswith("status 429") for reason in whole.reasons):
        found.append("  the limits of the key were met, not those of the target: give the key higher ones")
    found += ["", *(_check_line(check) for check in report.checks)]
    if report.usage.cpu is None and report.usage.reason:
        found.append(f"cpu and memory were not measured: {report.usage.reason}")
    found += [f"ERROR: {problem}" for problem in report.problems]
    found += [f"note: {note}" for note in notes(report)]
    return [*found, report.verdict.value]


def _table(report: LoadReport) -> list[str]:
    rows: list[tuple[str, ...]] = [
        ("", "requests", "errors", "/s", *(f"p{q} ms" for q in QUANTILES), "ttft p50", "ttft p99", "longest")
    ]
    parts = [*report.stages, *(report.templates if len(report.templates) > 1 else ()), Part("all", report.whole)]
    for part in parts:
        found = part.figures
        values = (*(f"p{q}_ms" for q in QUANTILES), "ttft_p50_ms", "ttft_p99_ms")
        cells = [_number(found.quantiles.get(name)) for name in values]
        longest = "-" if found.longest_ms is None else f"{found.longest_ms:.1f}"
        rows.append((part.name, str(found.requests), str(found.errors), f"{found.per_s:.2f}", *cells, longest))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _number(quantile: Quantile | None) -> str:
    return "-" if quantile is None else f"{quantile.value:.1f}"


def _check_line(check: Check) -> str:
    value = "-" if check.value is None else shown(check.name, check.value)
    between = ""
    if check.low is not None or check.high is not None:
        low, high = ("?" if bound is None else shown(check.name, bound) for bound in (check.low, check.high))
        between = f" ({low} to {high})"
    message = f"; {check.message}" if check.message else ""
    return f"{check.verdict.value:<12} {check.name} {value}{between}, limit {shown(check.name, check.limit)}{message}"


def shown(name: str, value: float) -> str:
    """Return a figure with its unit."""
    return f"{value:.1f} ms" if name.endswith("_ms") else f"{value:.2%}"
