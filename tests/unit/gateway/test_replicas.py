from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.clock import ManualClock
from shipway.gateway.replicas import Replica, ReplicaSet, prefix_key
from shipway.gateway.retries import ExtraBudget, HedgeTimer

URLS = tuple(f"http://10.0.0.{n}/v1" for n in range(8))


def usable(_replica: Replica) -> bool:
    return True


def spread(urls: tuple[str, ...] = URLS, *, affinity: bool = False) -> ReplicaSet:
    return ReplicaSet(urls, Random(7).random, affinity=affinity)


def picked(found: Replica | None) -> Replica:
    assert found is not None
    return found


def test_of_two_the_one_with_fewer_requests_is_taken():
    found = spread(URLS[:2])
    found.replicas[0].in_flight = 5
    assert {picked(found.pick(usable)).url for _ in range(50)} == {URLS[1]}


def test_nobody_starves_and_the_load_stays_even():
    found = spread()
    for _ in range(8000):
        picked(found.pick(usable)).in_flight += 1
    loads = [replica.in_flight for replica in found.replicas]
    assert min(loads) > 0
    assert max(loads) - min(loads) < 12


def test_a_replica_that_was_tried_is_taken_only_when_no_other_is_left():
    found = spread(URLS[:2])
    assert picked(found.pick(usable, tried=[URLS[0]])).url == URLS[1]
    assert picked(found.pick(usable, tried=URLS[:2])).url in URLS[:2]


def test_without_a_usable_replica_nobody_is_taken():
    assert spread().pick(lambda _replica: False) is None


@given(st.binary(min_size=1, max_size=100))
def test_equal_beginnings_go_to_the_same_replica(key):
    first, second = spread(affinity=True), spread(affinity=True)
    assert picked(first.pick(usable, key=key)).url == picked(second.pick(usable, key=key)).url


def test_losing_one_of_eight_replicas_moves_its_own_keys_alone():
    all_, fewer = spread(affinity=True), spread(URLS[:-1], affinity=True)
    keys = [f"prompt {n}".encode() for n in range(2000)]
    moved = [key for key in keys if picked(all_.pick(usable, key=key)).url != picked(fewer.pick(usable, key=key)).url]
    assert all(picked(all_.pick(usable, key=key)).url == URLS[-1] for key in moved)
    assert 0.05 < len(moved) / len(keys) < 0.25


def test_one_popular_prefix_cannot_fill_a_single_replica():
    found = spread(affinity=True)
    for _ in range(800):
        picked(found.pick(usable, key=b"the same system prompt")).in_flight += 1
    assert max(replica.in_flight for replica in found.replicas) <= 1.25 * 100 + 1


def test_the_key_is_the_beginning_of_what_the_engine_reads():
    system = ({"role": "system", "content": "S" * 30},)
    one = {"messages": [{"role": "user", "content": "hello"}]}
    other = {"messages": [{"role": "user", "content": "world"}]}
    assert prefix_key(one, system, 20) == prefix_key(other, system, 20)
    assert prefix_key(one, system, 40) != prefix_key(other, system, 40)
    assert prefix_key({"prompt": "abc"}, (), 2) == b"ab"


def test_retries_are_at_most_their_share_of_the_last_ten_seconds():
    clock = ManualClock()
    budget = ExtraBudget(clock, 0.2, always=0)
    allowed = 0
    for _ in range(1000):
        budget.request()
        allowed += budget.take()
        clock.advance(0.005)
    assert 190 <= allowed <= 200
    clock.advance(11.0)
    assert not budget.take()


def test_a_lone_request_may_be_retried_a_few_times():
    budget = ExtraBudget(ManualClock(), 0.2)
    budget.request()
    assert [budget.take() for _ in range(7)] == [True] * 5 + [False] * 2


def test_a_share_of_zero_allows_none():
    assert not ExtraBudget(ManualClock(), 0.0).take()


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=300))
def test_extras_never_pass_their_share_in_any_order_of_events(events):
    clock = ManualClock()
    budget = ExtraBudget(clock, 0.2, always=0)
    requests, extras = [], []
    for wait_s, is_extra in events:
        clock.advance(wait_s)
        now_s = clock.monotonic_s()
        if not is_extra:
            budget.request()
            requests.append(now_s)
        elif budget.take():
            extras.append(now_s)
            within = [at for at in requests if now_s - at <= 11.0]
            assert len([at for at in extras if now_s - at < 9.0]) <= 0.2 * len(within) + 1e-9


def test_a_second_try_waits_for_the_95th_percentile_and_for_enough_samples():
    timer = HedgeTimer()
    for n in range(31):
        timer.observe(n / 100)
    assert timer.delay_s is None
    for n in range(31, 100):
        timer.observe(n / 100)
    assert timer.delay_s == pytest.approx(0.95, abs=0.06)


def test_the_seen_loads_follow_the_choice_of_two_rather_than_chance():
    found = spread()
    chance = Counter(Random(7).choices(URLS, k=800))
    for _ in range(800):
        picked(found.pick(usable)).in_flight += 1
    loads = [replica.in_flight for replica in found.replicas]
    assert max(loads) - min(loads) < max(chance.values()) - min(chance.values())
