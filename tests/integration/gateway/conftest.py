"""A gateway on a real socket, an upstream that misbehaves on command, and fakes for every port."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import orjson
import pytest

from shipway.adapters.httptools_client.client import HttptoolsEngineClient
from shipway.core.clock import SystemClock
from shipway.core.errors import StoreError, UnavailableError
from shipway.core.ports import WorkerState
from shipway.core.record import ServedRequest
from shipway.core.snapshot import KeyEntry, RouteTraffic, Snapshot
from shipway.entrypoints.dataplane.server import ServerOptions, bind, serve_on
from shipway.gateway.app import Gateway, GatewayParts
from shipway.gateway.model import AnswerResult, GatewaySettings
from shipway.gateway.ports import AnswerRoute, ChatRoute, EngineRequest, HttpRoute, RouteRuntime
from shipway.gateway.serving import LoadedRelease, Serving

KEY = "swk_invoke"
OPERATOR_KEY = "swk_operate"
NARROW_KEY = "swk_narrow"
EXPIRED_KEY = "swk_expired"


def key_entry(secret: str, **fields: Any) -> KeyEntry:
    defaults: dict[str, Any] = {
        "key_id": "key_" + secret.removeprefix("swk_"),
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "tenant": "acme",
        "groups": ("staff",),
        "roles": ("invoke",),
    }
    return KeyEntry(**{**defaults, **fields})


KEYS = (
    key_entry(KEY),
    key_entry(OPERATOR_KEY, roles=("invoke", "operate")),
    key_entry(NARROW_KEY, routes=("other",)),
    key_entry(EXPIRED_KEY, expires_at_s=1.0),
)


@dataclass
class Heard:
    """A request as the upstream saw it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def json(self) -> dict[str, Any]:
        return orjson.loads(self.body)


class Wire:
    """What a script does to one connection."""

    def __init__(self, writer: asyncio.StreamWriter, heard: Heard) -> None:
        self.heard = heard
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.send(
            f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{extra}transfer-encoding: chunked\r\n\r\n".encode()
        )

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def json(self, value: Any, status: int = 200, **headers: str) -> None:
        body = value if isinstance(value, bytes) else orjson.dumps(value)
        extra = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{extra}content-length: {len(body)}\r\n\r\n"
        await self.send(head.encode() + body)

    def cut(self) -> None:
        self._writer.transport.abort()


Script = Callable[[Wire], Awaitable[None]]


class Upstream:
    """An HTTP server of raw sockets: one script for each request, the last one repeated."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.heard: list[Heard] = []
        self.arrived = asyncio.Event()
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def play(self, *scripts: Script) -> None:
        self.scripts = list(scripts)

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port, backlog=512)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = start.split(" ")
        headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines if line}
        body = await self._body(reader, headers)
        heard = Heard(method, target, headers, body)
        if target == "/health":
            await Wire(writer, heard).json({})
            return True
        self.heard.append(heard)
        self.arrived.set()
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        watch = asyncio.ensure_future(self._until_closed(reader, heard))
        try:
            await script(Wire(writer, heard))
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        return not writer.is_closing()

    @staticmethod
    async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
        if "content-length" in headers:
            return await reader.readexactly(int(headers["content-length"]))
        parts = []
        while headers.get("transfer-encoding") == "chunked":
            size = int(await reader.readline(), 16)
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
            if not size:
                break
        return b"".join(parts)

    @staticmethod
    async def _until_closed(reader: asyncio.StreamReader, heard: Heard) -> None:
        # StreamReader wakes its waiter at the end of the stream; data of a next request does not come meanwhile.
        while not reader.at_eof() and reader.exception() is None:
            await asyncio.sleep(0.002)
        heard.closed.set()


class ListSink:
    """Records in memory."""

    def __init__(self) -> None:
        self.records: list[ServedRequest] = []
        self.full = False
        self.on_append: Callable[[ServedRequest], None] = lambda _record: None

    def append(self, record: ServedRequest) -> None:
        if self.full:
            raise StoreError("no space left on device")
        self.on_append(record)
        self.records.append(record)

    def append_all(self, records: Sequence[ServedRequest]) -> None:
        if self.full:
            raise StoreError("no space left on device")
        for record in records:
            self.append(record)

    has_room = True

    async def wait_for_room(self) -> None:
        return


class CountingMetrics:
    """Metrics that count requests."""

    def __init__(self) -> None:
        self.seen: list[ServedRequest] = []

    def observe(self, record: ServedRequest) -> None:
        self.seen.append(record)

    def render(self) -> bytes:
        return f"requests {len(self.seen)}\n".encode()


class FixedAnswerer:
    """Answers everything alike, or raises."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[Any], Any]] = []
        self.error: Exception | None = None
        self.result = AnswerResult(
            text="You may return goods within 30 days. Keep the bill, please.",
            citations=({"index": 1, "document": "returns.md", "title": "Returns", "start": 0, "end": 36},),
            events=("fallback",),
            tokens_in=40,
            tokens_cached=10,
            tokens_out=12,
            model="small",
            prompt_version="2",
            retrieval_count=3,
            documents=("returns.md",),
        )

    async def answer(self, question: str, history: Any, principal: Any) -> AnswerResult:
        self.asked.append((question, list(history), principal))
        if self.error:
            raise self.error
        return self.result


class FixedRuntime:
    """A release with given routes."""

    def __init__(self, name: str, routes: Mapping[str, RouteRuntime]) -> None:
        self.name = name
        self.routes = routes
        self.closed = False

    def describe(self) -> dict[str, Any]:
        return {"parts": {"prompt": f"sha256:{self.name}"}, "corpus": "sha256:corpus"}

    async def close(self) -> None:
        self.closed = True


class TableLoader:
    """Makes runtimes from a function; may be told to wait or to fail."""

    def __init__(self, make: Callable[[str], FixedRuntime]) -> None:
        self._make = make
        self.made: dict[str, FixedRuntime] = {}
        self.failing: set[str] = set()

    async def load(self, release: str) -> FixedRuntime:
        if release in self.failing:
            raise UnavailableError(f"{release} cannot be loaded")
        self.made[release] = self._make(release)
        return self.made[release]


class MemorySource:
    """A snapshot store and its heartbeat."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.beat: int | None = 1
        self.reports: list[WorkerState] = []

    async def read(self) -> Snapshot:
        return self.snapshot

    async def read_heartbeat(self) -> int | None:
        return self.beat

    async def report(self, state: WorkerState) -> None:
        self.reports.append(state)


@dataclass
class Bench:
    """A running gateway with everything around it in reach."""

    url: str
    gateway: Gateway
    serving: Serving
    upstream: Upstream
    sink: ListSink
    metrics: CountingMetrics
    answerer: FixedAnswerer
    client: aiohttp.ClientSession
    stop: asyncio.Event
    served: asyncio.Task[None]
    logged: list[ServedRequest]
    notes: list[tuple[str, dict[str, object]]]

    def routes(self, release: str) -> dict[str, RouteRuntime]:
        chat = ChatRoute(
            engine_base_url=self.upstream.url + "/v1",
            upstream_model="tiny",
            api_key="sk-engine",
            prefix_messages=({"role": "system", "content": f"You are {release}."},),
            decoding={"temperature": 0.1, "max_tokens": 64},
            prompt_version="7",
            health_url=self.upstream.url + "/health",
        )
        return {"chat": chat, "ask": AnswerRoute(self.answerer), "fixer": HttpRoute(timeout_s=5.0)}

    def apply(self, snapshot: Snapshot) -> None:
        releases = {name: LoadedRelease(name, FixedRuntime(name, self.routes(name))) for name in snapshot.releases()}
        self.serving.apply(snapshot, releases, silent=False)
        self.serving.store_reachable = True

    def snapshot(self, **fields: Any) -> Snapshot:
        return snapshot_of(self.upstream.url, **fields)

    async def post(
        self, path: str, value: Any, *, key: str = KEY, **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        sent = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        sent.update({name.replace("_", "-"): text for name, text in headers.items()})
        body = value if isinstance(value, bytes) else orjson.dumps(value)
        async with self.client.post(self.url + path, data=body, headers=sent) as reply:
            return reply.status, await reply.json(content_type=None), reply.headers

    async def get(self, path: str, *, key: str | None = KEY) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        async with self.client.get(self.url + path, headers=headers) as reply:
            text = await reply.read()
            return reply.status, orjson.loads(text) if reply.content_type == "application/json" else text

    async def stream(self, value: dict[str, Any], **headers: str) -> bytes:
        sent = {"authorization": f"Bearer {KEY}", **headers}
        async with self.client.post(
            self.url + "/v1/chat/completions", json={**value, "stream": True}, headers=sent
        ) as reply:
            assert reply.status == 200, await reply.read()
            return await reply.read()


def snapshot_of(endpoint: str, **fields: Any) -> Snapshot:
    names = ("chat", "ask", "fixer", "other")
    traffic = RouteTraffic(route="chat", stable="rel_a", endpoints=(("rel_a", endpoint), ("rel_b", endpoint)))
    routes = tuple(replace(traffic, route=name) for name in names)
    return Snapshot(**{"environment": "test", "version": 1, "epoch": 1, "routes": routes, "keys": KEYS, **fields})


QUICK = GatewaySettings(
    backoff_first_s=0.001,
    backoff_cap_s=0.002,
    connect_timeout_s=20.0,
    first_token_s=20.0,
    stream_idle_s=20.0,
    question_hash_key=b"test",
)


async def warm(engines: HttptoolsEngineClient, upstream: Upstream, connections: int = 3) -> None:
    """Open connections to the upstream: the short way takes none but open ones."""
    probe = EngineRequest("GET", f"{upstream.url}/health", connect_timeout_s=30.0)
    for response in await asyncio.gather(*(engines.send(probe) for _ in range(connections))):
        await response.whole(100)
        response.close()
    upstream.connections = 0


@asynccontextmanager
async def running(settings: GatewaySettings = QUICK, **options: Any) -> AsyncIterator[Bench]:
    """Serve a gateway on loopback for as long as the block runs."""
    upstream, sink, metrics = Upstream(), ListSink(), CountingMetrics()
    await upstream.start()
    logged: list[ServedRequest] = []
    notes: list[tuple[str, dict[str, object]]] = []

    def note(event: str, **fields: object) -> None:
        notes.append((event, fields))

    engines = HttptoolsEngineClient()
    serving = Serving(note)
    parts = GatewayParts(
        engines,
        sink,
        metrics,
        options.pop("log", lambda record, /, **_fields: logged.append(record)),
        note,
        SystemClock(),
        uniform=lambda: 0.5,
        quotas=options.pop("quotas", None),
        tokens=options.pop("tokens", None),
        **{name: options.pop(name) for name in ("kept", "shadow", "feedback", "sampler", "tracer") if name in options},
    )
    gateway = Gateway(parts, serving, settings)
    if options.pop("short_way", True):
        await warm(engines, upstream)
    else:
        gateway.lane = None
    port = options.pop("port", 0)
    listener = options.pop("listener", None) or bind("127.0.0.1", port, shared=options.get("workers", 1) > 1)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop = asyncio.Event()
    served = asyncio.ensure_future(
        serve_on(
            listener,
            gateway,
            stop,
            options=ServerOptions(**{"drain_s": 2.0, "idle_grace_s": 0.0, "outbox": engines.outbox, **options}),
        )
    )
    async with aiohttp.ClientSession() as client:
        bench = Bench(
            url, gateway, serving, upstream, sink, metrics, FixedAnswerer(), client, stop, served, logged, notes
        )
        bench.apply(bench.snapshot())
        try:
            yield bench
        finally:
            stop.set()
            await upstream.stop()
            await served
            await engines.close()


@pytest.fixture(params=[True, False], ids=["short-way", "long-way"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with running(short_way=request.param) as made:
        yield made


@pytest.fixture
def run_gateway() -> Callable[..., Any]:
    return running


@pytest.fixture
def quick() -> GatewaySettings:
    return QUICK


@pytest.fixture
def make_loader() -> type[TableLoader]:
    return TableLoader


@pytest.fixture
def make_runtime() -> type[FixedRuntime]:
    return FixedRuntime


@pytest.fixture
def make_source() -> type[MemorySource]:
    return MemorySource


@pytest.fixture
def free_socket() -> Callable[[], socket.socket]:
    return lambda: bind("127.0.0.1", 0)
