"""Chat completions as outputs, whole or as a stream of events; `openai_endpoint` and `gateway_route` read here.

Source: OpenAI's API reference, "Chat completions"; usage is read as `gateway.usage` reads it for billing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from shipway.evals.model import Output
from shipway.evals.ports import HttpReply
from shipway.gateway.model import ModelPrice, Usage
from shipway.gateway.usage import usage_of
from shipway.services.targets.answers import NoAnswerError, tool_calls_of
from shipway.services.targets.replies import excerpt, json_of, refusal, wrong_shape

_FIRST_OK, _FIRST_REDIRECT = 200, 300
_DATA, _DONE = b"data:", b"[DONE]"
_BESIDE = ("usage", "x_groq", "timings", "citations")
"""What stands beside the choices, in the last events of a stream."""

Parts = tuple[dict[str, Any], Mapping[str, Any]]
"""A message, and the reply that it stands in."""


def output_of_reply(url: str, reply: HttpReply, price: ModelPrice | None, *, stream: bool) -> Output:
    """Return what a reply says.

    Without usage there are no tokens and no cost. The time to the first token is known of streams alone: it is that of
    the first byte. `citations` are those of our gateway and of endpoints that list them beside the choices.

    Raises:
        UpstreamError: an error, also in the middle of a stream; no chat completion; a stream without an end.
    """
    # An endpoint that cannot stream answers whole.
    is_stream = stream and reply.headers.get("content-type", "").startswith("text/event-stream")
    message, told = _streamed(url, reply) if is_stream else _whole(url, reply)
    try:
        answer = _content(message)
        calls = tool_calls_of(message.get("tool_calls"))
    except NoAnswerError as error:
        raise wrong_shape(url, str(error)) from error
    usage = usage_of(told)
    return Output(
        answer=answer,
        model_text=answer,
        citations=_citations(told.get("citations")),
        latency_ms=reply.total_ms,
        tokens_in=_tokens_in(usage),
        tokens_out=usage.output if usage else 0,
        cost_usd=usage.cost_usd(price) if usage and price else None,
        tool_calls=calls,
        ttft_ms=reply.ttft_ms if is_stream else None,
    )


def _whole(url: str, reply: HttpReply) -> Parts:
    told = json_of(url, reply)
    if isinstance(told, dict) and told.get("error") and not told.get("choices"):
        raise wrong_shape(url, f"the reply is an error: {excerpt(told['error'])}")
    try:
        message = told["choices"][0]["message"]
    except (LookupError, TypeError):
        raise wrong_shape(url, f"the reply is no chat completion: {excerpt(told)}") from None
    if not isinstance(message, dict):
        raise wrong_shape(url, f"choices.0.message of the reply is {excerpt(message)}")
    return message, told


def _streamed(url: str, reply: HttpReply) -> Parts:
    """Return the message that a stream of events makes up, and what the events tell beside it."""
    if not _FIRST_OK <= reply.status < _FIRST_REDIRECT:
        raise refusal(url, reply)
    texts: list[str] = []
    calls: dict[int, dict[str, Any]] = {}
    told: dict[str, Any] = {}
    is_whole = False
    for event in events_of(url, reply.body):
        if event.get("error"):
            raise wrong_shape(url, f"the stream ends in an error: {excerpt(event['error'])}")
        told |= {name: event[name] for name in _BESIDE if event.get(name)}
        try:
            is_whole = _added(event.get("choices") or (), texts, calls) or is_whole
        except (AttributeError, TypeError):
            raise wrong_shape(url, f"an event of the stream is no part of a chat: {excerpt(event)}") from None
    if not is_whole:
        raise wrong_shape(url, "the stream ended before the answer did")
    message: dict[str, Any] = {"content": "".join(texts) if texts else None}
    if calls:
        message["tool_calls"] = [{"function": calls[index]} for index in sorted(calls)]
    return message, told


def _tokens_in(usage: Usage | None) -> int:
    return usage.uncached + usage.cache_read + usage.cache_write if usage else 0


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if content is None:
        # A model that refuses says so beside its content; one that calls a tool need say nothing.
        content = message.get("refusal") or ("" if message.get("tool_calls") else None)
    if content is None:
        raise NoAnswerError("choices.0.message.content is null: the reply has no answer")
    if isinstance(content, list):
        content = "".join(
            str(part.get("text") or "") if isinstance(part, dict) and part.get("type") == "text" else ""
            for part in content
        )
    if not isinstance(content, str):
        raise NoAnswerError(f"choices.0.message.content is no text but {excerpt(content)}")
    return content.strip()


def _citations(told: Any) -> tuple[str, ...]:
    if not isinstance(told, list):
        return ()
    ids = [item.get("document") if isinstance(item, dict) else item for item in told]
    return tuple(dict.fromkeys(item for item in ids if isinstance(item, str)))


def events_of(url: str, body: bytes) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream up to its end."""
    for line in body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if not line.startswith(_DATA):
            continue
        data = line[len(_DATA) :].strip()
        if data == _DONE:
            return
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise wrong_shape(url, f"an event of the stream is not JSON: {excerpt(data)}") from None
        if not isinstance(event, dict):
            raise wrong_shape(url, f"an event of the stream is no object: {excerpt(event)}")
        yield event


def _added(choices: Any, texts: list[str], calls: dict[int, dict[str, Any]]) -> bool:
    """Add what the first choice of an event brings; tell whether it is its last."""
    for choice in choices[:1]:
        delta = choice.get("delta") or {}
        told = delta.get("content") if delta.get("content") is not None else delta.get("refusal")
        texts += [] if told is None else [told]
        for number, call in enumerate(delta.get("tool_calls") or ()):
            function = call.get("function") or {}
            held = calls.setdefault(call.get("index", number), {"name": "", "arguments": ""})
            held["name"] += function.get("name") or ""
            held["arguments"] += function.get("arguments") or ""
        return bool(choice.get("finish_reason"))
    return False
