"""From the reply of an endpoint to its JSON, or to the one error that says what is wrong; HTTP targets ask here."""

from reprlib import Repr
from typing import Any

import orjson

from shipway.config.credentials import NOT_REPEATED, is_credential, repeatable
from shipway.core.errors import UpstreamError
from shipway.evals.ports import HttpReply
from shipway.services.engine_caller import shown

_FIRST_OK, _FIRST_REDIRECT, _FIRST_ERROR = 200, 300, 400
_SHOWN_CHARS = 200
_EXCERPT = 60
_LOOKED_AT = 1000
"""Looked through for credentials, so that none is shown in part because its end is cut off."""
_PLAIN = frozenset({"", "identity"})


def json_of(url: str, reply: HttpReply) -> Any:
    """Return what a reply holds.

    Raises:
        UpstreamError: an error, a redirect, or no JSON; with `retry_after` where the endpoint says so.
    """
    if not _FIRST_OK <= reply.status < _FIRST_REDIRECT:
        raise refusal(url, reply)
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        raise UpstreamError(f"{shown(url)}: {_unread(reply, error)}", status=reply.status) from error


def refusal(url: str, reply: HttpReply) -> UpstreamError:
    """Return the error of a reply that is none of 2xx."""
    if _FIRST_REDIRECT <= reply.status < _FIRST_ERROR:
        to = repeatable(shown(reply.headers.get("location", "")))[:_SHOWN_CHARS] or "nowhere"
        message = f"{shown(url)} answers {reply.status}, a redirect to {to}; none is followed: write the final address"
        return UpstreamError(message, status=reply.status)
    said = _said(reply.body)
    message = f"{shown(url)} answers {reply.status}" + (f": {said}" if said else "")
    return UpstreamError(message, status=reply.status, retry_after=reply.headers.get("retry-after"))


def wrong_shape(url: str, reason: str) -> UpstreamError:
    """Return the error of a reply that is JSON but not what was expected."""
    return UpstreamError(f"{shown(url)}: {reason}", status=_FIRST_OK)


def excerpt(value: Any) -> str:
    """Return the beginning of a value for an error message, without credentials; a value may be megabytes."""
    if is_credential(_brief(value, _LOOKED_AT)):
        return NOT_REPEATED
    text = _brief(value, _EXCERPT)
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…"


def _brief(value: Any, chars: int) -> str:
    brief = Repr()
    brief.maxstring = brief.maxother = chars
    return brief.repr(value[:chars] if isinstance(value, bytes) else value)


def _said(body: bytes) -> str:
    """Return what an error says of itself, in the words of OpenAI, FastAPI or plain text."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _quoted(body[:_LOOKED_AT].decode(errors="replace"))
    for name in ("error", "detail", "message"):
        found = told.get(name) if isinstance(told, dict) else None
        if isinstance(found, dict):
            found = found.get("message")
        if found:
            return _quoted(str(found)[:_LOOKED_AT])
    return ""


def _quoted(text: str) -> str:
    return repeatable(" ".join(text.split()))[:_SHOWN_CHARS]


def _unread(reply: HttpReply, error: orjson.JSONDecodeError) -> str:
    if not reply.body.strip():
        return f"the reply is empty (status {reply.status}); JSON was expected"
    coding = reply.headers.get("content-encoding", "").lower()
    if coding not in _PLAIN:
        return f"the reply is encoded as {coding}, which nobody asked for"
    try:
        reply.body.decode()
    except UnicodeDecodeError as wrong:
        return f"the reply is not UTF-8: byte {wrong.start} of {len(reply.body)}"
    begins = excerpt(reply.body[:_LOOKED_AT].decode(errors="ignore"))
    return f"the reply is not JSON ({error.msg} at character {error.pos}); it begins with {begins}"
