"""What a gate demands, parsed from the project file's `gates` list; `gates` evaluates it.

- {metric: correct, min: 0.80, tags: [policy]}           threshold: the bound must be beyond it
- {metric: latency_ms, max: 5000, quantile: 0.99}        the share within 5 s must provably be 99 %
- {metric: correct, non_regression: auto}                against the baseline; or a drop such as 0.10
- {metric: tenant_leak, zero_tolerance: true, max_rate: 0.01}
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shipway.core.errors import UsageError
from shipway.evals.suggestions import did_you_mean

DEFAULT_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class ThresholdGate:
    """The metric must be at least `min` or at most `max`; exactly one is set.

    With `quantile` q the bound is on the q-quantile of the metric. `cluster_robust` widens the bound of a proportion by
    the design effect of its clusters.
    """

    metric: str
    min: float | None = None
    max: float | None = None
    quantile: float | None = None
    cluster_robust: bool = False
    tags: tuple[str, ...] = ()
    alpha: float = DEFAULT_ALPHA

    @property
    def limit(self) -> float:
        """The threshold, whichever side it bounds."""
        return self.min if self.min is not None else (self.max if self.max is not None else math.nan)

    @property
    def label(self) -> str:
        """How reports name it."""
        what = self.metric if self.quantile is None else f"p{self.quantile * 100:g} of {self.metric}"
        return f"{what} {'>=' if self.min is not None else '<='} {self.limit:g}{_tagged(self.tags)}"


@dataclass(frozen=True, slots=True)
class NonRegressionGate:
    """The metric must not drop by `delta` against the baseline; `auto` is the smallest drop the dataset can see."""

    metric: str
    delta: float | Literal["auto"] = "auto"
    tags: tuple[str, ...] = ()
    alpha: float = DEFAULT_ALPHA

    @property
    def label(self) -> str:
        """How reports name it."""
        return f"{self.metric} does not regress{_tagged(self.tags)}"


@dataclass(frozen=True, slots=True)
class ZeroToleranceGate:
    """The metric must never be violated; with `max_rate` its rate must also provably be at most that."""

    metric: str
    max_rate: float | None = None
    tags: tuple[str, ...] = ()
    alpha: float = DEFAULT_ALPHA

    @property
    def label(self) -> str:
        """How reports name it."""
        return f"{self.metric} never{_tagged(self.tags)}"


GateSpec = ThresholdGate | NonRegressionGate | ZeroToleranceGate

_SHARED = ("metric", "tags", "alpha")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "min": ("min", "quantile", "cluster_robust", *_SHARED),
    "max": ("max", "quantile", "cluster_robust", *_SHARED),
    "non_regression": ("non_regression", *_SHARED),
    "zero_tolerance": ("zero_tolerance", "max_rate", *_SHARED),
}


def parse_gates(entries: Sequence[Mapping[str, Any]]) -> list[GateSpec]:
    """Parse the project file's list.

    Raises:
        UsageError: one line per wrong entry.
    """
    specs: list[GateSpec] = []
    problems: list[str] = []
    for index, entry in enumerate(entries):
        try:
            specs.append(_parse(entry))
        except UsageError as error:
            problems.append(f"gates[{index}]: {error.message}")
    if problems:
        raise UsageError("\n".join(problems))
    return specs


def _parse(entry: Mapping[str, Any]) -> GateSpec:
    kinds = [kind for kind in _KEYS if kind in entry]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none of them"
        raise UsageError(f"needs exactly one of {', '.join(_KEYS)}; has {found}")
    kind = kinds[0]
    for key in entry:
        if key not in _KEYS[kind]:
            raise UsageError(f"{key}: unknown key of a {kind} gate; {did_you_mean(key, _KEYS[kind])}")
    metric = entry.get("metric")
    if not isinstance(metric, str) or not metric:
        raise UsageError(f"metric: expected a metric's name, got {metric!r}")
    tags, alpha = _tags(entry.get("tags", ())), _share("alpha", entry.get("alpha", DEFAULT_ALPHA))
    match kind:
        case "non_regression":
            return NonRegressionGate(metric, _delta(entry[kind]), tags, alpha)
        case "zero_tolerance":
            _demand_true(entry[kind])
            max_rate = entry.get("max_rate")
            return ZeroToleranceGate(metric, None if max_rate is None else _share("max_rate", max_rate), tags, alpha)
        case _:
            return _threshold(entry, kind, metric, tags, alpha)


def _threshold(entry: Mapping[str, Any], kind: str, metric: str, tags: tuple[str, ...], alpha: float) -> ThresholdGate:
    robust = entry.get("cluster_robust", False)
    if not isinstance(robust, bool):
        raise UsageError(f"cluster_robust: expected true or false, got {robust!r}")
    quantile = entry.get("quantile")
    limit = _number(kind, entry[kind])
    return ThresholdGate(
        metric,
        min=limit if kind == "min" else None,
        max=limit if kind == "max" else None,
        quantile=None if quantile is None else _share("quantile", quantile),
        cluster_robust=robust,
        tags=tags,
        alpha=alpha,
    )


def _delta(value: Any) -> float | Literal["auto"]:
    if value == "auto":
        return "auto"
    delta = _number("non_regression", value)
    if delta <= 0:
        raise UsageError(f"non_regression: expected 'auto' or a drop above 0, got {value!r}")
    return delta


def _demand_true(value: Any) -> None:
    if value is not True:
        raise UsageError(f"zero_tolerance: expected true, got {value!r}; remove the gate to switch it off")


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"{key}: expected a number, got {value!r}")
    return float(value)


def _share(key: str, value: Any) -> float:
    share = _number(key, value)
    if not 0.0 < share < 1.0:
        raise UsageError(f"{key}: expected a number between 0 and 1, both excluded, got {value!r}")
    return share


def _tags(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(tag, str) for tag in value):
        raise UsageError(f"tags: expected a list of texts, got {value!r}")
    return tuple(value)


def _tagged(tags: tuple[str, ...]) -> str:
    return f" [{', '.join(tags)}]" if tags else ""
