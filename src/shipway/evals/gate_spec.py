"""What a gate demands, parsed from the project file's `gates` list; `gates` evaluates it.

- {metric: correct, min: 0.80, tags: [policy]}           threshold: the bound must be beyond it
- {metric: latency_ms, max: 5000, quantile: 0.99}        the share within 5 s must provably be 99 %
- {metric: correct, non_regression: auto}                against the baseline; or a drop such as 0.10
- {metric: latency_ms, non_regression: 0.1, mode: relative}   10 % of the baseline's mean
- {model_update: true}                                   every gated metric is as good as before, and what it costs
- {metric: tenant_leak, zero_tolerance: true, max_rate: 0.01}
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from shipway.core.errors import UsageError
from shipway.evals.suggestions import did_you_mean

DEFAULT_ALPHA = 0.05
LOWER_IS_BETTER = frozenset({"hallucination", "tenant_leak", "wrong_refusal"})
"""The metrics of answers that happen or do not, and better do not: words about their gates turn on it."""
Mode = Literal["absolute", "relative"]


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
    reason: str = ""

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
    """The metric must not drop by `delta` against the baseline.

    `auto` is the smallest drop that the cases can see, or a tenth of the baseline's mean where the metric has no scale.
    With mode `relative`, `delta` is a share of the baseline's mean. `model_update` asks for the cost impact as well.
    """

    metric: str
    delta: float | Literal["auto"] = "auto"
    tags: tuple[str, ...] = ()
    alpha: float = DEFAULT_ALPHA
    reason: str = ""
    mode: Mode = "absolute"
    model_update: bool = False

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
    reason: str = ""

    @property
    def label(self) -> str:
        """How reports name it."""
        if self.metric in LOWER_IS_BETTER:
            words = f"{self.metric} never"
        elif "." in self.metric and ":" not in self.metric:
            # What is better is known of a tool's metric when the tool has run.
            words = f"no violation of {self.metric}"
        else:
            words = f"{self.metric} always"
        return f"{words}{_tagged(self.tags)}"


GateSpec = ThresholdGate | NonRegressionGate | ZeroToleranceGate

_SHARED = ("metric", "tags", "alpha", "reason")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "min": ("min", "quantile", "cluster_robust", *_SHARED),
    "max": ("max", "quantile", "cluster_robust", *_SHARED),
    "non_regression": ("non_regression", "mode", *_SHARED),
    "zero_tolerance": ("zero_tolerance", "max_rate", *_SHARED),
    "model_update": ("model_update", "tags", "alpha", "reason"),
}
# What a settings section writes out although nobody gave it.
_NOT_GIVEN: Mapping[str, Any] = {"metric": "", "mode": "absolute", "model_update": False}


def parse_gates(entries: Sequence[Mapping[str, Any]]) -> list[GateSpec]:
    """Parse the project file's list; a `model_update` entry becomes a non-regression gate for each gated metric.

    Raises:
        UsageError: one line per wrong entry.
    """
    specs: list[GateSpec] = []
    updates: list[NonRegressionGate] = []
    problems: list[str] = []
    for index, entry in enumerate(entries):
        try:
            spec = _parse(
                {key: value for key, value in entry.items() if key not in _NOT_GIVEN or _NOT_GIVEN[key] != value}
            )
        except UsageError as error:
            problems.append(f"gates[{index}]: {error.message}")
            continue
        if isinstance(spec, NonRegressionGate) and spec.model_update:
            updates.append(spec)
        else:
            specs.append(spec)
    if problems:
        raise UsageError("\n".join(problems))
    for update in updates:
        specs = with_model_update(specs, update)
    return specs


def with_model_update(specs: Sequence[GateSpec], update: NonRegressionGate) -> list[GateSpec]:
    """Return the gates with a non-regression gate for each metric that one of them judges; `update.metric` is unused.

    A non-regression gate that is there already keeps its delta. Zero tolerance is stricter than any comparison.
    """
    found = [
        replace(spec, model_update=True) if isinstance(spec, NonRegressionGate) and spec.tags == update.tags else spec
        for spec in specs
    ]
    compared = {spec.metric for spec in found if isinstance(spec, NonRegressionGate) and spec.model_update}
    metrics = dict.fromkeys(spec.metric for spec in specs if isinstance(spec, ThresholdGate))
    return [*found, *(replace(update, metric=metric) for metric in metrics if metric not in compared)]


def _parse(entry: Mapping[str, Any]) -> GateSpec:
    kinds = [kind for kind in _KEYS if kind in entry]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none of them"
        words = {word for known in _KEYS.values() for word in known}
        unknown = [f"; {key}: unknown key, {did_you_mean(key, words)}" for key in entry if key not in words]
        found += "".join(unknown)
        raise UsageError(f"needs exactly one of {', '.join(_KEYS)}; has {found}")
    kind = kinds[0]
    for key in entry:
        if key not in _KEYS[kind]:
            raise UsageError(f"{key}: unknown key of a {kind} gate; {did_you_mean(key, _KEYS[kind])}")
    return replace(_of_kind(kind, entry), reason=_text("reason", entry.get("reason", "")))


def _of_kind(kind: str, entry: Mapping[str, Any]) -> GateSpec:
    tags, alpha = _tags(entry.get("tags", ())), _share("alpha", entry.get("alpha", DEFAULT_ALPHA))
    if kind == "model_update":
        _demand_true(kind, entry[kind])
        return NonRegressionGate("", "auto", tags, alpha, model_update=True)
    metric = entry.get("metric")
    if not isinstance(metric, str) or not metric:
        raise UsageError(f"metric: expected a metric's name, got {metric!r}")
    match kind:
        case "non_regression":
            return _non_regression(entry, metric, tags, alpha)
        case "zero_tolerance":
            _demand_true(kind, entry[kind])
            max_rate = entry.get("max_rate")
            return ZeroToleranceGate(metric, None if max_rate is None else _share("max_rate", max_rate), tags, alpha)
        case _:
            return _threshold(entry, kind, metric, tags, alpha)


def _non_regression(entry: Mapping[str, Any], metric: str, tags: tuple[str, ...], alpha: float) -> NonRegressionGate:
    delta, mode = _delta(entry["non_regression"]), entry.get("mode", "absolute")
    if mode not in ("absolute", "relative"):
        raise UsageError(f"mode: expected 'absolute' or 'relative', got {mode!r}")
    if mode == "relative" and (delta == "auto" or delta >= 1):
        raise UsageError(
            f"mode: a relative drop is a share of the baseline's mean between 0 and 1, not {delta!r}; write such as"
            " `non_regression: 0.05`, or leave mode out"
        )
    return NonRegressionGate(metric, delta, tags, alpha, mode=mode)


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


def _demand_true(key: str, value: Any) -> None:
    if value is not True:
        raise UsageError(f"{key}: expected true, got {value!r}; remove the gate to switch it off")


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"{key}: expected a number, got {value!r}")
    return float(value)


def _share(key: str, value: Any) -> float:
    share = _number(key, value)
    if not 0.0 < share < 1.0:
        raise UsageError(f"{key}: expected a number between 0 and 1, both excluded, got {value!r}")
    return share


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{key}: expected a text, got {value!r}")
    return value


def _tags(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(tag, str) for tag in value):
        raise UsageError(f"tags: expected a list of texts, got {value!r}")
    return tuple(value)


def _tagged(tags: tuple[str, ...]) -> str:
    return f" [{', '.join(tags)}]" if tags else ""
