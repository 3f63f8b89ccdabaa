"""What a served request leaves behind: spans at a receiver, its log line, what engines are told of the trace."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
from prometheus_client.parser import text_string_to_metric_families

from shipway.adapters.memory.store import MemoryStore
from shipway.adapters.openai_http.generator import OpenAiGenerator
from shipway.core.clock import SystemClock
from shipway.gateway.feedback import FeedbackDesk
from shipway.telemetry.metrics import DataPlaneMetrics
from shipway.telemetry.request_log import RequestLog
from shipway.telemetry.spans import CONVENTIONS, SpanMaker
from shipway.telemetry.tracing import RequestTrace, Tracer

ASK: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "Is ada@example.com in?"}]}
REPLY = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hallo"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 3},
}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


class Traces:
    """Finished traces and the spans made of them."""

    def __init__(self, *, ratio: float = 1.0) -> None:
        self.taken: list[tuple[Any, RequestTrace]] = []
        numbers = iter(range(1, 1000))
        self.tracer = Tracer(
            lambda record, trace: self.taken.append((record, trace)),
            ratio=ratio,
            uniform=lambda: 0.5,
            random_bits=lambda _bits: next(numbers),
        )

    def spans(self) -> list[Any]:
        maker = SpanMaker(CONVENTIONS["1.41"])
        return [span for record, trace in self.taken for span in maker.spans(record, trace)]


async def answer(wire: Any) -> None:
    await wire.json(REPLY)


async def test_a_traced_request_names_its_own_span_to_the_engine_and_its_caller_s_to_the_collector(run_gateway):
    traces = Traces(ratio=0.0)
    async with run_gateway(tracer=traces.tracer) as bench:
        bench.upstream.play(answer)
        await bench.post("/v1/chat/completions", ASK, traceparent=SAMPLED, tracestate="vendor=1")
        request, call = traces.spans()
        told = bench.upstream.heard[0].headers
        assert (told["traceparent"], told["tracestate"]) == (f"00-{TRACE}-{call.span_id}-01", "vendor=1")
        assert (request.trace_id, request.parent_id, call.parent_id) == (TRACE, SPAN, request.span_id)
        assert (request.name, call.name) == ("POST /v1/chat/completions", "chat tiny")
        assert request.start_ns <= call.start_ns <= call.end_ns <= request.end_ns
        assert call.shared.attributes["server.port"] == int(bench.upstream.url.rpartition(":")[2])
        assert "ada@example.com" not in str([(span, span.shared.attributes) for span in (request, call)])


async def test_a_trace_that_begins_here_reaches_the_engine_without_the_state_of_another(run_gateway):
    traces = Traces()
    async with run_gateway(tracer=traces.tracer) as bench:
        bench.upstream.play(answer)
        await bench.post("/v1/chat/completions", ASK, tracestate="vendor=1")
        told = bench.upstream.heard[0].headers
        assert told["traceparent"].split("-")[1] == traces.taken[0][1].trace_id
        assert "tracestate" not in told


async def test_a_request_that_its_caller_does_not_trace_is_not_traced_and_the_engine_learns_so(run_gateway):
    traces = Traces()
    async with run_gateway(tracer=traces.tracer) as bench:
        bench.upstream.play(answer)
        await bench.post("/v1/chat/completions", ASK, traceparent=UNSAMPLED)
        assert bench.upstream.heard[0].headers["traceparent"] == UNSAMPLED
        assert traces.taken == []


async def test_without_traces_a_caller_s_headers_are_passed_on_as_they_are(bench):
    bench.upstream.play(answer)
    await bench.post("/v1/chat/completions", ASK, traceparent=SAMPLED, tracestate="vendor=1")
    await bench.post("/v1/chat/completions", ASK)
    first, second = (heard.headers for heard in bench.upstream.heard)
    assert (first["traceparent"], first["tracestate"]) == (SAMPLED, "vendor=1")
    assert "traceparent" not in second


async def test_a_user_s_own_service_is_told_the_trace_once(run_gateway):
    traces = Traces()
    async with run_gateway(tracer=traces.tracer) as bench:
        bench.upstream.play(answer)
        await bench.post("/svc/fixer/deep/path?x=1", {}, traceparent=SAMPLED)
        request, call = traces.spans()
        assert bench.upstream.heard[0].headers["traceparent"] == f"00-{TRACE}-{call.span_id}-01"
        assert (request.name, call.name) == ("POST /svc/{path}", "POST fixer")


async def test_an_answer_from_documents_shows_its_stages(run_gateway):
    traces = Traces()
    async with run_gateway(tracer=traces.tracer) as bench:
        timings = {"embed": 1.0, "dense": 2.0, "rerank": 3.0, "focus": 0.5, "generate": 20.0, "check": 1.0, "total": 28}
        bench.answerer.result = replace(bench.answerer.result, timings_ms=timings)
        await bench.post("/rag_answer", {"question": "May I return it?", "route": "ask"})
        names = [span.name for span in traces.spans()]
        assert names == ["POST /rag_answer", "embedding", "search", "rerank", "assembly", "chat small", "guard"]


async def test_a_path_that_a_client_made_up_is_not_in_the_name_of_a_span(run_gateway):
    traces = Traces()
    async with run_gateway(tracer=traces.tracer) as bench:
        await bench.get("/made/up/ada@example.com")
        assert [span.name for span in traces.spans()] == ["GET unknown"]


async def test_health_checks_are_not_traced(run_gateway):
    traces = Traces()
    async with run_gateway(tracer=traces.tracer) as bench:
        await bench.get("/health", key=None)
        await bench.get("/ready", key=None)
        assert traces.taken == []


async def test_a_line_names_its_trace_and_shows_the_question_where_the_setting_asks_for_it(run_gateway, quick):
    lines: list[bytes] = []
    log = RequestLog(lines.append, question="mask")
    settings = replace(quick, keep_question=True)
    async with run_gateway(settings, tracer=Traces().tracer, log=log.write) as bench:
        bench.upstream.play(answer)
        _, _, headers = await bench.post("/v1/chat/completions", ASK)
        line = orjson.loads(lines[0])
        assert line["request_id"] == headers["x-request-id"]
        assert line["question"] == "Is [email] in?"
        assert len(line["trace_id"]) == 32
        assert (line["tokens_in"], line["tokens_out"], line["status"]) == (20, 3, 200)


async def test_without_that_setting_the_text_of_a_question_is_not_even_kept(run_gateway):
    lines: list[bytes] = []
    async with run_gateway(log=RequestLog(lines.append).write) as bench:
        bench.upstream.play(answer)
        await bench.post("/v1/chat/completions", ASK)
        line = orjson.loads(lines[0])
        assert line["question"] == bench.sink.records[0].question_hash
        assert b"ada" not in lines[0]


async def test_an_engine_that_is_left_alone_and_an_open_stream_are_seen_in_the_gauges(run_gateway, quick):
    async with run_gateway(replace(quick, breaker_failures=1, max_attempts=2)) as bench:
        bench.upstream.play(lambda wire: wire.json({}, status=503))
        await bench.post("/v1/chat/completions", ASK)
        host = bench.upstream.url.removeprefix("http://")
        assert bench.gateway.calls.breaker_states() == {host: 2}
    async with run_gateway() as bench:
        begun = asyncio.Event()

        async def hang(wire: Any) -> None:
            await wire.head()
            await wire.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
            begun.set()
            await wire.heard.closed.wait()

        bench.upstream.play(hang)
        sent = {"authorization": "Bearer swk_invoke"}
        async with bench.client.post(
            bench.url + "/v1/chat/completions", json={**ASK, "stream": True}, headers=sent
        ) as reply:
            await begun.wait()
            await reply.content.readany()
            assert bench.gateway.calls.streams_open == 1
            reply.close()
        await bench.upstream.heard[0].closed.wait()
        while bench.gateway.calls.streams_open:
            await asyncio.sleep(0)


async def test_the_real_metrics_of_a_served_request_can_be_scraped(run_gateway, monkeypatch):
    metrics = DataPlaneMetrics()
    async with run_gateway() as bench:
        # The fixture's own metrics count records; here the product's stand in their place.
        monkeypatch.setattr(bench.metrics, "observe", metrics.observe)
        monkeypatch.setattr(bench.metrics, "render", metrics.render)
        bench.upstream.play(answer)
        await bench.post("/v1/chat/completions", ASK)
        await bench.post("/v1/chat/completions", {**ASK, "model": "nowhere"})
        status, text = await bench.get("/metrics", key="swk_operate")
    assert status == 200
    found = {
        (sample.name, sample.labels.get("route"), sample.labels.get("status_class")): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    assert found["shipway_requests_total", "chat", "2xx"] == 1
    assert found["shipway_requests_total", "other", "4xx"] == 1


async def test_a_rating_is_told_to_whoever_counts_them_once(run_gateway):
    told: list[tuple[str, str, str]] = []
    store = MemoryStore()
    desk = FeedbackDesk(store.records, store.documents, SystemClock(), count=lambda *rating: told.append(rating))
    async with run_gateway(feedback=desk) as bench:
        bench.upstream.play(answer)
        await bench.post("/v1/chat/completions", ASK)
        (record,) = bench.sink.records
        await store.records.append([record])
        for word in ({"thumbs": "down", "id": "a"}, {"thumbs": "down", "id": "a"}, {"rating": 5}, {"comment": "hm"}):
            status, said, _ = await bench.post("/v1/feedback", {"request_id": record.id, **word})
            assert status in {200, 201}, said
    assert told == [("chat", "rel_a", "down"), ("chat", "rel_a", "up")]


async def test_a_worker_that_can_take_no_record_is_alive_but_not_ready(run_gateway):
    async with run_gateway() as bench:
        bench.sink.has_room = False
        assert await bench.get("/ready", key=None) == (
            503,
            {"status": "not_ready", "missing": ["records wait for the store"]},
        )
        assert (await bench.get("/health", key=None))[0] == 200


async def test_the_engine_behind_an_answer_from_documents_is_told_the_trace_too(run_gateway):
    traces = Traces(ratio=0.0)
    async with run_gateway(tracer=traces.tracer) as bench:
        generator = OpenAiGenerator(bench.upstream.url + "/v1", "tiny")
        fixed = bench.answerer.result

        async def phrased(_question: str, _history: Any, _principal: Any) -> Any:
            await generator.generate([{"role": "user", "content": "x"}], max_tokens=1, temperature=0, seed=1, stop=())
            return fixed

        bench.answerer.answer = phrased
        bench.upstream.play(answer)
        await bench.post("/rag_answer", {"question": "May I?", "route": "ask"}, traceparent=SAMPLED)
        await bench.post("/rag_answer", {"question": "May I?", "route": "ask"})
        await generator.close()
        first, second = (heard.headers for heard in bench.upstream.heard)
        assert first["traceparent"] == f"00-{TRACE}-{traces.taken[0][1].engine_id}-01"
        assert "traceparent" not in second
