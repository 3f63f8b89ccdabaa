"""The rules that Shipway's rollouts are compared with do what their descriptions say."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in [name for name in sys.modules if name.startswith("rollout_")]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("rollout_peers")


@pytest.fixture
def world(peers):
    return importlib.import_module("rollout_traffic")


def counts(peers, bad, *, requests=60.0, stable_bad=0.0):
    """Return ten requests a second-bucket and arm, with so many bad candidate ones in each minute."""
    by_bucket = np.zeros(peers.BUCKETS)
    by_bucket[: len(bad) * 4 : 4] = bad
    other = np.zeros(peers.BUCKETS)
    other[::4] = stable_bad
    return peers.Counts(
        requests=np.full(peers.BUCKETS, requests / 4.0),
        bad=by_bucket,
        stable_requests=np.full(peers.BUCKETS, requests / 4.0),
        stable_bad=other,
        step=np.zeros(peers.BUCKETS),
    )


def rule(peers, kind, settings):
    return next(each for each in peers.rules() if each.kind == kind and each.settings == settings)


def test_a_fixed_threshold_fires_at_the_end_of_the_interval_that_is_over_it(peers):
    found = rule(peers, "fixed threshold", "1 min, failureLimit 0")
    assert found.first_above(counts(peers, [2, 3, 6]), limit=0.05) == 180.0
    assert found.first_above(counts(peers, [2, 3, 3]), limit=0.05) is None
    assert found.highest(counts(peers, [2, 6, 3])) == pytest.approx(0.1)


def test_a_failure_limit_forgives_as_many_intervals(peers):
    found = rule(peers, "fixed threshold", "1 min, failureLimit 1")
    assert found.first_above(counts(peers, [6, 0, 0]), limit=0.05) is None
    assert found.first_above(counts(peers, [6, 0, 0, 6]), limit=0.05) == 240.0


def test_an_interval_without_requests_is_no_measurement(peers):
    found = rule(peers, "fixed threshold", "1 min, failureLimit 0")
    assert found.first_above(counts(peers, [0], requests=0.0), limit=0.05) is None
    assert found.highest(counts(peers, [0], requests=0.0)) == -math.inf


def test_the_z_test_has_the_textbook_value_and_waits_for_its_requests(peers):
    found = rule(peers, "peeking z-test", "since rollout, at least 100 requests")
    values = found.statistic(counts(peers, [12] * 10, stable_bad=3.0))
    assert np.isnan(values[:6]).all()
    # 24 of 120 against 6 of 120: the pooled share is 0.125.
    assert values[7] == pytest.approx((0.2 - 0.05) / math.sqrt(0.125 * 0.875 * 2 / 120))


def test_the_z_test_of_a_step_forgets_the_steps_before(peers):
    found = rule(peers, "peeking z-test", "since step, at least 20 requests")
    before = counts(peers, [12] * 10, stable_bad=3.0)
    steps = (np.arange(peers.BUCKETS) >= 40).astype(float)
    after = peers.Counts(before.requests, before.bad, before.stable_requests, before.stable_bad, steps)
    values = found.statistic(after)
    assert values[39] > 4.0
    assert np.isnan(values[40])
    assert values[47] < 0.0


def test_the_kayenta_like_judge_needs_a_shift_whose_interval_lies_above_a_quarter_of_it(peers):
    old = np.full(10, 0.02)
    assert peers.kayenta_effect(np.full(10, 0.06), old, 0.98) == pytest.approx(3.0)
    assert peers.kayenta_effect(old, old, 0.98) == 0.0
    mixed = np.array([0.0, 0.12] * 5)
    assert peers.kayenta_effect(mixed, old, 0.98) == 0.0


def test_the_kayenta_like_judge_says_nothing_without_data_and_much_where_there_were_none(peers):
    none = np.full(10, np.nan)
    assert peers.kayenta_effect(none, np.full(10, 0.02), 0.98) is None
    assert peers.kayenta_effect(np.full(10, 0.02), np.zeros(10), 0.98) == math.inf


def test_the_kayenta_like_judge_looks_every_ten_minutes(peers):
    found = rule(peers, "Kayenta-like", "98.0%, last interval")
    values = found.statistic(counts(peers, [12] * 40, stable_bad=3.0))
    assert [place for place in range(peers.BUCKETS) if values[place] > 0.0] == [39, 79, 119, 159]


def test_a_tuned_limit_spares_all_but_the_allowed_share(peers):
    highest = [float(value) for value in range(1, 101)]
    assert sum(value > peers.tuned_limit(highest, 0.05) for value in highest) == 5
    assert sum(value > peers.tuned_limit(highest, 0.0) for value in highest) == 0
    assert peers.tuned_limit([-math.inf] * 10, 0.1) == 0.0


def test_steps_move_by_the_clock(peers, world):
    at_s = np.array([0.0, 1199.0, 1200.0, 2400.0, 3600.0, 9999.0])
    assert peers.weights_at(world.PLAIN, at_s).tolist() == [0.1, 0.1, 0.25, 0.5, 1.0, 1.0]


def test_what_is_harmed_stops_with_the_rollback(peers, world):
    scenario = next(each for each in world.HARMFUL if each.name == "errors x10")
    given = world.traffic(scenario, 0)
    found = peers.counted(given, scenario, 0)
    fixed = rule(peers, "fixed threshold", "1 min, failureLimit 0")
    soon, never = (peers.rolled_out(given, scenario, found, fixed, limit) for limit in (0.1, 1.0))
    assert soon.rolled_back
    assert not never.rolled_back
    assert 0 < soon.harmed < never.harmed / 20
