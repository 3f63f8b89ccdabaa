"""Answers from documents in the shape of the chat API.

The answer is checked against its passages as a whole, so nothing can be sent before the check is over: a stream of this
route starts after it, and its pieces are the checked text cut into words.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from shipway.core import record as events
from shipway.core.errors import UpstreamError
from shipway.gateway.accounting import Account
from shipway.gateway.auth import Caller
from shipway.gateway.exchange import Exchange
from shipway.gateway.model import AnswerResult, GatewaySettings
from shipway.gateway.ports import AnswerRoute, RecordSink
from shipway.gateway.replies import EVENT_STREAM, RefusedError, json_reply, sse_event
from shipway.gateway.stream import DONE_EVENT
from shipway.gateway.validate import ModelCall, text_of
from shipway.telemetry.tracing import TRACE_HEADERS

_OK = 200
_TOO_MANY = 429
_PIECE = re.compile(r"(?:\S+\s*|\s+){1,4}")


class AnswerDesk:
    """Serves routes of kind rag."""

    def __init__(self, records: RecordSink, settings: GatewaySettings) -> None:
        self._records = records
        self._settings = settings

    async def answered(
        self, account: Account, route: AnswerRoute, messages: Sequence[Mapping[str, Any]], caller: Caller
    ) -> AnswerResult:
        """Return the checked answer to the last user message and put what it cost into the account."""
        question, history = _question(messages)
        limit = route.limits.max_input_chars or self._settings.max_input_chars
        if len(question) > limit:
            message = f"the question has {len(question)} characters, the limit is {limit}; send less"
            raise RefusedError(400, message, code="context_length_exceeded", param="messages")
        account.ask(question)
        # Also without any: a WebSocket's messages are served by one task.
        TRACE_HEADERS.set(account.onward)
        try:
            async with asyncio.timeout(account.left_s(route.limits.deadline_s or self._settings.llm_deadline_s)):
                result = await route.answerer.answer(question, history, caller.principal)
        except UpstreamError as error:
            if error.status != _TOO_MANY:
                raise
            raise _full(error, account) from error
        account.answered_in(result.timings_ms)
        account.usage = result.usage()
        account.model = result.model
        account.prompt_version = result.prompt_version
        account.retrieval_count = result.retrieval_count
        account.documents = tuple(result.documents)
        for event in result.events:
            account.note(event)
        return result

    async def serve(
        self, exchange: Exchange, account: Account, call: ModelCall, route: AnswerRoute, caller: Caller
    ) -> None:
        """Answer a chat request, whole or as a stream."""
        account.stream = call.stream
        result = await self.answered(account, route, call.body["messages"], caller)
        head = {"id": f"chatcmpl-{account.id}", "created": int(account.at_s), "model": call.route}
        if call.stream:
            await self._stream(exchange, account, head, result, wants_usage=call.wants_usage)
            return
        account.commit(_OK, self._records)
        choice = {"index": 0, "message": {"role": "assistant", "content": result.text}, "finish_reason": "stop"}
        reply = json_reply(
            {
                **head,
                "object": "chat.completion",
                "choices": [choice],
                "usage": result.usage().to_openai(),
                "citations": list(result.citations),
            }
        )
        exchange.reply(_OK, reply.headers, reply.body)

    async def _stream(
        self, exchange: Exchange, account: Account, head: dict[str, Any], result: AnswerResult, *, wants_usage: bool
    ) -> None:
        account.first_token()
        async with asyncio.timeout(self._settings.llm_deadline_s):
            exchange.start(_OK, EVENT_STREAM)
            async for event in _events({**head, "object": "chat.completion.chunk"}, result, wants_usage=wants_usage):
                await exchange.write(event)
        account.commit(_OK, self._records)
        exchange.finish(DONE_EVENT)


def _full(error: UpstreamError, account: Account) -> RefusedError:
    """Return what a caller is told whose engine has no room; it counts against the release as on the other routes."""
    account.note(events.ERROR)
    message = f"the engine answered {_TOO_MANY}: it has no room now; try again"
    return RefusedError(_TOO_MANY, message, code=f"upstream_{_TOO_MANY}", retry_after=error.retry_after)


async def _events(head: dict[str, Any], result: AnswerResult, *, wants_usage: bool) -> AsyncIterator[bytes]:
    yield sse_event({**head, "choices": [_delta({"role": "assistant", "content": ""})]})
    for piece in pieces(result.text):
        yield sse_event({**head, "choices": [_delta({"content": piece})]})
    citations = list(result.citations)
    yield sse_event({**head, "choices": [_delta({}, "stop")], "citations": citations})
    if wants_usage:
        yield sse_event({**head, "choices": [], "usage": result.usage().to_openai(), "citations": citations})


def pieces(text: str) -> list[str]:
    """Return a text in pieces of up to four words; joined, they are the text."""
    return _PIECE.findall(text)


def _delta(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


def _question(messages: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].get("role") == "user":
            question = text_of(messages[index].get("content")).strip()
            if not question:
                raise RefusedError(400, "the last user message has no text", param=f"messages[{index}].content")
            return question, [{"role": m["role"], "content": text_of(m.get("content"))} for m in messages[:index]]
    raise RefusedError(400, "messages must hold a user message: it is the question", param="messages")
