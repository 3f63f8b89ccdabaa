"""What a PromQL expression looks at, and which questions alerts and dashboards therefore answer.

Metric names count only where the language has one: not inside texts, label matchers or comments.
"""

import re
from dataclasses import dataclass

_COMMENT = re.compile(r"#[^\n]*")
_TEXT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`")
_SELECTOR = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?P<labels>\{[^}]*\})?")
_LISTS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_COMPARES = re.compile(r"[<>]=?|[!=]=|\babsent(?:_over_time)?\s*\(")
_QUANTILE = re.compile(r"histogram_quantile\s*\(\s*(0?\.\d+)\s*,")

_MEDIAN, _TAIL = 0.5, 0.95


@dataclass(frozen=True, slots=True)
class Expression:
    """The metrics of an expression with their label matchers, its quantiles, and whether it compares."""

    metrics: frozenset[tuple[str, str]]
    quantiles: frozenset[float]
    compares: bool

    def asks(self, name: str, label: str = "") -> bool:
        """Tell whether a metric is looked at; of a histogram any part; `label` is a pattern of its matchers."""
        names = {name, f"{name}_bucket", f"{name}_sum", f"{name}_count"}
        return any(metric in names and re.search(label, labels) for metric, labels in self.metrics)


def parse_expression(text: str) -> Expression:
    """Return what an expression looks at."""
    hidden: list[str] = []

    def hide(found: re.Match[str]) -> str:
        hidden.append(found[0])
        return f"\x00{len(hidden) - 1}\x00"

    bare = _LISTS.sub(" ", _COMMENT.sub("", _TEXT.sub(hide, text)))
    metrics = set()
    for found in _SELECTOR.finditer(bare):
        labels = re.sub(r"\x00(\d+)\x00", lambda at: hidden[int(at[1])], found["labels"] or "")
        metrics.add((found["name"], labels))
    quantiles = frozenset(float(found[1]) for found in _QUANTILE.finditer(bare))
    return Expression(frozenset(metrics), quantiles, _COMPARES.search(re.sub(r"\{[^}]*\}", "", bare)) is not None)


def questions(expression: Expression) -> frozenset[str]:
    """Return which questions of a dashboard or alert an expression answers, by the metrics of the gateway."""
    slow = ("shipway_request_duration_seconds", "shipway_ttft_seconds")
    is_slow = any(expression.asks(name) for name in slow)
    found = {
        "latency": is_slow,
        "errors": expression.asks("shipway_errors_total")
        or expression.asks("shipway_requests_total", r"status_class.*5"),
        "throughput": expression.asks("shipway_requests_total"),
        "tokens": expression.asks("shipway_tokens_total") or expression.asks("shipway_output_tokens_per_second"),
        "cost": expression.asks("shipway_cost_usd_total"),
        "cache": expression.asks("shipway_cache_hits_total") or expression.asks("shipway_cache_saved_usd_total"),
        "engines": expression.asks("shipway_breaker_state") or expression.asks("shipway_engine_retries_total"),
        "queue": expression.asks("shipway_queue_depth"),
        "safety": expression.asks("shipway_events_total", r"event.*(?:unsupported|guard|safety|refus|pii|injection)"),
        "p50": is_slow and _MEDIAN in expression.quantiles,
        "p95": is_slow and _TAIL in expression.quantiles,
    }
    return frozenset(name for name, answered in found.items() if answered)
