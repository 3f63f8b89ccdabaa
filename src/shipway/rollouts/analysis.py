"""The canary analysis: judges a step by the evidence so far. Pure; the controller calls it."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from shipway.core.verdicts import Verdict
from shipway.rollouts.evidence import ArmCounts, CanaryEvidence, Stratum
from shipway.rollouts.model import Code
from shipway.rollouts.plan import Plan, bad_needed, harmless_needed, proves_no_harm
from shipway.stats.harmless import e_value_harmless
from shipway.stats.sample_ratio import sample_ratio_e_value
from shipway.stats.sequential import e_value_harm, e_value_no_harm

# An e-value of thousands of bad conversations may be too small for a float.
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the evidence says about a step, and how far it is from saying more.

    The e-values are compared with 1/alpha of the plan. `no_harm_e` is the evidence for promotion; `harmless_e` is its
    absolute half, 0 when the plan has none or it may not be used. `events_seen` and `events_needed` are bad
    conversations of both arms; `eta_s` is None while their rate is not known.
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


def judge(
    evidence: CanaryEvidence,
    plan: Plan,
    step: int,
    *,
    elapsed_s: float,
    acknowledged: Collection[Code] = (),
) -> Judgement:
    """Judge a step that has been in force for `elapsed_s`; pauses that a user has `acknowledged` are not repeated."""
    if step < 0:
        return Judgement(Verdict.NO_DATA, Code.NO_DATA, ("no step is in force yet",))
    found = _objection(evidence, plan, step, acknowledged) or _sufficiency(evidence, plan, step, elapsed_s)
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


def _objection(
    evidence: CanaryEvidence, plan: Plan, step: int, acknowledged: Collection[Code]
) -> tuple[Verdict, Code, tuple[str, ...]] | None:
    """Return what speaks against going on; a user's resume silences pauses, never a FAIL."""
    harm_e = e_value_harm(evidence.process)
    if harm_e >= 1.0 / plan.alpha:
        return Verdict.FAIL, Code.HARM, (_harm_reason(evidence, plan, harm_e),)
    broken = _guardrail(evidence.stratum(plan.steps[step].weight), plan)
    if broken is not None and (broken[0] is Verdict.FAIL or broken[1] not in acknowledged):
        return broken
    sample_ratio_e = sample_ratio_e_value(evidence.sample_ratio)
    if sample_ratio_e >= 1.0 / plan.sample_ratio_alpha and Code.SAMPLE_RATIO not in acknowledged:
        return Verdict.INCONCLUSIVE, Code.SAMPLE_RATIO, (_sample_ratio_reason(evidence, sample_ratio_e),)
    return None


def _sufficiency(
    evidence: CanaryEvidence, plan: Plan, step: int, elapsed_s: float
) -> tuple[Verdict, Code, tuple[str, ...]]:
    """Return whether a step to which nothing objects has seen enough."""
    stratum = evidence.stratum(plan.steps[step].weight)
    if stratum.conversations == 0:
        return Verdict.NO_DATA, Code.NO_DATA, (f"no conversation at {stratum.weight:.0%} yet",)
    missing = _missing(stratum, plan, step, elapsed_s, promotion_e_value(evidence, plan))
    if missing:
        return Verdict.INCONCLUSIVE, Code.WAITING, tuple(missing)
    reason = f"{stratum.conversations} conversations at {stratum.weight:.0%} are enough and show no harm"
    return Verdict.PASS, Code.ENOUGH, (reason,)


def _guardrail(stratum: Stratum, plan: Plan) -> tuple[Verdict, Code, tuple[str, ...]] | None:
    limit = plan.guardrails.max_error_rate
    if not _fails(stratum.candidate, plan):
        return None
    candidate = f"{stratum.candidate.failures} of {stratum.candidate.requests} candidate requests failed"
    stable = f"stable: {stratum.stable.failures} of {stratum.stable.requests}"
    if _fails(stratum.stable, plan):
        reason = f"{candidate}, and {stable}: both arms are over {limit:.0%}, so the cause is hardly the candidate"
        return Verdict.INCONCLUSIVE, Code.BOTH_ARMS_FAIL, (reason,)
    return Verdict.FAIL, Code.GUARDRAIL, (f"{candidate}, over the limit of {limit:.0%} ({stable})",)


def _fails(arm: ArmCounts, plan: Plan) -> bool:
    enough = arm.requests >= plan.guardrails.min_samples
    return enough and arm.failures > plan.guardrails.max_error_rate * arm.requests


def _missing(stratum: Stratum, plan: Plan, step: int, elapsed_s: float, no_harm_e: float) -> list[str]:
    wanted = plan.steps[step]
    missing = []
    if stratum.conversations < wanted.min_conversations:
        missing.append(f"{stratum.conversations} of {wanted.min_conversations} conversations")
    if stratum.candidate.conversations == 0:
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
    stratum = evidence.stratum(plan.steps[step].weight)
    ways = []
    if stratum.bad:
        progress = math.log(max(promotion_e_value(evidence, plan), _TINY)) / -math.log(plan.promote_alpha)
        ways.append(max(0.0, 1.0 - progress) * needed * elapsed_s / stratum.bad)
    seen = evidence.outcomes.good + evidence.outcomes.bad
    quiet = harmless_needed(plan, bad_rate=evidence.outcomes.bad / seen) if seen else None
    if quiet is not None and stratum.candidate.conversations and harmless_e_value(evidence, plan):
        ways.append(max(0, quiet - seen) * elapsed_s / stratum.candidate.conversations)
    return needed, min(ways, default=None)


def _harm_reason(evidence: CanaryEvidence, plan: Plan, harm_e: float) -> str:
    total = evidence.total()
    return (
        f"harm e-value {harm_e:.3g} is at or over {1.0 / plan.alpha:.3g}: bad conversations"
        f" {total.candidate.bad} of {total.candidate.conversations} on the candidate,"
        f" {total.stable.bad} of {total.stable.conversations} on stable"
    )


def _sample_ratio_reason(evidence: CanaryEvidence, sample_ratio_e: float) -> str:
    counts = evidence.sample_ratio
    return (
        f"{counts.candidates} conversations on the candidate and {counts.stable} on stable do not fit the weights"
        f" (e-value {sample_ratio_e:.3g}): records may be lost or assignment broken; look before resuming"
    )
