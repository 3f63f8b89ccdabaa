import math

import pytest

from shipway.core.observation import GOLDEN, KINDS, PAIR, QUALITY, SAFETY, THUMBS, Observation, about
from shipway.core.record import ServedRequest


def seen(kind: str, value: float) -> Observation:
    return Observation("o", 1.0, kind, "production", "ask", "rel_a", value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [1.01, -1.01, math.nan, math.inf])
def test_a_value_outside_of_the_range_of_its_kind_is_refused_by_name(kind, value):
    with pytest.raises(ValueError, match=f"'o': {kind}"):
        seen(kind, value)


@pytest.mark.parametrize("kind", [THUMBS, QUALITY, GOLDEN, SAFETY])
def test_only_pairs_may_be_negative(kind):
    assert seen(PAIR, -1.0).value == -1.0
    with pytest.raises(ValueError, match=kind):
        seen(kind, -0.5)


def test_an_unknown_kind_is_refused_and_the_known_ones_are_named():
    with pytest.raises(ValueError, match=r"'mood' is none of thumbs, quality"):
        seen("mood", 1.0)


def test_a_row_of_a_newer_version_is_read_and_one_of_an_older_has_defaults():
    row = {"id": "o", "at_s": 1.0, "kind": "pair", "environment": "e", "route": "r", "release": "x", "value": -0.5}
    found = Observation.from_dict({**row, "of_a_later_version": 1})
    assert found.candidate_weight == 0.0
    assert Observation.from_dict(found.to_dict()) == found


def test_an_observation_about_a_request_carries_the_arm_and_weight_that_were_in_force():
    record = ServedRequest(
        id="r1",
        at_s=1.0,
        environment="e",
        route="ask",
        release="rel_b",
        is_candidate=True,
        candidate_weight=0.25,
        rollout="rol_1",
        snapshot_version=3,
        conversation="c1",
        conversation_source="header",
        tenant="acme",
        key_id="key_1",
        status=200,
        latency_ms=12.5,
    )
    first = about(record, THUMBS, 1.0, at_s=2.0, mark="fb_1", details={})
    assert (first.id, first.candidate_weight, first.rollout, first.conversation) == (
        "thumbs/r1/fb_1",
        0.25,
        "rol_1",
        "c1",
    )
    assert about(record, PAIR, 1.0, at_s=2.0, mark="", details={}).id == "pair/r1"
