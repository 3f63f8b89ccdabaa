"""What users are promised: how often a healthy candidate is rolled back, a harmful one promoted, and how soon."""

import random
import statistics

import pytest
from tests.served import served_request

from shipway.core.ports import StoredRecord
from shipway.core.snapshot import position
from shipway.core.verdicts import Verdict
from shipway.rollouts.analysis import judge
from shipway.rollouts.evidence import CanaryEvidence
from shipway.rollouts.folding import fold
from shipway.rollouts.plan import Plan

PLAN = Plan()
RUNS = 200


def simulated(rates, seed, *, limit=1000):
    """Serve ten conversations between looks, some of two requests; return the verdict and the conversations it took."""
    chance, rollout = random.Random(seed), f"ro{seed}"
    evidence = CanaryEvidence.start(harm_ratio=PLAN.harm_ratio)
    conversations = step = 0
    while conversations < limit:
        weight, batch = PLAN.steps[step].weight, []
        for _ in range(10):
            conversations += 1
            name = f"c{conversations}"
            candidate = position(rollout, name) < weight
            bad = chance.random() < rates[candidate]
            for _ in range(chance.choice([1, 2])):
                request = served_request(
                    name,
                    is_candidate=candidate,
                    candidate_weight=weight,
                    rollout=rollout,
                    events=("unsupported", "fallback") if bad else (),
                )
                batch.append(StoredRecord(evidence.cursor + len(batch) + 1, request))
        evidence = fold(evidence, batch, rollout=rollout, bad_events=PLAN.events)
        verdict = judge(evidence, PLAN, step, elapsed_s=1e9).verdict
        step += verdict is Verdict.PASS
        if verdict is Verdict.FAIL or step == len(PLAN.steps):
            return verdict, conversations
    return Verdict.INCONCLUSIVE, conversations


def test_a_healthy_candidate_is_rarely_rolled_back_and_soon_promoted():
    results = [simulated((0.2, 0.2), seed) for seed in range(RUNS)]
    rolled_back = sum(verdict is Verdict.FAIL for verdict, _ in results)
    # alpha = 5 % of 200 is 10; 19 is its 99.7 % upper bound.
    assert rolled_back <= 19
    promoted = [count for verdict, count in results if verdict is Verdict.PASS]
    assert len(promoted) >= 0.9 * RUNS
    assert 100 <= statistics.median(promoted) <= 200


@pytest.mark.parametrize("rate", [0.7, 0.8])
def test_a_candidate_with_four_times_the_bad_rate_is_soon_rolled_back(rate):
    results = [simulated((0.2, rate), seed) for seed in range(RUNS)]
    rolled_back = [count for verdict, count in results if verdict is Verdict.FAIL]
    assert len(rolled_back) >= 0.95 * RUNS
    assert 40 <= statistics.median(rolled_back) <= 100


def test_an_outage_of_both_arms_does_not_roll_back():
    results = [simulated((0.9, 0.9), seed, limit=300) for seed in range(RUNS // 4)]
    assert sum(verdict is Verdict.FAIL for verdict, _ in results) <= 7
