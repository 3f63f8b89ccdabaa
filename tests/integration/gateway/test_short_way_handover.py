"""What the short way hands over to the long way in the middle: deadlines, breakers, retries, fallbacks, stops."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.gateway.test_short_way import (
    ASK,
    FULL,
    PLACES,
    REPLY,
    answer,
    asking,
    book,
    dial,
    flights,
    hang,
    left,
    planned,
    settled,
    until,
)

from shipway.gateway.routing import Rule

pytestmark = pytest.mark.anyio

__all__ = ["dial"]


@pytest.mark.parametrize("plan", [False, True], ids=["one-model", "two-models"])
async def test_a_deadline_ends_the_engines_work_is_a_504_and_counts_against_the_engine(dial, run_gateway, quick, plan):
    quotas = book()
    settings = replace(quick, llm_deadline_s=0.1, breaker_failures=1)
    async with run_gateway(settings, quotas=quotas) as bench:
        if plan:
            planned(bench, Rule(0, low_chars=1000, to="large"), chains={"small": ("small",)})
        bench.upstream.play(hang)
        client = await dial(bench)
        with flights(bench) as taken:
            client.send(asking())
            status, headers, body = await client.reply()
        assert (len(taken), status, body["error"]["code"]) == (1, 504, "timeout")
        assert headers.get("x-shipway-model") == ("small" if plan else None)
        await settled(bench)
        async with asyncio.timeout(10):
            await bench.upstream.heard[0].closed.wait()
        (record,) = bench.sink.records
        assert (record.status, "timeout" in record.events) == (504, True)
        assert record.latency_ms >= 90
        assert list(bench.gateway.calls.breaker_states().values()) == [2]
        assert (await left(quotas))[PLACES] == 50


async def test_all_models_together_have_the_deadline_of_one(dial, run_gateway, quick):
    async with run_gateway(replace(quick, llm_deadline_s=0.1)) as bench:
        own = bench.routes("rel_a")["chat"]
        planned(bench, Rule(0, low_chars=1000, to="large"), limits=replace(own.limits, deadline_s=30.0))
        bench.upstream.play(hang)
        client = await dial(bench)
        with flights(bench) as taken:
            client.send(asking())
            assert (await client.reply())[0] == 504
        assert len(taken) == 1
        assert int(bench.upstream.heard[0].headers["x-request-timeout-ms"]) <= 100
        await settled(bench)


async def test_a_fallback_has_the_time_that_the_first_model_left(dial, run_gateway, quick):
    async def late(wire: Any) -> None:
        await asyncio.sleep(0.2)
        await wire.json({}, 500)

    async with run_gateway(replace(quick, llm_deadline_s=30.0)) as bench:
        planned(bench, Rule(0, low_chars=1000, to="large"))
        bench.upstream.play(late, answer)
        client = await dial(bench)
        client.send(asking())
        assert (await client.reply())[0] == 200
        await settled(bench)
        (record,) = bench.sink.records
        assert [heard.json()["model"] for heard in bench.upstream.heard] == ["tiny", "big"]
        left_ms = int(bench.upstream.heard[1].headers["x-request-timeout-ms"])
        assert 0 < left_ms <= 30_000 - 190
        assert "model_fallback" in record.events


async def test_an_engine_that_asks_for_a_pause_is_still_heard_out_on_what_it_was_asked_before(dial, bench):
    go = asyncio.Event()

    async def later(wire: Any) -> None:
        await go.wait()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 400000\r\n\r\n" + b'{"x":"' + b"y" * 399_992 + b'"}')

    async def busy(wire: Any) -> None:
        await wire.json({"error": {"message": "slow down"}}, 429, retry_after="60")

    planned(bench, Rule(0, low_chars=1000, to="large"), chains={"small": ("small",)})
    bench.upstream.play(later, busy)
    first, second = await dial(bench), await dial(bench)
    first.send(asking())
    await bench.upstream.arrived.wait()
    second.send(asking())
    assert (await second.reply())[0] == 429
    go.set()
    status, _, body = await first.reply()
    assert (status, len(body["x"])) == (200, 399_992)
    await settled(bench)


async def test_a_breaker_that_opens_meanwhile_neither_cuts_nor_is_closed_by_an_older_answer(dial, run_gateway, quick):
    go = asyncio.Event()

    async def later(wire: Any) -> None:
        await go.wait()
        await wire.json(REPLY)

    async with run_gateway(replace(quick, breaker_failures=1)) as bench:
        bench.upstream.play(later, lambda wire: wire.json({}, 500))
        first, second = await dial(bench), await dial(bench)
        first.send(asking())
        await bench.upstream.arrived.wait()
        second.send(asking())
        assert (await second.reply())[0] == 502
        second.send(asking())
        assert (await second.reply())[2]["error"]["code"] == "engine_resting"
        go.set()
        assert (await first.reply())[0] == 200
        assert list(bench.gateway.calls.breaker_states().values()) == [2]
        await settled(bench)


async def test_an_engine_that_closes_just_as_it_is_asked_is_asked_once_more_for_one_record(dial, run_gateway, quick):
    async def cut(wire: Any) -> None:
        wire.cut()

    quotas = book()
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(cut, answer)
        client = await dial(bench)
        with flights(bench) as taken:
            client.send(asking())
            assert (await client.reply())[0] == 200
        assert (len(taken), len(bench.upstream.heard), len(bench.sink.records)) == (1, 2, 1)
        first, second = bench.upstream.heard
        assert (first.body, first.headers) == (second.body, second.headers)
        assert bench.gateway.calls.retried == 1
        await settled(bench)
        assert (await left(quotas))["tokens"] == FULL - 10


@pytest.mark.parametrize("whole", [True, False], ids=["in-one-piece", "in-pieces"])
async def test_an_answer_over_the_limit_is_refused_and_its_connection_not_used_again(dial, run_gateway, quick, whole):
    raw = b'{"x":"' + b"y" * 5000 + b'"}'

    async def large(wire: Any) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(raw)
        for piece in [head + raw] if whole else [head, raw[:3000], raw[3000:]]:
            await wire.send(piece)
            await asyncio.sleep(0.001)

    async with run_gateway(replace(quick, max_reply_bytes=4000)) as bench:
        bench.upstream.play(large, large, answer)
        client = await dial(bench)
        with flights(bench) as taken:
            for _ in range(2):
                client.send(asking())
                status, _, body = await client.reply()
                assert (status, body["error"]["code"]) == (502, "reply_too_large")
            client.send(asking())
            assert (await client.reply())[0] == 200
        assert len(taken) == 3
        await settled(bench)


async def test_a_large_answer_leaves_a_connection_that_is_read_from_again(dial, bench):
    raw = b'{"x":"' + b"y" * 190_000 + b'"}'

    async def large(wire: Any) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(raw) + raw)

    bench.upstream.play(large)
    client = await dial(bench)
    for _ in range(6):
        client.send(asking())
        status, _, body = await client.reply()
        assert (status, len(body["x"])) == (200, 190_000)
    await settled(bench)
    assert len(bench.sink.records) == 6


async def test_a_reply_that_comes_before_the_request_is_read_is_given_and_nothing_is_mixed_up(dial, bench):
    async def twice(wire: Any) -> None:
        await wire.json({**REPLY, "n": wire.heard.json()["seed"]})

    bench.upstream.play(twice)
    client = await dial(bench)
    for seed in range(5):
        client.send(asking({**ASK, "seed": seed, "user": "u" * 50_000}))
        status, _, body = await client.reply()
        assert (status, body["n"]) == (200, seed)
    await settled(bench)


# Stopping.


async def test_a_stop_lets_a_request_on_the_short_way_end_and_says_it_was_the_last(dial, bench):
    go = asyncio.Event()

    async def later(wire: Any) -> None:
        await go.wait()
        await wire.json(REPLY)

    bench.upstream.play(later)
    client = await dial(bench)
    client.send(asking())
    await bench.upstream.arrived.wait()
    bench.stop.set()
    await until(lambda: bench.serving.draining)
    await asyncio.sleep(0.02)
    go.set()
    assert (await client.reply())[0] == 200
    assert await client.rest() == b""
    await asyncio.wait_for(asyncio.shield(bench.served), 5)
    assert [record.status for record in bench.sink.records] == [200]
    await settled(bench)


async def test_what_the_end_of_the_drain_cuts_is_recorded_and_gives_everything_back(dial, run_gateway, quick):
    quotas = book()
    async with run_gateway(quick, quotas=quotas, drain_s=0.1) as bench:
        bench.upstream.play(hang)
        client = await dial(bench)
        with flights(bench) as taken:
            client.send(asking())
            await bench.upstream.arrived.wait()
            bench.stop.set()
            await asyncio.wait_for(asyncio.shield(bench.served), 5)
        assert len(taken) == 1
        assert await client.rest() == b""
        assert [(record.status, record.error_type) for record in bench.sink.records] == [(503, "stopped")]
        await settled(bench)
        assert (await left(quotas))[PLACES] == 50
