"""The gate of a stage: numbers within limits, and nothing missing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.pipeline.limits import judged, numbers_in
from shipway.pipeline.model import StageOutcome
from shipway.pipeline.spec import Limit, StageSpec


def gated(outputs: dict[str, object], *limits: Limit, verdict: Verdict = Verdict.PASS) -> StageOutcome:
    return judged(StageSpec("a", run=("x",), gate=limits), StageOutcome(verdict, 0, outputs))


def test_numbers_on_their_limits_pass() -> None:
    assert gated({"f1": 0.8, "p95_ms": 200}, Limit("f1", min=0.8), Limit("p95_ms", max=200)).verdict is Verdict.PASS


def test_every_broken_limit_is_named_with_the_number() -> None:
    found = gated({"f1": 0.7, "p95_ms": 250}, Limit("f1", min=0.8), Limit("p95_ms", max=200))
    assert (found.verdict, found.problem) == (Verdict.FAIL, "gate: f1 is 0.7, below 0.8; p95_ms is 250, above 200")


@pytest.mark.parametrize("value", [None, True, "0.9", float("nan"), float("inf")])
def test_what_is_no_number_is_an_error_and_never_a_pass(value: object) -> None:
    found = gated({"f1": value, "n": 3}, Limit("f1", min=0.8))
    assert found.verdict is Verdict.ERROR
    assert found.problem == "gate: no number 'f1' among the results (there is f1, n)"


def test_a_stage_that_failed_is_not_judged_by_its_numbers() -> None:
    assert gated({"f1": 1.0}, Limit("f1", min=0.8), verdict=Verdict.ERROR).verdict is Verdict.ERROR


def test_numbers_have_dotted_names_and_the_rest_is_passed_over() -> None:
    data = json.dumps({"a": {"b": 1, "c": "x", "d": True}, "e": 2.5, "f": [3]}).encode()
    assert numbers_in(data, "m.json") == {"a.b": 1, "e": 2.5}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "m.json does not hold JSON"),
        (b"", "m.json does not hold JSON"),
        (b"[1]", "m.json holds a list"),
        (b'{"x": NaN}', "x is nan, which says nothing"),
        (b"[" * 100_000, "m.json does not hold JSON"),
    ],
)
def test_what_holds_no_numbers_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        numbers_in(data, "m.json")


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_limit_passes_exactly_what_is_not_below_it(value: float, least: float) -> None:
    assert (gated({"x": value}, Limit("x", min=least)).verdict is Verdict.PASS) == (value >= least)
