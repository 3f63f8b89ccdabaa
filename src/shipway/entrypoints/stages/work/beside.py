"""Servers that run beside a stage's tests on loopback, and end with them: Redis, and an engine that repeats."""

import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio

import shipway
from shipway.adapters.local_stage.tool_run import LocalToolRunner
from shipway.core.errors import NotFoundError, ShipwayError, UnavailableError
from shipway.pipeline.tools.model import SCRATCH

_LOOPBACK = "127.0.0.1"
_STARTED_S = 60.0
_LOOK_S = 0.05
_PROJECT = """app: mock
models: { mock: { engine: echo, model: echo } }
prompts: { chat: prompt.yaml }
routes: { chat: { kind: chat, model: mock, prompt: chat } }
"""
_PROMPT = 'name: chat\nversion: "1"\nsystem: Repeat.\nuser: "{question}"\n'
# Nobody listens there: what asks the network by a proxy's variables is refused at once.
_NOWHERE = "http://127.0.0.1:9"
OFFLINE: Mapping[str, str] = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), _NOWHERE),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
}
"""What keeps clients that obey these variables away from the network."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server: how it is called, what tests know it by, and the files that it finds in its scratch folder."""

    argv: Sequence[str]
    port: int
    variables: Mapping[str, str]
    install: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    """Variables of the server itself."""


def redis() -> Server:
    """Return a Redis that keeps nothing."""
    port = _free_port()
    argv = ("redis-server", "--bind", _LOOPBACK, "--port", str(port), "--save", "", "--dir", SCRATCH)
    return Server(argv, port, {"REDIS_URL": f"redis://{_LOOPBACK}:{port}/0"}, "install the package redis-server")


def mock_llm() -> Server:
    """Return an OpenAI-compatible engine that answers the same to the same, and costs nothing."""
    port = _free_port()
    program = (sys.executable, "-m", "shipway.entrypoints.cli.main")
    argv = (*program, "engine", "mock", "--port", str(port), "--project", SCRATCH)
    url = f"http://{_LOOPBACK}:{port}/v1"
    known = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "mock", "SHIPWAY_MOCK_LLM_URL": url}
    found_at = {"PYTHONPATH": str(Path(shipway.__file__).parents[1])}
    return Server(argv, port, known, given={"shipway.yaml": _PROJECT, "prompt.yaml": _PROMPT}, own=found_at)


@asynccontextmanager
async def running(runner: LocalToolRunner, servers: Sequence[Server]) -> AsyncIterator[dict[str, str]]:
    """Start servers, give the variables that tests know them by, and end them.

    Raises:
        NotFoundError: a server is not installed.
        UnavailableError: a server ended, or does not listen in time.
    """
    for server in servers:
        if not runner.there(server.argv[0]):
            raise NotFoundError(f"{server.argv[0]} is not installed: {server.install}")
    failed: ShipwayError | None = None
    async with anyio.create_task_group() as group:
        try:
            for server in servers:
                ended = anyio.Event()
                group.start_soon(_serve, runner, server, ended)
                await _listening(server, ended)
            yield {name: value for server in servers for name, value in server.variables.items()}
        except ShipwayError as error:
            # Raised below, for a task group wraps what leaves it.
            failed = error
        finally:
            group.cancel_scope.cancel()
    if failed is not None:
        raise failed


async def _serve(runner: LocalToolRunner, server: Server, ended: anyio.Event) -> None:
    try:
        await runner.run(server.argv, server.own, streamed=True, given=server.given)
    finally:
        ended.set()


async def _listening(server: Server, ended: anyio.Event) -> None:
    with anyio.move_on_after(_STARTED_S):
        while not ended.is_set():
            with suppress(OSError):
                stream = await anyio.connect_tcp(_LOOPBACK, server.port)
                await stream.aclose()
                return
            await anyio.sleep(_LOOK_S)
    how = "ended" if ended.is_set() else f"does not listen after {_STARTED_S:g} s"
    raise UnavailableError(f"{server.argv[0]} {how}", hint="the stage's log has what it said")


def _free_port() -> int:
    with socket.create_server((_LOOPBACK, 0)) as free:
        return int(free.getsockname()[1])
