"""Engines on real sockets, in this process: the echo engine, and the embedded one where its model is installed."""

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from shipway.adapters.echo.server import EchoEngine
from shipway.adapters.llamacpp.model import LlamaModel
from shipway.adapters.llamacpp.worker import ModelWorker
from shipway.adapters.openai_http.asgi import EngineApp, TextEngine
from shipway.adapters.openai_http.process import engine_server
from shipway.services.models import locate


@dataclass
class Running:
    """An engine and a client for it."""

    url: str
    http: aiohttp.ClientSession

    async def post(self, path: str, body: Any, **options: Any) -> tuple[int, Any]:
        async with self.http.post(self.url + path, json=body, **options) as reply:
            return reply.status, await reply.json(content_type=None)

    async def chat(self, text: str, **fields: Any) -> tuple[int, Any]:
        body = {"model": "echo", "messages": [{"role": "user", "content": text}], "temperature": 0, **fields}
        return await self.post("/v1/chat/completions", body)

    async def metrics(self) -> str:
        async with self.http.get(self.url + "/metrics") as reply:
            return await reply.text()

    async def until_metric(self, line: str) -> None:
        async with asyncio.timeout(10):
            while line not in await self.metrics():
                await asyncio.sleep(0)


@asynccontextmanager
async def running(engine: TextEngine):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = engine_server(EngineApp(engine), "127.0.0.1", port)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            async with aiohttp.ClientSession() as http:
                found = Running(f"http://127.0.0.1:{port}", http)
                async with asyncio.timeout(30):
                    while not await _ready(found):
                        await asyncio.sleep(0)
                yield found
        finally:
            server.should_exit = True
            await serving


async def _ready(engine: Running) -> bool:
    try:
        async with engine.http.get(engine.url + "/health") as reply:
            return reply.status == 200
    except aiohttp.ClientError:
        return False


def llama() -> ModelWorker:
    return ModelWorker("echo", lambda: LlamaModel(locate("smollm2-135m-instruct"), ctx=1024, threads=1))


@pytest.fixture
async def echo():
    async with running(EchoEngine()) as engine:
        yield engine


@pytest.fixture
async def embedded():
    async with running(llama()) as engine:
        yield engine


@pytest.fixture(params=["echo", pytest.param("llama", marks=pytest.mark.model)])
async def engine(request):
    async with running(EchoEngine() if request.param == "echo" else llama()) as found:
        yield found
