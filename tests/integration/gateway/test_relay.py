"""The chat relay against an engine that misbehaves, over real sockets."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest
from tests.wires import OrderWire

from shipway.gateway.budgeter import EstimatedTokens
from shipway.gateway.exchange import Exchange, Headers, RequestHead
from shipway.gateway.model import TokenBudget

ASK: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "Grüße"}]}
REPLY = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "tiny",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hallo"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}},
}


def event(text: str, **extra: Any) -> bytes:
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
    chunk["choices"] = [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    return b"data: " + orjson.dumps({**chunk, **extra}) + b"\n\n"


USAGE_EVENT = b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"


async def speak(wire: Any) -> None:
    await wire.head()
    for part in (event("a"), event("b"), USAGE_EVENT, DONE):
        await wire.chunk(part)
    await wire.end()


async def test_a_plain_reply_reaches_the_client_byte_for_byte_and_its_usage_the_record(bench):
    raw = orjson.dumps(REPLY, option=orjson.OPT_INDENT_2)
    bench.upstream.play(lambda wire: wire.json(raw))
    async with bench.client.post(
        bench.url + "/v1/chat/completions", json=ASK, headers={"authorization": "Bearer swk_invoke"}
    ) as reply:
        assert await reply.read() == raw
        assert reply.headers["X-Shipway-Release"] == "rel_a"
        assert reply.headers["X-Shipway-Route"] == "chat"
        request_id = reply.headers["X-Request-Id"]
    (record,) = bench.sink.records
    assert (record.id, record.status, record.release) == (request_id, 200, "rel_a")
    assert (record.tokens_in, record.tokens_cache_read, record.tokens_out) == (15, 5, 3)
    assert (record.prompt_version, record.model, record.snapshot_version) == ("7", "tiny", 1)
    assert record.question_hash
    assert "Grüße" not in str(record)
    assert bench.logged == [record]


async def test_the_engine_sees_the_releases_prompt_decoding_and_key_but_not_the_callers(bench):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    await bench.post("/v1/chat/completions", {**ASK, "temperature": 0.9, "metadata": {"conversation_id": "c"}})
    (heard,) = bench.upstream.heard
    body = heard.json()
    assert heard.target == "/v1/chat/completions"
    assert heard.headers["authorization"] == "Bearer sk-engine"
    assert body["model"] == "tiny"
    assert [m["content"] for m in body["messages"]] == ["You are rel_a.", "Grüße"]
    assert (body["temperature"], body["max_tokens"]) == (0.9, 64)
    assert "metadata" not in body


async def test_usage_is_asked_of_the_engine_and_hidden_from_a_client_that_did_not_ask(bench):
    bench.upstream.play(speak)
    told = await bench.stream(ASK)
    assert told == event("a") + event("b") + DONE
    assert bench.upstream.heard[0].json()["stream_options"] == {"include_usage": True}
    assert (bench.sink.records[0].tokens_in, bench.sink.records[0].tokens_out) == (9, 2)
    assert bench.sink.records[0].ttft_ms is not None


async def test_usage_is_passed_to_a_client_that_asked(bench):
    bench.upstream.play(speak)
    told = await bench.stream({**ASK, "stream_options": {"include_usage": True}})
    assert told == event("a") + event("b") + USAGE_EVENT + DONE


async def test_missing_usage_is_estimated_and_said_to_be(bench):
    async def silent_about_usage(wire):
        await wire.head()
        await wire.chunk(event("a") + event("b") + event("c") + DONE)
        await wire.end()

    bench.upstream.play(silent_about_usage)
    await bench.stream(ASK)
    (record,) = bench.sink.records
    assert record.tokens_out == 3
    assert "usage_estimated" in record.events


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
async def test_any_line_end_and_any_split_of_the_bytes_is_understood(bench, end):
    whole = (event("grü") + USAGE_EVENT + DONE).replace(b"\n", end.encode())

    async def drip(wire):
        await wire.head()
        for index in range(len(whole)):
            await wire.chunk(whole[index : index + 1])
        await wire.end()

    bench.upstream.play(drip)
    told = await bench.stream(ASK)
    assert "grü".encode() in told
    assert told.endswith(DONE)
    assert bench.sink.records[0].tokens_in == 9


@pytest.mark.parametrize(
    "fragment",
    [b"", b'data: {"choices":[{"delta":{"content":"hal', "data: ü".encode()[:-1]],
    ids=["between", "token", "utf8"],
)
async def test_an_upstream_cut_is_an_error_event_and_never_done(bench, fragment):
    async def cut(wire):
        await wire.head()
        await wire.chunk(event("a"))
        await wire.chunk(event("b") + fragment)
        await asyncio.sleep(0.02)
        wire.cut()

    bench.upstream.play(cut)
    told = await bench.stream(ASK)
    assert told.startswith(event("a") + event("b"))
    last = orjson.loads(told.split(b"\n\n")[-2].removeprefix(b"data: "))
    assert last["error"]["code"] == "upstream_cut"
    assert b"[DONE]" not in told
    (record,) = bench.sink.records
    assert (record.status, record.tokens_out) == (502, 2)
    assert "error" in record.events


async def test_a_clean_close_without_done_is_a_cut(bench):
    async def stop_short(wire):
        await wire.head()
        await wire.chunk(event("a"))
        await wire.end()

    bench.upstream.play(stop_short)
    told = await bench.stream(ASK)
    assert b"upstream_cut" in told
    assert b"[DONE]" not in told


async def test_an_error_event_of_the_engine_is_not_followed_by_done(bench):
    async def fail(wire):
        await wire.head()
        await wire.chunk(event("a") + b'data: {"error":{"message":"at 10.0.0.3: out of memory"}}\n\n' + DONE)
        await wire.end()

    bench.upstream.play(fail)
    told = await bench.stream(ASK)
    assert b'"error"' in told
    assert b"10.0.0.3" not in told
    assert b"[DONE]" not in told


async def test_a_client_that_leaves_before_the_first_byte_cancels_the_upstream(bench):
    async def hang(wire):
        await wire.heard.closed.wait()

    bench.upstream.play(hang)
    call = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
    await asyncio.wait_for(bench.upstream.arrived.wait(), 5)
    call.cancel()
    await asyncio.wait_for(bench.upstream.heard[0].closed.wait(), 5)
    await _until(lambda: bench.sink.records)
    (record,) = bench.sink.records
    assert (record.status, record.events) == (499, ("client_gone", "usage_estimated"))


async def test_a_client_that_leaves_mid_stream_cancels_the_upstream_before_its_next_chunk(bench):
    order: list[str] = []

    async def speak_once(wire):
        await wire.head()
        await wire.chunk(event("a"))
        await wire.heard.closed.wait()
        order.append("closed")
        order.append("second chunk")

    bench.upstream.play(speak_once)
    async with bench.client.post(
        bench.url + "/v1/chat/completions",
        json={**ASK, "stream": True},
        headers={"authorization": "Bearer swk_invoke"},
    ) as reply:
        assert await reply.content.readuntil(b"\n\n") == event("a")
        reply.close()
    await _until(lambda: len(order) == 2)
    assert order[0] == "closed"
    await _until(lambda: bench.sink.records)
    (record,) = bench.sink.records
    assert (record.status, record.tokens_out) == (499, 1)
    assert "client_gone" in record.events


async def test_429_is_passed_on_with_retry_after_and_not_tried_again(bench):
    bench.upstream.play(
        lambda wire: wire.json({"error": {"message": "slow down", "code": "busy"}}, 429, retry_after="7")
    )
    status, body, headers = await bench.post("/v1/chat/completions", ASK)
    assert (status, headers["Retry-After"], body["error"]["code"]) == (429, "7", "busy")
    assert body["request_id"] == headers["X-Request-Id"]
    assert len(bench.upstream.heard) == 1
    await _until(lambda: bench.sink.records)
    # A release whose engine has no room for its users is not judged well because of that.
    assert "error" in bench.sink.records[0].events


async def test_a_400_of_the_engine_is_passed_on_once(bench):
    bench.upstream.play(lambda wire: wire.json({"error": {"message": "too long", "param": "messages"}}, 400))
    status, body, _ = await bench.post("/v1/chat/completions", ASK)
    assert (status, body["error"]["message"], body["error"]["param"]) == (400, "too long", "messages")
    assert len(bench.upstream.heard) == 1


async def test_the_engines_401_is_the_operators_problem_not_the_callers(bench):
    bench.upstream.play(lambda wire: wire.json({"error": {"message": "bad key sk-engine"}}, 401))
    status, body, _ = await bench.post("/v1/chat/completions", ASK)
    assert status == 502
    assert "sk-engine" not in str(body)


async def test_502_503_and_504_are_tried_again_before_the_first_byte(bench):
    bench.upstream.play(lambda wire: wire.json({}, 503), lambda wire: wire.json({}, 502), lambda wire: wire.json(REPLY))
    status, body, _ = await bench.post("/v1/chat/completions", ASK)
    assert (status, body) == (200, REPLY)
    assert len(bench.upstream.heard) == 3
    assert len(bench.sink.records) == 1


async def test_a_500_is_not_tried_again_and_its_words_stay_inside(bench):
    bench.upstream.play(lambda wire: wire.json({"error": "Traceback at /srv/engine.py"}, 500))
    status, body, _ = await bench.post("/v1/chat/completions", ASK)
    assert status == 502
    assert "Traceback" not in str(body)
    assert len(bench.upstream.heard) == 1


async def test_a_kept_alive_connection_that_the_engine_closed_is_replaced_unnoticed(run_gateway, quick):
    async with run_gateway(quick, short_way=False) as bench:

        async def answer_then_close_at_the_next(wire):
            wire.cut()

        bench.upstream.play(lambda wire: wire.json(REPLY), answer_then_close_at_the_next, lambda wire: wire.json(REPLY))
        assert (await bench.post("/v1/chat/completions", ASK))[0] == 200
        assert (await bench.post("/v1/chat/completions", ASK))[0] == 200
        assert bench.upstream.connections == 2


async def test_a_stream_read_to_its_end_leaves_its_connection_for_the_next_call(run_gateway, quick):
    async with run_gateway(quick, short_way=False) as bench:
        bench.upstream.play(speak)
        await bench.stream(ASK)
        await bench.stream(ASK)
        assert bench.upstream.connections == 1


async def test_no_first_token_in_time_is_a_504(run_gateway, quick):
    async def hang_after_headers(wire):
        await wire.head()
        await wire.heard.closed.wait()

    async with run_gateway(replace(quick, first_token_s=0.05)) as bench:
        bench.upstream.play(hang_after_headers)
        status, body, _ = await bench.post("/v1/chat/completions", {**ASK, "stream": True})
        assert (status, body["error"]["type"]) == (504, "timeout_error")
        await asyncio.wait_for(bench.upstream.heard[0].closed.wait(), 5)
        assert bench.sink.records[0].events[0] == "timeout"


async def test_a_stream_that_falls_silent_ends_in_an_error_event(run_gateway, quick):
    async def fall_silent(wire):
        await wire.head()
        await wire.chunk(event("a"))
        # Comments keep a connection open; they are no sign of a working model.
        while not wire.heard.closed.is_set():
            await wire.chunk(b": ping\n\n")
            await asyncio.sleep(0.01)

    async with run_gateway(replace(quick, stream_idle_s=0.1)) as bench:
        bench.upstream.play(fall_silent)
        told = await bench.stream(ASK)
        assert told.startswith(event("a"))
        assert b'"code":"timeout"' in told
        assert b"[DONE]" not in told


async def test_an_engine_that_is_not_there_is_a_503_and_then_left_alone(run_gateway, quick):
    async with run_gateway(replace(quick, breaker_failures=3, max_attempts=3)) as bench:
        await bench.upstream.stop()
        status, body, _ = await bench.post("/v1/chat/completions", ASK)
        assert (status, body["error"]["code"]) == (503, "engine_unreachable")
        status, body, headers = await bench.post("/v1/chat/completions", ASK)
        assert (status, body["error"]["code"]) == (503, "engine_resting")
        assert int(headers["Retry-After"]) >= 1
        await bench.upstream.start()


@pytest.mark.parametrize("stream", [True, False])
async def test_the_record_is_written_before_the_final_byte(bench, stream):
    bench.upstream.play(speak if stream else lambda wire: wire.json(REPLY))
    order: list[str] = []
    bench.sink.on_append = lambda _record: order.append("record")
    headers = Headers([(b"authorization", b"Bearer swk_invoke"), (b"content-type", b"application/json")])
    exchange = Exchange(RequestHead("POST", b"/v1/chat/completions", headers), OrderWire(order))
    exchange.arrived(orjson.dumps({**ASK, "stream": stream}))
    exchange.end_of_body()
    await bench.gateway.serve(exchange)
    assert order[-2] == "record"
    assert order.count("record") == 1


async def test_an_answer_that_cannot_be_recorded_is_not_acknowledged(bench):
    bench.upstream.play(speak)
    bench.sink.full = True
    told = await bench.stream(ASK)
    assert b"not_recorded" in told
    assert b"[DONE]" not in told
    bench.upstream.play(lambda wire: wire.json(REPLY))
    status, body, _ = await bench.post("/v1/chat/completions", ASK)
    assert (status, body["error"]["code"]) == (503, "not_recorded")


async def test_beyond_the_queue_a_request_is_refused_and_consumes_nothing(run_gateway, quick):
    release = asyncio.Event()

    async def wait_then_reply(wire):
        await release.wait()
        await wire.json(REPLY)

    async with run_gateway(replace(quick, max_active=1, max_queued=1)) as bench:
        bench.upstream.play(wait_then_reply)
        calls = [asyncio.ensure_future(bench.post("/v1/chat/completions", ASK)) for _ in range(3)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        status, body, headers = next(iter(done)).result()
        assert (status, body["error"]["code"], headers["Retry-After"]) == (503, "overloaded", "1")
        release.set()
        assert sorted([(await call)[0] for call in calls]) == [200, 200, 503]
        assert len(bench.sink.records) == 2


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def test_a_prompt_above_its_token_budget_loses_its_oldest_turns_and_the_record_says_so(bench):
    route = replace(bench.routes("rel_a")["chat"], budget=TokenBudget(60, EstimatedTokens()))
    runtime = bench.serving.current.releases["rel_a"].runtime
    runtime.routes = {**runtime.routes, "chat": route}
    bench.upstream.play(lambda wire: wire.json({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}))
    old = [{"role": "user", "content": "w " * 200}, {"role": "assistant", "content": "x"}]
    asked = {"model": "chat", "messages": [*old, {"role": "user", "content": "Hi"}]}
    assert (await bench.post("/v1/chat/completions", asked))[0] == 200
    sent = bench.upstream.heard[0].json()["messages"]
    assert [message["content"] for message in sent] == ["You are rel_a.", "Hi"]
    assert ("context_trimmed" in bench.sink.records[0].events, bench.sink.records[0].dropped_turns) == (True, 1)

    status, body, _ = await bench.post("/v1/chat/completions", {**asked, "messages": [old[0]]})
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
    assert len(bench.upstream.heard) == 1
