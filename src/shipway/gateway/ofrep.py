"""The OpenFeature Remote Evaluation Protocol: applications ask the gateway for the flags that its own routing obeys.

Source: the OFREP specification, version 0.2: `POST /ofrep/v1/evaluate/flags/{key}` and, for all flags,
`POST /ofrep/v1/evaluate/flags` with an ETag. `gateway.app` routes here and authenticates first.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from shipway.core.clock import Clock
from shipway.gateway.accounting import Account
from shipway.gateway.admission import Admission
from shipway.gateway.exchange import Exchange
from shipway.gateway.flags import Evaluated, FlagErrorCode, FlagSet
from shipway.gateway.json_logic import TARGETING_KEY
from shipway.gateway.model import GatewaySettings
from shipway.gateway.replies import JSON_TYPE, RefusedError, Reply

PREFIX = "/ofrep/v1/evaluate/flags"
_OK, _NOT_MODIFIED, _BAD_REQUEST, _NOT_FOUND = 200, 304, 400, 404


def evaluate_one(flags: FlagSet, key: str, raw: bytes, *, now_s: float) -> Reply:
    """Return the reply about one flag."""
    context = _context(raw)
    if isinstance(context, str):
        return _json({"key": key, "errorCode": "INVALID_CONTEXT", "errorDetails": context}, _BAD_REQUEST)
    found = flags.evaluate(key, context, now_s=now_s)
    if found.error is None:
        return _json(_shown(found), _OK)
    status = _NOT_FOUND if found.error is FlagErrorCode.FLAG_NOT_FOUND else _BAD_REQUEST
    return _json(_failed(found), status)


def evaluate_all(flags: FlagSet, raw: bytes, if_none_match: str | None, *, now_s: float) -> Reply:
    """Return the reply about all flags, or 304 when the asker has it already."""
    context = _context(raw)
    if isinstance(context, str):
        return _json({"errorCode": "INVALID_CONTEXT", "errorDetails": context}, _BAD_REQUEST)
    found = flags.evaluate_all(context, now_s=now_s)
    body = orjson.dumps({"flags": [_shown(item) if item.error is None else _failed(item) for item in found]})
    # Over the values themselves: a flag by time or by context changes it, an equal answer does not.
    etag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    if if_none_match is not None and etag in {item.strip().removeprefix("W/") for item in if_none_match.split(",")}:
        return Reply(_NOT_MODIFIED, b"", (("etag", etag),))
    return Reply(_OK, body, (JSON_TYPE, ("etag", etag)))


class FlagDesk:
    """The handlers: a key that may use models may ask for flags."""

    def __init__(self, admission: Admission, settings: GatewaySettings, clock: Clock) -> None:
        self._admission = admission
        self._settings = settings
        self._clock = clock

    async def all(self, exchange: Exchange, account: Account) -> None:
        """Serve the request for all flags."""
        flags, raw = await self._asked(exchange, account)
        known = exchange.headers.get("if-none-match")
        reply = evaluate_all(flags, raw, known, now_s=self._clock.now_s())
        exchange.reply(reply.status, reply.headers, reply.body)

    async def one(self, exchange: Exchange, account: Account) -> None:
        """Serve the request for one flag."""
        flags, raw = await self._asked(exchange, account)
        reply = evaluate_one(flags, exchange.path.removeprefix(f"{PREFIX}/"), raw, now_s=self._clock.now_s())
        exchange.reply(reply.status, reply.headers, reply.body)

    async def _asked(self, exchange: Exchange, account: Account) -> tuple[FlagSet, bytes]:
        self._admission.invoker(exchange, account)
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                raw = await exchange.read_body(self._settings.max_body_bytes)
        except TimeoutError:
            raise RefusedError(408, "the body did not arrive in time", code="body_timeout") from None
        return self._admission.state().flags, raw


def _context(raw: bytes) -> Mapping[str, Any] | str:
    """Return the context of a request's body, or what is wrong with it."""
    try:
        body = orjson.loads(raw) if raw.strip() else {}
    except orjson.JSONDecodeError as error:
        return f"the body is not valid JSON: {error}"
    context = body.get("context", {}) if isinstance(body, dict) else None
    if not isinstance(context, dict):
        return 'send {"context": {"targetingKey": "..."}}'
    key = context.get(TARGETING_KEY)
    if key is not None and not isinstance(key, str):
        return "context.targetingKey must be a text"
    return context


def _shown(found: Evaluated) -> dict[str, Any]:
    shown: dict[str, Any] = {"key": found.key, "reason": found.reason.value, "metadata": dict(found.metadata)}
    if found.variant:
        shown |= {"variant": found.variant, "value": found.value}
    return shown


def _failed(found: Evaluated) -> dict[str, Any]:
    error = found.error or FlagErrorCode.GENERAL
    return {"key": found.key, "errorCode": error.value, "errorDetails": found.details}


def _json(value: dict[str, Any], status: int) -> Reply:
    return Reply(status, orjson.dumps(value))
