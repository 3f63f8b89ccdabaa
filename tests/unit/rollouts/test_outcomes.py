"""The candidate's conversations are taken for good only when they have had the time to turn bad."""

import random

from hypothesis import given
from hypothesis import strategies as st

from shipway.rollouts.outcomes import CandidateOutcomes
from shipway.stats.harmless import e_value_harmless

SETTLE_S = 60.0


def test_a_bad_conversation_counts_at_once_and_a_good_one_later():
    outcomes = CandidateOutcomes(settle_s=SETTLE_S).begun(0.0).begun(0.0).turned_bad().seen_until(10.0)
    assert (outcomes.good, outcomes.bad) == (0, 1)
    settled = outcomes.seen_until(70.0)
    assert (settled.good, settled.bad, settled.pending) == (1, 1, ())


def test_without_a_time_to_settle_a_conversation_is_good_when_first_seen():
    assert CandidateOutcomes().begun(5.0).good == 1


def test_a_beginning_that_arrives_late_settles_by_its_own_time():
    assert CandidateOutcomes(settle_s=SETTLE_S, newest_s=500.0).begun(100.0).good == 1
    assert CandidateOutcomes(settle_s=SETTLE_S, newest_s=500.0).begun(480.0).good == 0


@given(st.lists(st.floats(0.0, 1e6), max_size=200), st.floats(0.1, 1e4))
def test_what_waits_stays_small_and_nothing_settles_early(times, settle_s):
    outcomes = CandidateOutcomes(settle_s=settle_s)
    for at_s in sorted(times):
        outcomes = outcomes.seen_until(at_s).begun(at_s)
    assert len(outcomes.pending) <= 18
    assert outcomes.settled + sum(count for _, count in outcomes.pending) == len(times)
    newest = max(times, default=0.0)
    assert outcomes.settled <= sum(at_s <= newest - settle_s * 0.999 for at_s in times)
    assert CandidateOutcomes.from_dict(outcomes.to_dict()) == outcomes


def ever_called_harmless(seed, settle_s, *, delay_s=50.0):
    """Serve one conversation a second, 10 % of them bad with a second request; look at each."""
    chance, outcomes, turns = random.Random(seed), CandidateOutcomes(settle_s=settle_s), []
    for second in range(400):
        outcomes = outcomes.seen_until(float(second))
        while turns and turns[0] <= second:
            turns.pop(0)
            outcomes = outcomes.turned_bad()
        outcomes = outcomes.begun(float(second))
        if chance.random() < 0.1:
            turns.append(second + delay_s)
        if e_value_harmless(good=outcomes.good, bad=outcomes.bad, limit=0.05) >= 10.0:
            return True
    return False


def test_conversations_that_turn_bad_later_do_not_promote_a_candidate_early():
    assert sum(ever_called_harmless(seed, SETTLE_S) for seed in range(60)) <= 6
    # Taken for good at first sight, nearly every such candidate would be.
    assert sum(ever_called_harmless(seed, 0.0) for seed in range(60)) >= 30
