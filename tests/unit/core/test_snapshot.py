import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.snapshot import KeyEntry, RouteTraffic, Segment, Snapshot, position


@given(st.text(), st.text(), st.floats(0, 1), st.floats(0, 1))
def test_raising_the_weight_never_moves_a_conversation_back_to_stable(salt, conversation, one, two):
    low, high = sorted((one, two))
    at_low, at_high = (RouteTraffic("r", "s", "c", weight, salt).assign(conversation) for weight in (low, high))

    assert not (at_low[1] and not at_high[1])


@given(st.text())
def test_the_ends_of_the_scale_assign_nobody_and_everybody(conversation):
    assert RouteTraffic("r", "s", "c", 0.0, "x").assign(conversation) == ("s", False)
    assert RouteTraffic("r", "s", "c", 1.0, "x").assign(conversation) == ("c", True)


def test_the_share_that_is_assigned_is_the_weight():
    route = RouteTraffic("r", "s", "c", 0.1, "salt")

    share = sum(route.assign(f"conversation {number}")[1] for number in range(20_000)) / 20_000

    assert share == pytest.approx(0.1, abs=0.007)


def test_two_rollouts_divide_conversations_independently():
    both = sum(position("a", str(number)) < 0.5 and position("b", str(number)) < 0.5 for number in range(20_000))

    assert both / 20_000 == pytest.approx(0.25, abs=0.012)


def test_a_place_never_changes_between_versions():
    assert position("salt", "conversation") == 0.817733600575212


@pytest.mark.parametrize(("candidate", "weight"), [("c", 1.1), ("c", -0.1), ("c", float("nan")), (None, 0.5)])
def test_a_weight_that_makes_no_sense_is_refused(candidate, weight):
    with pytest.raises(ValueError, match="route 'r'"):
        RouteTraffic("r", "s", candidate, weight)


def test_a_snapshot_survives_its_json_form():
    snapshot = Snapshot(
        "local",
        3,
        2,
        (RouteTraffic("ask", "rel_1", "rel_2", 0.1, "salt", (("rel_1", "http://127.0.0.1:1"),)),),
        (KeyEntry("key_1", "ab", "t", ("g",), ("invoke",), ("ask",), 9.0),),
        "roll_1",
    )

    assert Snapshot.from_dict(snapshot.to_dict()) == snapshot


def test_segments_and_a_parked_route_survive_the_json_form():
    segments = (Segment(tenants=("acme",)), Segment(groups=("beta",), keys=("key_1", "key_2")))
    snapshot = Snapshot("local", 3, 2, (RouteTraffic("ask", "rel_1", segments=segments, parked=True),))

    assert Snapshot.from_dict(json.loads(json.dumps(snapshot.to_dict()))) == snapshot


def test_a_snapshot_of_a_version_without_segments_is_read():
    form = Snapshot("local", 3, 2, (RouteTraffic("ask", "rel_1"),)).to_dict()
    for name in ("segments", "parked"):
        del form["routes"][0][name]

    assert Snapshot.from_dict(form).route("ask") == RouteTraffic("ask", "rel_1", segments=(), parked=False)


CALLER = KeyEntry("key_1", "ab", "acme", ("staff", "beta"), ("invoke",))


@pytest.mark.parametrize(
    ("segments", "is_in"),
    [
        ((), True),
        ((Segment(),), True),
        ((Segment(tenants=("acme", "other")),), True),
        ((Segment(tenants=("other",)),), False),
        ((Segment(groups=("beta",)),), True),
        ((Segment(groups=("Beta",)),), False),
        ((Segment(keys=("key_1",)),), True),
        ((Segment(tenants=("acme",), keys=("key_2",)),), False),
        ((Segment(tenants=("acme",), groups=("gamma",)),), False),
        ((Segment(tenants=("other",)), Segment(keys=("key_1",))), True),
    ],
)
def test_a_caller_is_divided_when_all_that_one_segment_names_holds(segments, is_in):
    route = RouteTraffic("r", "s", "c", 1.0, "x", segments=segments).for_caller(CALLER)

    assert route.assign("conversation") == (("c", True) if is_in else ("s", False))
    assert route.candidate_weight == (1.0 if is_in else 0.0)


def test_when_control_is_silent_no_candidate_gets_traffic():
    snapshot = Snapshot("local", routes=(RouteTraffic("a", "rel_1", "rel_2", 0.5, "x"), RouteTraffic("b", "rel_1")))

    silent = snapshot.without_candidates()

    assert all(not route.assign(str(number))[1] for route in silent.routes for number in range(100))
    assert snapshot.releases() == {"rel_1", "rel_2"}
    assert silent.route("b") == RouteTraffic("b", "rel_1")
    assert silent.route("c") is None
