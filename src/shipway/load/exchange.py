"""Reading one answer as it arrives: whole, or a stream of events with its first piece, gaps and end."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from shipway.config.credentials import repeatable
from shipway.load.sample import Outcome

_OK_FROM, _OK_BELOW = 200, 300
_EVENTS = "text/event-stream"
_DATA = b"data:"
_DONE = b"[DONE]"
_LIMIT_BYTES = 20_000_000
_KEPT_BYTES = 4096
_LONGEST_ERROR = 120


@dataclass(slots=True)
class Exchange:
    """One answer. `take` gets its pieces with the time of each; `outcome` says what it came to."""

    wants_stream: bool
    status: int = 0
    content_type: str = ""
    size_bytes: int = 0
    _rest: bytes = b""
    _kept: bytearray = field(default_factory=bytearray)
    _first_s: float | None = None
    _last_s: float | None = None
    _pieces: int = 0
    _longest_gap_s: float = 0.0
    _is_done: bool = False
    _problem: str = ""
    _tokens: int | None = None

    def begin(self, status: int, content_type: str) -> None:
        """Take the head of the answer."""
        self.status = status
        self.content_type = content_type

    @property
    def is_stream(self) -> bool:
        """Return whether the answer is one of events."""
        return self.content_type.startswith(_EVENTS)

    def take(self, data: bytes, at_s: float) -> bool:
        """Take a piece of the body; False when the answer is larger than anything sensible."""
        self.size_bytes += len(data)
        if self.size_bytes > _LIMIT_BYTES:
            self._problem = f"larger than {_LIMIT_BYTES} bytes"
            return False
        if not self._is_ok or not self.is_stream:
            if self._is_ok or len(self._kept) < _KEPT_BYTES:
                self._kept += data
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(_DATA):
                self._event(line[len(_DATA) :].strip(), at_s)
        return True

    @property
    def _is_ok(self) -> bool:
        return _OK_FROM <= self.status < _OK_BELOW

    def _event(self, data: bytes, at_s: float) -> None:
        if data == _DONE:
            self._is_done = True
            return
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._problem = "an event of the stream is no JSON"
            return
        if not isinstance(event, dict):
            return
        if event.get("error"):
            self._problem = f"the stream ended with an error: {_reason(event)}"
        # The Responses API ends with an event instead of a mark.
        self._is_done = self._is_done or event.get("type") in {"response.completed", "response.incomplete"}
        self._tokens = _tokens(event) or self._tokens
        if _has_text(event):
            self._piece(at_s)

    def _piece(self, at_s: float) -> None:
        if self._last_s is None:
            self._first_s = at_s
        else:
            self._longest_gap_s = max(self._longest_gap_s, at_s - self._last_s)
        self._last_s = at_s
        self._pieces += 1

    def outcome(self, ended_s: float, *, cut: str = "", is_timeout: bool = False) -> Outcome:
        """Return what it came to; `cut` says why it ended before its end."""
        error = cut or self._fault()
        is_broken = bool(error) and self._is_ok and self.is_stream
        gap_s = None
        if self._pieces > 1 and self._first_s is not None and self._last_s is not None:
            gap_s = (self._last_s - self._first_s) / (self._pieces - 1)
        tokens = self._tokens
        if not self.is_stream and not error:
            tokens = _whole_tokens(self._kept)
        return Outcome(
            ended_s,
            self._first_s,
            repeatable(error)[:_LONGEST_ERROR],
            is_timeout,
            is_broken,
            gap_s,
            None if gap_s is None else self._longest_gap_s,
            tokens,
        )

    def _fault(self) -> str:
        if not self._is_ok:
            said = _refusal(self._kept)
            return f"status {self.status}{f': {said}' if said else ''}"
        if self._problem:
            return self._problem
        if self.wants_stream and not self.is_stream:
            return "no stream came"
        if self.is_stream and not self._is_done:
            return "the stream has no end"
        return ""


def _has_text(event: dict[str, Any]) -> bool:
    if event.get("type") == "response.output_text.delta":
        return bool(event.get("delta"))
    choices = event.get("choices")
    if not isinstance(choices, list):
        return False
    deltas = [choice.get("delta") for choice in choices if isinstance(choice, dict)]
    return any(
        isinstance(delta, dict) and (delta.get("content") or delta.get("tool_calls") or delta.get("reasoning_content"))
        for delta in deltas
    )


def _tokens(event: dict[str, Any]) -> int | None:
    usage = event.get("usage")
    found = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _whole_tokens(body: bytearray) -> int | None:
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return _tokens(reply) if isinstance(reply, dict) else None


def _refusal(body: bytearray) -> str:
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    return _reason(reply) if isinstance(reply, dict) else ""


def _reason(reply: dict[str, Any]) -> str:
    error = reply.get("error")
    # The code alone: a message may repeat what was asked, or a key.
    return str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""
