"""Many clients and an engine at their worst, all at once: nothing is lost or mixed up, and nothing stays behind."""

import asyncio
import contextlib
import random
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.gateway.test_short_way import (
    ASK,
    PLACES,
    REPLY,
    Client,
    answer,
    asking,
    book,
    dial,
    flights,
    hang,
    left,
    planned,
    serve,
    settled,
    until,
)

from shipway.gateway.routing import Rule

pytestmark = pytest.mark.anyio

__all__ = ["dial"]


def engine(chance: random.Random) -> Any:
    """Return what does something else with each request, but answers each with its own number."""

    async def act(wire: Any) -> None:
        way = chance.random()
        mine = {**REPLY, "seed": wire.heard.json()["seed"]}
        if way < 0.5:
            await wire.json(mine)
        elif way < 0.6:
            await asyncio.sleep(chance.random() * 0.02)
            await wire.json(mine)
        elif way < 0.7:
            await wire.head(kind="application/json")
            await wire.chunk(b'{"seed":%d,' % mine["seed"])
            await asyncio.sleep(chance.random() * 0.01)
            await wire.chunk(b'"x":1}')
            await wire.end()
        elif way < 0.75:
            await wire.json({}, 503)
        elif way < 0.8:
            await wire.json({"error": {"message": "no"}}, 429, retry_after="0")
        elif way < 0.85:
            wire.cut()
        elif way < 0.9:
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{")
            wire.cut()
        elif way < 0.95:
            await wire.json({**mine, "pad": "p" * 200_000})
        else:
            await hang(wire)

    return act


async def visit(bench: Any, chance: random.Random, number: int, told: list[int]) -> None:
    """Ask several times on one connection, in pieces, pipelined, or leaving in the middle."""
    client = await Client.of(bench)
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        for step in range(6):
            seed = number * 100 + step
            raw = asking({**ASK, "seed": seed})
            if chance.random() < 0.2:
                cut = chance.randrange(len(raw))
                client.send(raw[:cut])
                await asyncio.sleep(0)
                client.send(raw[cut:])
            else:
                client.send(raw)
            if chance.random() < 0.15:
                await asyncio.sleep(chance.random() * 0.02)
                break
            again = chance.random() < 0.2
            if again:
                client.send(asking({**ASK, "seed": seed + 50}))
            for wanted in (seed, seed + 50) if again else (seed,):
                status, _, body = await client.reply()
                told.append(status)
                assert status != 200 or body["seed"] == wanted
    client.leave()


@pytest.mark.parametrize("seed", range(3))
async def test_nobody_gets_anothers_answer_and_nothing_stays_behind(run_gateway, quick, seed):
    chance = random.Random(seed)
    quotas, told = book(), []
    settings = replace(quick, llm_deadline_s=0.1, breaker_failures=10**9, retry_share=0.5, max_active=20)
    async with run_gateway(settings, quotas=quotas) as bench:
        if seed:
            planned(bench, Rule(0, low_chars=1000, to="large"))
        bench.upstream.play(engine(chance))
        surprises: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: surprises.append(context))
        with flights(bench) as taken:
            visits = [asyncio.ensure_future(visit(bench, chance, number, told)) for number in range(30)]
            for _ in range(5):
                await asyncio.sleep(0.03)
                if not seed:
                    bench.apply(bench.snapshot(version=bench.serving.current.snapshot.version + 1))
            await asyncio.gather(*visits)
        await settled(bench)
        # The engine of these tests is asyncio's own server: what it says of connections that broke is no surprise.
        assert [found for found in surprises if "client_connected_cb" not in found["message"]] == []
        assert (await left(quotas))[PLACES] == 50
        assert len(taken) > 5
        assert told.count(200) > 10
        statuses = [record.status for record in bench.sink.records]
        assert statuses.count(200) >= told.count(200)
        assert len({record.id for record in bench.sink.records}) == len(statuses)
        # What had no release leaves a line in the log, but no record.
        assert len(bench.logged) == len(bench.metrics.seen) >= len(statuses)
        assert not [note for note in bench.notes if note[0] == "request_failed"]


@pytest.mark.parametrize("script", ["answers", "fails", "hangs"])
async def test_what_a_client_sends_ahead_is_held_back_and_answered_in_order(dial, run_gateway, quick, script):
    go = asyncio.Event()

    async def first(wire: Any) -> None:
        await go.wait()
        if script == "hangs":
            await hang(wire)
        await wire.json(REPLY, 200 if script == "answers" else 500)

    async with run_gateway(replace(quick, llm_deadline_s=2.0 if script == "hangs" else 30.0)) as bench:
        bench.upstream.play(first, answer)
        client = await dial(bench)
        client.send(asking())
        await bench.upstream.arrived.wait()
        large = {**ASK, "user": "u" * 30_000}
        for _ in range(20):
            client.send(asking(large))
        await until(lambda: any(flight.client._long._held for flight in bench.gateway.calls.watch._calls))
        go.set()
        statuses = [(await client.reply())[0] for _ in range(21)]
        assert statuses == [{"answers": 200, "fails": 502, "hangs": 504}[script], *[200] * 20]
        await settled(bench)


async def test_settings_that_change_during_a_flight_hold_from_the_next_request_on(dial, run_gateway, quick):
    go = asyncio.Event()

    async def later(wire: Any) -> None:
        await go.wait()
        await wire.json({**REPLY, "pad": "p" * 500})

    async with run_gateway(quick) as bench:
        bench.upstream.play(later)
        client = await dial(bench)
        client.send(asking())
        await bench.upstream.arrived.wait()
        bench.gateway.obey(bench.gateway._parts, replace(quick, max_reply_bytes=400))
        go.set()
        assert (await client.reply())[0] == 200
        client.send(asking())
        assert (await client.reply())[2]["error"]["code"] == "reply_too_large"
        await settled(bench)


async def test_a_route_of_another_release_is_asked_at_its_own_engine(dial, bench):
    other = type(bench.upstream)()
    await other.start()
    try:
        bench.upstream.play(answer)
        other.play(answer)
        client = await dial(bench)
        client.send(asking())
        assert (await client.reply())[0] == 200
        serve(bench, replace(bench.routes("rel_a")["chat"], engine_base_url=other.url + "/v1"))
        for _ in range(2):
            client.send(asking())
            assert (await client.reply())[0] == 200
        assert (len(bench.upstream.heard), len(other.heard)) == (1, 2)
        await settled(bench)
    finally:
        await other.stop()
