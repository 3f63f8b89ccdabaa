"""How fast a target answers: the plan of a measurement, what was measured, and the figures that come of it.

`services.performance` measures, `performance_ratios` compares. A batch of b is b requests in flight at once, begun
together; the next batch begins when the last of them has ended.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import orjson

from shipway.core.errors import UsageError

SCHEMA = 1
MOST_ERRORS = 0.02
"""Above this share of errors the times are those of the lucky ones, and nothing is compared."""
_ENOUGH_FOR_P99 = 100


@dataclass(frozen=True, slots=True)
class PerformancePlan:
    """What is measured; everything that another measurement must have alike to be comparable."""

    batch_sizes: tuple[int, ...] = (1, 4, 8, 16)
    warmups: int = 5
    iterations: int = 50
    max_tokens: int = 64
    prompt: str = "Tell me in two sentences what a lighthouse is for."
    stream: bool = True

    def __post_init__(self) -> None:
        """Refuse a plan that measures nothing."""
        if not self.batch_sizes or min(self.batch_sizes) < 1 or len(set(self.batch_sizes)) != len(self.batch_sizes):
            raise UsageError(f"batch sizes are different whole numbers from 1, got {list(self.batch_sizes)}")
        if self.iterations < 1 or self.warmups < 0 or self.max_tokens < 1:
            raise UsageError(
                f"iterations and max_tokens are at least 1 and warm-ups at least 0, got {self.iterations}, "
                f"{self.max_tokens} and {self.warmups}"
            )


@dataclass(frozen=True, slots=True)
class Timing:
    """One request. `ttft_ms` None: not streamed; `tokens` None: the target does not count them."""

    total_ms: float = 0.0
    ttft_ms: float | None = None
    tokens: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Iteration:
    """One batch: its requests, and how long it took until the last had ended."""

    elapsed_s: float
    timings: tuple[Timing, ...]


@dataclass(frozen=True, slots=True)
class PerformanceRow:
    """The figures of one batch size; None where nothing could be measured.

    Quantiles are nearest-rank over the requests that were answered. `is_p99_the_slowest` says that there were fewer
    than 100 of them, so that their 99th percentile is the slowest one.
    """

    batch: int
    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    tokens_per_s: float | None
    is_p99_the_slowest: bool


@dataclass(frozen=True, slots=True)
class Measurement:
    """A finished measurement: what was asked of whom, on what machine, and every single time."""

    target: str
    plan: PerformancePlan
    machine: Mapping[str, Any] = field(hash=False)
    batches: Mapping[int, tuple[Iteration, ...]] = field(hash=False)

    @property
    def rows(self) -> list[PerformanceRow]:
        """Return the figures by batch size."""
        return [summarised(batch, iterations) for batch, iterations in self.batches.items()]

    @property
    def reasons(self) -> dict[str, int]:
        """Return how often each error came."""
        counts: dict[str, int] = {}
        for iterations in self.batches.values():
            for timing in timings_of(iterations):
                if timing.error:
                    counts[timing.error] = counts.get(timing.error, 0) + 1
        return counts


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank quantile: the smallest value that at least `share` of them do not exceed."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def summarised(batch: int, iterations: Sequence[Iteration]) -> PerformanceRow:
    """Return the figures of one batch size."""
    timings = timings_of(iterations)
    answered = [timing for timing in timings if not timing.error]
    totals = [timing.total_ms for timing in answered]
    firsts = [timing.ttft_ms for timing in answered if timing.ttft_ms is not None]
    return PerformanceRow(
        batch,
        len(timings),
        len(timings) - len(answered),
        quantile(totals, 0.5),
        quantile(totals, 0.99),
        quantile(firsts, 0.5),
        quantile(firsts, 0.99),
        _tokens_per_s(iterations),
        len(totals) < _ENOUGH_FOR_P99,
    )


def as_json(measured: Measurement) -> dict[str, Any]:
    """Return what a baseline file holds."""
    return {
        "schema": SCHEMA,
        "target": measured.target,
        "plan": asdict(measured.plan),
        "machine": dict(measured.machine),
        "rows": [asdict(row) for row in measured.rows],
        "errors": measured.reasons,
        "batches": [
            {"batch": batch, "iterations": [_iteration_json(item) for item in iterations]}
            for batch, iterations in measured.batches.items()
        ],
    }


def from_json(data: bytes, file: str) -> Measurement:
    """Return the measurement of a baseline file.

    Raises:
        UsageError: it is none.
    """
    try:
        body: Any = orjson.loads(data)
        if body["schema"] != SCHEMA:
            raise UsageError(f"{file}: written in form {body['schema']!r}, this version reads {SCHEMA}")
        known = {item.name for item in fields(PerformancePlan)}
        plan = {key: value for key, value in body["plan"].items() if key in known}
        plan["batch_sizes"] = tuple(plan["batch_sizes"])
        batches = {item["batch"]: tuple(_iteration(one) for one in item["iterations"]) for item in body["batches"]}
        measured = Measurement(str(body["target"]), PerformancePlan(**plan), dict(body["machine"]), batches)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        hint = "measure one with `shipway eval perf TARGET --out FILE`"
        raise UsageError(
            f"{file}: no measurement of performance ({type(error).__name__}: {error})", hint=hint
        ) from error
    if set(batches) != set(measured.plan.batch_sizes):
        raise UsageError(f"{file}: batches {sorted(batches)} are not those of its plan")
    for batch, iterations in batches.items():
        if not iterations or any(len(item.timings) != batch for item in iterations):
            raise UsageError(f"{file}: batch {batch} has none, or one of another size")
    return measured


def differences(now: Measurement, before: Measurement) -> list[str]:
    """Return why two measurements cannot be compared."""
    found: list[str] = []
    for item in fields(PerformancePlan):
        ours, theirs = getattr(now.plan, item.name), getattr(before.plan, item.name)
        if ours != theirs:
            found.append(f"{item.name} is {ours!r}, that of the baseline {theirs!r}; measure both alike")
    for key in sorted({*now.machine, *before.machine}):
        ours, theirs = now.machine.get(key), before.machine.get(key)
        if ours != theirs:
            found.append(
                f"{key} is {ours!r}, that of the baseline {theirs!r}: another machine says nothing of the target"
            )
    for name, measured in (("this", now), ("the baseline's", before)):
        for row in measured.rows:
            if row.errors > MOST_ERRORS * row.requests:
                text = f"batch {row.batch}: {row.errors} of {row.requests} requests of {name} measurement failed"
                found.append(f"{text}; the times of the others are no fair sample")
    return found


def _tokens_per_s(iterations: Sequence[Iteration]) -> float | None:
    counts = [timing.tokens for timing in timings_of(iterations) if not timing.error]
    seconds = sum(item.elapsed_s for item in iterations)
    if not counts or seconds <= 0.0:
        return None
    # One that does not count would make the others look slow.
    known = [count for count in counts if count is not None]
    return sum(known) / seconds if len(known) == len(counts) else None


def timings_of(iterations: Sequence[Iteration]) -> list[Timing]:
    """Return every request of some batches."""
    return [timing for item in iterations for timing in item.timings]


def _iteration_json(item: Iteration) -> dict[str, Any]:
    return {
        "elapsed_s": item.elapsed_s,
        "requests": [[timing.total_ms, timing.ttft_ms, timing.tokens, timing.error] for timing in item.timings],
    }


def _iteration(body: Any) -> Iteration:
    elapsed_s = _number(body["elapsed_s"])
    return Iteration(elapsed_s, tuple(_timing(*request) for request in body["requests"]))


def _timing(total_ms: Any, ttft_ms: Any, tokens: Any, error: Any) -> Timing:
    return Timing(
        _number(total_ms),
        None if ttft_ms is None else _number(ttft_ms),
        None if tokens is None else int(tokens),
        str(error),
    )


def _number(value: Any) -> float:
    found = float(value)
    if not math.isfinite(found) or found < 0.0:
        raise ValueError(f"{value!r} is no time")
    return found
