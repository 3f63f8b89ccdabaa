import random

import numpy as np
import pytest

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.gate_spec import parse_gates
from shipway.evals.gates import GateOptions
from shipway.evals.sample import score_table
from shipway.evals.simulate import WHOLE, Pool, SimulationPlan, simulate

GATES = parse_gates([{"metric": "correct", "min": 0.3}, {"metric": "correct", "non_regression": "auto"}])
FAST = GateOptions(permutations=200)


def pool_of(run_of, *, cases=40, samples=6, rate=0.7, seed=1, **options):
    rng = random.Random(seed)
    rates = [min(0.99, max(0.01, rng.gauss(rate, 0.2))) for _ in range(cases)]
    run = run_of([[float(rng.random() < one) for _ in range(samples)] for one in rates], **options)
    return Pool.of(run.dataset, [score_table(run, ["correct"])])


def rates_of(found, effect, gate=WHOLE):
    (row,) = (row for row in found.rows if row.effect == effect and row.gate == gate)
    return row


def test_an_unchanged_release_is_blocked_no_more_often_than_alpha(run_of):
    found = simulate(GATES, pool_of(run_of), SimulationPlan(300, 4, (0.0,)), FAST)
    row = rates_of(found, 0.0)
    # Nominal 5 %; more than 24 of 300 have probability 0.01 at that rate.
    assert row.counts.get("FAIL", 0) <= 24
    assert row.rate(Verdict.PASS) > 0.5
    assert found.repeats == 3
    assert found.discordant > 270


def test_the_naive_rule_blocks_unchanged_releases_far_more_often(run_of):
    pool = pool_of(run_of)
    rng, blocked = np.random.default_rng(4), 0
    for _ in range(300):
        order = rng.random(pool.scores["correct"].shape).argsort(axis=1)
        drawn = np.take_along_axis(pool.scores["correct"], order, axis=1)
        blocked += drawn[:, :3].mean() < drawn[:, 3:].mean() - 0.02
    assert blocked > 60


def test_peeking_at_the_full_level_blocks_more_than_looks_that_share_it(run_of):
    pool, plan = pool_of(run_of, samples=10), SimulationPlan(200, 4, (0.0,), looks=5)
    shared = rates_of(simulate(GATES[1:], pool, plan, FAST), 0.0)
    greedy = parse_gates([{"metric": "correct", "non_regression": "auto", "alpha": 0.25}])
    peeking = rates_of(simulate(greedy, pool, plan, FAST), 0.0)
    assert shared.counts.get("FAIL", 0) <= 17
    assert peeking.counts.get("FAIL", 0) > shared.counts.get("FAIL", 0)


def test_the_larger_the_drop_the_more_often_it_is_found(run_of):
    found = simulate(GATES, pool_of(run_of), SimulationPlan(60, 4, (0.0, 0.2, 0.5)), FAST)
    blocked = [rates_of(found, effect).rate(Verdict.FAIL) for effect in (0.0, 0.2, 0.5)]
    assert blocked == sorted(blocked)
    assert blocked[-1] > 0.9
    low, high = rates_of(found, 0.5).interval(Verdict.FAIL)
    assert low < blocked[-1] <= high
    assert {row.gate for row in found.rows} == {WHOLE, "correct >= 0.3", "correct does not regress"}


def test_arms_share_no_sample_of_a_case(run_of, monkeypatch):
    run = run_of([[float(index) for index in range(7)]] * 30, metric="latency_ms")
    pool = Pool.of(run.dataset, [score_table(run, ["latency_ms"])])
    seen = []

    def watch(specs, dataset, runs, options):
        del specs, dataset, options
        seen.append([{tuple(row) for row in table.values["latency_ms"]} for table in runs])
        assert all(
            set(new).isdisjoint(old)
            for new, old in zip(runs[0].values["latency_ms"], runs[1].values["latency_ms"], strict=True)
        )
        return []

    monkeypatch.setattr("shipway.evals.simulate.gate_rows", watch)
    gates = parse_gates([{"metric": "latency_ms", "max": 100}])
    simulate(gates, pool, SimulationPlan(20, 4, (0.0,)), FAST)
    assert len(seen) == 20
    assert len(seen[0][0]) > 10


def test_the_same_seed_gives_the_same_simulation(run_of):
    runs = [simulate(GATES, pool_of(run_of), SimulationPlan(20, seed, (0.1,)), FAST) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].rows[0].counts != runs[2].rows[0].counts or runs[0].rows != runs[2].rows


@pytest.mark.parametrize("runs", [1, 2])
def test_cases_that_were_asked_once_are_not_simulated(run_of, runs):
    one = run_of([1.0] * 60)
    pool = Pool.of(one.dataset, [score_table(one, ["correct"])] * runs)
    with pytest.raises(UsageError, match="cannot be simulated from one repeat") as caught:
        simulate(GATES, pool, SimulationPlan(100, 4, (0.0,)), FAST)
    assert "--repeats 5" in caught.value.hint


def test_arms_of_thresholds_alone_are_told_apart_by_their_scores(run_of):
    differing = simulate(GATES[:1], pool_of(run_of), SimulationPlan(20, 4, (0.0,)), FAST)
    steady = run_of([[1.0] * 4] * 40)
    copies = simulate(GATES[:1], Pool.of(steady.dataset, [score_table(steady, ["correct"])]), SimulationPlan(20), FAST)
    assert (differing.discordant, copies.discordant) == (20, 0)


@pytest.mark.parametrize(("metric", "worse"), [("wrong_refusal", "wrong_refusal"), ("latency_ms", "latency_ms")])
def test_a_drop_is_a_rise_where_less_is_better(run_of, metric, worse):
    rng = random.Random(2)
    scores = [[float(rng.random() < 0.1) if metric == "wrong_refusal" else rng.gauss(100, 5) for _ in range(6)]] * 40
    run = run_of(scores, metric=metric)
    gates = parse_gates([{"metric": worse, "non_regression": 0.2 if metric == "wrong_refusal" else 10}])
    pool = Pool.of(run.dataset, [score_table(run, [metric])])
    found = simulate(gates, pool, SimulationPlan(20, 4, (0.0, 0.5)), FAST)
    assert rates_of(found, 0.0).rate(Verdict.FAIL) < 0.3 < rates_of(found, 0.5).rate(Verdict.FAIL)


def test_what_cannot_be_simulated_is_refused(run_of):
    with pytest.raises(UsageError, match="5 looks need 5 repeats in each arm; there are 3"):
        simulate(GATES, pool_of(run_of), SimulationPlan(10, looks=5), FAST)
    with pytest.raises(UsageError, match="no gates or no scores"):
        simulate([], pool_of(run_of), SimulationPlan(10), FAST)
