"""Which answers may be kept, and when a kept stream is also the whole answer. Pure; called by `gateway.cache`."""

from collections.abc import Iterator
from typing import Any

import orjson

from shipway.core import record as events
from shipway.gateway.cache_model import Form
from shipway.gateway.ports import EngineBrokenError
from shipway.gateway.stream import DONE_EVENT, EventSplitter

_UNKEPT_EVENTS = frozenset({events.ERROR, events.TIMEOUT, events.CLIENT_GONE})
_UNKEPT_PREFIXES = ("guard",)
_CHUNK_FIELDS = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint"})
_CHOICE_FIELDS = frozenset({"index", "delta", "finish_reason", "logprobs"})


def unkept_because(form: Form, body: bytes, noted: tuple[str, ...] = (), *, tool_calls: bool = False) -> str:
    """Return why an answer must not be kept; "" when it may be.

    `noted` are the events of its record; an answer that a guard or a broken engine changed is nobody else's.
    """
    if any(event in _UNKEPT_EVENTS or event.startswith(_UNKEPT_PREFIXES) for event in noted):
        return "the request has events that say it is not the release's plain answer"
    if form is Form.RESULT:
        return ""
    if form is Form.WHOLE:
        reply = _object(body)
        return "not a JSON object" if reply is None else _why_not([reply], tool_calls=tool_calls, is_stream=False)
    chunks = _chunks(body)
    return "the stream has no clean end" if chunks is None else _why_not(chunks, tool_calls=tool_calls, is_stream=True)


def whole_of_stream(body: bytes) -> bytes | None:
    """Return the reply in one piece that a stream stands for; None when it cannot be rebuilt exactly.

    Only a stream of one text choice that carries its own usage and no field beyond those of the OpenAI API qualifies.
    """
    chunks = _chunks(body)
    if not chunks or any(chunk.keys() - _CHUNK_FIELDS for chunk in chunks):
        return None
    if any(chunk.get("object") != "chat.completion.chunk" for chunk in chunks):
        return None
    head = {name: chunks[0][name] for name in ("id", "created", "model", "system_fingerprint") if name in chunks[0]}
    if any(chunk.get(name, value) != value for chunk in chunks for name, value in head.items()):
        return None
    told = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    text, finish = _single_text(chunks)
    if len(told) != 1 or finish is None:
        return None
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return orjson.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": told[0]})


def stream_text(body: bytes) -> str:
    """Return the text of a stream's first choice; "" for a stream that has no clean end."""
    deltas = [choice.get("delta") for choice in _choices(_chunks(body) or []) if not choice.get("index")]
    said = [delta.get("content") for delta in deltas if isinstance(delta, dict)]
    return "".join(text for text in said if isinstance(text, str))


def _single_text(chunks: list[dict[str, Any]]) -> tuple[str, str | None]:
    parts: list[str] = []
    finish: str | None = None
    for choice in _choices(chunks):
        delta = choice.get("delta")
        if not isinstance(delta, dict) or delta.keys() - {"role", "content"}:
            return "", None
        if choice.keys() - _CHOICE_FIELDS or choice.get("index") != 0 or choice.get("logprobs"):
            return "", None
        if delta.get("role") not in {None, "assistant"} or not isinstance(delta.get("content"), str | None):
            return "", None
        if finish is not None and delta.get("content"):
            return "", None
        parts.append(delta.get("content") or "")
        finish = choice.get("finish_reason") or finish
    return "".join(parts), finish


def _why_not(replies: list[dict[str, Any]], *, tool_calls: bool, is_stream: bool) -> str:
    if any(reply.get("error") for reply in replies):
        return "it carries an error"
    seen: set[Any] = set()
    ended: set[Any] = set()
    for choice in _choices(replies):
        said = choice.get("delta") if is_stream else choice.get("message")
        said = said if isinstance(said, dict) else {}
        if choice.get("finish_reason") == "content_filter" or said.get("refusal"):
            return "it was refused"
        if not tool_calls and (said.get("tool_calls") or said.get("function_call")):
            return "it calls tools"
        seen.add(choice.get("index"))
        if choice.get("finish_reason"):
            ended.add(choice.get("index"))
    return "a choice has no end" if seen - ended else ""


def _choices(replies: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for reply in replies:
        choices = reply.get("choices")
        yield from (choice for choice in choices if isinstance(choice, dict)) if isinstance(choices, list) else ()


def _chunks(body: bytes) -> list[dict[str, Any]] | None:
    """Return the chunks of a stream that ended with `[DONE]`, None for any other."""
    if not body.endswith(DONE_EVENT):
        return None
    splitter = EventSplitter()
    try:
        found = splitter.feed(body.removesuffix(DONE_EVENT))
    except EngineBrokenError:
        return None
    if splitter.rest().strip():
        return None
    chunks: list[dict[str, Any]] = []
    for event in found:
        data = [line[5:].strip() for line in event.replace(b"\r", b"\n").split(b"\n") if line.startswith(b"data:")]
        if not data:
            continue
        chunk = _object(b"\n".join(data))
        if chunk is None:
            return None
        chunks.append(chunk)
    return chunks


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
