import json

import pytest

from shipway.config.project import Project
from shipway.core.errors import DeadlineError, UnavailableError, UsageError
from shipway.evals.ports import HttpReply
from shipway.services.readiness.probes import ProbePlan, probe_service

pytestmark = pytest.mark.anyio
PROJECT = Project.model_validate(
    {
        "app": "a",
        "models": {"m": {"engine": "vllm", "model": "m", "base_url": "http://engine:8000/v1"}},
        "prompts": {"p": "p.yaml"},
        "routes": {
            "ask": {"kind": "rag", "model": "m", "prompt": "p"},
            "talk": {"kind": "chat", "model": "m"},
            "own": {"kind": "http", "url": "http://own:1"},
        },
        "corpus": {"sources": [{"path": "**", "tenant": "t", "groups": ["g"]}]},
        "evals": {"route": "ask"},
    }
)


class Caller:
    def __init__(self, failing=None):
        self.calls = []
        self.failing = failing

    async def call(self, request):
        self.calls.append(request)
        if self.failing is not None:
            raise self.failing
        return HttpReply(200, {"content-type": "text/plain"}, b"ok", 1.0, 1.0)


async def test_without_a_key_none_is_sent_and_no_model_answers():
    caller = Caller()
    found = await probe_service(caller, ProbePlan("http://127.0.0.1:1/"), PROJECT)

    assert {name for call in caller.calls for name, _ in call.headers} == {"content-type"}
    assert not [name for name in found.answers if name.endswith("+key")]
    assert {call.url for call in caller.calls if call.method == "POST"} == {
        "http://127.0.0.1:1/v1/chat/completions",
        "http://127.0.0.1:1/v1/feedback",
    }
    assert {call.body for call in caller.calls if call.method == "POST"} == {b"{}"}
    assert "GET /svc/own/" in found.answers


async def test_with_a_key_one_short_question_is_asked_of_a_chat_route_and_one_of_the_documents():
    caller = Caller()
    found = await probe_service(caller, ProbePlan("http://127.0.0.1:1", "swk_x", "How long?"), PROJECT)
    bodies = [json.loads(call.body) for call in caller.calls if call.body not in {b"", b"{}"}]

    assert [(body.get("model"), body.get("max_tokens"), body.get("question")) for body in bodies] == [
        ("talk", 8, None),
        (None, None, "How long?"),
    ]
    assert found.has_key


async def test_an_engine_is_asked_without_the_key():
    caller = Caller()
    await probe_service(caller, ProbePlan("http://127.0.0.1:1", "swk_x"), PROJECT)

    (engine,) = [call for call in caller.calls if call.url.startswith("http://engine")]
    assert (engine.url, engine.headers) == ("http://engine:8000/v1/models", ())


async def test_plain_http_is_tried_beside_https_and_gets_no_key():
    caller = Caller()
    found = await probe_service(caller, ProbePlan("https://shop.example", "swk_x"), PROJECT)

    (plain,) = [call for call in caller.calls if call.url.startswith("http://shop")]
    assert plain.headers == ()
    assert "GET / over plain http" in found.answers


@pytest.mark.parametrize("error", [DeadlineError("late"), UnavailableError("gone")])
async def test_what_is_not_answered_is_no_answer(error):
    found = await probe_service(Caller(error), ProbePlan("http://127.0.0.1:1"), None)

    assert dict(found.answers) == {}


@pytest.mark.parametrize("url", ["http://shop.example", "http://10.0.0.1:80"])
async def test_a_key_does_not_travel_in_clear_text(url):
    caller = Caller()
    with pytest.raises(UsageError, match="clear text"):
        await probe_service(caller, ProbePlan(url, "swk_x"), PROJECT)

    assert caller.calls == []
