"""What users of gateways report again and again; the table in docs/reference/known-troubles.md names the tests."""

import asyncio
from dataclasses import replace

import aiohttp
import orjson
import pytest
from tests.integration.gateway.conftest import KEY

from shipway.adapters.memory.limits import MemoryLimits
from shipway.config.sections.routes import Rates
from shipway.core.clock import ManualClock
from shipway.gateway.quota import Measure
from shipway.gateway.quota_book import QuotaBook, QuotaRules

ASK = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}
REPLY = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3},
}
HEADERS = {"authorization": f"Bearer {KEY}"}


def book(**rates) -> QuotaBook:
    return QuotaBook(MemoryLimits(ManualClock()), MemoryLimits(ManualClock()), QuotaRules(rates=Rates(**rates)))


def piece(text: str, *, prefix: bytes = b"data: ") -> bytes:
    return prefix + orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + b"\n\n"


async def until(found) -> None:
    async with asyncio.timeout(5):
        while not found():
            await asyncio.sleep(0)


async def test_a_client_that_leaves_while_a_whole_answer_arrives_stops_the_engine(bench):
    async def half(wire):
        await wire.head(kind="application/json")
        await wire.chunk(b'{"choices": [')
        await wire.heard.closed.wait()

    bench.upstream.play(half)
    call = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
    await asyncio.wait_for(bench.upstream.arrived.wait(), 5)
    call.cancel()
    await asyncio.wait_for(bench.upstream.heard[0].closed.wait(), 5)
    await until(lambda: bench.sink.records)

    left = (499, ("client_gone", "usage_estimated"))
    assert [(record.status, record.events) for record in bench.sink.records] == [left]


@pytest.mark.parametrize("prefix", [b"", b"{}: ", b"date: "], ids=["none", "object", "misspelt"])
async def test_events_without_their_prefix_never_pass_for_a_whole_answer(bench, prefix):
    async def unprefixed(wire):
        await wire.head()
        for text in ("a", "b"):
            await wire.chunk(piece(text, prefix=prefix))
        await wire.chunk(prefix + b"[DONE]\n\n")
        await wire.end()

    bench.upstream.play(unprefixed)
    async with bench.client.post(
        bench.url + "/v1/chat/completions", json={**ASK, "stream": True}, headers=HEADERS
    ) as reply:
        raw = await reply.read()

    assert b"upstream_cut" in raw
    assert [record.status for record in bench.sink.records] == [502]


async def test_what_was_generated_before_a_client_left_is_taken_from_its_limits(run_gateway, quick):
    quotas = book(tokens_per_min=5000, concurrent_per_key=1)
    async with run_gateway(quick, quotas=quotas) as bench:

        async def speaks_on(wire):
            await wire.head()
            for _ in range(20):
                await wire.chunk(piece("a"))
            await wire.heard.closed.wait()

        bench.upstream.play(speaks_on)
        async with bench.client.post(
            bench.url + "/v1/chat/completions", json={**ASK, "stream": True}, headers=HEADERS
        ) as reply:
            for _ in range(20):
                await reply.content.readuntil(b"\n\n")
            reply.close()
        await until(lambda: bench.sink.records)
        key = bench.snapshot().keys[0]
        left = {
            found.bucket.measure: found.remaining for found in await quotas.limits.standings(quotas.of(key).prepared)
        }

        assert (bench.sink.records[0].status, bench.sink.records[0].tokens_out) == (499, 20)
        # And one for the question: its engine has read it.
        assert left[Measure.TOKENS] == 4979
        assert left[Measure.PLACES] == 1


EVERY_WAY = [
    ("/v1/chat/completions", ASK),
    ("/v1/completions", {"model": "chat", "prompt": "hi"}),
    ("/v1/embeddings", {"model": "chat", "input": "hi"}),
    ("/v1/rerank", {"model": "chat", "query": "a", "documents": ["b"]}),
    ("/v1/responses", {"model": "chat", "input": "hi"}),
    ("/generate", {"route": "chat", "prompt": "hi"}),
    ("/rag_answer", {"route": "ask", "question": "hi"}),
    ("/svc/fixer/anything", {}),
]


@pytest.mark.parametrize(("path", "body"), EVERY_WAY, ids=[path for path, _ in EVERY_WAY])
async def test_no_way_in_leads_past_the_limits(run_gateway, quick, path, body):
    async with run_gateway(quick, quotas=book(per_key_min=2)) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        found = [await bench.post(path, body) for _ in range(2)]

        assert [status for status, _, _ in found] == [200, 429]
        assert found[1][1]["error"]["code"] == "rate_limited"
        assert "have to be refused" not in found[1][1]["error"]["message"]


async def test_an_engine_gets_as_many_requests_at_once_as_there_are(run_gateway, quick):
    async with run_gateway(replace(quick, max_active=300)) as bench:
        everybody = asyncio.Barrier(150)

        async def together(wire):
            async with everybody:
                await wire.json(REPLY)

        bench.upstream.play(together)
        # The client of the tests has such a bound of its own, at 100.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=HEADERS) as client:

            async def ask() -> int:
                async with client.post(bench.url + "/v1/chat/completions", json=ASK) as reply:
                    return reply.status

            async with asyncio.timeout(20):
                found = await asyncio.gather(*(ask() for _ in range(150)))

        assert set(found) == {200}
