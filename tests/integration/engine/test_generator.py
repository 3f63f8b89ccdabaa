"""`OpenAiGenerator` against the engines it will meet."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shipway.adapters.openai_http.generator import OpenAiGenerator
from shipway.core.errors import DeadlineError, UnavailableError, UpstreamError

pytestmark = pytest.mark.anyio

MESSAGES = [{"role": "user", "content": "Text: Late books cost 20 cents a day.\nQuestion: What does a late book cost?"}]
OPTIONS = {"max_tokens": 16, "temperature": 0.0, "seed": 1, "stop": ("\n\n",)}


@asynccontextmanager
async def answering(status, body):
    """Serve one reply to everything, and yield a generator that asks for it."""

    async def reply(_request):
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", reply)
    server = TestServer(app)
    await server.start_server()
    generator = OpenAiGenerator(f"http://127.0.0.1:{server.port}/v1", "m")
    try:
        yield generator
    finally:
        await generator.close()
        await server.close()


@pytest.fixture
async def generator_for():
    made = []

    def make(engine, model="echo", **options):
        made.append(OpenAiGenerator(engine.url + "/v1", model, **options))
        return made[-1]

    yield make
    for generator in made:
        await generator.close()


async def test_a_reply_comes_with_what_it_cost(engine, generator_for):
    reply = await generator_for(engine).generate(MESSAGES, **OPTIONS)
    assert "20 cents" in reply.text
    assert reply.tokens_in > 5
    assert 0 < reply.tokens_out <= 16
    assert reply.finish_reason in {"stop", "length"}


async def test_at_temperature_zero_the_same_question_gets_the_same_answer(engine, generator_for):
    generator = generator_for(engine)
    await generator.generate(MESSAGES, **OPTIONS)
    one, other = [await generator.generate(MESSAGES, **OPTIONS) for _ in range(2)]
    assert one == other


@pytest.mark.parametrize(("fault", "status", "retry_after"), [("error_500", 500, None), ("rate_429", 429, "1")])
async def test_an_error_reply_keeps_its_status(echo, generator_for, fault, status, retry_after):
    with pytest.raises(UpstreamError, match="injected fault") as failed:
        await generator_for(echo, f"echo:{fault}").generate(MESSAGES, **OPTIONS)
    assert (failed.value.status, failed.value.retry_after) == (status, retry_after)


@pytest.mark.parametrize("fault", ["hang_before", "hang_mid"])
async def test_an_engine_that_hangs_runs_into_the_deadline(echo, generator_for, fault):
    with pytest.raises(DeadlineError, match=r"no reply within 0\.3 s"):
        await generator_for(echo, f"echo:{fault}", timeout_s=0.3).generate(MESSAGES, **OPTIONS)
    await echo.until_metric('outcome="cancelled"} 1.0')


async def test_a_reply_that_breaks_off_is_no_reply(echo, generator_for):
    with pytest.raises(UnavailableError):
        await generator_for(echo, "echo:cut_mid").generate(MESSAGES, **OPTIONS)


async def test_cancelling_a_call_closes_its_connection(echo, generator_for):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(generator_for(echo, "echo:hang_before").generate(MESSAGES, **OPTIONS), 0.3)
    await echo.until_metric('outcome="cancelled"} 1.0')


async def test_nobody_listening_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    generator = OpenAiGenerator(f"http://127.0.0.1:{port}/v1", "echo")
    with pytest.raises(UnavailableError):
        await generator.generate(MESSAGES, **OPTIONS)
    await generator.close()


async def test_an_endpoint_that_is_no_chat_api_is_told_apart(echo):
    generator = OpenAiGenerator(echo.url + "/elsewhere", "echo")
    with pytest.raises(UpstreamError, match="404"):
        await generator.generate(MESSAGES, **OPTIONS)
    await generator.close()


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ({"content": "a"}, "a"),
        ({"content": None, "refusal": "I cannot"}, ""),
        ({"content": None, "tool_calls": [{}]}, ""),
    ],
)
async def test_a_message_has_content_or_says_why_not(message, answer):
    async with answering(200, {"choices": [{"message": message}]}) as generator:
        assert (await generator.generate(MESSAGES, **OPTIONS)).text == answer


async def test_a_message_without_content_is_no_empty_answer():
    async with answering(200, {"choices": [{"message": {"content": None}}]}) as generator:
        with pytest.raises(UpstreamError, match=r"no answer: its message\.content is null"):
            await generator.generate(MESSAGES, **OPTIONS)


async def test_a_credential_in_a_refusal_is_not_repeated():
    async with answering(500, {"error": {"message": "boom sk-LEAKLEAKLEAKLEAK1234"}}) as generator:
        with pytest.raises(UpstreamError, match=r"answers 500: \(what it says holds a credential") as failed:
            await generator.generate(MESSAGES, **OPTIONS)
    assert "LEAK" not in str(failed.value)
