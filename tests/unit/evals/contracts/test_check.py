"""What is said of replies that keep and break their contract."""

import json

import pytest

from shipway.core.findings import FindingReport, findings_lines
from shipway.core.verdicts import Verdict, combined
from shipway.evals.contracts.check import check_reply, no_reply, pointer
from shipway.evals.contracts.model import ApiReply, ApiRequest, Contract
from shipway.evals.findings import as_results
from shipway.evals.ports import HttpReply

SCHEMA = {"type": "object", "properties": {"a/b": {"type": "array", "items": {"type": "string"}}}, "required": ["a/b"]}
JSON = {"content-type": "application/json; charset=utf-8"}


def contract(reply=None, **fields):
    reply = reply or ApiReply("200", ("application/json",), {}, SCHEMA, has_schema=True)
    return Contract("labels", ApiRequest("GET", "/x"), (reply,), location="api.yaml:3", **fields)


def reply(body=b'{"a/b": ["x"]}', status=200, total_ms=12.0, **headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(status, {**JSON, **headers}, body, 10.0, total_ms)


def verdicts(findings):
    return {finding.metric: finding.verdict for finding in findings}


def message(findings):
    return "; ".join(finding.message for finding in findings if finding.message)


def test_a_reply_that_keeps_its_contract_passes_in_every_point():
    findings = check_reply(contract(max_ms=100, contains=("x",)), reply())
    assert verdicts(findings) == dict.fromkeys(["status", "content_type", "schema", "contains", "time"], Verdict.PASS)
    assert {finding.location for finding in findings} == {"api.yaml:3"}


def test_a_schema_that_is_broken_names_the_json_pointer():
    findings = check_reply(contract(), reply({"a/b": ["x", 5]}))
    (broken,) = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    assert broken.rule == "contract/schema"
    assert broken.details["pointer"] == "/a~1b/1"
    assert broken.message == '/a~1b/1: 5 is not of type "string"'


def test_only_the_first_errors_of_a_schema_are_told():
    findings = check_reply(contract(), reply({"a/b": [1] * 40}))
    assert message(findings).endswith("(and 35 more)")


def test_another_status_is_a_fail_that_says_what_came_and_leaves_the_rest_unjudged():
    findings = check_reply(contract(contains=("x",)), reply({"error": "no such thing"}, 404))
    assert verdicts(findings)["status"] is Verdict.FAIL
    assert verdicts(findings)["schema"] is Verdict.NO_DATA
    assert message(findings) == 'status 404, expected 200: {"error": "no such thing"}'


def test_a_redirect_says_that_it_is_not_followed():
    said = message(check_reply(contract(), reply(b"", 302, location="/login")))
    assert said == "status 302, expected 200; redirects are not followed (to '/login')"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_service_that_cannot_answer_now_is_an_error_and_no_fail(status):
    findings = check_reply(contract(), reply(b"busy", status))
    assert set(verdicts(findings).values()) == {Verdict.ERROR}


def test_a_status_that_is_expected_is_no_error_though_it_says_busy():
    (finding,) = check_reply(contract(ApiReply("429")), reply(b"", 429))
    assert finding.verdict is Verdict.PASS


def test_slow_is_a_finding_of_its_own():
    findings = check_reply(contract(max_ms=500), reply(total_ms=812.4))
    assert verdicts(findings)["schema"] is Verdict.PASS
    assert verdicts(findings)["time"] is Verdict.FAIL
    assert message(findings) == "slow: 812 ms, at most 500 ms are allowed"


@pytest.mark.parametrize(
    ("given", "wanted", "is_right"),
    [
        ("application/json", "application/json", True),
        ("Application/JSON; charset=utf-8", "application/json", True),
        ("application/problem+json", "application/json", True),
        ("text/html", "application/json", False),
        ("", "application/json", False),
        ("text/plain; charset=utf-8", "text/*", True),
        ("text/plain;charset=utf-8", "text/plain; charset=utf-8", True),
        ("text/plain", "text/plain; charset=utf-8", False),
        ("", "*/*", False),
    ],
)
def test_content_types_are_compared_as_media_types(given, wanted, is_right):
    made = HttpReply(200, {"content-type": given} if given else {}, b"{}", 1.0, 1.0)
    found = verdicts(check_reply(contract(ApiReply("200", (wanted,))), made))
    assert found["content_type"] is (Verdict.PASS if is_right else Verdict.FAIL)


def test_headers_are_compared_by_value_or_only_looked_for():
    expected = ApiReply("200", (), {"x-release": None, "x-kind": "a", "x-gone": None})
    findings = check_reply(contract(expected), reply(**{"x-release": "rel_1", "x-kind": "b"}))
    assert message(findings) == "x-kind: 'b', expected 'a'; no header x-gone"


@pytest.mark.parametrize("body", [b"<html>", b"NaN", b"{", b""])
def test_a_body_that_is_not_json_fails_where_a_schema_holds(body):
    assert verdicts(check_reply(contract(), reply(body)))["schema"] is Verdict.FAIL


def test_an_encoded_body_could_not_be_judged():
    findings = check_reply(contract(), reply(**{"content-encoding": "gzip"}))
    assert verdicts(findings)["schema"] is Verdict.ERROR


def test_a_text_that_the_body_lacks_is_named():
    findings = check_reply(contract(ApiReply("200"), contains=("order", "parcel")), reply(b"an order"))
    assert message(findings) == "the body lacks 'parcel': an order"


def test_no_reply_is_an_error_in_every_point_that_is_said_once():
    findings = no_reply(contract(max_ms=5), "nobody answers")
    assert combined(finding.verdict for finding in findings) is Verdict.ERROR
    assert [finding.message for finding in findings] == ["nobody answers", "", "", ""]
    report = FindingReport("contract", "1", tuple(findings))
    assert findings_lines(report) == ["api.yaml:3: ERROR contract/status 'labels': nobody answers"]


def test_gates_can_judge_each_point():
    report = FindingReport("contract", "1", tuple(check_reply(contract(), reply({"a/b": 1}))))
    assert as_results(report, "contract.status")[0].scores == {"contract.status": 1.0}
    assert as_results(report, "contract.schema")[0].scores == {"contract.schema": 0.0}


@pytest.mark.parametrize("body", [b'{"echo": "Bearer top-secret"}', b" " * 190 + b"top-secret", b'"top-secret"'])
@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_secret_that_the_service_repeats_is_not_shown(body, status):
    findings = check_reply(contract(contains=("y",)), reply(body, status), ["top-secret"])
    assert message(findings)
    assert "secret" not in message(findings).replace("***", "")


def test_control_characters_of_a_reply_do_not_reach_the_terminal():
    said = message(check_reply(contract(), reply(b"\x1b[31mred\x00", 400)))
    assert said.isprintable()


def test_a_pointer_is_written_as_rfc_6901_has_it():
    assert pointer(["a/b", 0, "m~n", ""]) == "/a~1b/0/m~0n/"
    assert pointer([]) == ""
