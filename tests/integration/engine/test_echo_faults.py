import aiohttp
import pytest

pytestmark = pytest.mark.anyio


async def test_the_control_endpoint_sets_reads_and_ends_faults(echo):
    plan = {"kind": "error_500", "rate": 1.0, "ms": 0.0, "seed": 3}
    assert await echo.post("/faults", plan) == (200, plan)
    assert (await echo.chat("hi"))[0] == 500
    await echo.post("/faults", {})
    assert (await echo.chat("hi"))[0] == 200


async def test_an_injected_429_says_when_to_come_back(echo):
    body = {"model": "echo:rate_429", "messages": [{"role": "user", "content": "hi"}]}
    async with echo.http.post(echo.url + "/v1/chat/completions", json=body) as reply:
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_reply_is_a_broken_connection_and_never_a_clean_end(echo, stream):
    body = {"model": "echo:cut_mid", "messages": [{"role": "user", "content": "a b c d"}], "stream": stream}
    received = bytearray()
    with pytest.raises(aiohttp.ClientError):
        await read(echo, body, received)
    assert b"[DONE]" not in received
    assert (b'"content":"a "' in received) is stream


async def read(engine, body, received: bytearray) -> None:
    async with engine.http.post(engine.url + "/v1/chat/completions", json=body) as reply:
        async for piece in reply.content.iter_any():
            received += piece


async def test_an_unknown_fault_is_refused(echo):
    status, reply = await echo.post("/faults", {"kind": "explode"})
    assert status == 400
    assert "hang_before" in reply["error"]["message"]
