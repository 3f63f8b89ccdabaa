"""The rules on what users get: goldens, sampled answers and safety checks, each held against a least share of passes.

`services.quality` reads observations and asks here; nothing here does I/O. A conversation counts once in a rule: its
answers are not independent of one another.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shipway.core.observation import GOLDEN, QUALITY, SAFETY, Observation
from shipway.core.verdicts import Verdict
from shipway.stats.detector import detector_value
from shipway.stats.proportions import clopper_pearson_lower, clopper_pearson_upper

_TAIL = 0.025
"""Each side of the 95 % interval."""


@dataclass(frozen=True, slots=True)
class QualityRule:
    """At least `minimum` of the observations of a kind must pass, which they do from `pass_from` on."""

    name: str
    kind: str
    minimum: float
    pass_from: float


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """How rules look: how far back, from how many observations, how rarely they may be wrong (see `stats.detector`)."""

    window_s: float = 86_400.0
    min_samples: int = 30
    mean_run: float = 1_000.0


@dataclass(frozen=True, slots=True)
class RuleReading:
    """What a rule says of one release on one route: `low` and `high` are the exact 95 % interval of this window."""

    rule: QualityRule
    route: str
    release: str
    verdict: Verdict
    n: int
    passed: int
    low: float
    high: float
    evidence: float
    newest_at_s: float

    @property
    def text(self) -> str:
        """Return the reading in words."""
        rule = self.rule
        share = f"{self.passed} of {self.n} passed"
        interval = f"{self.passed / self.n:.1%}, 95 %: {self.low:.1%} to {self.high:.1%}"
        return f"{rule.name}: {share} ({interval}), at least {rule.minimum:.0%} must"


def quality_rules(*, min_pass: float, min_safety: float, pass_from: float) -> tuple[QualityRule, ...]:
    """Return the rules: goldens pass with all of their checks, an answer with the judge's score, safety as such."""
    return (
        QualityRule("goldens", GOLDEN, min_pass, 1.0),
        QualityRule("answers", QUALITY, min_pass, pass_from),
        QualityRule("safety", SAFETY, min_safety, 1.0),
    )


def readings(
    rules: Sequence[QualityRule], observations: Iterable[Observation], limits: QualityLimits
) -> list[RuleReading]:
    """Return what each rule says of each route and release that was observed, in the order of the rules.

    `observations` are those of the window, oldest first.
    """
    found: dict[tuple[str, str, str], dict[str, Observation]] = {}
    for item in observations:
        counted = found.setdefault((item.kind, item.route, item.release), {})
        # The first of a conversation: which one counts must not depend on how it went.
        counted.setdefault(item.conversation or item.id, item)
    return [
        _reading(rule, route, release, list(counted.values()), limits)
        for rule in rules
        for (kind, route, release), counted in found.items()
        if kind == rule.kind
    ]


def _reading(
    rule: QualityRule, route: str, release: str, counted: Sequence[Observation], limits: QualityLimits
) -> RuleReading:
    outcomes = [item.value >= rule.pass_from for item in counted]
    n, passed = len(outcomes), sum(outcomes)
    evidence = detector_value(outcomes, rule.minimum) if 0.0 < rule.minimum < 1.0 else 0.0
    low, high = clopper_pearson_lower(passed, n, _TAIL), clopper_pearson_upper(passed, n, _TAIL)
    verdict = _verdict(rule, limits, n=n, passed=passed, low=low, evidence=evidence)
    newest = max(item.at_s for item in counted)
    return RuleReading(rule, route, release, verdict, n, passed, low, high, evidence, newest)


def _verdict(rule: QualityRule, limits: QualityLimits, *, n: int, passed: int, low: float, evidence: float) -> Verdict:
    if evidence >= limits.mean_run or (rule.minimum >= 1.0 and passed < n):
        return Verdict.FAIL
    if n < limits.min_samples:
        return Verdict.NO_DATA
    return Verdict.PASS if low >= rule.minimum or rule.minimum <= 0.0 else Verdict.INCONCLUSIVE
