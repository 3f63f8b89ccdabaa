"""The result: its verdict, its JSON, its lines and the figures for gates."""

import json

import pytest
from tests.unit.load.made import sample

from shipway.core.verdicts import Verdict
from shipway.load.judging import Check, Usage, checks
from shipway.load.plan import Kind, Limits
from shipway.load.report import LoadReport, Part, as_json, lines, metrics
from shipway.load.summary import figures

SAMPLES = [*(sample(10 + number / 100) for number in range(600)), sample(error="status 429: rate_limit_exceeded")]


def report(**fields):
    whole = figures(SAMPLES, 60.0, 0.95)
    found = checks(Limits({"p50_ms": 100, "p99_ms": 12}), whole, Usage())
    usual = {"target": "http://127.0.0.1:1", "kind": Kind.RATE, "whole": whole, "checks": found}
    return LoadReport(**{**usual, **fields})


def test_the_worst_check_is_the_verdict():
    assert report().verdict is Verdict.FAIL


def test_a_problem_outranks_every_check():
    assert report(problems=("the generator could not keep up",)).verdict is Verdict.ERROR


def test_without_limits_there_is_no_verdict_to_pass():
    assert report(checks=()).verdict is Verdict.NO_DATA


def test_the_figures_have_the_names_of_limits():
    found = metrics(report(usage=Usage(cpu=0.5, memory=0.25)))

    assert found["requests"] == 601
    assert found["p50_ms"] == pytest.approx(12.99)
    assert (found["cpu"], found["memory"]) == (0.5, 0.25)
    assert all(isinstance(value, float) for value in found.values())


def test_the_json_is_json_and_says_how_it_was_asked():
    found = json.loads(json.dumps(as_json(report())))

    assert (found["verdict"], found["model"]) == ("FAIL", "open")
    assert found["checks"][1]["verdict"] == "FAIL"
    assert found["checks"][1]["low"] > 12


def test_the_lines_show_stages_reasons_limits_and_the_verdict():
    told = lines(report(stages=(Part("10/s, 60 s", figures(SAMPLES, 60, 0.95)),)))

    assert told[0].startswith("http://127.0.0.1:1: 601 requests in 60.0 s (10.02/s), 1 errors")
    assert any(line.startswith("10/s, 60 s") for line in told)
    assert "1 x status 429: rate_limit_exceeded" in told
    assert any("the limits of the key were met" in line for line in told)
    assert any(line.startswith("FAIL") and "p99_ms" in line and "limit 12.0 ms" in line for line in told)
    assert told[-1] == "FAIL"


def test_users_are_told_what_a_closed_loop_hides():
    assert any("users wait for answers" in line for line in lines(report(kind=Kind.USERS)))
    assert not any("users wait for answers" in line for line in lines(report()))


def test_a_limit_without_a_figure_is_told_with_its_reason():
    told = lines(report(checks=(Check("cpu", 0.8, Verdict.NO_DATA, message="not measured: gone"),)))

    assert "NO_DATA      cpu -, limit 80.00%; not measured: gone" in told
