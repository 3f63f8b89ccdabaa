"""Which of several changed parts lowered a score; `services.attribution` runs the hybrids and calls `attribute`.

Each part is swapped twice: put alone into the baseline, and taken back from the candidate. Only what both show is
called the culprit. What is neither shown nor ruled out stays undecided, and a hybrid that cannot run is an ERROR and no
guess.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.attribution_result import Attribution, Kind, PartEffect, Swap
from shipway.evals.metrics import Metric
from shipway.evals.model import Dataset
from shipway.evals.sample import Sample, draw_from
from shipway.evals.scores import ScoreTable
from shipway.stats.paired import PairedResult, holm, paired_test
from shipway.stats.proportions import zero_failures_upper

Arm = ScoreTable | str
"""The scores of a release or hybrid, or why there are none."""
EXPLAINS = 0.5
"""A part that makes less than this share of the drop does not explain it."""
_SEVERAL = 2


@dataclass(frozen=True, slots=True)
class Question:
    """A score that fell: the metric, the tags of the cases that the gate looks at, and the gate's words."""

    metric: Metric
    tags: tuple[str, ...] = ()
    gate: str = ""
    alpha: float = 0.05


@dataclass(frozen=True, slots=True)
class SwappedPart:
    """One changed part: what differs in it, and the answers of its two hybrids."""

    name: str
    changed: tuple[str, ...]
    alone: Arm = ""
    removed: Arm = ""


@dataclass(frozen=True, slots=True)
class SwappedRuns:
    """Runs of baseline, candidate and hybrids on the same cases, made interleaved."""

    dataset: Dataset
    baseline: ScoreTable
    candidate: ScoreTable
    parts: tuple[SwappedPart, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question with its tests; `tests` go by a name that no other question has."""

    question: Question
    whole: "_Test"
    tests: Mapping[str, "_Test"] = field(hash=False)


@dataclass(frozen=True, slots=True)
class _Test:
    result: PairedResult | None
    error: str = ""


def attribute(
    questions: Sequence[Question], runs: SwappedRuns, *, seed: int = 0, permutations: int = 10_000
) -> list[Attribution]:
    """Answer each question; every drop that is stated of a part is true with probability 1 - alpha for all together.

    Raises:
        UsageError: nothing is asked, the questions have different alphas, or no part differs.

    Source: Miller 2024, arXiv 2411.00640 (pairing, clusters); Holm 1979 (over all swaps of all questions).
    """
    if not questions or not runs.parts:
        raise UsageError(f"nothing to attribute: {len(questions)} metrics, {len(runs.parts)} parts that differ")
    if len({question.alpha for question in questions}) > 1:
        raise UsageError("metrics that are attributed together need one alpha")
    testing = _Testing(runs.dataset, seed, permutations)
    asked = [_asked(place, question, runs, testing) for place, question in enumerate(questions)]
    p_values = {
        name: test.result.p_value for one in asked for name, test in one.tests.items() if test.result is not None
    }
    adjusted = holm(p_values)
    return [_answered(place, one, runs, adjusted) for place, one in enumerate(asked)]


@dataclass(frozen=True, slots=True)
class _Testing:
    dataset: Dataset
    seed: int
    permutations: int

    def test(self, question: Question, after: Arm, before: Arm) -> _Test:
        """Test a swap for a drop."""
        if isinstance(after, str) or isinstance(before, str):
            return _Test(None, after if isinstance(after, str) else str(before))
        samples = [draw_from(table, self.dataset, question.metric, question.tags) for table in (after, before)]
        for sample in samples:
            if sample.too_many_missing:
                reason = f"{sample.missing} of {sample.expected} scores are missing; first: {sample.reasons[0]}"
                return _Test(None, reason)
        differences, clusters = _paired(samples[0], samples[1], question.metric)
        if not clusters:
            return _Test(None, f"no case has a score of {question.metric.name} on both sides")
        return _Test(
            paired_test(differences, clusters, alpha=question.alpha, seed=self.seed, permutations=self.permutations)
        )


def _paired(after: Sample, before: Sample, metric: Metric) -> tuple[list[float], list[str]]:
    known = {case.id: value for case, value in zip(before.cases, before.values, strict=True)}
    both = [
        (metric.sign * (value - known[case.id]), case.cluster_name)
        for case, value in zip(after.cases, after.values, strict=True)
        if case.id in known
    ]
    return [difference for difference, _ in both], [cluster for _, cluster in both]


def _asked(place: int, question: Question, runs: SwappedRuns, testing: _Testing) -> _Asked:
    whole = testing.test(question, runs.candidate, runs.baseline)
    tests: dict[str, _Test] = {}
    # With one part there is nothing to swap: the hybrids would be the two releases.
    for part in runs.parts if len(runs.parts) > 1 else ():
        tests[_name(place, part, "alone")] = testing.test(question, part.alone, runs.baseline)
        tests[_name(place, part, "removed")] = testing.test(question, runs.candidate, part.removed)
    return _Asked(question, whole, tests)


def _name(place: int, part: SwappedPart, how: str) -> str:
    return f"{place} {how} {part.name}"


def _answered(place: int, asked: _Asked, runs: SwappedRuns, adjusted: Mapping[str, float]) -> Attribution:
    question, metric = asked.question, asked.question.metric
    whole = _whole(asked.whole, question)
    limit = EXPLAINS * abs(whole.difference or 0.0)

    def swap(part: SwappedPart, how: str) -> Swap:
        name = _name(place, part, how)
        return _swap(asked.tests.get(name, _Test(None)), adjusted.get(name), limit, question)

    effects = tuple(
        PartEffect(part.name, part.changed, swap(part, "alone"), swap(part, "removed")) for part in runs.parts
    )
    found = Attribution(
        question.gate,
        metric.name,
        question.tags,
        metric.bounded,
        question.alpha,
        len(adjusted),
        whole,
        effects,
        "no drop",
    )
    if whole.verdict is not Verdict.FAIL:
        return found
    kind, parts = _explanation(effects, whole.difference or 0.0)
    return replace(found, kind=kind, explained_by=parts)


def _whole(test: _Test, question: Question) -> Swap:
    if test.result is None:
        return Swap(Verdict.ERROR, test.error)
    shown = test.result.p_value <= question.alpha and test.result.mean_difference < 0
    return _measured(test.result, Verdict.FAIL if shown else Verdict.INCONCLUSIVE, None, question)


def _swap(test: _Test, adjusted_p: float | None, limit: float, question: Question) -> Swap:
    result = test.result
    if result is None or adjusted_p is None:
        return Swap(Verdict.ERROR, test.error) if test.error else Swap(Verdict.NO_DATA, "nothing to swap")
    if adjusted_p <= question.alpha and result.mean_difference < 0:
        return _measured(result, Verdict.FAIL, adjusted_p, question)
    # Answers that are all alike have no variance; so many clusters leave this much possible all the same.
    visible = zero_failures_upper(result.n_clusters, question.alpha) if question.metric.bounded else 0.0
    ruled_out = result.lower_bound > -limit and visible <= limit
    return _measured(result, Verdict.PASS if ruled_out else Verdict.INCONCLUSIVE, adjusted_p, question)


def _measured(result: PairedResult, verdict: Verdict, adjusted_p: float | None, question: Question) -> Swap:
    known = math.isfinite(result.standard_error)
    return Swap(
        verdict,
        # A swap that changes nothing is 0 and not -0.
        difference=result.mean_difference + 0.0,
        interval=_interval(result, question) if known else None,
        standard_error=result.standard_error if known else None,
        p_value=result.p_value,
        adjusted_p=adjusted_p,
        n=result.n,
        n_clusters=result.n_clusters,
    )


def _interval(result: PairedResult, question: Question) -> tuple[float, float]:
    low, high = result.interval
    if not question.metric.bounded:
        return low, high
    if result.zero_variance:
        unseen = zero_failures_upper(result.n_clusters, question.alpha)
        low, high = low - unseen, high + unseen
    return max(-1.0, low), min(1.0, high)


def _explanation(parts: Sequence[PartEffect], drop: float) -> tuple[Kind, tuple[str, ...]]:
    """Return what the swaps show, from the surest to nothing."""
    if len(parts) == 1:
        return "only part", (parts[0].part,)
    shown = [part for part in parts if part.is_shown]
    if len(shown) >= _SEVERAL:
        return "several", tuple(part.part for part in shown)
    if shown:
        share = (shown[0].difference or 0.0) / drop
        return "culprit" if share >= EXPLAINS else "partial", (shown[0].part,)
    return _one_way(parts)


def _one_way(parts: Sequence[PartEffect]) -> tuple[Kind, tuple[str, ...]]:
    """Return what swaps show when no part is shown by both."""
    lowering = tuple(part.part for part in parts if part.alone.verdict is Verdict.FAIL)
    restoring = tuple(part.part for part in parts if part.removed.verdict is Verdict.FAIL)
    harmless_alone = {part.part for part in parts if part.alone.verdict is Verdict.PASS}
    no_help = {part.part for part in parts if part.removed.verdict is Verdict.PASS}
    if len(restoring) >= _SEVERAL and harmless_alone >= set(restoring):
        return "interaction", restoring
    if len(harmless_alone) == len(parts):
        return "interaction", tuple(part.part for part in parts)
    if len(lowering) >= _SEVERAL and no_help >= set(lowering):
        return "either", lowering
    return "undecided", tuple(dict.fromkeys((*lowering, *restoring)))
