"""The event-share e-process: validity under peeking, power, storage."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.mixtures import candidate_share
from shipway.stats.sequential import (
    EventShareState,
    e_value_harm,
    e_value_no_harm,
    e_value_of_counts,
    events_needed,
    update,
)

WEIGHTS = st.floats(0.01, 0.99)
HISTORIES = st.lists(st.tuples(st.booleans(), WEIGHTS), max_size=25)


def state_after(history, r1=3.0):
    state = EventShareState.start(r1=r1)
    for is_candidate, weight in history:
        state = update(state, is_candidate=is_candidate, candidate_weight=weight)
    return state


def expected_after_one_more(state, weight, ratio, e_value):
    share = candidate_share(ratio, weight)
    candidate = update(state, is_candidate=True, candidate_weight=weight)
    stable = update(state, is_candidate=False, candidate_weight=weight)
    return share * e_value(candidate) + (1.0 - share) * e_value(stable)


def first_crossing(rng, *, ratio, weights, e_value, threshold):
    """Feed events until the e-value crosses, looking after each; None when it never does."""
    state = EventShareState.start(r1=3.0)
    for event, weight in enumerate(weights, start=1):
        is_candidate = bool(rng.random() < candidate_share(ratio, weight))
        state = update(state, is_candidate=is_candidate, candidate_weight=weight)
        if e_value(state) >= threshold:
            return event
    return None


def test_before_any_event_there_is_no_evidence_either_way():
    state = EventShareState.start(r1=3.0)
    assert (e_value_harm(state), e_value_no_harm(state)) == (pytest.approx(1.0), pytest.approx(1.0))


@given(HISTORIES, WEIGHTS)
def test_at_equal_rates_the_expected_harm_evidence_stays_what_it_is(history, weight):
    state = state_after(history)
    assert expected_after_one_more(state, weight, 1.0, e_value_harm) == pytest.approx(e_value_harm(state), rel=1e-9)


@given(HISTORIES, WEIGHTS, st.floats(0.01, 1.0))
def test_a_better_candidate_never_gains_expected_harm_evidence(history, weight, ratio):
    state = state_after(history)
    assert expected_after_one_more(state, weight, ratio, e_value_harm) <= e_value_harm(state) * (1 + 1e-9)


@given(HISTORIES, WEIGHTS, st.floats(1.0, 30.0))
def test_at_or_above_r1_the_expected_evidence_of_no_harm_never_grows(history, weight, factor):
    state = state_after(history)
    expected = expected_after_one_more(state, weight, 3.0 * factor, e_value_no_harm)
    assert expected <= e_value_no_harm(state) * (1 + 1e-9)
    at_r1 = expected_after_one_more(state, weight, 3.0, e_value_no_harm)
    assert at_r1 == pytest.approx(e_value_no_harm(state), rel=1e-9)


@given(HISTORIES)
def test_evidence_stays_positive_finite_and_independent_of_the_order_of_events(history):
    forwards, backwards = state_after(history), state_after(history[::-1])
    for e_value in (e_value_harm, e_value_no_harm):
        assert 0.0 < e_value(forwards) < math.inf
        assert e_value(backwards) == pytest.approx(e_value(forwards), rel=1e-9)


def test_three_candidate_only_errors_at_ten_percent_are_evidence_of_165_to_1():
    assert e_value_harm(state_after([(True, 0.1)] * 3)) == pytest.approx(164.7, abs=0.1)


def test_evidence_too_large_for_a_float_stays_finite():
    assert math.isfinite(e_value_harm(state_after([(True, 0.01)] * 400)))


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("is_candidate", [True, False])
def test_an_event_whose_arm_was_certain_changes_nothing(weight, is_candidate):
    state = state_after([(True, 0.1), (False, 0.5)])
    assert update(state, is_candidate=is_candidate, candidate_weight=weight) is state


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_a_weight_that_is_no_probability_is_refused(weight):
    with pytest.raises(ValueError, match="candidate_weight must lie between 0 and 1"):
        update(EventShareState.start(r1=3.0), is_candidate=True, candidate_weight=weight)


@given(HISTORIES, st.floats(1.01, 50.0))
def test_a_stored_state_reads_back_equal_and_goes_on_as_if_never_stored(history, r1):
    state = state_after(history, r1=r1)
    restored = EventShareState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert restored == state
    assert update(restored, is_candidate=True, candidate_weight=0.3) == update(
        state, is_candidate=True, candidate_weight=0.3
    )


def test_events_are_counted_per_arm():
    state = state_after([(True, 0.1), (False, 0.1), (False, 0.5)])
    assert (state.candidate_events, state.stable_events) == (1, 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("r1", None),
        ("r1", "3"),
        ("r1", 0.5),
        ("log_harm", 1.0),
        ("log_harm", [0.0]),
        ("log_no_harm", [math.nan] * 4),
        ("harm_ratios", [0.5] * 6),
        ("no_harm_ratios", [3.0] * 4),
        ("candidate_events", -1),
        ("stable_events", 1.5),
    ],
)
def test_a_damaged_stored_state_is_refused(key, value):
    with pytest.raises(ValueError, match=r"state|r0|ratios"):
        EventShareState.from_dict(EventShareState.start(r1=3.0).to_dict() | {key: value})


@pytest.mark.parametrize(("r0", "r1"), [(1.0, 1.0), (2.0, 1.5), (0.0, 2.0), (1.0, math.inf), (1.0, math.nan)])
def test_a_plan_whose_harm_does_not_exceed_its_tolerance_is_refused(r0, r1):
    with pytest.raises(ValueError, match="0 < r0 < r1"):
        EventShareState.start(r1=r1, r0=r0)


@given(st.floats(0.1, 100.0), st.floats(1.001, 10.0))
def test_every_allowed_plan_keeps_its_bets_outside_the_hypotheses_they_test(r0, factor):
    state = EventShareState.start(r0=r0, r1=r0 * factor)
    assert min(state.harm_ratios) > r0
    assert max(state.no_harm_ratios) < state.r1
    assert e_value_harm(state) == pytest.approx(1.0)


def test_a_healthy_canary_is_rolled_back_at_most_alpha_of_the_time_though_every_event_is_looked_at():
    rng = np.random.default_rng(7)
    runs, alpha = 800, 0.05
    steps = [0.05] * 60 + [0.1] * 60 + [0.25] * 40 + [0.5] * 40
    rolled_back = sum(
        first_crossing(rng, ratio=1.0, weights=steps, e_value=e_value_harm, threshold=1 / alpha) is not None
        for _ in range(runs)
    )
    assert rolled_back <= runs * (alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs))


def test_a_canary_as_bad_as_r1_is_promoted_at_most_alpha_of_the_time_under_peeking():
    rng = np.random.default_rng(8)
    runs, alpha = 800, 0.05
    promoted = sum(
        first_crossing(rng, ratio=3.0, weights=[0.5] * 120, e_value=e_value_no_harm, threshold=1 / alpha) is not None
        for _ in range(runs)
    )
    assert promoted <= runs * (alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs))


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_a_fourfold_event_rate_is_caught_within_a_few_times_the_expected_number_of_events(weight):
    rng = np.random.default_rng(9)
    budget = 4 * events_needed(4.0, weight, 0.01, purpose="roll_back")
    stops = [
        first_crossing(rng, ratio=4.0, weights=[weight] * budget, e_value=e_value_harm, threshold=100.0)
        for _ in range(100)
    ]
    caught = [stop for stop in stops if stop is not None]
    assert len(caught) >= 95
    assert np.median(caught) <= 1.5 * events_needed(4.0, weight, 0.01, purpose="roll_back")


def test_an_equal_candidate_at_half_the_traffic_is_promoted_after_about_twenty_events():
    rng = np.random.default_rng(10)
    stops = [
        first_crossing(rng, ratio=1.0, weights=[0.5] * 200, e_value=e_value_no_harm, threshold=20.0) for _ in range(200)
    ]
    promoted = [stop for stop in stops if stop is not None]
    assert len(promoted) >= 195
    assert 12 <= np.median(promoted) <= 25
    assert 18 <= np.mean(promoted) <= 40


@pytest.mark.parametrize(
    ("ratio", "weight", "alpha", "purpose", "expected"),
    [
        (5.0, 0.1, 0.01, "roll_back", 20),
        (2.0, 0.5, 0.01, "roll_back", 82),
        (1.5, 0.5, 0.05, "promote", 147),
        (1.5, 0.1, 0.05, "promote", 363),
        (3.0, 0.5, 0.05, "promote", 21),
    ],
)
def test_the_events_a_plan_needs_match_the_published_table(ratio, weight, alpha, purpose, expected):
    assert events_needed(ratio, weight, alpha, purpose=purpose) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("ratio", [1.0, 0.5, math.nan, math.inf])
def test_a_plan_without_a_harmful_ratio_has_no_number_of_events(ratio):
    with pytest.raises(ValueError, match="ratio must exceed 1"):
        events_needed(ratio, 0.5, 0.05)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 1.0]), st.booleans()), max_size=40), st.sampled_from([1.0, 2.0]))
def test_the_evidence_of_counts_is_that_of_the_events_one_by_one(events, r0):
    state = EventShareState.start(r0=r0, r1=3.0)
    counts = {0.1: [0, 0], 0.5: [0, 0], 1.0: [0, 0]}
    for weight, is_candidate in events:
        state = update(state, is_candidate=is_candidate, candidate_weight=weight)
        counts[weight][not is_candidate] += 1
    strata = [(weight, candidate, stable) for weight, (candidate, stable) in counts.items()]
    assert e_value_of_counts(strata, r0=r0) == pytest.approx(e_value_harm(state))
