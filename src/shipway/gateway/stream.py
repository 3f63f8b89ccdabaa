"""Server-sent events on bytes: whole events are passed on as they came, and only those that can matter are parsed.

Used by `gateway.relay`. Splitting on bytes makes chunks that end inside a line, a token or a UTF-8 sequence harmless.
Source: WHATWG HTML, "Server-sent events" (lines end in LF, CR or CRLF; a blank line ends an event).
"""

import re
from typing import Any

import orjson

from shipway.gateway.model import Usage
from shipway.gateway.ports import EngineBrokenError
from shipway.gateway.usage import usage_of

# Atomic groups: without them CRLF would backtrack into CR + LF and count as a blank line.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LONGEST_END = 4
_LONGEST_EVENT_BYTES = 4 << 20
_NO_CHOICE = b'"choices":[]'
_LINES_OF_ONE = 2
_DONE = b"[DONE]"
DONE_EVENT = b"data: [DONE]\n\n"


class EventSplitter:
    """Cuts a byte stream into events; joined, they are the stream again."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that `data` completes.

        Raises:
            EngineBrokenError: an event without an end.
        """
        self._buffer += data
        events: list[bytes] = []
        taken = 0
        for end in _BLANK_LINE.finditer(self._buffer, self._searched):
            events.append(bytes(self._buffer[taken : end.end()]))
            taken = end.end()
        del self._buffer[:taken]
        self._searched = max(0, len(self._buffer) - _LONGEST_END)
        if len(self._buffer) > _LONGEST_EVENT_BYTES:
            raise EngineBrokenError(f"an event of more than {_LONGEST_EVENT_BYTES} bytes has no end")
        return events

    @property
    def has_rest(self) -> bool:
        """Return whether something waits for its blank line."""
        return bool(self._buffer)

    def rest(self) -> bytes:
        """Return what no blank line has ended yet."""
        return bytes(self._buffer)


class ChatStream:
    """Follows an OpenAI stream while it is passed on.

    `done` after `[DONE]`, which `last_words` says in its turn; `failed` when the engine itself sent an error event;
    `usage` as the engine told it, else an estimate of one token for each event.
    """

    def __init__(self, *, keep_usage: bool) -> None:
        self._splitter = EventSplitter()
        self._keep_usage = keep_usage
        self._usage: Usage | None = None
        self._data_events = 0
        self.done = False
        self.failed = False
        self.last_words = DONE_EVENT

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that may go to the client now; `[DONE]` is held back, it is the caller's last word."""
        if self._data_events and self._is_one_token(data):
            self._data_events += 1
            return data
        return b"".join([self._kept(event) for event in self._splitter.feed(data)])

    def _is_one_token(self, data: bytes) -> bool:
        """Return whether a piece is one whole event of no other interest; nearly all are."""
        return (
            data.startswith(b"data: {")
            and data.endswith(b"}\n\n")
            and data.count(b"\n") == _LINES_OF_ONE
            and not self._splitter.has_rest
            and not self.done
            and b'"usage"' not in data
            and b'"error"' not in data
            and b"\r" not in data
        )

    def end(self) -> None:
        """Take note that the engine closed.

        Raises:
            EngineBrokenError: it closed without saying `[DONE]`, or ended in an error of its own.
        """
        if not self.done and _payload(self._splitter.rest()) == _DONE:
            self.done = True
        if self.failed:
            raise EngineBrokenError("the engine ended the stream with an error")
        if not self.done:
            raise EngineBrokenError("the engine closed the stream before its end")

    @property
    def has_data(self) -> bool:
        """Return whether an event with data has come (a comment is no sign of life)."""
        return self._data_events > 0

    @property
    def data_events(self) -> int:
        """Return how many events with data have come."""
        return self._data_events

    @property
    def usage(self) -> Usage:
        """Return the tokens so far."""
        return self._usage or Usage(output=self._data_events, estimated=True)

    def _kept(self, event: bytes) -> bytes:
        payload = _payload(event)
        if self.done or not payload:
            return b"" if self.done else event
        if payload == _DONE:
            self.done = True
            return b""
        told = _parsed(payload) if b'"usage"' in payload or b'"error"' in payload else {}
        if told.get("error"):
            self.failed = True
            return b""
        usage = usage_of(told)
        if usage is None:
            # Azure begins with what its filter says of the prompt: an event without a choice is no token.
            if self._data_events or _NO_CHOICE not in payload:
                self._data_events += 1
            return event
        self._usage = usage
        return self._usage_event(event, told)

    def _usage_event(self, event: bytes, told: dict[str, Any]) -> bytes:
        if told.get("choices"):
            self._data_events += 1
        if self._keep_usage:
            return event
        if not told.get("choices"):
            return b""
        told.pop("usage")
        return b"data: " + orjson.dumps(told) + b"\n\n"


def _payload(event: bytes) -> bytes:
    if event.startswith(b"data:") and event.count(b"\n") + event.count(b"\r") <= _LONGEST_END:
        first = _LINE_END.split(event, maxsplit=1)
        if len(first) == 1 or not first[1].strip():
            return first[0][5:].strip()
    lines = [line[5:].strip() for line in _LINE_END.split(event) if line.startswith(b"data:")]
    return b"\n".join(lines).strip()


def _parsed(payload: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
