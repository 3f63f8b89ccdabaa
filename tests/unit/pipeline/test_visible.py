"""A command sees few variables and the results of the stages before it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.pipeline.model import StageResult, StageState
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.visible import (
    LARGEST_OUTPUT_BYTES,
    LONGEST_VALUE,
    parse_outputs,
    result_variables,
    results_document,
    visible_environment,
)


def passed(name: str, **outputs: object) -> StageResult:
    return StageResult(name, StageState.PASSED, Verdict.PASS, 0, 1.5, 1, outputs=outputs)


def test_only_allowed_and_declared_variables_are_visible() -> None:
    environ = {"PATH": "/bin", "HOME": "/h", "LANG": "C", "TMPDIR": "/t", "TOKEN": "x", "CI": "1", "LD_PRELOAD": "y"}
    stage = StageSpec("lint", run=("true",), env=("CI", "NOT_SET"))
    assert visible_environment(stage, environ, {}) == {
        "PATH": "/bin",
        "HOME": "/h",
        "LANG": "C",
        "TMPDIR": "/t",
        "CI": "1",
        "SHIPWAY_STAGE": "lint",
    }


def test_texts_numbers_and_truth_values_become_variables_and_the_rest_does_not() -> None:
    results = {"unit-tests": passed("unit-tests", release="rel_1", score=0.5, n=3, ok=True, rows=[1], none=None)}
    assert result_variables(results) == {
        "SHIPWAY_STAGE_UNIT_TESTS_RELEASE": "rel_1",
        "SHIPWAY_STAGE_UNIT_TESTS_SCORE": "0.5",
        "SHIPWAY_STAGE_UNIT_TESTS_N": "3",
        "SHIPWAY_STAGE_UNIT_TESTS_OK": "true",
    }


@pytest.mark.parametrize("value", ["x" * (LONGEST_VALUE + 1), "nul\0"])
def test_a_text_that_no_variable_can_hold_stands_in_the_document_alone(value: str) -> None:
    results = {"a": passed("a", text=value)}
    assert result_variables(results) == {}
    assert json.loads(results_document(results))["a"]["outputs"] == {"text": value}


def test_two_results_that_would_be_one_variable_are_refused_by_name() -> None:
    results = {"a": passed("a", b_c=1), "a_b": passed("a_b", c=2)}
    with pytest.raises(UsageError, match="'b_c' of stage 'a' and 'c' of stage 'a_b' would both be SHIPWAY_STAGE_A_B_C"):
        result_variables(results)


def test_the_document_holds_verdict_and_outputs_by_stage() -> None:
    assert json.loads(results_document({"a": passed("a", rows=[{"x": 1}])})) == {
        "a": {
            "state": "passed",
            "verdict": "PASS",
            "exit_code": 0,
            "attempts": 1,
            "duration_s": 1.5,
            "outputs": {"rows": [{"x": 1}]},
        }
    }


@pytest.mark.parametrize("data", [b"", b" \n"])
def test_nothing_written_is_no_results(data: bytes) -> None:
    assert parse_outputs(data) == {}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "does not hold JSON"),
        (b"\xff\xfe\xfd", "does not hold JSON"),
        (b"[1]", "holds a list; write one object"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[" * 200_000, "does not hold JSON"),
        (b" " * (LARGEST_OUTPUT_BYTES + 1), "write paths, not data"),
    ],
)
def test_what_is_not_an_object_of_json_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_outputs(data)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.lists(st.text())))
def test_what_a_stage_writes_as_json_is_read_back_equal(outputs: dict[str, object]) -> None:
    assert parse_outputs(json.dumps(outputs).encode()) == outputs
