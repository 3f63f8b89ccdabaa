"""Ratios of times: what they say of equal targets and of slower ones."""

import random
from dataclasses import replace

import pytest

from shipway.core.verdicts import Verdict
from shipway.evals.performance import Iteration, Measurement, PerformancePlan, Timing
from shipway.evals.performance_ratios import Comparison, Ratio, compared

PLAN = PerformancePlan((1, 4), 0, 50)


def measured(seed, factor=1.0, plan=PLAN, failed=0):
    """Return times whose batches share what slows them down."""
    rng = random.Random(seed)

    def iteration(size):
        shared = rng.lognormvariate(0.0, 0.2)
        totals = [20.0 * factor * shared * rng.lognormvariate(0.0, 0.2) for _ in range(size)]
        timings = tuple(Timing(total, total / 3, 10) for total in totals)
        return Iteration(max(totals) / 1000.0, timings)

    batches = {size: tuple(iteration(size) for _ in range(plan.iterations)) for size in plan.batch_sizes}
    if failed:
        first = batches[4]
        broken = replace(first[0], timings=(Timing(error="late"), *first[0].timings[1:]))
        batches[4] = (broken, *first[1:])
    return Measurement("http://a/v1#m", plan, {"cpus": 2}, batches)


def ratio(found, metric, batch=4):
    return next(item for item in found.ratios if (item.metric, item.batch) == (metric, batch))


def test_a_slower_target_has_a_ratio_above_1_that_the_limit_refuses():
    found = compared(measured(1, 2.0), measured(2), max_ratio=1.2)
    slow = ratio(found, "p50_ms")
    assert 1.2 < slow.low < slow.ratio < slow.high
    assert found.verdict is Verdict.FAIL
    assert ratio(found, "tokens_per_s").high < 1.0


def test_an_equal_target_passes_a_limit_that_the_times_can_tell():
    assert compared(measured(1), measured(2), max_ratio=1.5).verdict is Verdict.PASS


def test_a_limit_within_the_noise_is_inconclusive():
    assert compared(measured(1), measured(2), max_ratio=1.01).verdict is Verdict.INCONCLUSIVE


def test_equal_targets_are_hardly_ever_refused():
    plan = PerformancePlan((4,), 0, 20)
    refused = sum(
        compared(measured(seed, plan=plan), measured(1000 + seed, plan=plan), max_ratio=1.0).verdict is Verdict.FAIL
        for seed in range(60)
    )
    # One-sided 2.5 %: 6 of 60 has probability 0.003.
    assert refused < 6


def test_without_a_limit_nothing_is_judged():
    assert compared(measured(1, 2.0), measured(2)).verdict is None


def test_the_same_seed_gives_the_same_intervals():
    assert compared(measured(1), measured(2), seed=5) == compared(measured(1), measured(2), seed=5)


def test_a_tail_of_few_requests_has_no_interval():
    found = compared(measured(1), measured(2))
    tail = ratio(found, "p99_ms")
    assert tail.ratio is not None
    assert (tail.low, tail.high) == (None, None)


def test_a_request_that_failed_does_not_count_as_a_time():
    found = compared(measured(1, failed=1), measured(1))
    assert ratio(found, "p50_ms").ratio == pytest.approx(1.0, abs=0.05)


def test_what_is_not_comparable_is_an_error():
    found = compared(measured(1), replace(measured(2), machine={"cpus": 64}), max_ratio=1.2)
    assert (found.verdict, found.ratios) == (Verdict.ERROR, ())


def test_a_figure_that_one_side_lacks_is_not_compared():
    plan = replace(PLAN, batch_sizes=(1,))
    bare = Measurement("t", plan, {}, {1: (Iteration(0.1, (Timing(1.0),)),) * 50})
    found = compared(bare, bare)
    assert ratio(found, "ttft_p50_ms", 1).ratio is None
    assert ratio(found, "tokens_per_s", 1).ratio is None


def test_a_gated_ratio_without_an_interval_is_no_data():
    missing = Ratio(1, "p50_ms", None, 2.0, None, None, None)
    assert Comparison((missing,), 1.2).verdict is Verdict.NO_DATA
