"""The watch over what was promoted: base rate, one count per conversation, an alarm with its figures."""

import json
from dataclasses import asdict, replace

import pytest
from tests.served import served_request
from tests.unit.rollouts.folds import EMPTY, folded, served

from shipway.core.ports import StoredRecord
from shipway.rollouts.watch import (
    Watch,
    WatchPlan,
    fold_watch,
    start_watch,
    watch_alarm,
    watch_ended,
    watch_problems,
)

PLAN = WatchPlan(mean_run=1000.0)
SEEN = folded(*[served(f"c{n}", candidate=n % 2 == 0) for n in range(1000)])


def started(plan=PLAN, evidence=SEEN):
    return start_watch(plan, evidence, cursor=0, now_s=100.0)


def watched(watch, *requests, release="rel"):
    records = [StoredRecord(watch.cursor + number, request) for number, request in enumerate(requests, 1)]
    return fold_watch(watch, records, release=release, bad_events=("error",))


def requests(count, bad, *, first=0):
    events = [("error",) if n < bad else () for n in range(count)]
    return [served_request(f"w{first + n}", rollout=None, events=events[n], at_s=101.0 + n) for n in range(count)]


def test_the_base_rate_is_what_was_known_at_the_promotion():
    # None of 500 may still be one in a hundred.
    assert started().cusum.base_rate == pytest.approx(0.0092, abs=0.0002)
    assert started(evidence=EMPTY) is None
    assert started(replace(PLAN, action="off")) is None


def test_a_conversation_counts_once_and_turns_bad_once():
    request = served_request("w", rollout=None)
    bad = replace(request, events=("error",))
    watch = watched(started(), request, bad, bad, request)
    assert (watch.conversations, watch.bad, watch.cursor) == (1, 1, 4)
    assert watched(watch, replace(request, release="another"), replace(bad, shadow_of="x")) == replace(watch, cursor=6)


def test_records_that_were_folded_before_are_not_counted_twice():
    watch = watched(started(), *requests(5, 1))
    again = [StoredRecord(number, request) for number, request in enumerate(requests(5, 1), 1)]
    assert fold_watch(watch, again, release="rel", bad_events=("error",)) == watch


def test_no_alarm_while_the_rate_is_what_it_was_and_one_when_it_is_ten_times_that():
    calm = started()
    for number in range(40):
        calm = watched(calm, *requests(100, 0, first=100 * number))
    assert watch_alarm(calm, PLAN) == ""
    broken = watched(calm, *requests(100, 10, first=10_000))
    assert "10 of 4100 conversations since the promotion turned bad" in watch_alarm(broken, PLAN)


def test_a_stored_watch_goes_on_and_its_memory_is_bounded():
    watch = watched(started(), *requests(3000, 7))
    loaded = Watch.from_dict(json.loads(json.dumps(watch.to_dict())))
    assert loaded == watch
    assert len(json.dumps(watch.to_dict())) < 25_000
    more = requests(10, 5, first=5000)
    assert watched(loaded, *more) == watched(watch, *more)


def test_a_watch_ends_after_its_time():
    assert not watch_ended(started(), PLAN, now_s=100.0 + 86_399.0)
    assert watch_ended(started(), PLAN, now_s=100.0 + 86_400.0)


def test_a_plan_survives_its_json_form_and_names_what_cannot_work():
    assert WatchPlan.from_dict(json.loads(json.dumps(asdict(PLAN)))) == PLAN
    assert list(watch_problems(PLAN)) == []
    wrong = WatchPlan(action="sleep", for_s=0.0, mean_run=1.0, ratios=(0.5,))
    keys = [problem.split(":")[0] for problem in watch_problems(wrong)]
    assert keys == ["watch.action", "watch.for_s", "watch.mean_run", "watch.ratios"]
