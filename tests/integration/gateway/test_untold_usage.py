"""What engines do not tell, or tell wrongly: it is estimated, charged, and never breaks a worker."""

import asyncio

import orjson
import pytest

ASK = {"model": "chat", "messages": [{"role": "user", "content": "x" * 4000}]}
PATH = "/v1/chat/completions"
CHOICES = [{"index": 0, "message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}]


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_tokens": 10**18, "completion_tokens": 10**18, "total_tokens": 2 * 10**18},
        {"prompt_tokens": 1e30, "completion_tokens": 3},
        {"prompt_tokens": 5, "completion_tokens": 10**12},
    ],
    ids=["integers", "float", "output"],
)
async def test_a_number_beyond_all_models_is_not_believed(bench, told):
    bench.upstream.play(lambda wire: wire.json({"choices": CHOICES, "usage": told}))

    status, _, _ = await bench.post(PATH, ASK)

    assert status == 200
    record = bench.sink.records[0]
    assert record.tokens_in + record.tokens_out < 2000
    orjson.dumps(record.tokens_in)


async def test_an_engine_that_tells_nothing_is_charged_for_what_it_read(bench):
    bench.upstream.play(lambda wire: wire.json({"choices": CHOICES}))

    await bench.post(PATH, ASK)

    record = bench.sink.records[0]
    assert (record.tokens_in, record.tokens_out) == (1000, 1)
    assert "usage_estimated" in record.events


async def test_a_stream_left_early_is_charged_for_what_its_engine_read(bench):
    async def speak_and_wait(wire):
        await wire.head()
        await wire.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
        await wire.heard.closed.wait()

    bench.upstream.play(speak_and_wait)
    async with bench.client.post(
        bench.url + PATH, json={**ASK, "stream": True}, headers={"authorization": "Bearer swk_invoke"}
    ) as reply:
        await reply.content.readany()
    async with asyncio.timeout(5):
        while not bench.sink.records:
            await asyncio.sleep(0.01)

    record = bench.sink.records[0]
    assert (record.status, record.tokens_in, record.tokens_out) == (499, 1000, 1)


async def test_a_client_that_leaves_before_the_answer_is_charged_for_what_the_engine_read(bench):
    async def hang(wire):
        await wire.heard.closed.wait()

    bench.upstream.play(hang)
    asking = asyncio.ensure_future(bench.post(PATH, ASK))
    await bench.upstream.arrived.wait()
    asking.cancel()
    async with asyncio.timeout(5):
        while not bench.sink.records:
            await asyncio.sleep(0.01)

    assert (bench.sink.records[0].status, bench.sink.records[0].tokens_in) == (499, 1000)


@pytest.mark.parametrize(
    "reply",
    [b"surprise", b"[]", b'{"error":{"message":"out of memory"}}', b'{"choices":null}'],
    ids=["text", "list", "error", "no-choices"],
)
async def test_an_answer_that_is_none_is_a_502_and_says_so(bench, reply):
    bench.upstream.play(lambda wire: wire.json(reply))

    status, told, _ = await bench.post(PATH, ASK)

    assert (status, told["error"]["code"]) == (502, "upstream_invalid")
    assert "cannot be used" in told["error"]["message"]


async def test_an_engine_that_asks_for_a_pause_gets_it_with_no_other_engine_to_ask(bench):
    bench.upstream.play(lambda wire: wire.json({"error": {"message": "slow down"}}, status=429, retry_after="20"))

    first, _, _ = await bench.post(PATH, ASK)
    second, told, headers = await bench.post(PATH, ASK)

    assert (first, second) == (429, 429)
    assert told["error"]["code"] == "engine_cooling"
    assert 1 <= int(headers["Retry-After"]) <= 20
    assert len(bench.upstream.heard) == 1
