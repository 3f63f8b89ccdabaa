"""The canary analysis: judges a step by the evidence so far. Pure; the controller calls it."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from shipway.core.verdicts import Verdict
from shipway.rollouts.evidence import CanaryEvidence, Stratum
from shipway.rollouts.metrics import PAIRS, MetricReading
from shipway.rollouts.model import Code
from shipway.rollouts.objections import Finding, objection
from shipway.rollouts.plan import Plan, bad_needed, harmless_needed, proves_no_harm
from shipway.rollouts.readings import metric_readings
from shipway.rollouts.rules import RuleReading, read_rules
from shipway.stats.betting import PairState, pair_e_no_harm
from shipway.stats.harmless import e_value_harmless
from shipway.stats.sample_ratio import sample_ratio_e_value
from shipway.stats.sequential import e_value_harm, e_value_no_harm

# An e-value of thousands of bad conversations may be too small for a float.
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the evidence says about a step, and how far it is from saying more.

    The weighted mean of the `readings` is compared with 1/alpha of the plan. `no_harm_e` is the evidence for promotion;
    `harmless_e` is its absolute half, 0 when the plan has none or it may not be used. `events_seen` and `events_needed`
    are bad conversations of both arms; `eta_s` is None while their rate is not known. `readings` are the metrics,
    `rules` what the fixed rules say, also of what is not judged and why.
    """

    verdict: Verdict
    code: Code
    reasons: tuple[str, ...]
    harm_e: float = 1.0
    no_harm_e: float = 1.0
    harmless_e: float = 0.0
    sample_ratio_e: float = 1.0
    events_seen: int = 0
    events_needed: int | None = None
    eta_s: float | None = None
    readings: tuple[MetricReading, ...] = ()
    rules: tuple[RuleReading, ...] = ()


def judge(
    evidence: CanaryEvidence,
    plan: Plan,
    step: int,
    *,
    elapsed_s: float,
    now_s: float | None = None,
    acknowledged: Collection[Code] = (),
) -> Judgement:
    """Judge a step that has been in force for `elapsed_s`; pauses that a user has `acknowledged` are not repeated.

    The rules look back from `now_s`, or from the newest record.
    """
    if step < 0:
        return Judgement(Verdict.NO_DATA, Code.NO_DATA, ("no step is in force yet",))
    newest_s = evidence.outcomes.newest_s if now_s is None else now_s
    metrics = metric_readings(evidence, plan)
    rules = read_rules(plan.rules, evidence.windows, baseline=evidence.baseline, now_s=newest_s)
    at_step = _seen(evidence, plan, step)
    found = objection(evidence, plan, at_step, readings=(metrics, rules), acknowledged=acknowledged)
    found = found or _sufficiency(evidence, plan, step, elapsed_s)
    needed, eta_s = _outlook(evidence, plan, step, elapsed_s)
    return Judgement(
        *found,
        harm_e=e_value_harm(evidence.process),
        no_harm_e=promotion_e_value(evidence, plan),
        harmless_e=harmless_e_value(evidence, plan),
        sample_ratio_e=sample_ratio_e_value(evidence.sample_ratio),
        events_seen=evidence.process.candidate_events + evidence.process.stable_events,
        events_needed=needed,
        eta_s=eta_s,
        readings=metrics,
        rules=rules,
    )


def promotion_e_value(evidence: CanaryEvidence, plan: Plan) -> float:
    """Return the evidence against "harmful": `harm_ratio` times stable's bad rate or more, and `harmless_rate` or more.

    The mean of two e-values for one null is an e-value for it: promoting at 1 / promote_alpha keeps the error at
    promote_alpha whichever of the two got there.
    """
    relative = e_value_no_harm(evidence.process)
    if plan.harmless_rate is None:
        return relative
    return (relative + harmless_e_value(evidence, plan)) / 2.0


def harmless_e_value(evidence: CanaryEvidence, plan: Plan) -> float:
    """Return the absolute half of that evidence; 0 when the plan has none or the candidate looks worse than stable."""
    # A candidate that looks worse than stable must be compared with it, however rare its bad conversations are.
    if plan.harmless_rate is None or e_value_harm(evidence.process) >= 1.0 / plan.promote_alpha:
        return 0.0
    outcomes = evidence.outcomes
    return e_value_harmless(good=outcomes.good, bad=outcomes.bad, limit=plan.harmless_rate)


def _sufficiency(evidence: CanaryEvidence, plan: Plan, step: int, elapsed_s: float) -> Finding:
    """Return whether a step to which nothing objects has seen enough."""
    if plan.steps[step].shadow and plan.steps[step].weights() == {0.0}:
        return _pairs_suffice(evidence, plan, step, elapsed_s)
    stratum = _seen(evidence, plan, step)
    needs_users = plan.steps[step].traffic and plan.steps[step].weights() != {0.0}
    if needs_users and stratum.conversations == 0:
        return Verdict.NO_DATA, Code.NO_DATA, (f"no conversation at {stratum.weight:.0%} yet",)
    missing = _missing(stratum, plan, step, elapsed_s, promotion_e_value(evidence, plan))
    if missing:
        return Verdict.INCONCLUSIVE, Code.WAITING, tuple(missing)
    reason = f"{stratum.conversations} conversations at {stratum.weight:.0%} are enough and show no harm"
    if not needs_users:
        reason = f"{elapsed_s:.0f} s at {stratum.weight:.0%} show no harm ({stratum.conversations} conversations)"
    return Verdict.PASS, Code.ENOUGH, (reason,)


def _pairs_suffice(evidence: CanaryEvidence, plan: Plan, step: int, elapsed_s: float) -> Finding:
    """Return whether a step in which the candidate answers copies alone has seen enough of them."""
    wanted = plan.steps[step]
    sums = [(metric.name, evidence.sums(metric.name).pairs) for metric in plan.metrics if metric.kind == PAIRS]
    found = [(name, state) for name, state in sums if state is not None]
    if not found:
        return Verdict.NO_DATA, Code.NO_DATA, ("no copied request has been compared yet",)
    missing = []
    pairs = max(state.count for _, state in found)
    if pairs < wanted.min_pairs:
        missing.append(f"{pairs} of {wanted.min_pairs} pairs")
    if elapsed_s < wanted.min_bake_s:
        missing.append(f"{elapsed_s:.0f} of {wanted.min_bake_s:g} s")
    if wanted.prove is not False:
        missing += [_unproven(name, state, plan) for name, state in found if not _proven(state, plan)]
    if missing:
        return Verdict.INCONCLUSIVE, Code.WAITING, tuple(missing)
    told = ", ".join(f"{name} {state.mean:+.3f}" for name, state in found)
    return Verdict.PASS, Code.ENOUGH, (f"{pairs} pairs are enough and show no harm (mean differences: {told})",)


def _proven(state: PairState, plan: Plan) -> bool:
    return pair_e_no_harm(state) >= 1.0 / plan.promote_alpha


def _unproven(name: str, state: PairState, plan: Plan) -> str:
    return (
        f"{name}: evidence that the candidate is less than {state.margin:g} worse is {pair_e_no_harm(state):.3g} of"
        f" {1.0 / plan.promote_alpha:.3g} after {state.count} pairs"
    )


def _seen(evidence: CanaryEvidence, plan: Plan, step: int) -> Stratum:
    """Return what was seen at the weights that a step has on its routes."""
    wanted = plan.steps[step]
    return evidence.at(wanted.weight, wanted.weights())


def _missing(stratum: Stratum, plan: Plan, step: int, elapsed_s: float, no_harm_e: float) -> list[str]:
    wanted = plan.steps[step]
    missing = []
    if stratum.conversations < wanted.min_conversations:
        missing.append(f"{stratum.conversations} of {wanted.min_conversations} conversations")
    if wanted.traffic and wanted.weights() != {0.0} and stratum.candidate.conversations == 0:
        missing.append("the candidate has not had a conversation")
    if elapsed_s < wanted.min_bake_s:
        missing.append(f"{elapsed_s:.0f} of {wanted.min_bake_s:g} s")
    if proves_no_harm(plan, step) and no_harm_e < 1.0 / plan.promote_alpha:
        missing.append(f"evidence of no harm is {no_harm_e:.3g} of {1.0 / plan.promote_alpha:.3g}")
    return missing


def _outlook(evidence: CanaryEvidence, plan: Plan, step: int, elapsed_s: float) -> tuple[int | None, float | None]:
    if not proves_no_harm(plan, step):
        return None, None
    needed = bad_needed(plan, step)
    if elapsed_s <= 0.0:
        return needed, None
    stratum = _seen(evidence, plan, step)
    ways = []
    if stratum.bad:
        progress = math.log(max(promotion_e_value(evidence, plan), _TINY)) / -math.log(plan.promote_alpha)
        ways.append(max(0.0, 1.0 - progress) * needed * elapsed_s / stratum.bad)
    seen = evidence.outcomes.good + evidence.outcomes.bad
    quiet = harmless_needed(plan, bad_rate=evidence.outcomes.bad / seen) if seen else None
    if quiet is not None and stratum.candidate.conversations and harmless_e_value(evidence, plan):
        ways.append(max(0, quiet - seen) * elapsed_s / stratum.candidate.conversations)
    return needed, min(ways, default=None)
