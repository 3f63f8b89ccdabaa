"""Whether a load test kept its limits, broke them, or cannot tell; and whether the generator itself kept up."""

from collections.abc import Sequence
from dataclasses import dataclass

from shipway.core.verdicts import Verdict
from shipway.load.plan import Limits
from shipway.load.sample import Sample
from shipway.load.summary import Figures
from shipway.stats.order_statistics import values_needed

LATEST_MS = 100.0
"""A request that is sent later than this after its time was the generator's fault."""
MOST_LATE = 0.01
_CONFIDENCE = 0.95
_RESOURCES = ("cpu", "memory")


@dataclass(frozen=True, slots=True)
class Usage:
    """The highest use of the machine by the target's processes, as shares of all of it; None: not measured."""

    cpu: float | None = None
    memory: float | None = None
    reason: str = ""
    """Why it was not measured."""


@dataclass(frozen=True, slots=True)
class Check:
    """One limit and what was found; bounds are None where nothing bounds it."""

    name: str
    limit: float
    verdict: Verdict
    value: float | None = None
    low: float | None = None
    high: float | None = None
    message: str = ""


def confidence_of_each(limits: Limits) -> float:
    """Return the confidence of each interval, so that all of them hold together with 95 % (Bonferroni)."""
    counted = sum(name not in _RESOURCES for name in limits.upper)
    return 1.0 - (1.0 - _CONFIDENCE) / max(counted, 1)


def checks(limits: Limits, found: Figures, usage: Usage) -> tuple[Check, ...]:
    """Judge every limit.

    A default limit on what could not be measured is left out; one that was asked for is NO_DATA.
    """
    judged = []
    for name, limit in limits.upper.items():
        if name in _RESOURCES:
            value = usage.cpu if name == "cpu" else usage.memory
            if value is None and limits.is_default:
                continue
            judged.append(_used(name, limit, value, usage.reason))
        elif name == "error_rate":
            judged.append(_error_rate(limit, found))
        else:
            judged.append(_quantile(name, limit, found, confidence_of_each(limits)))
    return tuple(judged)


def late(samples: Sequence[Sample]) -> tuple[int, str]:
    """Return how many requests were sent too late, and what that means when they are too many to judge by."""
    count = sum(sample.lag_ms > LATEST_MS for sample in samples)
    if count <= max(MOST_LATE * len(samples), 1):
        return count, ""
    return count, (
        f"the generator could not keep up: {count} of {len(samples)} requests were sent more than {LATEST_MS:g} ms"
        " late; ask less, or run it on a machine with more room"
    )


def _used(name: str, limit: float, value: float | None, reason: str) -> Check:
    if value is None:
        return Check(name, limit, Verdict.NO_DATA, message=f"not measured: {reason}")
    return Check(name, limit, Verdict.PASS if value <= limit else Verdict.FAIL, value)


def _error_rate(limit: float, found: Figures) -> Check:
    rate = found.error_rate
    if rate is None:
        return Check("error_rate", limit, Verdict.NO_DATA, message="nothing was measured")
    verdict = _between(rate.low, rate.high, limit)
    message = ""
    if verdict is Verdict.INCONCLUSIVE:
        message = f"{found.errors} errors in {found.requests} requests leave it open; a longer test narrows it"
    return Check("error_rate", limit, verdict, rate.value, rate.low, rate.high, message)


def _quantile(name: str, limit: float, found: Figures, confidence: float) -> Check:
    quantile = found.quantiles.get(name)
    if quantile is None:
        why = "no answer was streamed" if name.startswith(("ttft", "token_gap")) else "nothing was answered"
        return Check(name, limit, Verdict.NO_DATA, message=why)
    verdict = _between(quantile.low, quantile.high, limit)
    message = ""
    if verdict is Verdict.INCONCLUSIVE and quantile.high is None:
        q = int(name.removesuffix("_ms").rpartition("p")[2]) / 100
        message = f"too few answers for an upper bound; it takes {values_needed(q, confidence)}"
    elif verdict is Verdict.INCONCLUSIVE:
        message = "the limit lies within the interval; a longer test narrows it"
    return Check(name, limit, verdict, quantile.value, quantile.low, quantile.high, message)


def _between(low: float | None, high: float | None, limit: float) -> Verdict:
    if high is not None and high <= limit:
        return Verdict.PASS
    return Verdict.FAIL if low is not None and low > limit else Verdict.INCONCLUSIVE
