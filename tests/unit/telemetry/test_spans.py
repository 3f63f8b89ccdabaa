from dataclasses import replace

import pytest
from tests.unit.telemetry.test_metrics import RECORD

from shipway.telemetry.otlp import CLIENT, INTERNAL, SERVER, Span
from shipway.telemetry.spans import CONVENTIONS, SpanMaker
from shipway.telemetry.tracing import RequestTrace

TRACE = RequestTrace(
    "0af7651916cd43dd8448eb211c80319c",
    "b7ad6b7169203331",
    "00f067aa0ba902b7",
    method="POST",
    path="/v1/chat/completions",
    at_s=1000.0,
    engine_url="http://127.0.0.1:8080/v1",
    engine_start_ms=2.0,
)
CHAT = replace(RECORD, model="smollm2", stream=True, prompt_version="3", events=(), cost_usd=0)


def made(record=CHAT, trace=TRACE, version="1.41") -> list[Span]:
    return SpanMaker(CONVENTIONS[version], {"smollm2": "llamacpp"}).spans(record, trace)


def all_of(span: Span) -> dict:
    return {**span.shared.attributes, **span.attributes}


def test_a_chat_request_is_a_server_span_with_the_engine_s_call_in_it():
    request, call = made()
    assert (request.name, request.kind, request.parent_id) == ("POST /v1/chat/completions", SERVER, "")
    assert (call.name, call.kind, call.parent_id) == ("chat smollm2", CLIENT, request.span_id)
    assert (request.start_ns, request.end_ns) == (1000 * 10**9, 1000 * 10**9 + 800 * 10**6)
    assert (call.start_ns, call.end_ns) == (1000 * 10**9 + 2 * 10**6, request.end_ns)
    assert call.span_id == TRACE.engine_id


def test_the_call_has_the_attributes_of_the_conventions():
    assert all_of(made()[1]) == {
        "shipway.stage": "generation",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "llamacpp",
        "gen_ai.request.model": "smollm2",
        "gen_ai.response.model": "smollm2",
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": "c",
        "gen_ai.usage.input_tokens": 14,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.response.time_to_first_chunk": 0.098,
        "server.address": "127.0.0.1",
        "server.port": 8080,
        "shipway.prompt.version": "3",
        "shipway.cost_usd": 0.0,
    }


def test_the_newest_conventions_are_an_option():
    assert all_of(made(version="latest")[1])["gen_ai.prompt.version"] == "3"
    assert "gen_ai.prompt.version" not in all_of(made()[1])


def test_a_request_of_a_release_says_which():
    request = all_of(made(replace(CHAT, rollout="ro_1", is_candidate=True, events=("fallback",)))[0])
    expected = {
        "shipway.release": "rel_a",
        "shipway.route": "ask",
        "shipway.candidate": True,
        "shipway.rollout": "ro_1",
        "shipway.events": ("fallback",),
        "http.response.status_code": 200,
    }
    assert {name: request[name] for name in expected} == expected


def test_the_stages_of_an_answer_are_spans_of_their_own():
    trace = replace(TRACE, path="/rag_answer", engine_start_ms=None, stages=[])
    trace.take_timings({"embed": 1, "dense": 2, "rerank": 3, "focus": 1, "generate": 5, "check": 1}, 4)
    request, *stages = made(replace(CHAT, retrieval_count=5, documents=("leave.md",)), trace)
    assert [(span.name, span.kind) for span in stages] == [
        ("embedding", INTERNAL),
        ("search", INTERNAL),
        ("rerank", INTERNAL),
        ("assembly", INTERNAL),
        ("chat smollm2", CLIENT),
        ("guard", INTERNAL),
    ]
    assert {span.parent_id for span in stages} == {request.span_id}
    assert len({span.span_id for span in [request, *stages]}) == 7
    assert [span.end_ns for span in stages[:-1]] == [span.start_ns for span in stages[1:]]
    assert all_of(stages[1])["shipway.retrieval.documents"] == ("leave.md",)
    assert all_of(stages[0])["gen_ai.operation.name"] == "embeddings"


@pytest.mark.parametrize(("status", "error"), [(504, "timeout"), (400, ""), (200, "")])
def test_a_span_is_an_error_when_the_server_failed_and_not_when_the_caller_did(status, error):
    spans = made(replace(CHAT, status=status, error_type="timeout"))
    assert [span.error for span in spans] == [error, error]
    assert all_of(spans[0])["error.type"] == "timeout"


def test_a_request_that_reached_no_engine_is_one_span():
    assert len(made(replace(CHAT, status=429), replace(TRACE, engine_start_ms=None))) == 1


def test_a_request_to_a_service_of_the_user_s_own_is_no_generation():
    request, call = made(replace(CHAT, model=""), replace(TRACE, method="PUT", path="/svc/{path}"))
    assert (request.name, call.name, call.kind) == ("PUT /svc/{path}", "PUT ask", CLIENT)
    assert call.span_id == TRACE.engine_id
    assert not [name for name in all_of(call) if name.startswith("gen_ai")]


def test_personal_names_are_masked_in_every_span():
    record = replace(CHAT, conversation="ada@example.com", key_id="ada@example.com", tenant="a ada@example.com",
                     release="", route="ada@example.com", documents=("of ada@example.com here",))  # fmt: skip
    trace = replace(TRACE, stages=[])
    trace.take_timings({"dense": 1, "generate": 1}, 0)
    assert "ada@example.com" not in str([all_of(span) for span in made(record, trace)])


def test_a_caller_s_span_is_the_parent_and_is_known_to_be_remote():
    request, call = made(trace=replace(TRACE, parent_id="1111111111111111"))
    assert (request.parent_id, request.remote_parent, call.remote_parent) == ("1111111111111111", True, False)
