import asyncio
import signal
import socket
import sys
from asyncio.subprocess import PIPE

import aiohttp
import pytest

from shipway.services.models import locate

pytestmark = pytest.mark.anyio

LONG = {
    "messages": [{"role": "user", "content": "Tell me a very long story about the sea."}],
    "max_tokens": 1500,
    "stream": True,
    "model": "echo:hang_mid",
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


async def started(*arguments: str):
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, "--port", str(port), stdout=PIPE, stderr=PIPE
    )
    url = f"http://127.0.0.1:{port}"
    async with asyncio.timeout(30), aiohttp.ClientSession() as http:
        while process.returncode is None:
            try:
                async with http.get(url + "/health") as reply:
                    if reply.status == 200:
                        break
            except aiohttp.ClientError:
                await asyncio.sleep(0.01)
    return process, url


async def test_sigterm_ends_the_echo_engine_with_status_0():
    process, _ = await started("shipway.adapters.echo")
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


@pytest.mark.model
async def test_sigterm_ends_the_embedded_engine_with_status_0_while_it_generates():
    process, url = await started("shipway.adapters.llamacpp", "--model", str(locate("smollm2-135m-instruct")))
    async with aiohttp.ClientSession() as http, http.post(url + "/v1/chat/completions", json=LONG) as reply:
        await reply.content.readany()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0


async def test_a_missing_model_ends_the_process_with_a_hint(tmp_path):
    process, _ = await started("shipway.adapters.llamacpp", "--model", str(tmp_path / "none.gguf"))
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"shipway models install" in said
