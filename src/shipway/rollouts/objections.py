"""What speaks against going on with a rollout: harm, broken rules, a sample that does not fit. Pure; for `analysis`.

What rolls back comes before what pauses, and a user's resume silences pauses alone.
"""

from collections.abc import Collection, Iterator, Sequence

from shipway.core.verdicts import Verdict
from shipway.rollouts.evidence import ArmCounts, CanaryEvidence, Stratum
from shipway.rollouts.metrics import MetricReading
from shipway.rollouts.model import Code
from shipway.rollouts.plan import Plan
from shipway.rollouts.readings import combined_e, harm_reason
from shipway.rollouts.rules import PAUSE, ROLLBACK, WARN, RuleReading
from shipway.stats.chernoff import rate_upper, surely_differs
from shipway.stats.sample_ratio import sample_ratio_e_value

Finding = tuple[Verdict, Code, tuple[str, ...]]
# What stable must have been asked to speak for the candidate.
_MIN_STABLE = 20
# How sure a guardrail is of the candidate, and how much doubt it leaves of stable.
_SURE = 0.999
_DOUBT = 0.05
_ALMOST_ALL = 0.999


def objection(
    evidence: CanaryEvidence,
    plan: Plan,
    at_step: Stratum,
    *,
    readings: tuple[Sequence[MetricReading], Sequence[RuleReading]],
    acknowledged: Collection[Code] = (),
) -> Finding | None:
    """Return the first thing that speaks against going on; None when nothing does."""
    metrics, rules = readings
    if combined_e(metrics) >= 1.0 / plan.alpha:
        return Verdict.FAIL, Code.HARM, (harm_reason(metrics, plan.alpha),)
    found = [*_guardrail(evidence, plan, at_step), *_rules(rules), *_sample_ratio(evidence, plan)]
    failures = [item for item in found if item[0] is Verdict.FAIL]
    pauses = [item for item in found if item[0] is not Verdict.FAIL and item[1] not in acknowledged]
    return next(iter([*failures, *pauses]), None)


def _rules(rules: Sequence[RuleReading]) -> Iterator[Finding]:
    for rule in rules:
        if not rule.broken or rule.action == WARN:
            continue
        if rule.shared:
            reason = f"{rule.name}: {rule.text}; both arms break the rule, so the cause is hardly the candidate"
            yield Verdict.INCONCLUSIVE, Code.BOTH_ARMS_FAIL, (reason,)
        elif rule.action == ROLLBACK:
            yield Verdict.FAIL, Code.GUARDRAIL, (f"{rule.name}: {rule.text}",)
        elif rule.action == PAUSE:
            yield Verdict.INCONCLUSIVE, Code.RULE, (f"{rule.name}: {rule.text}",)


def _guardrail(evidence: CanaryEvidence, plan: Plan, at_step: Stratum) -> Iterator[Finding]:
    limit, candidate = plan.guardrails.max_error_rate, at_step.candidate
    if not _fails(candidate, plan):
        return
    total = evidence.total().stable
    stable = at_step.stable if at_step.stable.requests >= _MIN_STABLE else total
    told = f"{candidate.failures} of {candidate.requests} candidate requests failed"
    of_stable = f"stable: {stable.failures} of {stable.requests}"
    if _fails(at_step.stable, plan):
        reason = f"{told}, and {of_stable}: both arms are over {limit:.0%}, so the cause is hardly the candidate"
        if _surely_over(candidate, limit):
            yield Verdict.INCONCLUSIVE, Code.BOTH_ARMS_FAIL, (reason,)
        return
    known = [_highest_rate(stable), _rate(total)] if stable.requests >= _MIN_STABLE else []
    if at_step.stable.requests < _MIN_STABLE:
        # Nobody is on stable now, and what it did earlier may have been another time: the limit itself decides.
        known.append(limit)
    if _surely_over(candidate, max(known)):
        yield Verdict.FAIL, Code.GUARDRAIL, (f"{told}, over the limit of {limit:.0%} ({of_stable})",)


def _fails(arm: ArmCounts, plan: Plan) -> bool:
    enough = arm.requests >= plan.guardrails.min_samples
    return enough and arm.failures > plan.guardrails.max_error_rate * arm.requests


def _surely_over(arm: ArmCounts, limit: float) -> bool:
    """Tell whether an arm's rate is no accident: a service with 2 % failures shows six in some hundred now and then."""
    return _rate(arm) > limit and surely_differs(_rate(arm), _samples(arm), min(limit, _ALMOST_ALL), alpha=1.0 - _SURE)


def _highest_rate(arm: ArmCounts) -> float:
    """Return how high an arm's rate may be: none in a hundred may well be one in thirty."""
    samples = _samples(arm)
    return rate_upper(_rate(arm) * samples, samples, alpha=_DOUBT)


def _rate(arm: ArmCounts) -> float:
    return arm.failures / arm.requests if arm.requests else 0.0


def _samples(arm: ArmCounts) -> float:
    """Return the requests, fewer where many failures are of one conversation: they come together."""
    # Rows of before conversations with failures were counted have none: each failure is its own there.
    return arm.requests * min(1.0, arm.failed / arm.failures) if arm.failed else float(arm.requests)


def _sample_ratio(evidence: CanaryEvidence, plan: Plan) -> Iterator[Finding]:
    found, counts = sample_ratio_e_value(evidence.sample_ratio), evidence.sample_ratio
    if found < 1.0 / plan.sample_ratio_alpha:
        return
    reason = (
        f"{counts.candidates} conversations on the candidate and {counts.stable} on stable do not fit the weights"
        f" (e-value {found:.3g}): records may be lost or assignment broken; look before resuming"
    )
    yield Verdict.INCONCLUSIVE, Code.SAMPLE_RATIO, (reason,)
