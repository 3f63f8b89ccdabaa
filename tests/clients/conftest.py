"""A real gateway over the echo engine, served from a thread: clients are other people's programs, and most block."""

import asyncio
import hashlib
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from shipway.adapters.echo.app import EchoApp
from shipway.adapters.echo.server import EchoEngine
from shipway.adapters.httptools_client.client import HttptoolsEngineClient
from shipway.adapters.openai_http.process import engine_server
from shipway.core.clock import SystemClock
from shipway.core.record import ServedRequest
from shipway.core.snapshot import KeyEntry, RouteTraffic, Snapshot
from shipway.entrypoints.dataplane.server import ServerOptions, bind, serve_on
from shipway.gateway.app import Gateway, GatewayParts
from shipway.gateway.model import GatewaySettings
from shipway.gateway.ports import ChatRoute
from shipway.gateway.serving import LoadedRelease, Serving

KEY = "swk_client"
FAULTS = ("error_500", "rate_429", "hang_before", "hang_mid", "cut_mid", "slow=20")


@dataclass
class Sink:
    """Records in memory."""

    records: list[ServedRequest] = field(default_factory=list)
    has_room: bool = True

    def append(self, record: ServedRequest) -> None:
        self.records.append(record)

    def append_all(self, records: Sequence[ServedRequest]) -> None:
        self.records.extend(records)

    async def wait_for_room(self) -> None:
        return


class NoMetrics:
    """Counts nothing."""

    def observe(self, record: ServedRequest) -> None:
        return

    def render(self) -> bytes:
        return b""


@dataclass
class Runtime:
    """A release of routes."""

    routes: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        return


@dataclass
class Served:
    """A running gateway as a client knows it; the route `chat` answers, `chat-FAULT` fails in its way."""

    url: str
    key: str
    records: list[ServedRequest]


def _note(event: str, **fields: object) -> None:
    if event == "request_failed":
        sys.stderr.write(f"{event} {fields}\n")


def _snapshot(names: tuple[str, ...]) -> Snapshot:
    key = KeyEntry("key_1", hashlib.sha256(KEY.encode()).hexdigest(), "acme", ("staff",), ("invoke",))
    routes = tuple(RouteTraffic(route=name, stable="rel_a") for name in names)
    return Snapshot("test", version=1, epoch=1, routes=routes, keys=(key,))


async def _serve(sink: Sink, ready: "threading.Event", box: dict[str, Any]) -> None:
    stop = box["stop"] = asyncio.Event()
    box["loop"] = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    upstream = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    engine = engine_server(EchoApp(EchoEngine()), "127.0.0.1", listening.getsockname()[1])
    serving_engine = asyncio.ensure_future(engine.serve(sockets=[listening]))
    models = {"chat": "echo", **{f"chat-{fault.partition('=')[0]}": f"echo:{fault}" for fault in FAULTS}}
    prefix = ({"role": "system", "content": "You repeat."},)
    routes = {name: ChatRoute(upstream, model, prefix_messages=prefix) for name, model in models.items()}
    engines = HttptoolsEngineClient()
    serving = Serving(_note)
    parts = GatewayParts(
        engines, sink, NoMetrics(), lambda _record, **_: None, _note, SystemClock(), uniform=lambda: 0.5
    )
    settings = GatewaySettings(backoff_first_s=0.001, backoff_cap_s=0.002, stream_idle_s=1.0, first_token_s=2.0)
    gateway = Gateway(parts, serving, settings)
    serving.apply(_snapshot(tuple(models)), {"rel_a": LoadedRelease("rel_a", Runtime(routes))}, silent=False)
    serving.store_reachable = True
    listener = bind("127.0.0.1", 0)
    box["url"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
    while not engine.started:
        await asyncio.sleep(0.01)
    ready.set()
    await serve_on(listener, gateway, stop, options=ServerOptions(drain_s=1.0))
    await engines.close()
    engine.should_exit = True
    await serving_engine


@pytest.fixture(scope="session")
def running_gateway() -> Iterator[Served]:
    sink, ready, box = Sink(), threading.Event(), {}
    thread = threading.Thread(target=lambda: asyncio.run(_serve(sink, ready, box)), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield Served(box["url"], KEY, sink.records)
    box["loop"].call_soon_threadsafe(box["stop"].set)
    thread.join(10)


@pytest.fixture
def gateway(running_gateway: Served) -> Served:
    running_gateway.records.clear()
    return running_gateway
