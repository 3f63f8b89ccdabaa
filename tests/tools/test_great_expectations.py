"""Great Expectations itself, run by its adapter over cases."""

import json
import time

import anyio
import pytest
from tests.tools.conftest import ENVIRONMENTS

from shipway.adapters.evaluation_tools.environments import Environments
from shipway.adapters.evaluation_tools.expectations import GreatExpectations
from shipway.config.environment import process_environment
from shipway.core.verdicts import Verdict

pytestmark = [pytest.mark.tools, pytest.mark.timeout(250)]


def validate(cases, *expectations, timeout_s=200.0):
    if not (ENVIRONMENTS / "great-expectations" / ".shipway-lock").is_file():
        pytest.skip("great-expectations is not installed; `make test-tools` does that")
    tool = GreatExpectations(Environments(ENVIRONMENTS, process_environment()))
    suite = json.dumps({"expectations": expectations}).encode()
    return anyio.run(tool.validate, cases, suite, "suite.json", timeout_s)


def column(kind, name, **more):
    return {"type": f"expect_column_values_{kind}", "kwargs": {"column": name, **more.pop("kwargs", {})}, **more}


def test_expectations_are_findings_with_the_cases_that_break_them(cases, noted):
    start_s = time.monotonic()
    report = validate(
        cases,
        column("to_not_be_null", "reference"),
        column("to_be_unique", "id"),
        column("to_match_regex", "question", kwargs={"regex": "return"}),
        column("to_match_regex", "reference", kwargs={"regex": "days"}, severity="warning"),
        column("to_not_be_null", "nowhere"),
    )

    found = {item.name: (item.verdict, item.message) for item in report.findings}
    assert report.problems == ()
    assert found["expect_column_values_to_not_be_null reference"] == (Verdict.PASS, "")
    assert found["expect_column_values_to_be_unique id"] == (Verdict.PASS, "")
    said = "expect_column_values_to_match_regex question: 1 of 3 cases: trains"
    assert found["expect_column_values_to_match_regex question"] == (Verdict.FAIL, said)
    assert found["expect_column_values_to_match_regex reference"][0] is Verdict.PASS
    assert found["expect_column_values_to_not_be_null nowhere"][0] is Verdict.ERROR
    verdicts = [item.verdict.value for item in report.findings]
    noted["great-expectations"] = {
        "version": report.tool_version,
        "wall_s": round(time.monotonic() - start_s, 1),
        "verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
    }


def test_a_type_that_there_is_not_is_a_problem_with_its_words(cases):
    report = validate(cases, {"type": "expect_wonders", "kwargs": {}})

    assert report.verdict is Verdict.ERROR
    assert "expect_wonders" in report.problems[0]
