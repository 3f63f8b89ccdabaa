"""Contracts on their way to a service and back."""

import json
from dataclasses import dataclass, field

import pytest

from shipway.core.errors import DeadlineError, UnavailableError, UpstreamError, UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.contracts.model import FromEnvironment
from shipway.evals.contracts.openapi import OpenApiPlan
from shipway.evals.ports import HttpCall, HttpReply
from shipway.services.api_contracts import ContractPlan, base_url, load_contracts, load_openapi, try_contracts

pytestmark = pytest.mark.anyio

CONTRACTS = """\
- name: reads
  request: { path: /x, headers: { X-Api-Key: { env: API_KEY } } }
  expect: { max_ms: 60000 }
- name: writes
  request: { path: /x, json: { text: "é" } }
- name: is public
  request: { path: /x, headers: { Authorization: } }
"""


@dataclass
class Service:
    """Answers every request alike, or raises."""

    answer: HttpReply | Exception = field(default_factory=lambda: HttpReply(200, {}, b"{}", 1.0, 1.0))
    heard: list[HttpCall] = field(default_factory=list)

    async def call(self, request):
        self.heard.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def write(tmp_path):
    def written(text=CONTRACTS, name="api.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return written


PLAN = ContractPlan("http://127.0.0.1:8000/base/", FromEnvironment("KEY", "Bearer "))
ENVIRON = {"KEY": "k-secret", "API_KEY": "a-secret"}


async def tried(write, service, plan=PLAN, environ=ENVIRON):
    return await try_contracts(service, await load_contracts(write()), plan, environ)


async def test_requests_are_sent_one_after_another_as_they_are_written(write):
    service = Service()
    report = await tried(write, service)
    assert report.verdict is Verdict.PASS
    first, second, third = service.heard
    assert (first.method, first.url, first.body) == ("GET", "http://127.0.0.1:8000/base/x", b"")
    assert dict(first.headers)["x-api-key"] == "a-secret"
    assert dict(first.headers)["authorization"] == "Bearer k-secret"
    assert (second.method, json.loads(second.body)) == ("POST", {"text": "é"})
    assert dict(second.headers)["content-type"] == "application/json"
    assert dict(second.headers)["accept-encoding"] == "identity"
    assert "authorization" not in dict(third.headers)


async def test_a_slow_reply_is_waited_for_longer_than_it_may_take(write):
    service = Service()
    await tried(write, service)
    assert [call.timeout_s for call in service.heard] == [180.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            UnavailableError("http://127.0.0.1:8000/x: nobody answers: refused"),
            "no reply: http://127.0.0.1:8000/x: nobody",
        ),
        (DeadlineError("late"), "no whole reply within"),
        (
            UpstreamError("answer larger than 10,000,000 bytes", status=200),
            "no reply: answer larger than 10,000,000 bytes",
        ),
    ],
)
async def test_a_service_that_is_down_late_or_too_talkative_is_an_error_and_no_fail(write, error, said):
    report = await tried(write, Service(error))
    assert report.verdict is Verdict.ERROR
    assert {finding.verdict for finding in report.findings} == {Verdict.ERROR}
    assert said in report.findings[0].message


async def test_a_variable_that_is_not_set_is_told_before_anything_is_asked(write):
    service = Service()
    with pytest.raises(UsageError) as refused:
        await tried(write, service, environ={"API_KEY": " "})
    assert service.heard == []
    assert str(refused.value).splitlines()[0] == "environment variable KEY is not set or empty"
    assert str(refused.value).splitlines()[1].endswith("api.yaml:2: environment variable API_KEY is not set or empty")


async def test_no_secret_is_in_the_report_though_the_service_repeats_it(write):
    said = HttpReply(400, {}, b"bad key a-secret, k-secret", 1.0, 1.0)
    report = await tried(write, Service(said))
    assert report.verdict is Verdict.FAIL
    assert not [secret for secret in ENVIRON.values() if secret in repr(report)]


async def test_a_schema_file_is_found_beside_the_contracts(write):
    write('{"type": "array"}', "list.json")
    path = write("- name: a\n  request: { path: /x }\n  expect: { schema_file: list.json }\n")
    json_reply = HttpReply(200, {"content-type": "application/json"}, b"{}", 1.0, 1.0)
    report = await try_contracts(Service(json_reply), await load_contracts(path), ContractPlan("http://a"), {})
    assert [finding.message for finding in report.findings if finding.message] == ['/: {} is not of type "array"']


async def test_a_schema_file_that_is_wrong_is_told_with_its_own_line(write):
    write('{"type":\n}', "list.json")
    path = write("- name: a\n  request: { path: /x }\n  expect: { schema_file: list.json }\n")
    with pytest.raises(UsageError, match=r"api.yaml:3: expect.schema_file: list.json:2: not JSON"):
        await load_contracts(path)


async def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.yaml: cannot be read: No such file or directory"):
        await load_contracts(tmp_path / "gone.yaml")


async def test_what_an_openapi_document_cannot_ask_makes_the_report_incomplete(write):
    get, delete = '    get: { responses: { "200": {} } }\n', '    delete: { responses: { "204": {} } }\n'
    document = f"openapi: 3.0.3\npaths:\n  /x:\n{get}{delete}"
    found = await load_openapi(write(document), OpenApiPlan())
    report = await try_contracts(Service(), found.contracts, ContractPlan("http://a"), {}, found.findings)
    assert report.verdict is Verdict.NO_DATA
    assert [finding.name for finding in report.findings] == ["DELETE /x", "GET /x"]


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://a", "http://", "http://a/?x=1", "http://a/#x"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError, match="is no address of a service"):
        base_url(url)


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(UsageError) as refused:
        base_url("http://me:hunter2@a")
    assert "hunter2" not in str(refused.value)
