"""The row survives its JSON form in every state."""

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.core.verdicts import Verdict
from shipway.rollouts.desk import new_rollout
from shipway.rollouts.evidence import ArmCounts, CanaryEvidence, Stratum
from shipway.rollouts.model import (
    Code,
    Command,
    CommandKind,
    Division,
    Entry,
    Phase,
    Rollout,
    RolloutState,
    Times,
)
from shipway.rollouts.plan import Plan, Step

times = st.floats(0, 2e9)
maybe_time = st.none() | times
counts = st.builds(ArmCounts, *[st.integers(0, 10**9)] * 4)
evidences = st.builds(
    replace,
    st.just(CanaryEvidence.start(harm_ratio=3.0)),
    cursor=st.integers(0, 2**40),
    strata=st.lists(st.builds(Stratum, st.floats(0, 1), counts, counts), max_size=3).map(tuple),
    events=st.lists(st.tuples(st.text(), st.integers(0), st.integers(0)), max_size=3).map(tuple),
    crossed=st.integers(0),
    sample_bits=st.integers(0, 40),
    seen=st.dictionaries(st.integers(0, 2**40 - 1), st.integers(0, 2**24 - 1), max_size=5),
    first_bad_event_at_s=maybe_time,
)
divisions = st.builds(Division, st.text(), st.none() | st.text(), st.floats(0, 1))
entries = st.builds(Entry, st.text(), times, st.text(), st.text(), st.dictionaries(st.text(), st.integers()))
rollouts = st.builds(
    replace,
    st.just(new_rollout("ro", "production", ("ask",), releases=("a", "b"), plan=Plan(), now_s=0.0)),
    plan=st.builds(Plan, steps=st.lists(st.builds(Step, st.floats(0, 1), st.integers(), times, maybe_time)).map(tuple)),
    evidence=evidences,
    times=st.builds(Times, times, maybe_time, step_s=maybe_time, decided_s=maybe_time),
    applied=divisions,
    intent=divisions,
    state=st.sampled_from(RolloutState),
    resume_to=st.sampled_from(RolloutState),
    phase=st.sampled_from(Phase),
    command=st.none() | st.builds(Command, st.sampled_from(CommandKind), st.text(), st.text(), times),
    verdict=st.none() | st.sampled_from(Verdict),
    code=st.sampled_from(Code),
    reason=st.text(),
    acknowledged=st.lists(st.sampled_from(Code), max_size=3).map(tuple),
    overwrite=st.text(),
    settled=st.booleans(),
    history=st.lists(entries, max_size=2).map(tuple),
    outbox=st.lists(entries, max_size=2).map(tuple),
)


@given(rollouts)
@settings(max_examples=60, deadline=None)
def test_a_rollout_survives_its_json_form(rollout):
    assert Rollout.from_dict(json.loads(json.dumps(rollout.to_dict(), allow_nan=False))) == rollout


def test_only_three_states_are_final():
    plain = new_rollout("ro", "production", ("ask",), releases=("a", "b"), plan=Plan(), now_s=0.0)
    final = {state for state in RolloutState if replace(plain, state=state).finished}
    assert final == {RolloutState.COMPLETED, RolloutState.ROLLED_BACK, RolloutState.FAILED}
