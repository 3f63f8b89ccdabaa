"""From the rounds of the gateway benchmark to its figures: medians, intervals, ratios, tables."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gateway_load import GAP_MS

Round = Mapping[str, Any]
"""What one contender did in one round: load name to the generator's figures, and `rss_idle_mb`, `start_s`."""
Rounds = Mapping[str, Sequence[Round]]
"""Contender to its rounds; all contenders have as many, in the same order."""

OURS, COMPILED, DIRECT, NGINX = "ours", "ours-compiled", "direct", "nginx"
_COVERAGE = 0.9
WAITED_SHARE = 0.15
"""A gateway's own threads wait for one another for less than this."""
Measure = Callable[[Round, Round], float | None]
"""A figure of a contender's round, given the direct round beside it."""


def rps(connections: int) -> Measure:
    """Return answers a second with so many connections."""
    return lambda own, _direct: _of(own, f"closed_{connections}", lambda load: load["answers"] / load["window_s"])


def cpu_us(connections: int) -> Measure:
    """Return microseconds of processor time for each answer."""

    def measure(load: Mapping[str, Any]) -> float | None:
        return float(load["cpu_s"] * 1e6 / load["answers"]) if load["cpu_s"] and load["answers"] else None

    return lambda own, _direct: _of(own, f"closed_{connections}", measure)


def added_us(load: str, samples: str, quantile: str) -> Measure:
    """Return how much later than direct something came, paired within the round."""

    def measure(own: Round, direct: Round) -> float | None:
        if load not in own or load not in direct or not own[load][samples]["count"]:
            return None
        return float(own[load][samples][quantile] - direct[load][samples][quantile])

    return measure


def cpu_us_per_chunk(streams: int) -> Measure:
    """Return microseconds of processor time for each event that reached the client."""

    def measure(load: Mapping[str, Any]) -> float | None:
        return float(load["cpu_s"] * 1e6 / load["tokens"]) if load["cpu_s"] and load["tokens"] else None

    return lambda own, _direct: _of(own, f"stream_{streams}", measure)


def plain(name: str) -> Measure:
    """Return a figure that stands beside the loads."""
    return lambda own, _direct: own.get(name)


def _of(own: Round, load: str, take: Callable[[Mapping[str, Any]], float | None]) -> float | None:
    return take(own[load]) if load in own else None


MEASURES: dict[str, tuple[str, Measure]] = {
    "rps_1": ("RPS c=1", rps(1)),
    "rps_32": ("RPS c=32", rps(32)),
    "rps_256": ("RPS c=256", rps(256)),
    "cpu_us": ("CPU us/req", cpu_us(32)),
    "added_p50_us": ("+p50 us @1000/s", added_us("open_1000", "latency_us", "p50")),
    "added_p99_us": ("+p99 us @1000/s", added_us("open_1000", "latency_us", "p99")),
    "ttft_added_p50_us": ("TTFT +p50 us @512", added_us("stream_512", "first_token_us", "p50")),
    "ttft_added_p99_us": ("TTFT +p99 us @512", added_us("stream_512", "first_token_us", "p99")),
    "transit_added_p99_us": ("chunk +p99 us @512", added_us("stream_512", "transit_us", "p99")),
    "cpu_us_per_chunk": ("CPU us/chunk @512", cpu_us_per_chunk(512)),
    "ttft_added_p99_us_64": ("TTFT +p99 us @64", added_us("stream_64", "first_token_us", "p99")),
    "cpu_us_per_chunk_64": ("CPU us/chunk @64", cpu_us_per_chunk(64)),
    "rss_idle_mb": ("RSS idle MB", plain("rss_idle_mb")),
    "rss_streams_mb": ("RSS streams MB", plain("rss_streams_mb")),
    "start_s": ("start s", plain("start_s")),
}


def values(rounds: Rounds, contender: str, measure: str) -> list[float]:
    """Return a measure's value in each round that has it."""
    direct = rounds.get(DIRECT) or [{}] * len(rounds[contender])
    found = (MEASURES[measure][1](own, beside) for own, beside in zip(rounds[contender], direct, strict=False))
    return [value for value in found if value is not None]


def interval(sample: Sequence[float]) -> dict[str, float] | None:
    """Return median, bounds and the bounds' coverage of the true median.

    The bounds are two of the sample's own values, so nothing is assumed of its distribution; with few rounds they are
    its least and largest, and the coverage says how little that is.
    Source: order statistics of the binomial distribution (sign test interval).
    """
    if not sample:
        return None
    ordered, count = sorted(sample), len(sample)

    def coverage(rank: int) -> float:
        return float(1 - 2 * sum(math.comb(count, k) for k in range(rank + 1)) / 2.0**count)

    rank = max((r for r in range((count + 1) // 2) if coverage(r) >= _COVERAGE), default=0)
    low, high = ordered[rank], ordered[count - 1 - rank]
    covered = float(max(0.0, coverage(rank)))
    return {"median": statistics.median(ordered), "low": low, "high": high, "coverage": covered}


def paired_ratio(rounds: Rounds, measure: str, left: str, right: str) -> list[float]:
    """Return the ratio of two contenders' values in each round."""
    if left not in rounds or right not in rounds:
        return []
    pairs = zip(values(rounds, left, measure), values(rounds, right, measure), strict=False)
    return [a / b for a, b in pairs if b > 0]


def summary(rounds: Rounds) -> dict[str, float]:
    """Return the flat figures; those of contenders or loads that did not run are left out."""
    samples: dict[str, Sequence[float]] = {
        "rps_vs_nginx": paired_ratio(rounds, "rps_32", OURS, NGINX),
        "rps_vs_litellm": paired_ratio(rounds, "rps_32", OURS, "litellm"),
        "rps_vs_portkey": paired_ratio(rounds, "rps_32", OURS, "portkey"),
        "cpu_vs_nginx": paired_ratio(rounds, "cpu_us", OURS, NGINX),
        "cpu_per_chunk_vs_nginx": paired_ratio(rounds, "cpu_us_per_chunk", OURS, NGINX),
        "cpu_2_workers_vs_1": paired_ratio(rounds, "cpu_us", "ours-2-workers", OURS),
        "compiled_rps_vs_nginx": paired_ratio(rounds, "rps_32", COMPILED, NGINX),
        "compiled_rps_vs_litellm": paired_ratio(rounds, "rps_32", COMPILED, "litellm"),
        "compiled_cpu_vs_nginx": paired_ratio(rounds, "cpu_us", COMPILED, NGINX),
        "compiled_cpu_vs_python": paired_ratio(rounds, "cpu_us", COMPILED, OURS),
    }
    if rounds.get(COMPILED):
        samples["compiled_cpu_us_per_request"] = values(rounds, COMPILED, "cpu_us")
    if rounds.get(OURS):
        own = {name: values(rounds, OURS, name) for name in MEASURES}
        samples |= {
            "rps": own["rps_32"],
            "cpu_us_per_request": own["cpu_us"],
            "added_p50_us": own["added_p50_us"],
            "added_p99_us": own["added_p99_us"],
            "ttft_added_p99_ms": [value / 1000 for value in own["ttft_added_p99_us"]],
            "cpu_us_per_chunk": own["cpu_us_per_chunk"],
            "rss_mb": own["rss_streams_mb"],
            "rss_idle_mb": own["rss_idle_mb"],
        }
    result = {name: statistics.median(sample) for name, sample in samples.items() if sample}
    # Single differences of latencies may be about zero, so these are ratios of medians.
    for name in ("added_p50", "added_p99"):
        beside = values(rounds, NGINX, f"{name}_us") if NGINX in rounds else []
        if beside and f"{name}_us" in result and statistics.median(beside) > 0:
            result[f"{name}_vs_nginx"] = result[f"{name}_us"] / statistics.median(beside)
    return result


def details(rounds: Rounds) -> dict[str, dict[str, Any]]:
    """Return each contender's measures with their intervals."""
    result: dict[str, dict[str, Any]] = {}
    for contender in rounds:
        found = {measure: interval(values(rounds, contender, measure)) for measure in MEASURES}
        result[contender] = {measure: bounds for measure, bounds in found.items() if bounds is not None}
    return result


def table(rounds: Rounds) -> list[str]:
    """Return the measures as a Markdown table: a line for each measure, a column for each contender."""
    lines = [_line(["", *rounds]), _line(["---", *["--:" for _ in rounds]])]
    for measure, (title, _) in MEASURES.items():
        cells = [_cell(interval(values(rounds, contender, measure))) for contender in rounds]
        if any(cells):
            lines.append(_line([title, *cells]))
    troubles = [f"{name}: {text}" for name, own in rounds.items() for text in _troubles(own)]
    return [*lines, *dict.fromkeys(troubles)]


def _troubles(own: Iterable[Round]) -> Iterable[str]:
    """Say where figures are not what their titles promise."""
    for each in own:
        for load, figures in each.items():
            if not isinstance(figures, Mapping) or "errors" not in figures:
                continue
            bad, good = figures["errors"] + figures["broken"], figures["answers"] + figures["streams"]
            if bad > 0.001 * good:
                yield f"{load}: {bad} of {bad + good} failed"
            if load.startswith("open_") and figures["answers"] < 0.97 * float(load[5:]) * figures["window_s"]:
                yield f"{load}: saturated"
            if figures["waited_share"] > WAITED_SHARE:
                yield f"{load}: waited for a processor {figures['waited_share']:.0%} of the time, others ran"
            if load.startswith("stream_"):
                carried, offered = figures["tokens"] / figures["window_s"], int(load[7:]) * 1000 / GAP_MS
                if carried < 0.97 * offered:
                    yield f"{load}: overloaded, {carried:,.0f} of {offered:,.0f} tokens a second"


def _cell(found: Mapping[str, float] | None) -> str:
    if found is None:
        return ""
    middle, low, high = found["median"], found["low"], found["high"]
    return _figure(middle) if low == high else f"{_figure(middle)} ({_figure(low)} to {_figure(high)})"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
