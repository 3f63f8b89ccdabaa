"""Fixed rules beside the statistics: absolute limits over a window, and limits against what was known of stable. Pure.

`analysis` reads them at every look. A rule is broken when the candidate is *surely* over the limit: once heavy users
are discounted, a share at the limit would show so much with chance `1 - sure` at most. By the letter (`sure: 0`) two
slow requests of a hundred break "p99 over 5 s", and a service with 2 % errors breaks "5 % of 100" now and then.

A rule that stable breaks as well never rolls back.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shipway.rollouts.baseline import Baseline, Figures
from shipway.rollouts.windows import SLOT_S, SLOTS, ArmWindow, Windows
from shipway.stats.chernoff import surely_differs

ROLLBACK, PAUSE, WARN, OFF = "rollback", "pause", "warn", "off"
ACTIONS = (ROLLBACK, PAUSE, WARN, OFF)
P99_SHARE = 0.01
# What stable needs to speak for the candidate; a point estimate, because doubt must not cost a rollback.
_MIN_STABLE = 20
_HOUR_S = SLOT_S * SLOTS


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit over `window_s` seconds once there are `min_samples`, and what happens when it is broken."""

    limit: float
    window_s: float
    min_samples: int
    action: str = ROLLBACK


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a plan.

    `error_rate` and `safety` limit shares of requests, `p99_ms` a latency, `quality` the mean score from below. The
    others compare with the baseline: `error_increase` in points, `p99_increase` and `throughput_drop` as shares of it.
    """

    error_rate: Rule = Rule(0.05, 300.0, 100)
    p99_ms: Rule = Rule(5000.0, 300.0, 100)
    safety: Rule = Rule(0.001, 3600.0, 1000)
    quality: Rule = Rule(0.8, 3600.0, 500)
    error_increase: Rule = Rule(0.01, 300.0, 100, WARN)
    p99_increase: Rule = Rule(0.2, 300.0, 100, WARN)
    throughput_drop: Rule = Rule(0.1, 300.0, 100, WARN)
    safety_events: tuple[str, ...] = ("unsafe",)
    sure: float = 0.999

    @classmethod
    def off(cls) -> "Rules":
        """Return the rules of rollouts that were started before there were any."""
        started = cls()
        switched: dict[str, Any] = {name: replace(getattr(started, name), action=OFF) for name in RULES}
        return cls(**switched)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Rules":
        """Return the rules of a JSON form."""
        rules = {name: Rule(**data[name]) for name in RULES if name in data}
        return cls(**{**data, **rules, "safety_events": tuple(data.get("safety_events", cls().safety_events))})


RULES = ("error_rate", "p99_ms", "safety", "quality", "error_increase", "p99_increase", "throughput_drop")


@dataclass(frozen=True, slots=True)
class RuleReading:
    """What one rule says; `judged` False: too little to say it, and `text` why. `shared`: stable breaks it as well."""

    name: str
    judged: bool
    text: str
    broken: bool = False
    shared: bool = False
    action: str = WARN


@dataclass(frozen=True, slots=True)
class _Share:
    """Requests of one arm that were over a limit, and how many of its conversations were, for the first time."""

    over: int
    conversations: int
    n: int

    @property
    def rate(self) -> float:
        return self.over / self.n if self.n else 0.0

    def surely_over(self, limit: float, sure: float) -> bool:
        if not self.n or self.rate <= limit:
            return False
        if sure <= 0.0:
            return True
        # Requests of one conversation fail together: they count as one, and the sample shrinks with them.
        effective = self.n * min(1.0, self.conversations / self.over)
        return surely_differs(self.rate, effective, limit, alpha=1.0 - sure)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the rules look at; windows of one length are summed up once."""

    rules: Rules
    windows: Windows
    baseline: Baseline | None
    now_s: float
    sums: dict[float, tuple[ArmWindow, ArmWindow]] = field(default_factory=dict)

    def arms(self, rule: Rule) -> tuple[ArmWindow, ArmWindow]:
        return self.within(rule.window_s)

    def within(self, window_s: float) -> tuple[ArmWindow, ArmWindow]:
        if window_s not in self.sums:
            self.sums[window_s] = self.windows.arms(self.now_s, window_s)
        return self.sums[window_s]

    @property
    def before(self) -> Figures:
        return Figures() if self.baseline is None else self.baseline.total

    def stable(self, rule: Rule, share: Callable[[ArmWindow], tuple[float, int]]) -> tuple[float, int]:
        """Return stable's (sum, samples) of the window at the candidate's times, or else of the whole hour."""
        found, n = self.windows.stable_like_candidate(self.now_s, rule.window_s, share)
        return (found, n) if n >= _MIN_STABLE else share(self.within(_HOUR_S)[1])


def read_rules(
    rules: Rules, windows: Windows, *, baseline: Baseline | None = None, now_s: float
) -> tuple[RuleReading, ...]:
    """Return what each rule that is on says now."""
    look = _Look(rules, windows, baseline, now_s)
    readers = {
        "error_rate": _error_rate,
        "p99_ms": _p99,
        "safety": _safety,
        "quality": _quality,
        "error_increase": _error_increase,
        "p99_increase": _p99_increase,
        "throughput_drop": _throughput,
    }
    on = {name: rule for name in RULES if (rule := getattr(rules, name)).action != OFF}
    found = [(readers[name](look, rule), rule) for name, rule in on.items()]
    # What is judged may have come to a milder action than the rule's.
    return tuple(reading if reading.judged else replace(reading, action=rule.action) for reading, rule in found)


def rule_problems(rules: Rules) -> Iterator[str]:
    """Yield what makes rules impossible, one line a fault with key and value."""
    for name in RULES:
        rule, key = getattr(rules, name), f"rules.{name}"
        if rule.action not in ACTIONS:
            yield f"{key}.action: {rule.action!r} is unknown; use one of {', '.join(ACTIONS)}"
        if not 0.0 < rule.limit < (math.inf if name in {"p99_ms", "p99_increase"} else 1.0):
            wanted = "a positive number" if name in {"p99_ms", "p99_increase"} else "between 0 and 1"
            yield f"{key}.limit: {rule.limit!r} is not {wanted}"
        if not SLOT_S <= rule.window_s <= _HOUR_S:
            yield f"{key}.window_s: {rule.window_s!r} is not between {SLOT_S:g} and {_HOUR_S:g} s"
        if rule.min_samples < 1:
            yield f"{key}.min_samples: {rule.min_samples!r} must be at least 1"
    if not 0.0 <= rules.sure < 1.0:
        yield f"rules.sure: {rules.sure!r} is not in [0, 1); 0.999 is usual, 0 takes the limits by the letter"


def slower_than_ms(rules: Rules, baseline: Baseline | None, route: str) -> float | None:
    """Return the latency over which a request counts against `p99_increase`; None while stable's p99 is not known."""
    if baseline is None or rules.p99_increase.action == OFF:
        return None
    p99_ms = baseline.route(route).quantile("latency_ms", 0.99)
    return None if p99_ms is None else p99_ms * (1.0 + rules.p99_increase.limit)


def _error_rate(look: _Look, rule: Rule) -> RuleReading:
    before = look.before.error_rate
    return _limit(
        look,
        rule,
        _Limit("error_rate", rule.limit, before is not None and before > rule.limit),
        lambda arm: _Share(arm.failures, arm.failed, arm.requests),
        lambda arm: f"{arm.failures} of {arm.requests} requests failed",
    )


def _p99(look: _Look, rule: Rule) -> RuleReading:
    before = look.before.quantile("latency_ms", 0.99)
    # Without knowing that stable was quicker before, slowness of both is how this service is.
    reading = _limit(
        look,
        rule,
        _Limit("p99_ms", P99_SHARE, before is not None and before > rule.limit),
        lambda arm: _Share(arm.slow, arm.slowed, arm.requests),
        lambda arm: f"{arm.slow} of {arm.requests} requests took over {rule.limit:g} ms",
    )
    if reading.shared and before is None:
        return RuleReading(reading.name, reading.judged, reading.text, broken=True, shared=True, action=WARN)
    return reading


def _safety(look: _Look, rule: Rule) -> RuleReading:
    events = _limit(
        look,
        rule,
        _Limit("safety", rule.limit, unusable=False),
        lambda arm: _Share(arm.unsafe, arm.endangered, arm.requests),
        lambda arm: f"{arm.unsafe} of {arm.requests} requests were unsafe",
    )
    checks = _limit(
        look,
        rule,
        _Limit("safety", rule.limit, unusable=False),
        lambda arm: _Share(arm.unsafe_checked, arm.unsafe_checked, arm.checked),
        lambda arm: f"{arm.unsafe_checked} of {arm.checked} checked answers were unsafe",
    )
    return checks if checks.broken or (checks.judged and not events.broken) else events


def _error_increase(look: _Look, rule: Rule) -> RuleReading:
    before = look.before.error_rate
    if before is None:
        return RuleReading("error_increase", judged=False, text="stable's errors before the rollout are not known")
    return _limit(
        look,
        rule,
        _Limit("error_increase", min(before + rule.limit, 0.999), unusable=False),
        lambda arm: _Share(arm.failures, arm.failed, arm.requests),
        lambda arm: f"{arm.failures} of {arm.requests} requests failed ({before:.2%} before the rollout)",
    )


def _p99_increase(look: _Look, rule: Rule) -> RuleReading:
    before = look.before.quantile("latency_ms", 0.99)
    if before is None:
        return RuleReading("p99_increase", judged=False, text="stable's p99 before the rollout is not known")
    limit_ms = (1.0 + rule.limit) * before
    return _limit(
        look,
        rule,
        _Limit("p99_increase", P99_SHARE, unusable=False),
        lambda arm: _Share(arm.slower, arm.slowered, arm.requests),
        lambda arm: f"{arm.slower} of {arm.requests} requests took over {limit_ms:.0f} ms (p99 was {before:.0f} ms)",
    )


def _quality(look: _Look, rule: Rule) -> RuleReading:
    candidate, _ = look.arms(rule)
    if candidate.scored < rule.min_samples:
        return RuleReading("quality", judged=False, text=f"{candidate.scored} of {rule.min_samples} judged answers")
    mean = candidate.score_sum / candidate.scored
    broken = mean < rule.limit and (
        look.rules.sure <= 0.0 or surely_differs(mean, candidate.scored, rule.limit, alpha=1.0 - look.rules.sure)
    )
    other, n = look.stable(rule, lambda arm: (arm.score_sum, arm.scored))
    shared = n >= _MIN_STABLE and other < rule.limit * n
    of_stable = f"{other / n:.2f} on stable" if n else "none on stable"
    text = f"mean quality {mean:.2f} of {candidate.scored} answers ({of_stable}), limit {rule.limit:g}"
    return RuleReading("quality", judged=True, text=text, broken=broken, shared=broken and shared, action=rule.action)


def _throughput(look: _Look, rule: Rule) -> RuleReading:
    before = look.before.requests_per_s
    if before is None:
        return RuleReading("throughput_drop", judged=False, text="stable's throughput before the rollout is not known")
    candidate, stable = look.arms(rule)
    if before * rule.window_s < rule.min_samples:
        return RuleReading("throughput_drop", judged=False, text=f"{before:.3g} requests/s are too few to tell")
    oldest_s = look.windows.slots[0][0] * SLOT_S if look.windows.slots else look.now_s
    if look.now_s - oldest_s < rule.window_s or not candidate.requests:
        text = f"there have not been {rule.window_s:g} s with requests of both arms"
        return RuleReading("throughput_drop", judged=False, text=text)
    now = (candidate.requests + stable.requests) / rule.window_s
    broken = now < (1.0 - rule.limit) * before
    # Traffic is what users do: it may be night. It never speaks against the candidate alone.
    text = f"{now:.3g} requests/s of both arms, {before:.3g} before the rollout"
    action = WARN if rule.action == ROLLBACK else rule.action
    return RuleReading("throughput_drop", judged=True, text=text, broken=broken, shared=broken, action=action)


@dataclass(frozen=True, slots=True)
class _Limit:
    """A rule's name, the share over which it is broken, and whether stable was over it before the rollout."""

    name: str
    share: float
    unusable: bool


def _limit(
    look: _Look, rule: Rule, limit: _Limit, share: Callable[[ArmWindow], _Share], told: Callable[[ArmWindow], str]
) -> RuleReading:
    if limit.unusable:
        text = "stable was over the limit before the rollout, so it tells nothing about the candidate"
        return RuleReading(limit.name, judged=False, text=text)
    candidate, stable = look.arms(rule)
    found = share(candidate)
    if found.n < rule.min_samples:
        return RuleReading(limit.name, judged=False, text=f"{found.n} of {rule.min_samples} samples")
    broken = found.surely_over(limit.share, look.rules.sure)
    other, n = float(share(stable).over), share(stable).n
    if broken:
        other, n = look.stable(rule, lambda arm: (share(arm).over, share(arm).n))
    shared = broken and n >= _MIN_STABLE and other > limit.share * n
    of_stable = f"{other / n:.2%} of {n}" + (" at the same times" if broken else "") if n else "not asked"
    text = f"{told(candidate)} within {rule.window_s:g} s, limit {limit.share:.2%}; stable: {of_stable}"
    return RuleReading(limit.name, judged=True, text=text, broken=broken, shared=shared, action=rule.action)
