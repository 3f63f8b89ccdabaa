"""Served requests become evidence, each conversation counted once."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.rollouts.folds import EMPTY, folded, served, stored

from shipway.rollouts.evidence import ArmCounts, CanaryEvidence
from shipway.rollouts.folding import fold
from shipway.rollouts.plan import BAD_EVENTS


def test_a_conversation_counts_one_bad_event_however_many_occur():
    evidence = folded(*[served("c", events=("error", "fallback")) for _ in range(5)])
    assert evidence.total().stable == ArmCounts(conversations=1, bad=1, requests=5, failures=5, failed=1)
    assert evidence.process.stable_events == 1
    assert {name: stable for name, _, stable in evidence.events} == {"error": 5, "fallback": 5}


def test_events_that_the_plan_does_not_name_are_reported_but_not_judged():
    evidence = folded(served("c", events=("client_gone",)))
    assert evidence.events == (("client_gone", 0, 1),)
    assert evidence.total().bad == 0


def test_a_conversation_that_saw_both_arms_is_out_from_then_on_and_counted():
    evidence = folded(served("c"), served("c", candidate=True), served("c", candidate=True, events=("error",)))
    assert (evidence.crossed, evidence.total().bad) == (1, 0)
    assert evidence.total().conversations == 1


def test_a_conversation_is_judged_only_at_the_weight_it_was_first_seen_at():
    evidence = folded(served("c", weight=0.1), served("c", weight=0.5, events=("error",)))
    assert evidence.total().bad == 0
    assert evidence.stratum(0.1).conversations == 1
    assert evidence.stratum(0.5).conversations == 0
    assert evidence.stratum(0.5).stable.requests == 1


def test_records_of_other_rollouts_and_of_weight_zero_change_nothing_but_the_cursor():
    evidence = folded(served("a", rollout="other"), served("b", rollout=None), served("c", weight=0.0))
    assert evidence == replace(EMPTY, cursor=3)


def test_records_that_were_folded_before_are_not_counted_twice():
    records = stored([served("a", events=("error",)), served("b")])
    once = fold(EMPTY, records, rollout="ro", bad_events=BAD_EVENTS)
    assert fold(once, records, rollout="ro", bad_events=BAD_EVENTS) == once


def test_the_weight_of_an_event_is_the_records_own():
    light = folded(served("c", candidate=True, weight=0.1, events=("error",)))
    heavy = folded(served("c", candidate=True, weight=0.5, events=("error",)))
    assert max(light.process.log_harm) > max(heavy.process.log_harm)


def test_server_errors_of_both_arms_are_visible():
    evidence = folded(served("a", status=502), served("b", candidate=True, status=200, events=("timeout",)))
    assert (evidence.total().stable.failures, evidence.total().candidate.failures) == (1, 1)


def test_times_of_the_candidates_first_bad_event_and_last_request_are_kept():
    evidence = folded(
        served("a", events=("error",), at_s=1.0),
        served("b", candidate=True, at_s=2.0, events=("error",)),
        served("c", candidate=True, at_s=3.0, events=("error",)),
    )
    assert (evidence.first_bad_event_at_s, evidence.last_candidate_assignment_at_s) == (2.0, 3.0)


def test_the_candidates_own_conversations_are_counted_at_every_weight():
    evidence = folded(
        served("a", candidate=True, weight=0.1),
        served("a", candidate=True, weight=0.5, events=("error",)),
        served("b", candidate=True, weight=0.5),
        served("s", events=("error",)),
    )
    assert (evidence.outcomes.settled, evidence.outcomes.bad, evidence.outcomes.good) == (2, 1, 1)
    # The arms are compared by conversations that turned bad at their first weight alone.
    assert (evidence.process.candidate_events, evidence.process.stable_events) == (0, 1)


def test_a_conversation_that_left_the_candidate_is_neither_good_nor_bad():
    evidence = folded(served("a", candidate=True), served("a", events=("error",)), served("b", candidate=True))
    assert (evidence.outcomes.left, evidence.outcomes.bad, evidence.outcomes.good) == (1, 0, 1)


def test_a_conversation_is_good_only_when_it_has_had_the_time_to_turn_bad():
    start = CanaryEvidence.start(harm_ratio=3.0, settle_s=60.0)
    young = folded(served("a", candidate=True, at_s=100.0), served("s", at_s=155.0), start=start)
    assert (young.outcomes.good, young.outcomes.pending != ()) == (0, True)
    # Records of stable tell the time as well.
    settled = folded(served("s", at_s=170.0), start=young)
    assert (settled.outcomes.good, settled.outcomes.pending) == (1, ())
    late = folded(served("a", candidate=True, at_s=400.0, events=("error",)), start=settled)
    assert (late.outcomes.good, late.outcomes.bad) == (0, 1)


def test_when_the_memory_overflows_what_has_not_settled_never_counts_as_good():
    start = CanaryEvidence.start(harm_ratio=3.0, settle_s=60.0)
    full = folded(*[served(f"c{n}", candidate=True) for n in range(300)], start=start, max_tracked=256)
    later = folded(served("s", at_s=1000.0), start=full, max_tracked=256)
    assert later.outcomes.good < 150


def test_evidence_stored_before_the_outcomes_were_kept_still_loads():
    old = folded(served("a", candidate=True)).to_dict()
    del old["outcomes"]
    loaded = CanaryEvidence.from_dict(old)
    assert loaded.outcomes.good == 0
    # A conversation that is known already may turn bad, but is not good for having been seen before.
    assert folded(served("a", candidate=True), start=loaded).outcomes.good == 0


request_strategy = st.builds(
    served,
    st.sampled_from([f"c{number}" for number in range(12)]),
    candidate=st.booleans(),
    weight=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    events=st.lists(st.sampled_from(["error", "abstained", "client_gone"]), max_size=2).map(tuple),
    rollout=st.sampled_from(["ro", "other"]),
    at_s=st.floats(0.0, 100.0),
)


@given(st.lists(request_strategy, max_size=40), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_folding_in_two_parts_through_the_stored_form_is_folding_at_once(records, cut):
    everything = stored(records)
    empty = CanaryEvidence.start(harm_ratio=3.0, settle_s=20.0)
    at_once = fold(empty, everything, rollout="ro", bad_events=BAD_EVENTS)
    first = fold(empty, everything[:cut], rollout="ro", bad_events=BAD_EVENTS)
    second = fold(CanaryEvidence.from_dict(first.to_dict()), everything[cut:], rollout="ro", bad_events=BAD_EVENTS)
    assert replace(second, sample_ratio=at_once.sample_ratio) == at_once
    # Sums of floats in another order: equal but for the last digits.
    assert second.sample_ratio.log_weights == pytest.approx(at_once.sample_ratio.log_weights)


def test_memory_is_bounded_and_the_sample_takes_both_arms_alike():
    records = [served(f"c{n}", candidate=n % 2 == 0, events=("error",)) for n in range(2000)]
    evidence = folded(*records, max_tracked=256)
    assert len(evidence.seen) <= 256
    assert evidence.sample_bits > 0
    assert 256 < evidence.total().bad < 2000
    assert evidence.total().candidate.requests == 1000
    share = evidence.total().candidate.conversations / evidence.total().conversations
    assert 0.45 < share < 0.55
