import pytest
from tests.served import served_request

from shipway.core.observation import GOLDEN, PAIR, QUALITY, SAFETY, THUMBS, about
from shipway.services.proposals.signals import reason_of, reasons_of

BAD = frozenset({"error", "abstained"})


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        (
            {"is_candidate": True, "events": ("error", "fallback", "abstained")},
            ["candidate: error", "candidate: abstained"],
        ),
        ({"events": ("error",)}, []),
        ({"is_candidate": True, "events": ("fallback",)}, []),
        ({"events": ("guard_output", "error")}, ["blocked: guard_output"]),
        ({"is_candidate": True, "events": ("blocked", "error")}, ["blocked: blocked", "candidate: error"]),
        ({"is_candidate": True, "events": ("error",), "shadow_of": "r"}, []),
    ],
)
def test_a_record_is_held_against_candidates_and_guards_alone(fields, reasons):
    assert reasons_of(served_request("c", **fields), BAD) == reasons


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (THUMBS, 0.0, "thumbs down"),
        (THUMBS, 1.0, ""),
        (QUALITY, 0.49, "judged 0.49"),
        (QUALITY, 0.5, ""),
        (PAIR, -0.1, "worse in a shadow copy"),
        (PAIR, 0.0, ""),
        (SAFETY, 0.0, "unsafe"),
        (SAFETY, 1.0, ""),
        (GOLDEN, 0.0, ""),
    ],
)
def test_an_observation_is_held_against_the_answer_it_is_about(kind, value, reason):
    observation = about(served_request("c"), kind, value, at_s=1.0, mark="", details={})

    assert reason_of(observation, pass_from=0.5) == reason
