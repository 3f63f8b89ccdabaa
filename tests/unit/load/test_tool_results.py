"""Summaries of Locust, k6 and Artillery, and how their few quantiles are judged."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import DocumentError
from shipway.core.verdicts import Verdict
from shipway.load.judging import Usage
from shipway.load.plan import Limits
from shipway.load.report import as_json, lines
from shipway.load.tool_results import (
    NOTE,
    LoadTool,
    Ran,
    ToolSummary,
    artillery_summary,
    k6_summary,
    locust_summary,
    tool_report,
)

LOCUST = (
    "Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,"
    "Max Response Time,Average Content Size,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%\n"
    "POST,/v1/chat/completions,2000,3,18,18.1,11,35,366,40.0,0.1,18,18,19,19,19,20,21,22,35,35,35\n"
    ",Aggregated,2000,3,18,18.1,11,35,366,40.0,0.1,18,18,19,19,19,20,21,22,35,35,35\n"
)
FAILURES = 'Method,Name,Error,Occurrences\nPOST,/v1,"HTTPError(500)",3\n'
K6 = {
    "metrics": {
        "http_req_duration": {"min": 1, "med": 5, "p(75)": 6, "p(90)": 8, "p(95)": 9, "p(99)": 20, "p(99.5)": 25}
        | {"p(99.9)": 30, "max": 40, "p(97.5)": 11},
        "http_reqs": {"count": 3000, "rate": 100.0},
        "http_req_failed": {"passes": 6, "fails": 2994, "value": 0.002},
    }
}
ARTILLERY = {
    "aggregate": {
        "counters": {
            "http.requests": 1600,
            "http.codes.200": 1590,
            "http.codes.503": 6,
            "errors.ETIMEDOUT": 4,
            "vusers.failed": 4,
        },
        "summaries": {
            "http.response_time": {"median": 5, "p75": 6, "p90": 8, "p95": 9, "p99": 20, "p999": 30, "max": 40}
        },
        "firstMetricAt": 1000,
        "lastMetricAt": 21000,
    }
}


def test_locust_is_read_from_its_aggregate():
    found = locust_summary(LOCUST, FAILURES, 0)

    assert (found.requests, found.errors, found.seconds) == (2000, 3, 50.0)
    assert (found.known[0.5], found.known[0.99], found.known[1.0]) == (18, 22, 35)
    assert dict(found.reasons) == {"HTTPError(500)": 3}


def test_k6_is_read_from_its_export():
    found = k6_summary(json.dumps(K6).encode())

    assert (found.requests, found.errors, found.seconds) == (3000, 6, 30.0)
    assert (found.known[0.5], found.known[0.995], found.known[1.0]) == (5, 25, 40)


def test_k6_is_read_in_the_form_of_its_own_summaries():
    nested = {"metrics": {name: {"type": "x", "values": values} for name, values in K6["metrics"].items()}}

    assert k6_summary(json.dumps(nested).encode()) == k6_summary(json.dumps(K6).encode())


def test_artillery_counts_refusals_and_faults_once():
    found = artillery_summary(json.dumps(ARTILLERY).encode())

    assert (found.requests, found.errors, found.seconds) == (1600, 10, 20.0)
    assert dict(found.reasons) == {"http.codes.503": 6, "errors.ETIMEDOUT": 4}


@given(st.binary(max_size=100))
def test_what_is_no_summary_is_refused(data):
    for read in (k6_summary, artillery_summary):
        with pytest.raises(DocumentError):
            read(data)
    with pytest.raises(DocumentError):
        locust_summary(data.decode("latin-1"), "", 0)


def judged(summary, limits, problems=()):
    return tool_report(Ran(LoadTool.K6, "http://127.0.0.1:1", summary, Usage(), problems), Limits(limits))


def test_limits_are_judged_between_the_quantiles_that_are_known():
    report = judged(k6_summary(json.dumps(K6).encode()), {"p99_ms": 30, "p95_ms": 21, "error_rate": 0.01})

    found = {check.name: (check.verdict, check.low, check.high) for check in report.checks}
    assert found["p99_ms"] == (Verdict.PASS, 11, 25)
    assert found["p95_ms"] == (Verdict.PASS, 8, 11)
    assert report.verdict is Verdict.PASS


def test_a_limit_between_the_known_quantiles_is_inconclusive():
    assert judged(k6_summary(json.dumps(K6).encode()), {"p99_ms": 21}).verdict is Verdict.INCONCLUSIVE


def test_a_quantile_that_the_tool_did_not_keep_is_no_data():
    assert judged(ToolSummary(1000, 0, 1.0, {0.5: 3.0}), {"p99_ms": 21}).verdict is Verdict.NO_DATA


def test_a_run_with_a_problem_is_an_error_whatever_its_figures():
    report = judged(k6_summary(json.dumps(K6).encode()), {"p99_ms": 30}, ("k6 ended with exit code 107",))

    assert report.verdict is Verdict.ERROR
    assert "ERROR: k6 ended with exit code 107" in lines(report)


def test_the_reader_is_told_what_the_tool_leaves_out():
    assert NOTE in as_json(judged(ToolSummary(10, 0, 1.0, {}), {"p50_ms": 1}))["notes"]
