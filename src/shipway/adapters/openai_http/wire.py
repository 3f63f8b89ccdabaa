"""OpenAI request bodies in, OpenAI replies and stream events out; no I/O. `asgi` speaks this with the network."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_MAX_STOPS = 4
_DEFAULT_TOKENS = 128


class RefusedError(Exception):
    """A request that an engine refuses, as HTTP says it."""

    def __init__(
        self, status: int, message: str, *, code: str = "", param: str = "", retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def body(self) -> bytes:
        """Return the error in OpenAI's shape."""
        kinds = {429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")  # noqa: PLR2004
        error = {"message": self.message, "type": kind, "param": self.param or None, "code": self.code or None}
        return encoded({"error": error})


class CutConnectionError(Exception):
    """The connection must break here, without an end of the stream."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen."""

    max_tokens: int = _DEFAULT_TOKENS
    temperature: float = 1.0
    top_p: float = 1.0
    repeat_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A parsed request; `messages` is empty for plain completions, which have `prompt`."""

    model: str
    messages: tuple[dict[str, str], ...]
    prompt: str
    sampling: Sampling
    stream: bool = False
    include_usage: bool = False

    @property
    def is_chat(self) -> bool:
        """Tell chat from plain completion."""
        return bool(self.messages)


@dataclass(frozen=True, slots=True)
class Piece:
    """Text as it is generated."""

    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a generation; `reason` is `stop` or `length`."""

    reason: str
    tokens_in: int
    tokens_cached: int
    tokens_out: int

    def usage(self) -> dict[str, Any]:
        """Return the usage object of a reply."""
        return {
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": self.tokens_in + self.tokens_out,
            "prompt_tokens_details": {"cached_tokens": self.tokens_cached},
        }


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """What every object of one reply repeats."""

    id: str
    created: int
    model: str
    is_chat: bool

    def whole(self, text: str, finish: Finish) -> bytes:
        """Return an unstreamed reply."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish.reason, "logprobs": None}
        if self.is_chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        kind = "chat.completion" if self.is_chat else "text_completion"
        return encoded(self._object(kind, choices=[choice], usage=finish.usage()))

    def first(self) -> bytes:
        """Return the event that opens a chat stream; a plain completion has none."""
        return self._event({"role": "assistant", "content": ""}, None) if self.is_chat else b""

    def piece(self, text: str) -> bytes:
        """Return the event of some text."""
        return self._event({"content": text}, None)

    def last(self, finish: Finish, *, include_usage: bool) -> bytes:
        """Return the events that close a stream."""
        usage = self._object(self._chunk_kind(), choices=[], usage=finish.usage()) if include_usage else None
        return self._event({}, finish.reason) + (_sse(usage) if usage else b"") + b"data: [DONE]\n\n"

    def _event(self, delta: dict[str, str], reason: str | None) -> bytes:
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
        if self.is_chat:
            choice["delta"] = delta
        else:
            choice["text"] = delta.get("content", "")
        return _sse(self._object(self._chunk_kind(), choices=[choice]))

    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.is_chat else "text_completion"

    def _object(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, **fields}


def parse_request(body: bytes, *, chat: bool) -> EngineRequest:
    """Return the request of a body.

    Raises:
        RefusedError: it is no JSON object, or a field has the wrong type or range.
    """
    try:
        data = json.loads(body)
    except ValueError as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise RefusedError(400, "the body is not a JSON object")
    if data.get("n", 1) != 1:
        raise RefusedError(400, "n must be 1: one answer at a time", param="n")
    options = data.get("stream_options") or {}
    return EngineRequest(
        model=_typed(data, "model", str, ""),
        messages=_messages(data.get("messages")) if chat else (),
        prompt="" if chat else _prompt(data.get("prompt")),
        sampling=_sampling(data),
        stream=_typed(data, "stream", bool, default=False),
        include_usage=bool(isinstance(options, dict) and options.get("include_usage")),
    )


def encoded(value: Any) -> bytes:
    """Return JSON as bytes, compact and with text as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _sse(value: Any) -> bytes:
    return b"data: " + encoded(value) + b"\n\n"


def _sampling(data: dict[str, Any]) -> Sampling:
    limit = "max_completion_tokens" if data.get("max_completion_tokens") is not None else "max_tokens"
    return Sampling(
        max_tokens=int(_number(data, limit, _DEFAULT_TOKENS, (1, 1_000_000))),
        temperature=_number(data, "temperature", 1.0, (0, 2)),
        top_p=_number(data, "top_p", 1.0, (0, 1)),
        repeat_penalty=_number(data, "repeat_penalty", 1.0, (0.5, 2)),
        seed=_typed(data, "seed", int, None),
        stop=_stops(data.get("stop")),
    )


def _number(data: dict[str, Any], key: str, default: float, bounds: tuple[float, float]) -> float:
    value = data.get(key)
    if value is None:
        return default
    low, high = bounds
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RefusedError(400, f"{key} {value!r} is not a number from {low:g} to {high:g}", param=key)
    return value


def _typed(data: dict[str, Any], key: str, kind: type, default: Any) -> Any:
    value = data.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RefusedError(400, f"{key} {value!r} is not a {kind.__name__}", param=key)
    return value


def _stops(value: Any) -> tuple[str, ...]:
    stops: Sequence[Any] = [] if value is None else [value] if isinstance(value, str) else value
    valid = isinstance(stops, list) and len(stops) <= _MAX_STOPS
    if not valid or not all(isinstance(stop, str) and stop for stop in stops):
        raise RefusedError(400, f"stop must be a text or up to {_MAX_STOPS} of them", param="stop")
    return tuple(stops)


def _prompt(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str) or not value:
        raise RefusedError(400, "prompt must be a text", param="prompt")
    return value


def _messages(value: Any) -> tuple[dict[str, str], ...]:
    if not isinstance(value, list) or not value:
        raise RefusedError(400, "messages must be a list with at least one message", param="messages")
    return tuple(_message(item, f"messages[{index}]") for index, item in enumerate(value))


def _message(item: Any, param: str) -> dict[str, str]:
    if not isinstance(item, dict) or item.get("role") not in {"system", "developer", "user", "assistant"}:
        raise RefusedError(400, f"{param} needs a role: system, user or assistant", param=param)
    content = item.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise RefusedError(
            400, f"{param}.content must be text; images and tools are not served here", param=f"{param}.content"
        )
    role = "system" if item["role"] == "developer" else item["role"]
    return {"role": role, "content": content}
