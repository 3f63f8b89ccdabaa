"""The fixed rules: broken when surely over the limit, silent without samples, never blaming one arm for both."""

import json
from dataclasses import asdict, replace

import pytest

from shipway.rollouts.baseline import Baseline, Figures
from shipway.rollouts.rules import Rule, Rules, read_rules, rule_problems
from shipway.rollouts.windows import ArmWindow, Windows

NOW_S = 10_000.0
SLOT = int(NOW_S // 30)
CALM = ArmWindow(requests=1000)


def reading(name, candidate, stable=CALM, *, rules=None, baseline=None, slot=SLOT):
    windows = Windows(((slot, stable, candidate),))
    found = read_rules(rules or Rules(), windows, baseline=baseline, now_s=NOW_S)
    return next(item for item in found if item.name == name)


def before(**figures):
    return Baseline("rel", 0.0, 1000.0, Figures(**figures))


RULES_ON = Rules()
FAILING = ArmWindow(requests=100, failures=20, failed=20)
SLOW = ArmWindow(requests=100, slow=10, slowed=10)


def test_without_the_samples_a_rule_says_so_and_nothing_else():
    found = reading("error_rate", ArmWindow(requests=99, failures=99, failed=99))
    assert (found.judged, found.broken, found.text) == (False, False, "99 of 100 samples")


@pytest.mark.parametrize(("failures", "broken"), [(5, False), (6, False), (14, False), (15, True), (100, True)])
def test_the_error_rate_is_broken_when_it_is_surely_over_its_limit(failures, broken):
    found = reading("error_rate", ArmWindow(requests=100, failures=failures, failed=failures))
    assert (found.judged, found.broken, found.shared, found.action) == (True, broken, False, "rollback")


def test_by_the_letter_six_failures_of_a_hundred_are_enough():
    letter = Rules(sure=0.0)
    assert reading("error_rate", ArmWindow(requests=100, failures=6, failed=1), rules=letter).broken
    assert not reading("error_rate", ArmWindow(requests=100, failures=5, failed=5), rules=letter).broken


def test_one_heavy_conversation_cannot_break_a_rule_alone():
    assert not reading("error_rate", ArmWindow(requests=100, failures=60, failed=1)).broken
    assert not reading("p99_ms", ArmWindow(requests=100, slow=60, slowed=1)).broken


def test_an_old_window_counts_no_more():
    assert reading("error_rate", FAILING, slot=SLOT - 11).text == "0 of 100 samples"


@pytest.mark.parametrize("stable", [ArmWindow(requests=20, failures=2, failed=2), FAILING])
def test_errors_of_both_arms_are_shared(stable):
    found = reading("error_rate", FAILING, stable)
    assert (found.broken, found.shared) == (True, True)


def test_stable_speaks_for_the_candidate_also_with_what_it_did_earlier_in_the_hour():
    windows = Windows(((SLOT - 60, ArmWindow(requests=50, failures=30), ArmWindow()), (SLOT, ArmWindow(), FAILING)))
    assert read_rules(Rules(), windows, now_s=NOW_S)[0].shared


def test_an_incident_that_met_the_candidate_when_it_had_most_requests_is_shared():
    calm = (SLOT - 5, ArmWindow(requests=900, failures=9, failed=9), ArmWindow(requests=100, failures=1, failed=1))
    struck = ArmWindow(requests=400, failures=48, failed=48)
    incident = (SLOT, struck, struck)
    found = read_rules(Rules(), Windows((calm, incident)), now_s=NOW_S)[0]
    # Stable's own share in the window is 57 of 1300, below the limit.
    assert (found.broken, found.shared) == (True, True)
    assert "stable: 9.80% of 1300 at the same times" in found.text


def test_a_limit_that_stable_exceeded_before_says_nothing():
    assert not reading("error_rate", FAILING, baseline=before(error_rate=0.2)).judged
    slow_always = before(latency_ms=(1.0, 2.0, 3.0, 9000.0))
    assert not reading("p99_ms", SLOW, baseline=slow_always).judged
    assert reading("p99_ms", SLOW, baseline=before(latency_ms=(1.0, 2.0, 3.0, 900.0))).broken


def test_slowness_of_both_arms_pauses_only_when_stable_was_quicker_before():
    assert reading("p99_ms", SLOW, SLOW).action == "warn"
    known = reading("p99_ms", SLOW, SLOW, baseline=before(latency_ms=(1.0, 2.0, 3.0, 900.0)))
    assert (known.shared, known.action) == (True, "rollback")


def test_safety_is_judged_by_events_and_by_checked_answers():
    assert reading("safety", ArmWindow(requests=1000, unsafe=10, endangered=10)).broken
    assert not reading("safety", ArmWindow(requests=1000, unsafe=2, endangered=2)).broken
    assert reading("safety", ArmWindow(requests=1, checked=1000, unsafe_checked=10)).broken
    assert not reading("safety", ArmWindow(requests=999, unsafe=99, endangered=99)).judged


@pytest.mark.parametrize(("mean", "broken"), [(0.81, False), (0.78, False), (0.7, True)])
def test_quality_is_broken_when_it_is_surely_below_its_limit(mean, broken):
    found = reading("quality", ArmWindow(scored=500, score_sum=500 * mean), ArmWindow(scored=500, score_sum=450.0))
    assert (found.judged, found.broken, found.shared) == (True, broken, False)
    both = reading("quality", ArmWindow(scored=500, score_sum=300.0), ArmWindow(scored=500, score_sum=300.0))
    assert both.shared
    assert not reading("quality", ArmWindow(scored=499)).judged


def test_rules_against_the_baseline_need_one_and_only_warn():
    for name in ("error_increase", "p99_increase", "throughput_drop"):
        assert not reading(name, FAILING).judged
    baseline = before(error_rate=0.001, latency_ms=(1.0, 2.0, 3.0, 100.0), requests_per_s=10.0)
    slower = ArmWindow(requests=100, failures=9, failed=9, slower=10, slowered=10)
    found = {name: reading(name, slower, baseline=baseline) for name in ("error_increase", "p99_increase")}
    assert {name: (item.broken, item.action) for name, item in found.items()} == {
        "error_increase": (True, "warn"),
        "p99_increase": (True, "warn"),
    }


def throughput(candidate, *, rules=RULES_ON, requests_per_s=10.0, begun=SLOT - 10):
    windows = Windows(((begun, ArmWindow(), ArmWindow(requests=1)), (SLOT, ArmWindow(requests=100), candidate)))
    found = read_rules(rules, windows, baseline=before(requests_per_s=requests_per_s), now_s=NOW_S)
    return next(item for item in found if item.name == "throughput_drop")


def test_less_traffic_is_told_and_never_rolls_back():
    drop = throughput(CALM)
    assert (drop.judged, drop.broken, drop.shared, drop.action) == (True, True, True, "warn")
    rules = Rules(throughput_drop=Rule(0.1, 300.0, 100, "rollback"))
    assert throughput(CALM, rules=rules).action == "warn"
    assert not throughput(CALM, requests_per_s=0.01).judged
    assert not throughput(ArmWindow(requests=4000)).broken


def test_a_rollout_younger_than_the_window_or_without_users_says_nothing_about_throughput():
    assert not throughput(CALM, begun=SLOT - 2).judged
    assert not reading("throughput_drop", ArmWindow(), baseline=before(requests_per_s=10.0)).judged


def test_rules_that_are_off_are_not_read():
    assert read_rules(Rules.off(), Windows(), now_s=NOW_S) == ()


def test_rules_survive_their_json_form_also_that_of_fewer_rules():
    rules = Rules(safety_events=("unsafe", "leak"), error_rate=Rule(0.1, 60.0, 10, "pause"))
    assert Rules.from_dict(json.loads(json.dumps(asdict(rules)))) == rules
    assert Rules.from_dict({"sure": 0.5}) == Rules(sure=0.5)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"error_rate": Rule(1.5, 300.0, 100)}, "rules.error_rate.limit: 1.5 is not between 0 and 1"),
        ({"p99_ms": Rule(0.0, 300.0, 100)}, "rules.p99_ms.limit: 0.0 is not a positive number"),
        ({"quality": Rule(0.8, 10.0, 100)}, "rules.quality.window_s: 10.0 is not between 30 and 3600 s"),
        ({"quality": Rule(0.8, 4000.0, 100)}, "rules.quality.window_s: 4000.0"),
        ({"safety": Rule(0.1, 300.0, 0)}, "rules.safety.min_samples: 0 must be at least 1"),
        ({"safety": Rule(0.1, 300.0, 1, "panic")}, "rules.safety.action: 'panic' is unknown"),
        ({"sure": 1.0}, "rules.sure: 1.0 is not in [0, 1)"),
    ],
)
def test_rules_that_cannot_work_are_named_with_their_key_and_value(changes, found):
    assert list(rule_problems(Rules())) == []
    assert any(problem.startswith(found) for problem in rule_problems(replace(Rules(), **changes)))
