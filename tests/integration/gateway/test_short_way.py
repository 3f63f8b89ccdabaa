"""The short way of plain requests, cut, hurried and crossed at every stage of its life.

`settled` looks at what a request holds while it runs: after any end, all of it has to be given back.
"""

import asyncio
import gc
import hashlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from tests.integration.gateway.conftest import KEY, KEYS, FixedRuntime, key_entry

from shipway.adapters.httptools_client.connection import EngineConnection
from shipway.adapters.memory.limits import MemoryLimits
from shipway.config.sections.routes import Rates
from shipway.core.clock import ManualClock
from shipway.gateway.app import Gateway
from shipway.gateway.lane import Lane
from shipway.gateway.ports import ChatRoute
from shipway.gateway.quota_book import QuotaBook, QuotaRules
from shipway.gateway.record_desk import RecordDesk
from shipway.gateway.route_plan import RoutePlan
from shipway.gateway.routing import RoutingTable, Rule
from shipway.gateway.serving import LoadedRelease
from shipway.telemetry.tracing import Tracer

pytestmark = pytest.mark.anyio

ASK: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
REPLY = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}
FULL = 100_000_000
"""What a fresh minute of tokens holds; a key has 50 places."""
PLACES = "concurrent requests"


def book() -> QuotaBook:
    rules = QuotaRules(rates=Rates(per_ip_min=100_000, per_key_min=100_000, tokens_per_min=FULL, concurrent_per_key=50))
    return QuotaBook(MemoryLimits(ManualClock()), MemoryLimits(ManualClock()), rules)


async def left(quotas: QuotaBook) -> dict[str, int]:
    found = await quotas.limits.standings(quotas.of(KEYS[0]).prepared)
    return {str(standing.bucket.measure): standing.remaining for standing in found}


def asking(value: Any = ASK, *, path: bytes = b"/v1/chat/completions", key: str = KEY) -> bytes:
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer %b\r\n"
    return head % (path, key.encode()) + b"content-length: %d\r\n\r\n" % len(body) + body


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def of(cls, bench: Any) -> "Client":
        parts = urlsplit(bench.url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def reply(self) -> tuple[int, dict[str, str], Any]:
        async with asyncio.timeout(5):
            head = await self._reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            body = await self._reader.readexactly(int(headers["content-length"]))
        return int(status.split(" ")[1]), headers, orjson.loads(body)

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self._reader.read()

    def leave(self) -> None:
        self._writer.transport.abort()


@pytest.fixture
async def dial() -> AsyncIterator[Callable[[Any], Awaitable[Client]]]:
    """Give clients, and end them with the test."""
    made: list[Client] = []

    async def one(bench: Any) -> Client:
        made.append(await Client.of(bench))
        return made[-1]

    yield one
    for client in made:
        client.leave()
    await asyncio.sleep(0)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def connections(bench: Any) -> tuple[list[EngineConnection], list[EngineConnection]]:
    """Return the connections to engines that are open, and those that wait in a pool."""
    engines = bench.gateway._parts.engines
    idle = [connection for pool in engines._pools.values() for connection in pool.idle if connection.usable]
    return [connection for connection in engines._open if connection.usable], idle


def is_settled(bench: Any) -> bool:
    gateway: Gateway = bench.gateway
    opened, idle = connections(bench)
    users = [loaded._users for loaded in bench.serving.current.releases.values()]
    return (
        gateway.at_work == 0
        and not gateway.calls.watch._calls
        and not any(users)
        and sorted(map(id, opened)) == sorted(map(id, idle))
        and not any(connection._holding or connection._taker for connection in idle)
    )


async def settled(bench: Any) -> None:
    await until(lambda: is_settled(bench))


@contextmanager
def flights(bench: Any) -> Iterator[list[Any]]:
    """Note what the short way takes."""
    lane: Lane = bench.gateway.lane
    taken: list[Any] = []
    take = lane.take

    def noted(*asked: Any) -> Any:
        flight = take(*asked)
        if flight is not None:
            taken.append(flight)
        return flight

    # Another lane in its place: that of the compiled package does not let its methods be replaced.
    bench.gateway.lane = SimpleNamespace(take=noted)
    yield taken
    bench.gateway.lane = lane


async def hang(wire: Any) -> None:
    await wire.heard.closed.wait()


async def answer(wire: Any) -> None:
    await wire.json(REPLY)


def planned(bench: Any, *rules: Rule, chains: dict[str, tuple[str, ...]] | None = None, **fields: Any) -> RoutePlan:
    """Give the route two models and return its plan."""
    own = replace(bench.routes("rel_a")["chat"], **fields)
    targets = {"small": own, "large": replace(own, upstream_model="big")}
    table = RoutingTable("small", "small", rules, known=frozenset(targets)) if rules else None
    plan = RoutePlan("small", targets, table, chains=chains or {"small": ("small", "large")})
    serve(bench, replace(own, plan=plan))
    return plan


def serve(bench: Any, route: ChatRoute) -> None:
    release = LoadedRelease("rel_a", FixedRuntime("rel_a", {"chat": route}))
    bench.serving.apply(bench.snapshot(), {"rel_a": release, "rel_b": release}, silent=False)


# Requests that break what reads them.


async def test_texts_where_messages_belong_cost_nobody_a_connection_or_a_place(dial, run_gateway, quick):
    quotas = book()
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(answer)
        client = await dial(bench)
        client.send(asking({"model": "chat", "prompt": "x", "messages": ["a"]}, path=b"/v1/completions"))
        assert (await client.reply())[0] == 200
        client.send(asking())
        assert (await client.reply())[0] == 200
        await settled(bench)
        assert (await left(quotas))["tokens"] == FULL - 20


async def test_a_route_whose_engine_cannot_be_asked_is_told_in_words_not_by_a_cut(dial, bench):
    serve(bench, replace(bench.routes("rel_a")["chat"], engine_headers=(("x-name", "a\r\nb"),)))
    client = await dial(bench)
    client.send(asking())
    assert (await client.reply())[0] == 400
    await settled(bench)


# What comes after the reply fails.


@pytest.mark.parametrize("broken", ["log", "tracer"])
async def test_a_log_that_fails_costs_no_later_request_its_answer(dial, run_gateway, quick, broken):
    def fail(*_told: Any, **_fields: Any) -> None:
        raise RuntimeError("the log is gone")

    options: dict[str, Any] = {"log": fail}
    if broken == "tracer":
        options = {"tracer": Tracer(fail, ratio=1.0, uniform=lambda: 0.0, random_bits=lambda _bits: 7)}
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    async with run_gateway(quick, **options) as bench:
        bench.upstream.play(lambda wire: wire.json({**REPLY, "asked": wire.heard.json()["messages"][-1]["content"]}))
        client = await dial(bench)
        for text in ("one", "two", "three"):
            client.send(asking({"model": "chat", "messages": [{"role": "user", "content": text}]}))
            status, _, body = await client.reply()
            assert (status, body["asked"]) == (200, text)
            # The next one goes the long way: it must not meet what the short way left behind.
            client.send(asking({"model": "chat", "messages": [{"role": "user", "content": "x" * 70_000}]}))
            status, _, body = await client.reply()
            assert (status, len(body["asked"])) == (200, 70_000)
        await settled(bench)
        assert len(bench.sink.records) == 6


async def test_an_answer_that_cannot_be_recorded_is_not_given_and_its_place_is(dial, run_gateway, quick):
    quotas = book()
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(answer)
        bench.sink.full = True
        client = await dial(bench)
        with flights(bench) as taken:
            client.send(asking())
            status, _, body = await client.reply()
        assert (len(taken), status, body["error"]["code"]) == (1, 503, "not_recorded")
        await settled(bench)
        assert (await left(quotas))["tokens"] == FULL - 10
        bench.sink.full = False
        client.send(asking())
        assert (await client.reply())[0] == 200
        assert len(bench.sink.records) == 1


# Clients that leave.


@pytest.mark.parametrize("full", [False, True], ids=["written", "not-written"])
async def test_a_client_that_leaves_while_its_record_waits_was_served_once(dial, run_gateway, quick, monkeypatch, full):
    put = RecordDesk.put

    def put_and_leave(desk: RecordDesk, landing: Any, *served: Any) -> bool:
        first = put(desk, landing, *served)
        if first:
            landing.client.before_sending(desk.commit)
        landing.client._transport._transport.abort()
        landing.client.end(gone=True)
        return False

    quotas = book()
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(answer)
        bench.sink.full = full
        client = await dial(bench)
        with flights(bench) as taken:
            monkeypatch.setattr(RecordDesk, "put", put_and_leave)
            client.send(asking())
            with suppress(ConnectionResetError):
                assert await client.rest() == b""
            monkeypatch.setattr(RecordDesk, "put", put)
        assert len(taken) == 1
        await settled(bench)
        assert [record.status for record in bench.sink.records] == ([] if full else [200])
        assert len(bench.logged) == len(bench.metrics.seen) == 1
        found = await left(quotas)
        assert (found[PLACES], found["tokens"]) == (50, FULL - 10)


@pytest.mark.parametrize("stage", ["half-a-body", "engine-asked", "reply-begun", "early-bytes"])
async def test_a_client_that_leaves_ends_its_engines_work_and_leaves_nothing_behind(dial, run_gateway, quick, stage):
    async def begin(wire: Any) -> None:
        if stage == "reply-begun":
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{")
        await hang(wire)

    quotas = book()
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(begin)
        client = await dial(bench)
        whole = asking()
        client.send(whole[:-5] if stage == "half-a-body" else whole)
        if stage == "half-a-body":
            await until(lambda: any(one._short._raw for one in _clients(bench)))
        else:
            await bench.upstream.arrived.wait()
        if stage == "early-bytes":
            client.send(whole[:40])
        client.leave()
        await settled(bench)
        await until(lambda: not _clients(bench))
        assert (await left(quotas))[PLACES] == 50
        if stage == "half-a-body":
            assert (bench.sink.records, bench.upstream.heard) == ([], [])
            return
        assert [(record.status, record.error_type) for record in bench.sink.records] == [(499, "client_gone")]
        async with asyncio.timeout(10):
            await bench.upstream.heard[0].closed.wait()


def _clients(bench: Any) -> list[Any]:
    """Return the server's own connections to its clients."""
    return [one for one in bench_connections(bench) if one._short is not None]


def bench_connections(bench: Any) -> list[Any]:
    server = bench.served.get_coro().cr_frame.f_locals.get("server")
    return list(server._connections) if server is not None else []


async def test_a_client_that_leaves_while_its_request_changes_ways_leaves_nothing_behind(dial, run_gateway, quick):
    quotas = book()
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(hang)
        with flights(bench) as taken:
            client = await dial(bench)
            client.send(asking())
            await bench.upstream.arrived.wait()
        (flight,) = taken
        (connection,) = _clients(bench)
        # In one turn of the loop: the time is over, so a task is made, and the client is gone before it runs.
        flight.tools.watch.discard(flight)
        flight.expire()
        connection.abort()
        connection.connection_lost(None)
        await settled(bench)
        assert (await left(quotas))[PLACES] == 50
        assert [record.status for record in bench.sink.records] == [499]
        async with asyncio.timeout(10):
            await bench.upstream.heard[0].closed.wait()


# What a head that was seen before may still do.


def replaced(bench: Any, *keys: Any, **fields: Any) -> None:
    bench.apply(bench.snapshot(keys=keys, **fields))


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"sha256": hashlib.sha256(b"swk_other").hexdigest()}, 401, "invalid_api_key"),
        ({"roles": ("view",)}, 403, "forbidden"),
        ({"routes": ("other",)}, 403, "route_forbidden"),
        ({"expires_at_s": 1.0}, 401, "key_expired"),
    ],
    ids=["revoked", "without-role", "without-route", "expired"],
)
async def test_a_key_that_changed_opens_nothing_to_a_head_that_was_known(dial, bench, change, status, code):
    bench.upstream.play(answer)
    client = await dial(bench)
    client.send(asking())
    assert (await client.reply())[0] == 200
    replaced(bench, key_entry(KEY, **change))
    client.send(asking())
    found, _, body = await client.reply()
    assert (found, body["error"]["code"]) == (status, code)
    replaced(bench, key_entry(KEY))
    client.send(asking())
    assert (await client.reply())[0] == 200
    await settled(bench)


async def test_a_key_that_runs_out_between_two_equal_requests_is_refused(dial, bench):
    bench.upstream.play(answer)
    client = await dial(bench)
    clock = bench.gateway._parts.clock
    replaced(bench, key_entry(KEY, expires_at_s=clock.now_s() + 0.1))
    client.send(asking())
    assert (await client.reply())[0] == 200
    await asyncio.sleep(0.11)
    client.send(asking())
    assert (await client.reply())[2]["error"]["code"] == "key_expired"


async def test_a_key_of_another_tenant_by_the_same_secret_is_recorded_as_that_ones(dial, bench):
    bench.upstream.play(answer)
    client = await dial(bench)
    for tenant in ("acme", "other", "acme"):
        replaced(bench, key_entry(KEY, tenant=tenant))
        client.send(asking())
        assert (await client.reply())[0] == 200
    assert [record.tenant for record in bench.sink.records] == ["acme", "other", "acme"]


async def test_heads_that_are_remembered_do_not_keep_an_old_snapshots_releases(dial, run_gateway, quick):
    async with run_gateway(quick) as bench:
        bench.upstream.play(answer)
        client = await dial(bench)
        client.send(asking())
        assert (await client.reply())[0] == 200
        old = weakref.ref(bench.serving.current.releases["rel_a"].runtime)
        bench.apply(bench.snapshot(version=2))
        with flights(bench) as taken:
            client.send(asking(key="swk_operate"))
            assert (await client.reply())[0] == 200
        assert len(taken) == 1
        taken.clear()
        await until(lambda: gc.collect() >= 0 and old() is None)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
async def test_both_ways_give_a_conversation_the_same_release(dial, run_gateway, quick, weight):
    seen: list[list[tuple[str, str, bool, float]]] = []
    for short_way in (True, False):
        async with run_gateway(quick, short_way=short_way) as bench:
            routes = tuple(
                replace(route, candidate="rel_b", candidate_weight=weight) for route in bench.snapshot().routes
            )
            bench.apply(bench.snapshot(routes=routes, rollout="ro_1"))
            bench.upstream.play(answer)
            client = await dial(bench)
            for number in range(20):
                client.send(asking({**ASK, "metadata": {"conversation_id": f"c{number}"}}))
                _, headers, _ = await client.reply()
                assert headers["x-shipway-release"] == bench.sink.records[-1].release
            seen.append([(r.conversation, r.release, r.is_candidate, r.candidate_weight) for r in bench.sink.records])
            await settled(bench)
    assert seen[0] == seen[1]
    assert len({release for _, release, _, _ in seen[0]}) == (2 if weight == 0.3 else 1)
