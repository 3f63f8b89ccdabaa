"""OpenAI's Responses API passed through: what the engine is asked, and its stream of typed events; `relay` uses both.

Its streams have no `[DONE]`: they end with `response.completed`, `response.incomplete` or `response.failed`, or badly
with `error`. The event that ends a stream is held back, so that the record is written before the client sees it.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from shipway.gateway.model import Usage
from shipway.gateway.ports import ChatRoute, EngineBrokenError, EngineFailedError, EngineGarbledError
from shipway.gateway.replies import RefusedError, error_body
from shipway.gateway.response_names import ResponseNames, swapped
from shipway.gateway.stream import EventSplitter, is_json, said_in
from shipway.gateway.usage import usage_of
from shipway.gateway.validate import text_of

_ENDS = (b"response.completed", b"response.incomplete", b"response.failed")
_ANSWERED = _ENDS[:2]
_DELTA = b".delta"
_KEPT_DECODING = ("temperature", "top_p")
"""What of a release's decoding this API knows; it takes no stop texts, no seed and no penalty."""


class ResponseStream:
    """Follows a stream of the Responses API while it is passed on; the counterpart of `stream.ChatStream`.

    `done` after the event that ends it, which is in `last_words` then; `failed` when the engine said `error`. With
    `names` the ids of responses are sealed.
    """

    def __init__(self, names: ResponseNames | None = None) -> None:
        self._splitter = EventSplitter()
        self._names = names
        self._swaps: list[tuple[bytes, bytes]] = []
        self._usage: Usage | None = None
        self._deltas = 0
        self.data_events = 0
        self.done = False
        self.failed = False
        self._error: EngineBrokenError | None = None
        self.last_words = b""

    @property
    def has_data(self) -> bool:
        """Return whether an event with data has come."""
        return self.data_events > 0

    @property
    def usage(self) -> Usage:
        """Return the tokens so far, one for each delta until the engine tells."""
        return self._usage or Usage(output=self._deltas, estimated=True)

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that may go to the client now."""
        return b"".join([self._kept(event) for event in self._splitter.feed(data)])

    def end(self) -> None:
        """Take note that the engine closed.

        Raises:
            EngineBrokenError: it closed without the event that ends a response, with `error`, or sent what is no JSON.
        """
        if not self.done and not self.failed:
            rest = self._splitter.rest()
            if rest.strip():
                self._kept(rest.rstrip(b"\r\n") + b"\n\n")
        if self._error is not None:
            raise self._error
        if not self.done:
            raise EngineBrokenError("the engine closed the stream before its end")

    def error_event(self, refusal: RefusedError, request_id: str) -> bytes:
        """Return the event that ends this stream badly; its number follows those that were passed on."""
        body = error_body(refusal, request_id)
        told = {name: body["error"][name] for name in ("code", "message", "param")}
        event = {"type": "error", **told, "sequence_number": self.data_events, **body}
        return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"

    def _kept(self, event: bytes) -> bytes:
        if self.done or self.failed:
            return b""
        if b"data:" not in event:
            return event
        event = self._sealed(event)
        kind = _kind(event)
        if kind == b"[DONE]":
            return b""
        error = _error_in(event, kind)
        if error is not None:
            self.failed, self._error = True, error
            return b""
        if kind in _ENDS:
            self._usage = usage_of(_payload(event)) or self._usage
            self.done = True
            self.last_words = event
            return b""
        self.data_events += 1
        if kind.endswith(_DELTA):
            self._deltas += 1
        return event

    def _sealed(self, event: bytes) -> bytes:
        if self._names is None:
            return event
        if not self._swaps and b'"response"' in event:
            response = _payload(event).get("response")
            self._swaps = self._names.swaps(response) if isinstance(response, dict) else []
        return swapped(event, self._swaps)


def response_body(body: Mapping[str, Any], route: ChatRoute) -> dict[str, Any]:
    """Return what the engine is asked: the release's prompt and decoding around the caller's request.

    The release's words are sent as `instructions` with each turn, because those are not carried over from a previous
    response; words of other roles stand before the input of the first turn.
    """
    decoding = {name: route.decoding[name] for name in _KEPT_DECODING if name in route.decoding}
    made = {**decoding, **{name: value for name, value in body.items() if value is not None}}
    made["model"] = route.upstream_model
    made.pop("conversation_id", None)
    limit = route.limits.max_output_tokens
    if limit is not None:
        made["max_output_tokens"] = min(made.get("max_output_tokens", limit), limit)
    spoken = [item for item in route.prefix_messages if item.get("role") in {"system", "developer"}]
    said = "\n\n".join(text for text in (text_of(item.get("content")) for item in spoken) if text)
    if said:
        made["instructions"] = f"{said}\n\n{made['instructions']}" if made.get("instructions") else said
    others = [dict(item) for item in route.prefix_messages if item.get("role") not in {"system", "developer"}]
    if others and not made.get("previous_response_id") and "input" in made:
        given = made["input"]
        made["input"] = [*others, *([{"role": "user", "content": given}] if isinstance(given, str) else given)]
    return made


def response_text(reply: Mapping[str, Any]) -> str:
    """Return the text of a whole response."""
    output = reply.get("output")
    if not isinstance(output, list):
        return ""
    return "".join(text_of(item.get("content")) for item in output if isinstance(item, dict))


def response_stream_text(body: bytes) -> str:
    """Return the text of a whole stream, which its last event holds once more; "" for one without a clean end."""
    events = list(EventSplitter().feed(body))
    whole = _payload(events[-1]).get("response") if events and _kind(events[-1]) in _ANSWERED else None
    return response_text(whole) if isinstance(whole, dict) else ""


def _kind(event: bytes) -> bytes:
    """Return an event's kind by its `event:` line, else by the `type` in its data."""
    for line in event.splitlines():
        if line.startswith(b"event:"):
            return line[6:].strip()
        if line.startswith(b"data:"):
            if line[5:].strip() == b"[DONE]":
                return b"[DONE]"
            break
    told = _payload(event)
    kind = told.get("type")
    if isinstance(kind, str):
        return kind.encode()
    return b"error" if told.get("error") else b""


def _error_in(event: bytes, kind: bytes) -> EngineBrokenError | None:
    """Return how an event ends its stream badly, None when it does not."""
    if not is_json(_data(event)):
        return EngineGarbledError()
    if kind != b"error":
        return None
    told = _payload(event)
    return EngineFailedError(said_in(told.get("error") or told))


def _data(event: bytes) -> bytes:
    return b"\n".join([line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")])


def _payload(event: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(_data(event))
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
