"""Server-sent events on bytes: whole events are passed on as they came, those that are no JSON are not.

Used by `gateway.relay`. Splitting on bytes makes chunks that end inside a line, a token or a UTF-8 sequence harmless.
Nearly all events of a stream differ in their text alone: one that is equal to a parsed one but for its text is not
parsed again, which takes half of the time.
Source: WHATWG HTML, "Server-sent events" (lines end in LF, CR or CRLF; a blank line ends an event).
"""

import json
import re
from typing import Any

import orjson

from shipway.gateway.model import Usage
from shipway.gateway.ports import EngineBrokenError, EngineFailedError, EngineGarbledError
from shipway.gateway.usage import usage_of
from shipway.telemetry.masking import mask_text

# Atomic groups: without them CRLF would backtrack into CR + LF and count as a blank line.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LONGEST_END = 4
_LONGEST_EVENT_BYTES = 4 << 20
_NO_CHOICE = b'"choices":[]'
_LINES_OF_ONE = 2
_DONE = b"[DONE]"
_TEXT = re.compile(rb'"(?:content|text|reasoning_content)":"')
_PLAIN = re.compile(rb"[ !#-\[\]-\xff]*+(?:\\[\"\\/bfnrt][ !#-\[\]-\xff]*+)*+")
"""What a JSON text may hold: nothing below a space, and quotes and backslashes as escapes of one letter alone."""
_MOST_MISSES = 8
_SAID_CHARS = 200
_BROKEN: Any = object()
DONE_EVENT = b"data: [DONE]\n\n"


class EventSplitter:
    """Cuts a byte stream into events; joined, they are the stream again."""

    __slots__ = ("_buffer", "_searched")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that `data` completes.

        Raises:
            EngineBrokenError: an event without an end.
        """
        events: list[bytes] = []
        if not self._buffer and data.find(b"\r") < 0:
            # As nearly all come; the pattern looks at every byte by itself.
            *whole, data = data.split(b"\n\n")
            events += [event + b"\n\n" for event in whole]
        taken = 0
        self._buffer += data
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
    `data_events` counts the events with data; `usage` as the engine told it, else an estimate of one token for each.
    `passed_bytes` were taken by a passing before the present one.
    """

    __slots__ = (
        "_before", "_behind", "_behind_bytes", "_error", "_keep_usage", "_misses", "_splitter", "_start", "_usage",
        "data_events", "done", "failed", "last_words", "passed_bytes",
    )  # fmt: skip

    def __init__(self, *, keep_usage: bool) -> None:
        self._splitter = EventSplitter()
        self._keep_usage = keep_usage
        self._usage: Usage | None = None
        self.data_events = 0
        self._before: bytes | None = None
        self._behind = b""
        self._start = self._behind_bytes = 0
        self._misses = 0
        self._error: EngineBrokenError | None = None
        self.done = False
        self.failed = False
        self.last_words = DONE_EVENT
        self.passed_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that may go to the client now; `[DONE]` is held back, it is the caller's last word."""
        if self.knows(data, 0, len(data)):
            return data
        if self.data_events and self._is_one_token(data):
            if _read(data[6:]) is _BROKEN:
                return self._fail(EngineGarbledError())
            self.data_events += 1
            if self._misses < _MOST_MISSES:
                self._learn(data)
            return data
        self._before = None
        return b"".join([self._kept(event) for event in self._splitter.feed(data)])

    def knows(self, data: bytes, start: int, end: int) -> bool:
        """Return whether a piece of `data` is an event like those before it but for its text; it is counted then.

        It may go to the client as it stands.
        """
        before = self._before
        if before is None or not data.startswith(before, start, end) or not data.endswith(self._behind, start, end):
            return False
        if not self._is_plain(data, start + self._start, end - self._behind_bytes):
            return False
        self.data_events += 1
        return True

    def _learn(self, data: bytes) -> None:
        """Keep what stands around the text of an event that is JSON; whatever plain text is put there, it stays so."""
        self._misses += 1
        found = _TEXT.search(data)
        if found is not None:
            # The quote that ends a plain text is not one inside it.
            self._start, end = found.end(), data.find(b'"', found.end())
            if _PLAIN.fullmatch(data, self._start, end):
                self._before, self._behind = data[: self._start], data[end:]
                self._behind_bytes = len(self._behind)

    def _is_plain(self, data: bytes, start: int, end: int) -> bool:
        """Return whether nothing but a plain text stands between what is known."""
        if end < start:
            return False
        try:
            text = data[start:end].decode("utf-8")
        except UnicodeDecodeError:
            return False
        # Most texts need no pattern: compiled, it takes twice as long as all of this.
        simple = "\\" not in text and '"' not in text and text.isprintable()
        if not simple and _PLAIN.fullmatch(data, start, end) is None:
            return False
        self._misses = 0
        return True

    def _fail(self, error: EngineBrokenError) -> bytes:
        """End the stream with an error; nothing more of it is passed on."""
        self.failed = True
        self._before = None
        self._error = error
        return b""

    def _is_one_token(self, data: bytes) -> bool:
        """Return whether a piece is one whole event of no other interest; nearly all are."""
        return (
            data.startswith(b"data: {")
            and data.endswith(b"}\n\n")
            and data.count(b"\n") == _LINES_OF_ONE
            and not self._splitter.has_rest
            and not (self.done or self.failed)
            and b'"usage"' not in data
            and b'"error"' not in data
            and b"\r" not in data
        )

    def end(self) -> None:
        """Take note that the engine closed.

        Raises:
            EngineBrokenError: it closed without saying `[DONE]`, ended in an error of its own, or sent what is no JSON.
        """
        if not self.done and _payload(self._splitter.rest()) == _DONE:
            self.done = True
        if self._error is not None:
            raise self._error
        if not self.done:
            raise EngineBrokenError("the engine closed the stream before its end")

    @property
    def has_data(self) -> bool:
        """Return whether an event with data has come (a comment is no sign of life)."""
        return self.data_events > 0

    @property
    def usage(self) -> Usage:
        """Return the tokens so far."""
        return self._usage or Usage(output=self.data_events, estimated=True)

    def _kept(self, event: bytes) -> bytes:
        payload = _payload(event)
        if self.done or self.failed:
            return b""
        if not payload:
            return event
        if payload == _DONE:
            self.done = True
            return b""
        told = _read(payload)
        if told is _BROKEN or (isinstance(told, dict) and told.get("error")):
            return self._fail(EngineGarbledError() if told is _BROKEN else EngineFailedError(said_in(told["error"])))
        usage = usage_of(told) if isinstance(told, dict) and b'"usage"' in payload else None
        if usage is None:
            # Azure begins with what its filter says of the prompt: an event without a choice is no token.
            if self.data_events or _NO_CHOICE not in payload:
                self.data_events += 1
            return event
        self._usage = usage
        return self._usage_event(event, told)

    def _usage_event(self, event: bytes, told: dict[str, Any]) -> bytes:
        if told.get("choices"):
            self.data_events += 1
        if self._keep_usage:
            return event
        if not told.get("choices"):
            return b""
        told.pop("usage", None)
        return b"data: " + orjson.dumps(told) + b"\n\n"


def _payload(event: bytes) -> bytes:
    if event.startswith(b"data:") and event.find(b"\r") < 0:
        line, _, more = event.partition(b"\n")
        if not more.strip():
            return line[5:].strip()
    lines = [line[5:].strip() for line in _LINE_END.split(event) if line.startswith(b"data:")]
    return b"\n".join(lines).strip()


def is_json(payload: bytes) -> bool:
    """Return whether a client can read an event's data."""
    return _read(payload) is not _BROKEN


def said_in(error: Any) -> str:
    """Return the beginning of what an engine says of its error, masked: it may quote what a user wrote."""
    said = error.get("message") if isinstance(error, dict) else error
    text = said if isinstance(said, str) else json.dumps(error)
    return mask_text(text[: 4 * _SAID_CHARS])[:_SAID_CHARS]


def _read(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        # What Python's own encoder writes, and the clients read: NaN, one half of a pair of surrogates.
        try:
            return json.loads(payload.decode())
        except (ValueError, RecursionError):
            return _BROKEN
