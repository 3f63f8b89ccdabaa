"""Reading the summaries of Locust, k6 and Artillery into the figures of a load test.

They keep some quantiles and not the requests, so that each interval ends at the next quantile that is known. All three
start the clock of a request when they send it: what their own users waited for before is not in the figures.
"""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from shipway.core.errors import DocumentError
from shipway.load.judging import Usage, checks, confidence_of_each
from shipway.load.plan import Kind, Limits
from shipway.load.report import LoadReport
from shipway.load.summary import QUANTILES, Figures, share
from shipway.stats.order_statistics import Quantile, quantile_of_known

NOTE = "the tool counts from when a request was sent: what waited to be sent while the target was slow is not in it"
_ALL = "Aggregated"
_MOST_REASONS = 20


class LoadTool(StrEnum):
    """A tool whose scripts are accepted."""

    LOCUST = "locust"
    K6 = "k6"
    ARTILLERY = "artillery"


@dataclass(frozen=True, slots=True)
class ToolSummary:
    """What a tool found; `known` are quantiles of its latencies in milliseconds by their shares, 1.0 the longest."""

    requests: int
    errors: int
    seconds: float
    known: Mapping[float, float] = field(hash=False)
    reasons: Mapping[str, int] = field(default_factory=dict, hash=False)


K6_TRENDS = ("min", "med", "max", *(f"p({q:g})" for q in (75, 90, 95, 97.5, 99, 99.5, 99.9)))
"""What k6 is asked to keep of a trend, so that the intervals are not too wide."""


def locust_summary(stats: str, failures: str, seconds: float) -> ToolSummary:
    """Return what Locust wrote with `--csv`: the stats, and the failures.

    Raises:
        DocumentError: it is no such file.
    """
    try:
        row = next(item for item in csv.DictReader(io.StringIO(stats)) if item.get("Name") == _ALL)
        known = {
            float(name.removesuffix("%")) / 100: float(value)
            for name, value in row.items()
            if name.endswith("%") and value not in {"", "N/A"}
        }
        count, failed = int(row["Request Count"]), int(row["Failure Count"])
        rate = float(row["Requests/s"])
        reasons = {item["Error"]: int(item["Occurrences"]) for item in csv.DictReader(io.StringIO(failures))}
    except (StopIteration, KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise DocumentError("locust's stats", f"cannot be read ({type(error).__name__})") from error
    return ToolSummary(count, failed, count / rate if rate else seconds, known, reasons)


def k6_summary(data: bytes) -> ToolSummary:
    """Return what k6 wrote with `--summary-export`.

    Raises:
        DocumentError: it is no such file.
    """
    try:
        # Its values stand in the metric itself, or one level below as `handleSummary` gets them.
        found = {name: metric.get("values", metric) for name, metric in orjson.loads(data)["metrics"].items()}
        trend, requests = found["http_req_duration"], found["http_reqs"]
        known = {share_: float(trend[name]) for name in K6_TRENDS if (share_ := _k6_share(name)) and name in trend}
        count = int(requests["count"])
        failed = found.get("http_req_failed", {})
        # "Passes" of a metric that counts failures.
        errors = failed.get("passes", round(float(failed.get("value", failed.get("rate", 0.0))) * count))
        rate = float(requests["rate"])
    except (orjson.JSONDecodeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DocumentError("k6's summary", f"cannot be read ({type(error).__name__})") from error
    return ToolSummary(count, int(errors), count / rate if rate else 0.0, known)


def _k6_share(name: str) -> float:
    fixed = {"min": 0.0, "med": 0.5, "max": 1.0}
    return fixed[name] if name in fixed else float(name[2:-1]) / 100


def artillery_summary(data: bytes) -> ToolSummary:
    """Return what Artillery wrote with `--output`.

    Raises:
        DocumentError: it is no such file.
    """
    try:
        found = orjson.loads(data)["aggregate"]
        counters: Mapping[str, Any] = found["counters"]
        times: Mapping[str, Any] = found.get("summaries", {}).get("http.response_time", {})
        names = {0.5: "median", 0.75: "p75", 0.9: "p90", 0.95: "p95", 0.99: "p99", 0.999: "p999", 1.0: "max"}
        known = {share_: float(times[name]) for share_, name in names.items() if name in times}
        count = int(counters.get("http.requests", 0))
        reasons = {name: int(value) for name, value in counters.items() if _is_fault(name)}
        seconds = (float(found["lastMetricAt"]) - float(found["firstMetricAt"])) / 1000.0
    except (orjson.JSONDecodeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DocumentError("artillery's report", f"cannot be read ({type(error).__name__})") from error
    return ToolSummary(count, min(sum(reasons.values()), count), seconds, known, reasons)


def _is_fault(counter: str) -> bool:
    code = counter.removeprefix("http.codes.")
    return counter.startswith("errors.") or (code != counter and code.isdigit() and int(code) >= 400)  # noqa: PLR2004 - HTTP's errors


@dataclass(frozen=True, slots=True)
class Ran:
    """A tool's run: what it asked, what it found, and what was wrong with the run itself."""

    tool: LoadTool
    target: str
    summary: ToolSummary | None
    usage: Usage
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def tool_report(ran: Ran, limits: Limits) -> LoadReport:
    """Judge what a tool found by the same limits."""
    confidence = confidence_of_each(limits)
    whole = _figures(ran.summary or ToolSummary(0, 0, 0.0, {}), confidence)
    return LoadReport(
        target=ran.target,
        kind=Kind.USERS,
        whole=whole,
        checks=checks(limits, whole, ran.usage),
        usage=ran.usage,
        problems=ran.problems,
        notes=(NOTE, *ran.notes),
        tool=ran.tool.value,
        confidence=confidence,
    )


def _figures(found: ToolSummary, confidence: float) -> Figures:
    quantiles: dict[str, Quantile] = {}
    for q in QUANTILES:
        # 0.9 and 90 / 100 are the same number, 0.99 and 99 / 100 too; a file's 99.0 / 100 is.
        known = {share_: value for share_, value in found.known.items() if math.isfinite(value)}
        quantile = quantile_of_known(known, found.requests, q / 100, confidence)
        if quantile is not None:
            quantiles[f"p{q}_ms"] = quantile
    return Figures(
        requests=found.requests,
        errors=found.errors,
        seconds=found.seconds,
        error_rate=share(found.errors, found.requests, confidence),
        quantiles=quantiles,
        service_p99_ms=quantiles["p99_ms"].value if "p99_ms" in quantiles else None,
        longest_ms=found.known.get(1.0),
        longest_gap_ms=None,
        broken_streams=0,
        timeouts=0,
        tokens=None,
        reasons=dict(list(found.reasons.items())[:_MOST_REASONS]),
    )
