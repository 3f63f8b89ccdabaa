"""Smoke checks being asked: who answers, what is looked for afterwards, and what is an ERROR."""

from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import orjson
import pytest
from tests.served import served_request

from shipway.core.clock import ManualClock
from shipway.core.errors import DeadlineError, UnavailableError, UsageError
from shipway.core.record import ABSTAINED
from shipway.core.verdicts import Verdict
from shipway.evals.model import Case, Dataset, Output
from shipway.evals.ports import HttpReply
from shipway.evals.smoke import SmokeAnswer, SmokeCheck
from shipway.services.smoke import (
    Asker,
    Endpoint,
    GatewayEvidence,
    MetricsOnly,
    NoEvidence,
    OpenedRelease,
    Waiting,
    known_document,
    load_smoke,
    run_smoke,
)

pytestmark = pytest.mark.anyio

PARIS = SmokeCheck("paris", "contains", "chat", "Capital?", {"contains": ["Paris"]})


@dataclass
class Gateway:
    """A gateway that says the same to everybody, counts, and keeps records after a while."""

    status: int = 200
    text: str = "Paris"
    error: Exception | None = None
    headers: dict[str, str] = field(default_factory=lambda: {"x-request-id": "req_1", "x-shipway-release": "rel_1"})
    more: dict[str, Any] = field(default_factory=dict)
    metrics_status: int = 200
    counted_late: int = 0
    heard: list[Any] = field(default_factory=list)
    looks: int = 0

    async def call(self, request):
        if self.error is not None:
            raise self.error
        if request.url.endswith("/metrics"):
            return HttpReply(self.metrics_status, {}, self._exposition().encode(), 1.0, 1.0)
        self.heard.append(request)
        body = {"choices": [{"message": {"content": self.text}}], "usage": {"completion_tokens": 3}, **self.more}
        return HttpReply(self.status, self.headers, orjson.dumps(body), 5.0, 9.0)

    def _exposition(self):
        self.looks += 1
        count = len(self.heard) if self.looks > 1 + self.counted_late else 0
        lines = [f'shipway_requests_total{{worker="0"}} {count}', "shipway_request_duration_seconds_count 1"]
        return "\n".join([*lines, "shipway_tokens_total 4", f"shipway_traces_exported_total {count}"])


def endpoint(gateway, **fields):
    return Endpoint(gateway, "http://127.0.0.1:1", "swk_key", **fields)


@dataclass
class Time:
    """Waiting that passes at once."""

    clock: ManualClock = field(default_factory=ManualClock)

    async def sleep(self, seconds):
        self.clock.advance(seconds)


def waiting():
    time = Time()
    return Waiting(time.clock, time.sleep)


async def run(checks, gateway, find=None, secrets=()):
    async def nothing(_request_id):
        return None

    target = endpoint(gateway)
    report = await run_smoke(checks, target, GatewayEvidence(target, find or nothing), waiting(), secrets)
    return report, {item.name: item for item in report.findings}


async def test_a_question_is_asked_at_temperature_0_with_few_tokens_and_the_key():
    gateway = Gateway()
    report, _ = await run([PARIS], gateway)
    assert report.verdict is Verdict.PASS
    (request,) = gateway.heard
    body = orjson.loads(request.body)
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("chat", 0, 100)
    assert dict(request.headers)["authorization"] == "Bearer swk_key"
    assert request.timeout_s == 30.0


@pytest.mark.parametrize(
    ("gateway", "verdict", "said"),
    [
        (Gateway(error=UnavailableError("refused")), Verdict.ERROR, "nobody could answer: refused"),
        (Gateway(error=DeadlineError("late")), Verdict.ERROR, "no answer within 30 s"),
        (Gateway(status=503), Verdict.ERROR, "nobody could answer: status 503"),
        (Gateway(status=401), Verdict.ERROR, "nobody could answer: status 401"),
        (Gateway(status=500), Verdict.FAIL, "status 500"),
        (Gateway(more={"choices": []}), Verdict.FAIL, "the reply is no chat completion (IndexError)"),
        (
            Gateway(more={"choices": [{"message": {"content": None}}]}),
            Verdict.FAIL,
            "the answer is no text but NoneType",
        ),
        (Gateway(text="Lyon"), Verdict.FAIL, "the answer lacks 'Paris': 'Lyon'"),
    ],
)
async def test_nobody_there_is_an_error_and_a_wrong_answer_a_fail(gateway, verdict, said):
    report, found = await run([PARIS], gateway)
    assert report.verdict is verdict
    assert found["paris"].message.startswith(said)


async def test_an_unpinned_answer_is_asked_for_twice():
    gateway = Gateway()
    report, _ = await run([SmokeCheck("twice", "exact_hash", "chat", "p")], gateway)
    assert report.verdict is Verdict.PASS
    assert len(gateway.heard) == 2


async def test_a_release_that_was_asked_for_must_be_the_one_that_answers():
    gateway = Gateway()
    wrong = endpoint(gateway, release="rel_2")
    report = await run_smoke([PARIS], wrong, MetricsOnly(wrong), waiting())
    assert report.verdict is Verdict.ERROR
    assert "answered by rel_1, asked was rel_2" in report.findings[0].message
    assert dict(gateway.heard[0].headers)["x-shipway-release"] == "rel_2"


async def test_a_trace_is_asked_for_whatever_share_is_traced():
    gateway = Gateway()
    await endpoint(gateway, trace_id=lambda: "ab" * 16).ask(PARIS)
    assert dict(gateway.heard[0].headers)["traceparent"] == f"00-{'ab' * 16}-00000000000000a1-01"


async def test_citations_and_a_route_that_cites_nothing_are_read():
    cited = await endpoint(Gateway(more={"citations": [{"index": 1, "document": "a.md"}]})).ask(PARIS)
    assert (cited.citations, cited.is_refusal) == ({1: "a.md"}, None)
    declined = await endpoint(Gateway(more={"citations": []})).ask(PARIS)
    assert (declined.citations, declined.is_refusal) == ({}, True)


COUNTERS = SmokeCheck("counters", "counters")
RECORD = SmokeCheck("record", "record")
TRACE = SmokeCheck("trace", "trace")


async def test_counters_and_traces_that_come_late_are_waited_for():
    report, found = await run([COUNTERS, TRACE, PARIS], Gateway(counted_late=3))
    assert {name: item.verdict for name, item in found.items()} == dict.fromkeys(
        ["counters", "trace", "paris"], Verdict.PASS
    )
    assert [item.name for item in report.findings] == ["counters", "trace", "paris"]


async def test_counters_that_do_not_grow_fail_after_the_wait():
    _, found = await run([PARIS, COUNTERS, TRACE], Gateway(counted_late=10_000))
    assert found["counters"].message == "shipway_requests_total grew by 0 while 1 questions were answered"
    assert found["trace"].verdict is Verdict.FAIL


async def test_counters_that_are_not_there_are_named():
    made = replace(COUNTERS, expected={"families": ["shipway_gone_total"]})
    _, found = await run([PARIS, made], Gateway())
    assert found["counters"].message == "/metrics does not have shipway_gone_total"


async def test_metrics_that_the_key_may_not_read_are_no_data():
    _, found = await run([PARIS, COUNTERS], Gateway(metrics_status=403))
    assert found["counters"].verdict is Verdict.NO_DATA
    assert found["counters"].message == "/metrics answers 403; the key needs the role operate"


async def test_the_record_of_the_last_question_is_looked_for_until_it_is_there():
    asked = []

    async def find(request_id):
        asked.append(request_id)
        return served_request("c", id=request_id, tokens_out=3) if len(asked) > 4 else None

    _, found = await run([PARIS, RECORD], Gateway(), find)
    assert found["record"].verdict is Verdict.PASS
    assert asked == ["req_1"] * 5


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"tokens_out": 0}, Verdict.FAIL),
        ({"tokens_out": 3, "status": 502}, Verdict.FAIL),
        ({"tokens_out": 0, "cache_hit": "exact"}, Verdict.PASS),
        ({"tokens_out": 0, "events": (ABSTAINED,)}, Verdict.PASS),
    ],
)
async def test_a_record_must_hold_its_counters(fields, verdict):
    async def find(request_id):
        return served_request("c", id=request_id, **fields)

    _, found = await run([PARIS, RECORD], Gateway(), find)
    assert found["record"].verdict is verdict


async def test_a_record_that_never_comes_fails():
    _, found = await run([PARIS, RECORD], Gateway())
    assert found["record"].message == "no record of req_1 within 10 s"


async def test_an_agent_is_no_data_until_there_are_agents():
    _, found = await run([PARIS, SmokeCheck("agent", "agent")], Gateway())
    assert found["agent"].verdict is Verdict.NO_DATA


async def test_nothing_is_looked_for_when_no_question_was_answered():
    _, found = await run([PARIS, RECORD], Gateway(status=503))
    assert found["record"].verdict is Verdict.NO_DATA


async def test_without_a_gateway_there_is_no_evidence():
    report = await run_smoke([PARIS, COUNTERS, RECORD], endpoint(Gateway()), NoEvidence("no gateway"), waiting())
    assert [item.message for item in report.findings if item.verdict is Verdict.NO_DATA] == ["no gateway", "no gateway"]


async def test_a_refusal_for_want_of_a_key_says_where_the_key_is_read():
    keyless = Endpoint(Gateway(status=401), "http://127.0.0.1:1")

    report = await run_smoke([PARIS], keyless, NoEvidence("none"), waiting())

    assert report.findings[0].message.endswith(
        "; no key was sent: set SHIPWAY_TARGET_KEY, or name another variable with --key-env"
    )
    _, found = await run([PARIS], Gateway(status=401))
    assert "no key was sent" not in found["paris"].message


async def test_the_key_is_never_shown():
    report, _ = await run([PARIS], Gateway(status=500, more={"echo": "Bearer swk_key"}), secrets=["swk_key"])
    assert "swk_key" not in repr(report)
    report, _ = await run([PARIS], Gateway(text="you said swk_key"), secrets=["swk_key"])
    assert "swk_key" not in repr(report)


@dataclass
class Release:
    """A target of evaluations."""

    output: Output = field(default_factory=lambda: Output("Paris [1]", citations=("a.md",)))
    name: str = "rel_1"
    digest: str = "rel_1"
    asked: list[Case] = field(default_factory=list)

    async def ask(self, case, *, repeat):
        self.asked.append(case)
        if self.output.answer == "hang":
            await anyio.sleep_forever()
        return self.output


async def test_a_release_is_asked_as_an_evaluation_asks():
    release = Release()
    answer = await OpenedRelease(release).ask(replace(PARIS, tenant="acme", groups=("staff",)))
    assert answer == SmokeAnswer("Paris [1]", {1: "a.md"})
    assert (release.asked[0].tenant, release.asked[0].groups) == ("acme", ("staff",))


async def test_a_release_that_declined_is_a_refusal_and_one_that_failed_is_unavailable():
    declined = await OpenedRelease(Release(Output("Nein", events=(ABSTAINED,)))).ask(PARIS)
    assert declined.is_refusal is True
    with pytest.raises(UnavailableError, match="broken"):
        await OpenedRelease(Release(Output(error="broken"))).ask(PARIS)


async def test_a_release_that_hangs_ends_at_the_limit():
    with pytest.raises(DeadlineError, match=r"no answer within 0\.01 s"):
        await OpenedRelease(Release(Output("hang"))).ask(replace(PARIS, timeout_s=0.01))


def test_the_known_document_is_one_that_the_asker_may_read():
    cases = (
        Case("a2", "A2?", tenant="acme", groups=("board",), expected_sources=("a2.md",)),
        Case("b", "B?", tenant="acme", groups=("staff",), expected_sources=("b.md",)),
        Case("a", "A?", tenant="other", expected_sources=("a.md",)),
        Case("0", "?", unanswerable=True),
    )
    found = known_document(Dataset("d", cases), Asker("acme", frozenset({"staff", "public"})))
    assert found is not None
    assert (found.document, found.tenant) == ("b.md", "acme")
    assert known_document(Dataset("d", cases), None).document == "a.md"
    assert known_document(Dataset("d", cases), Asker("acme")) is None


async def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.yaml: cannot be read: No such file or directory"):
        await load_smoke(tmp_path / "gone.yaml")
