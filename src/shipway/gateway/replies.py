"""Replies and errors in the shape of the OpenAI API; every handler of the gateway ends here."""

import math
from dataclasses import dataclass
from typing import Any

import orjson

from shipway.core.errors import (
    ConflictError,
    DeadlineError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ShipwayError,
    StoreError,
    UnauthorizedError,
    UnavailableError,
    UpstreamError,
    UsageError,
)
from shipway.gateway.ports import EngineBrokenError, EngineConnectError, EngineGarbledError

JSON_TYPE = ("content-type", "application/json")
EVENT_STREAM = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    499: "client_gone",
    502: "upstream_error",
    503: "unavailable_error",
    504: "timeout_error",
}
_SERVER_ERROR = 500
_UNAVAILABLE = 503


class RefusedError(ShipwayError):
    """What the caller is told instead of an answer: status, message, and the field that was wrong."""

    def __init__(
        self, status: int, message: str, *, code: str = "", param: str | None = None, retry_after: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or _default_code(status)
        self.param = param
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (JSON_TYPE,)


def json_reply(value: Any, *, status: int = 200) -> Reply:
    """Return a JSON reply."""
    return Reply(status, orjson.dumps(value))


def error_body(refusal: RefusedError, request_id: str) -> dict[str, Any]:
    """Return the error object; the same in a reply and in a stream."""
    return {
        "error": {
            "message": refusal.message,
            "type": _TYPES.get(refusal.status, _type_of_class(refusal.status)),
            "code": refusal.code,
            "param": refusal.param,
        },
        "request_id": request_id,
    }


def error_reply(refusal: RefusedError, request_id: str) -> Reply:
    """Return the reply of a refusal."""
    headers = [JSON_TYPE]
    if refusal.retry_after is not None:
        headers.append(("retry-after", refusal.retry_after))
    return Reply(refusal.status, orjson.dumps(error_body(refusal, request_id)), tuple(headers))


def error_event(refusal: RefusedError, request_id: str) -> bytes:
    """Return the server-sent event that ends a stream badly; no `[DONE]` follows it."""
    return sse_event(error_body(refusal, request_id))


def sse_event(value: Any) -> bytes:
    """Return one `data:` event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def reply_too_large(limit_bytes: int) -> RefusedError:
    """Return what a caller is told whose answer is larger than the gateway lets pass."""
    message = (
        f"the engine's answer is larger than {limit_bytes} bytes, so it is not passed on; ask for less,"
        " or let the operator raise server.max_reply_bytes"
    )
    return RefusedError(502, message, code="reply_too_large")


def retry_after(seconds: float) -> str:
    """Return a Retry-After value: whole seconds, at least one."""
    return str(max(1, math.ceil(seconds)))


def refusal_of(error: BaseException) -> RefusedError:
    """Return what the caller may know of an error; anything unforeseen is a bare 500."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, RateLimitedError):
        return RefusedError(429, error.message, retry_after=retry_after(error.retry_after_s))
    for ours, status in _SAID_AS_IT_IS:
        if isinstance(error, ours):
            return RefusedError(status, error.message)
    for kind, status, code, message in _SAID_IN_OUR_WORDS:
        if isinstance(error, kind):
            return RefusedError(status, message, code=code, retry_after="1" if status == _UNAVAILABLE else None)
    return RefusedError(500, "the gateway failed; quote the request id when you report it", code="internal_error")


def _default_code(status: int) -> str:
    known = {401: "invalid_api_key", 403: "forbidden", 404: "not_found", 429: "rate_limited", 503: "unavailable"}
    return known.get(status, "invalid_request" if status < _SERVER_ERROR else "server_error")


def _type_of_class(status: int) -> str:
    return "invalid_request_error" if status < _SERVER_ERROR else "server_error"


_SAID_AS_IT_IS: tuple[tuple[type[ShipwayError], int], ...] = (
    (UsageError, 400),
    (UnauthorizedError, 401),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
)
# These may name hosts and paths inside; the first class that fits counts.
_SAID_IN_OUR_WORDS: tuple[tuple[type[BaseException], int, str, str], ...] = (
    (DeadlineError, 504, "timeout", "no answer in time; try again or ask for less"),
    (TimeoutError, 504, "timeout", "no answer in time; try again or ask for less"),
    (EngineConnectError, 503, "engine_unreachable", "the engine cannot be reached; try again"),
    (EngineGarbledError, 502, "upstream_invalid", "the engine sent what is no JSON; the answer is not whole"),
    (EngineBrokenError, 502, "upstream_cut", "the engine's reply broke off; the answer is not whole"),
    (UpstreamError, 502, "upstream_error", "the engine answered with an error; try again"),
    (UnavailableError, 503, "unavailable", "a part of the service is not there now; try again"),
    (StoreError, 503, "not_recorded", "the request cannot be recorded now, so it is not answered; try again"),
)
