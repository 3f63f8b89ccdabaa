"""Conversations that the gateway remembers, on real sockets."""

from typing import Any

import orjson
import pytest

from shipway.adapters.memory.conversations import MemoryConversations
from shipway.core.clock import SystemClock
from shipway.gateway.kept import Kept, Remembering
from shipway.gateway.memory import MemoryPolicy

pytestmark = pytest.mark.anyio
ASK = {"model": "chat", "messages": [{"role": "user", "content": "What is it?"}]}
PATH = "/v1/chat/completions"


def answering(text: str = "An answer."):
    async def script(wire: Any) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        await wire.json({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    return script


async def streaming(wire: Any) -> None:
    await wire.head()
    for text, finish in (("An ", None), ("answer.", None), ("", "stop")):
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        await wire.chunk(b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n")
    await wire.chunk(b"data: [DONE]\n\n")
    await wire.end()


async def test_a_conversation_is_remembered_for_its_tenant_until_it_is_forgotten(run_gateway, quick):
    memory = Remembering(MemoryConversations(SystemClock()), {"chat": MemoryPolicy()}, lambda *_, **__: None)
    async with run_gateway(quick, kept=Kept(memory=memory)) as bench:
        bench.upstream.play(answering("Hello Ann."), streaming, answering())
        headers = {"x_shipway_conversation": "c1"}

        async def say(text: str, **more: Any) -> list[str]:
            body = {"model": "chat", "messages": [{"role": "user", "content": text}], **more}
            if more:
                await bench.stream(body, **{"x-shipway-conversation": "c1"})
            else:
                await bench.post(PATH, body, **headers)
            return [message["content"] for message in bench.upstream.heard[-1].json()["messages"]]

        assert await say("I am Ann.") == ["You are rel_a.", "I am Ann."]
        assert await say("And?", stream=True) == ["You are rel_a.", "I am Ann.", "Hello Ann.", "And?"]
        assert await say("Who am I?") == [
            "You are rel_a.",
            "I am Ann.",
            "Hello Ann.",
            "And?",
            "An answer.",
            "Who am I?",
        ]
        status, body, _ = await bench.post("/v1/conversations/forget", {"conversation_id": "c1"})
        assert (status, body["forgotten"]) == (200, True)
        assert await say("Who am I?") == ["You are rel_a.", "Who am I?"]


async def test_without_a_named_conversation_nothing_is_remembered(run_gateway, quick):
    memory = Remembering(MemoryConversations(SystemClock()), {"chat": MemoryPolicy()}, lambda *_, **__: None)
    async with run_gateway(quick, kept=Kept(memory=memory)) as bench:
        bench.upstream.play(answering())
        await bench.post(PATH, ASK)
        await bench.post(PATH, ASK)

        assert len(bench.upstream.heard[-1].json()["messages"]) == 2
