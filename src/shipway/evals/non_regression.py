"""Non-regression gates: paired differences per case, clustered sign-flip test, Holm over the gates.

`gates` calls this. FAIL needs a significant drop of delta or more, PASS a drop of delta ruled out; anything else is
INCONCLUSIVE with the number of cases or repeats that would decide.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateRow, Needed
from shipway.evals.gate_spec import NonRegressionGate
from shipway.evals.metrics import Metric
from shipway.evals.model import Case
from shipway.evals.power import MAX_AUTO_DELTA, PRINTED, visible_delta
from shipway.evals.sample import Sample
from shipway.stats.clusters import clustered_mean
from shipway.stats.looks import spent
from shipway.stats.needed import cases_for_gap, design_effect, repeats_for_gap, variance_parts
from shipway.stats.paired import PairedResult, decide_non_regression, holm, paired_test, smallest_visible_delta
from shipway.stats.proportions import n_for_zero_failures, zero_failures_upper

# Metrics without a scale, such as latency: an automatic delta is this share of the baseline's mean. It is not taken
# from the run's own variance: a candidate would widen its limit by being unsteady.
RELATIVE_DELTA = 0.1


@dataclass(frozen=True, slots=True)
class Arms:
    """What a non-regression gate compares."""

    spec: NonRegressionGate
    metric: Metric
    candidate: Sample
    baseline: Sample


@dataclass(frozen=True, slots=True)
class Judging:
    """How: the seed and the number of permutations, and how many looks share each alpha."""

    seed: int
    permutations: int
    looks: int = 1


@dataclass(frozen=True, slots=True)
class _Pairing:
    arms: Arms
    level: float
    pairs: "_Pairs"
    result: PairedResult
    delta: float
    visible: float
    """The smallest delta at which PASS is honest."""
    margin: float
    """How far the drop of delta lies outside the bound: positive when it is ruled out."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Cases scored in both runs; differences are positive where the candidate is better. `repeats` has a row a case."""

    cases: tuple[Case, ...]
    differences: npt.NDArray[np.float64]
    baseline: npt.NDArray[np.float64]
    repeats: npt.NDArray[np.float64]

    @property
    def clusters(self) -> list[str]:
        return [case.cluster_name for case in self.cases]


def paired_drop(candidate: Sample, baseline: Sample, metric: Metric) -> tuple[float, float]:
    """Return by how much the candidate is worse on the paired cases: absolute, and as the warning rule compares it.

    The second is the same for scores in [0, 1] and a share of the baseline's mean otherwise.
    """
    pairs = _pairs(candidate, baseline, metric)
    if not pairs.cases:
        return 0.0, 0.0
    drop = -statistics.fmean(pairs.differences)
    scale = 1.0 if metric.bounded else abs(baseline.mean or 0.0)
    if scale == 0.0:
        return drop, math.copysign(math.inf, drop) if drop else 0.0
    return drop, drop / scale


def non_regression_rows(compared: Sequence[Arms], judging: Judging) -> list[GateRow]:
    """Judge every non-regression gate, in their order."""
    rows: dict[int, GateRow] = {}
    pairings: dict[int, _Pairing] = {}
    for place, arms in enumerate(compared):
        row = _unmeasured(arms)
        pairs = _pairs(arms.candidate, arms.baseline, arms.metric)
        if row is not None or not pairs.cases:
            rows[place] = row or _row(arms, Verdict.NO_DATA, "no case was scored in both runs")
            continue
        pairings[place] = _pairing(arms, pairs, judging)
    adjusted = holm({str(place): pairing.result.p_value for place, pairing in pairings.items()})
    rows.update({place: _decided(pairing, adjusted[str(place)]) for place, pairing in pairings.items()})
    return [rows[place] for place in range(len(compared))]


def _pairs(candidate: Sample, baseline: Sample, metric: Metric) -> _Pairs:
    before = {case.id: place for place, case in enumerate(baseline.cases)}
    places = [(place, before[case.id]) for place, case in enumerate(candidate.cases) if case.id in before]
    new, old = (np.array([pair[side] for pair in places], dtype=np.intp) for side in (0, 1))
    repeats = min(candidate.scores.shape[1], baseline.scores.shape[1])
    values, known = (np.asarray(sample.values, dtype=np.float64) for sample in (candidate, baseline))
    return _Pairs(
        cases=tuple(candidate.cases[place] for place, _ in places),
        differences=metric.sign * (values[new] - known[old]),
        baseline=known[old],
        repeats=metric.sign * (candidate.scores[new][:, :repeats] - baseline.scores[old][:, :repeats]),
    )


def _pairing(arms: Arms, pairs: _Pairs, judging: Judging) -> _Pairing:
    level = spent(arms.spec.alpha, judging.looks)[0]
    result = paired_test(
        pairs.differences, pairs.clusters, alpha=level, seed=judging.seed, permutations=judging.permutations
    )
    mean = float(pairs.baseline.mean())
    share = _share_of_baseline(arms)
    delta = _absolute_delta(arms, level) if share is None else share * abs(mean) or math.ulp(1.0)
    # Fewer pairs than the dataset has cases: at least what so many unchanged clusters leave possible must be ruled out.
    least = smallest_visible_delta(result.n_clusters, result.n, 0.0, alpha=level) if arms.metric.bounded else 0.0
    margin = result.lower_bound + delta
    if share is not None and mean:
        # The baseline's mean is measured too: what must be above zero is each case's difference plus its own share.
        share = math.copysign(share, mean)
        shifted = clustered_mean(pairs.differences + share * pairs.baseline, pairs.clusters)
        margin = shifted.mean - shifted.t_margin(level)
    return _Pairing(arms, level, pairs, result, delta, least, margin)


def _share_of_baseline(arms: Arms) -> float | None:
    """Return delta as a share of the baseline's mean; None where it is a number of its own."""
    if arms.spec.delta == "auto":
        return None if arms.metric.bounded else RELATIVE_DELTA
    return arms.spec.delta if arms.spec.mode == "relative" else None


def _absolute_delta(arms: Arms, level: float) -> float:
    """Return delta as a number; `auto` is what the cases can see that the baseline has scores of.

    The candidate has no part in it: by answering less it would widen its own limit.
    """
    if arms.spec.delta != "auto":
        return arms.spec.delta
    return min(visible_delta(arms.baseline.cases, level), MAX_AUTO_DELTA)


def _decided(pairing: _Pairing, adjusted_p: float) -> GateRow:
    result, delta = pairing.result, pairing.delta
    verdict = Verdict(decide_non_regression(result, adjusted_p=adjusted_p, alpha=pairing.level, delta=delta))
    if verdict is not Verdict.FAIL:
        verdict = Verdict.PASS if pairing.margin > 0 else Verdict.INCONCLUSIVE
    needed = None
    message = f"a drop of {delta:.3g} is what this gate judges"
    # The margin was floored to three digits when the gate was written.
    if verdict is Verdict.PASS and pairing.visible > delta + 1 / PRINTED:
        verdict = Verdict.INCONCLUSIVE
        needed = _needed(pairing)
        message = f"{result.n} paired cases in {result.n_clusters} clusters cannot rule out a drop of {delta:.3g}"
    elif verdict is Verdict.INCONCLUSIVE:
        needed = _needed(pairing)
        message = f"a drop of {delta:.3g} is neither shown nor ruled out; {needed.text}"
    return _with_result(pairing, adjusted_p, verdict, message, needed)


def _needed(pairing: _Pairing) -> Needed:
    """Return what would decide if the observed effect is the true one: PASS when it is above -delta, else FAIL."""
    result, delta, level = pairing.result, pairing.delta, pairing.level
    gap = delta + result.mean_difference if result.mean_difference > -delta else -result.mean_difference
    cases = cases_for_gap(result.standard_error, result.n, gap, level)
    if math.isfinite(result.standard_error) and pairing.arms.metric.bounded and delta < 1.0:
        # However equal the cases are, so many clusters are needed to rule the drop out.
        clusters = n_for_zero_failures(delta, level)
        if cases is not None and clusters > result.n_clusters:
            cases = max(cases, math.ceil(result.n * clusters / result.n_clusters))
    parts = variance_parts(pairing.pairs.repeats[np.isfinite(pairing.pairs.repeats).any(axis=1)])
    estimate = clustered_mean(pairing.pairs.differences, pairing.pairs.clusters)
    repeats = None
    if pairing.visible <= delta + 1 / PRINTED and math.isfinite(result.standard_error):
        variance = float(np.var(pairing.pairs.differences, ddof=1))
        repeats = repeats_for_gap(parts, design_effect(estimate, variance), result.n, gap, level)
    return Needed(cases, repeats, _sentence(cases, repeats, result.n, parts.repeats), parts.within is None)


def _sentence(cases: int | None, repeats: int | None, n: int, asked: float) -> str:
    ways = []
    if cases is not None:
        ways.append(f"{cases - n} more cases")
    if repeats is not None:
        more = repeats - math.floor(asked)
        ways.append(f"{more} more repeats" if more > 1 else "1 more repeat")
    if not ways:
        return "no number of cases or repeats decides it at this effect; cases from other documents may"
    return (
        f"{', or '.join(ways)}, would decide at this effect"
        if len(ways) > 1
        else f"{ways[0]} would decide at this effect"
    )


def _with_result(
    pairing: _Pairing, adjusted_p: float, verdict: Verdict, message: str, needed: Needed | None
) -> GateRow:
    result, arms = pairing.result, pairing.arms
    unpaired = len({case.id for case in (*arms.candidate.cases, *arms.baseline.cases)}) - result.n
    note = f"; {unpaired} cases scored in one run only are left out" if unpaired else ""
    least = zero_failures_upper(result.n_clusters, pairing.level) if arms.metric.bounded else 0.0
    return GateRow(
        gate=arms.spec.label,
        metric=arms.spec.metric,
        kind="non_regression",
        verdict=verdict,
        message=message + note,
        value=arms.candidate.mean,
        baseline_value=arms.baseline.mean,
        difference=result.mean_difference,
        bound=pairing.margin - pairing.delta,
        limit=-pairing.delta,
        n=result.n,
        n_clusters=result.n_clusters,
        n_needed=None if needed is None else needed.cases,
        expected=arms.candidate.expected + arms.baseline.expected,
        missing=arms.candidate.missing + arms.baseline.missing,
        p_value=result.p_value,
        adjusted_p=adjusted_p,
        alpha=arms.spec.alpha,
        interval=result.interval if math.isfinite(result.standard_error) else None,
        mde=max(result.minimum_detectable_effect, least),
        needed=needed,
        sd=float(np.std(pairing.pairs.differences, ddof=1)) if result.n > 1 else None,
    )


def _unmeasured(arms: Arms) -> GateRow | None:
    for arm, sample in (("candidate", arms.candidate), ("baseline", arms.baseline)):
        if sample.too_many_missing:
            message = f"{arm}: {sample.missing} of {sample.expected} scores are missing; first: {sample.reasons[0]}"
            return _row(arms, Verdict.ERROR, message)
    return None


def _row(arms: Arms, verdict: Verdict, message: str) -> GateRow:
    return GateRow(
        gate=arms.spec.label,
        metric=arms.spec.metric,
        kind="non_regression",
        verdict=verdict,
        message=message,
        value=arms.candidate.mean,
        baseline_value=arms.baseline.mean,
        n=arms.candidate.n,
        n_clusters=len(set(arms.candidate.clusters)),
        expected=arms.candidate.expected + arms.baseline.expected,
        missing=arms.candidate.missing + arms.baseline.missing,
        alpha=arms.spec.alpha,
    )
