"""Passing a model request to an OpenAI-compatible engine and its reply back.

Streams go through event by event as they came. `[DONE]` is the last thing that a client sees, and it sees it only when
the engine said it and the record is written; every other end of a stream is an error event.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import orjson

from shipway.core import record as events
from shipway.gateway.accounting import Account
from shipway.gateway.attempts import EngineCalls
from shipway.gateway.budgeter import TRIMMED, budgeted, surely_fits
from shipway.gateway.exchange import Exchange
from shipway.gateway.model import GatewaySettings, Usage
from shipway.gateway.passing import Passing
from shipway.gateway.patience import Patience
from shipway.gateway.ports import ChatRoute, EngineBrokenError, EngineRequest, EngineResponse, RecordSink
from shipway.gateway.replies import EVENT_STREAM, JSON_TYPE, RefusedError
from shipway.gateway.response_names import ResponseNames, swapped
from shipway.gateway.responses import ResponseStream, response_body, response_text
from shipway.gateway.stream import ChatStream
from shipway.gateway.usage import usage_of
from shipway.gateway.validate import Endpoint, ModelCall, encoded, last_user_text, text_of

_OK = 200
_BAD_REQUEST = 400
_SERVER_ERROR = 500
_BUDGETED = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})
_OURS = frozenset({"previous_response_id", "conversation_id", "metadata"})
_ANSWERS = frozenset({"data", "output", "results"})
_UNSPLICED = _OURS | {"max_completion_tokens"}
_NOT_THE_CALLERS = frozenset({401, 403, 407})
_CHARS_PER_TOKEN = 4
_WITH_USAGE = b'"stream_options":{"include_usage":true}'
_MESSAGES = b'"messages":['
_TAIL_WAIT_S = 0.1
_SHORT_SHARE = 0.9
_ERROR_BODY_BYTES = 1 << 20


class ChatRelay:
    """Relays for routes of kind chat."""

    def __init__(self, calls: EngineCalls, records: RecordSink, settings: GatewaySettings) -> None:
        self.calls = calls
        self._records = records
        self._settings = settings

    async def serve(self, exchange: Exchange, account: Account, call: ModelCall, route: ChatRoute) -> None:
        """Answer a request on the engine's terms: its bytes, its error if it has one."""
        if not call.stream:
            raw, _ = await self.ask(account, call, route)
            account.commit(_OK, self._records)
            exchange.reply(_OK, (JSON_TYPE,), raw)
            return
        patience = self._patience(account, route, stream=True)
        request = self._request(account, call, route)
        async with self.calls.reply(route.engine_base_url, request, patience, replayable=route.replayable) as response:
            await refuse_errors(response, account)
            _require_kind(response, "text/event-stream")
            stream: ChatStream | ResponseStream
            if call.endpoint is Endpoint.RESPONSES:
                stream = ResponseStream(ResponseNames.of(account, route))
                exchange.say_error = stream.error_event
            elif request.begun is not None and request.begun.stream is not None:
                stream = request.begun.stream
            else:
                stream = ChatStream(keep_usage=call.wants_usage)
            await self._stream(exchange, account, stream, response, patience)

    async def ask(self, account: Account, call: ModelCall, route: ChatRoute) -> tuple[bytes, dict[str, Any]]:
        """Return a whole reply as bytes and as a value; usage goes into the account."""
        patience = self._patience(account, route, stream=False)
        request = self._request(account, call, route)
        async with self.calls.reply(route.engine_base_url, request, patience, replayable=route.replayable) as response:
            await refuse_errors(response, account)
            raw = await response.whole(self._settings.max_reply_bytes)
        try:
            reply = orjson.loads(raw)
        except orjson.JSONDecodeError:
            reply = None
        if not isinstance(reply, dict):
            raise _no_answer("its reply is no JSON object")
        if is_no_answer(reply):
            raise _no_answer("it says 200 and holds an error, or nothing")
        account.usage = usage_or_estimate(reply, call)
        if call.endpoint is Endpoint.RESPONSES:
            raw = swapped(raw, ResponseNames.of(account, route).swaps(reply))
        return raw, reply

    async def _stream(
        self,
        exchange: Exchange,
        account: Account,
        stream: ChatStream | ResponseStream,
        response: EngineResponse,
        patience: Patience,
    ) -> None:
        self.calls.streams_open += 1
        try:
            await self._pass_events(exchange, account, stream, response, patience)
            stream.end()
        finally:
            self.calls.streams_open -= 1
            # What was generated before a cut, or before the client left, is billed too.
            account.usage = stream.usage
        account.commit(_OK, self._records)
        patience.for_client()
        if not exchange.started:
            exchange.start(_OK, EVENT_STREAM)
        exchange.finish(stream.last_words)
        # The end of the chunked body usually lies in the same packet; reading it keeps the connection for another call.
        with contextlib.suppress(TimeoutError, EngineBrokenError):
            async with asyncio.timeout(_TAIL_WAIT_S):
                async for _ in response.chunks():
                    pass

    async def _pass_events(
        self,
        exchange: Exchange,
        account: Account,
        stream: ChatStream | ResponseStream,
        response: EngineResponse,
        patience: Patience,
    ) -> None:
        if isinstance(stream, ChatStream) and stream.has_data:
            patience.heard()
        passing = Passing(exchange.wire, stream, patience, self._settings.max_reply_bytes, account.first_token)
        passing.start = None if exchange.started else partial(exchange.start, _OK, EVENT_STREAM)
        # What a flight has passed on may have ended already.
        while not passing.is_over() and not await response.pour(passing.take, passing):
            if passing.is_over():
                return
            patience.for_client()
            await exchange.write(b"")
            patience.for_engine()

    def _patience(self, account: Account, route: ChatRoute, *, stream: bool) -> Patience:
        own, limits = self._settings, route.limits
        allowed_s = limits.deadline_s or (own.stream_deadline_s if stream else own.llm_deadline_s)
        deadline_s = account.left_s(allowed_s)
        # A reply in one piece comes when all is generated: only the deadline can bound it.
        first_s = min(deadline_s, limits.first_token_s or own.first_token_s) if stream else deadline_s
        idle_s = limits.stream_idle_s or own.stream_idle_s
        spent_s = account.spent_s
        patience = Patience(self.calls.watch, deadline_s=deadline_s - spent_s, first_s=first_s - spent_s, idle_s=idle_s)
        patience.is_short = deadline_s < _SHORT_SHARE * allowed_s
        return patience

    def _request(self, account: Account, call: ModelCall, route: ChatRoute) -> EngineRequest:
        limit = route.limits.max_input_chars or self._settings.max_input_chars
        if call.input_chars > limit:
            message = f"the input has {call.input_chars} characters, the limit is {limit}; send less"
            raise RefusedError(400, message, code="context_length_exceeded", param=_input_field(call.endpoint))
        account.stream = call.stream
        account.model = route.upstream_model
        account.prompt_version = route.prompt_version
        account.input_tokens = estimated_tokens(call.input_chars)
        account.ask(last_user_text(call.body))
        if call.endpoint is Endpoint.RESPONSES:
            call = replace(call, body=ResponseNames.of(account, route).asked(call.body))
        accept = "text/event-stream" if call.stream else "application/json"
        own = self._settings
        left_s = account.left_s(
            route.limits.deadline_s or (own.stream_deadline_s if call.stream else own.llm_deadline_s)
        )
        headers = (
            *engine_headers(route, account.release, left_s, accept),
            ("x-request-id", account.id),
            *account.onward,
        )
        account.calling(route.engine_base_url)
        url = engine_address(route, call.endpoint)
        raw = _body(account, call, route)
        begun = account.take_begun(route.engine_base_url)
        return EngineRequest("POST", url, headers, raw, self._settings.connect_timeout_s, begun, account.release)


def _body(account: Account, call: ModelCall, route: ChatRoute) -> bytes:
    """Return what is sent, cut to the route's token budget; counting starts only where it could be exceeded."""
    body = engine_body(call, route)
    raw = encoded(body)
    budget = route.budget
    if budget is None or surely_fits(raw, budget) or call.endpoint not in _BUDGETED:
        return raw
    body, fitted = budgeted(body, budget)
    if not fitted.is_trimmed:
        return raw
    account.note(TRIMMED)
    account.extra().dropped_turns = fitted.dropped_turns
    return encoded(body)


@lru_cache(maxsize=1024)
def _fixed_headers(accept: str, api_key: str | None, key_header: str) -> tuple[tuple[str, str], ...]:
    key = ((key_header, f"Bearer {api_key}" if key_header == "authorization" else api_key),) if api_key else ()
    return (JSON_TYPE, ("accept", accept), ("accept-encoding", "identity"), *key)


def engine_headers(
    route: ChatRoute, release: str, left_s: float, accept: str = "application/json"
) -> tuple[tuple[str, str], ...]:
    """Return the headers of an engine's requests that do not depend on the single request but for the time left."""
    return (
        *_fixed_headers(accept, route.api_key, route.key_header),
        ("x-shipway-release", release),
        ("x-request-timeout-ms", _ms(left_s)),
        *route.engine_headers,
    )


def engine_address(route: ChatRoute, endpoint: str) -> str:
    """Return the address of an engine's endpoint."""
    return _url(route.engine_base_url, endpoint, route.url_query)


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))


@lru_cache(maxsize=1024)
def _url(base_url: str, endpoint: str, query: str) -> str:
    return f"{base_url.rstrip('/')}/{endpoint}{query}"


def engine_body(call: ModelCall, route: ChatRoute) -> dict[str, Any]:
    """Return what the engine is asked: the release's prompt and decoding around the caller's request."""
    if call.endpoint is Endpoint.EMBEDDINGS or call.endpoint is Endpoint.RERANK:
        return {**call.body, "model": route.upstream_model}
    if call.endpoint is Endpoint.RESPONSES:
        return response_body(call.body, route)
    set_by_caller = call.body
    if None in set_by_caller.values() or not _OURS.isdisjoint(set_by_caller):
        # What names the conversation is ours; engines refuse or misread it.
        set_by_caller = {
            name: value for name, value in set_by_caller.items() if value is not None and name not in _OURS
        }
    body = {**route.decoding, **set_by_caller, "model": route.upstream_model}
    if "max_completion_tokens" in set_by_caller and "max_tokens" not in set_by_caller:
        body.pop("max_tokens", None)
    if route.limits.max_output_tokens is not None:
        _cap_output(body, route.limits.max_output_tokens)
    if call.endpoint is Endpoint.CHAT:
        body["messages"] = [*route.prefix_messages, *call.body["messages"]]
    if call.stream:
        body["stream_options"] = {**(call.body.get("stream_options") or {}), "include_usage": True}
    return body


@dataclass(frozen=True, slots=True)
class Splice:
    """What turns a caller's bytes into what an engine is asked, where nothing else changes than is named here.

    `model` replaces `route`, both as JSON with their key; `defaults` are settings that the caller may have left out,
    `most` is what `max_tokens` may say at most, and `prefix` are messages, as JSON, that go before the caller's.
    """

    route: bytes
    model: bytes
    defaults: tuple[tuple[str, bytes], ...] = ()
    most: int | None = None
    prefix: bytes = b""

    def of(self, raw: bytes, body: Mapping[str, Any]) -> bytes | None:
        """Return what `engine_body` would give, encoded; None when that takes more than splicing.

        `raw` must be written as the encoder writes: else the key could be spelled in another way, and what looks like
        it stand somewhere else.
        """
        at = raw.find(self.route)
        behind = at + len(self.route)
        # What stands first is the body's own key; elsewhere there must be no second one.
        if at < 1 or (at > 1 and raw.find(self.route, behind) >= 0):
            return None
        if None in body.values() or not _UNSPLICED.isdisjoint(body):
            return None
        if self.most is not None:
            asked = body.get("max_tokens")
            if asked is not None and (asked.__class__ is not int or asked > self.most):
                return None
        start, end = raw[:at], raw[behind:]
        if self.prefix:
            start, end = self._prefixed(start), self._prefixed(end)
            if len(start) + len(end) != len(raw) - len(self.route) + len(self.prefix):
                return None
        spliced = b"".join((start, self.model, end))
        for name, setting in self.defaults:
            if name not in body:
                spliced = b"{%b,%b" % (setting, spliced[1:])
        return spliced

    def _prefixed(self, part: bytes) -> bytes:
        """Return a part of a body with the prefix wherever messages might begin: once, when they are the body's."""
        return part.replace(_MESSAGES, _MESSAGES + self.prefix)


def asking_usage(spliced: bytes, body: Mapping[str, Any]) -> bytes | None:
    """Return a stream's spliced body with the wish for its usage, None where the caller has other wishes."""
    wishes = body.get("stream_options")
    if wishes is None:
        return b"%b,%b}" % (spliced[:-1], _WITH_USAGE)
    return spliced if wishes.__class__ is dict and wishes.get("include_usage") is True else None


def splice(route: ChatRoute, endpoint: Endpoint, name: str) -> Splice:
    """Return how requests of a route are spliced."""
    is_chat = endpoint is Endpoint.CHAT
    makes_text = is_chat or endpoint is Endpoint.COMPLETIONS
    decoding = dict(route.decoding) if makes_text else {}
    most = route.limits.max_output_tokens if makes_text else None
    if most is not None:
        _cap_output(decoding, most)
    prefix = route.prefix_messages if is_chat else ()
    # Each goes before what stands there, so the last comes first.
    defaults = tuple((key, _within({key: value})) for key, value in reversed([*decoding.items()]))
    before = b"".join([encoded(message) + b"," for message in prefix])
    return Splice(_within({"model": name}), _within({"model": route.upstream_model}), defaults, most, before)


def _within(made: Mapping[str, Any]) -> bytes:
    """Return an object's JSON without its braces."""
    return encoded(made)[1:-1]


def is_no_answer(reply: Mapping[str, Any]) -> bool:
    """Return whether what an engine sent with a 200 is an error all the same, or an answer without choices."""
    if "choices" in reply:
        return not isinstance(reply["choices"], list)
    return bool(reply.get("error")) and _ANSWERS.isdisjoint(reply)


def _no_answer(why: str) -> RefusedError:
    return RefusedError(502, f"the engine's answer cannot be used: {why}; try again", code="upstream_invalid")


def usage_or_estimate(reply: Mapping[str, Any], call: ModelCall) -> Usage:
    """Return what a whole reply has used, by the lengths of question and answer when the engine does not tell."""
    told = usage_of(reply)
    if told is not None:
        return told
    output = -(-len(reply_text(reply)) // _CHARS_PER_TOKEN)
    return Usage(uncached=estimated_tokens(call.input_chars), output=output, estimated=True)


def estimated_tokens(chars: int) -> int:
    """Return about how many tokens a text of so many characters has."""
    return -(-chars // _CHARS_PER_TOKEN)


def reply_text(reply: Mapping[str, Any]) -> str:
    """Return the text of a reply's first choice, whatever shape an engine gave it."""
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        return response_text(reply)
    message = first.get("message")
    return text_of(message.get("content")) if isinstance(message, dict) else text_of(first.get("text"))


def _cap_output(body: dict[str, Any], limit: int) -> None:
    name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    body[name] = min(body.get(name, limit), limit)


def _input_field(endpoint: Endpoint) -> str:
    names = {Endpoint.CHAT: "messages", Endpoint.COMPLETIONS: "prompt", Endpoint.RERANK: "documents"}
    return names.get(endpoint, "input")


async def refuse_errors(response: EngineResponse, account: Account) -> None:
    """Raise what a caller may know of an engine's error; a 429 and a 4xx are passed on with their words."""
    status = response.status
    if status == _OK:
        return
    after = dict(response.headers).get("retry-after")
    if status >= _SERVER_ERROR or status < _BAD_REQUEST:
        shown = status if status in {503, 504} else 502
        raise RefusedError(
            shown, f"the engine answered {status}; try again", code=f"upstream_{status}", retry_after=after
        )
    if status in _NOT_THE_CALLERS:
        message = f"the engine refused the gateway's own credentials ({status}); tell the operator"
        raise RefusedError(502, message, code=f"upstream_{status}")
    # Both arms send the same share of bad requests and share a provider's bad hours: a release with more of them, or
    # whose own engine has no room for its users, is worse.
    account.note(events.ERROR)
    try:
        told = _told(await response.whole(_ERROR_BODY_BYTES))
    except RefusedError:
        told = {}
    said, code, param = told.get("message"), told.get("code"), told.get("param")
    raise RefusedError(
        status,
        said if isinstance(said, str) and said else f"the engine answered {status}",
        code=code if isinstance(code, str) and code else f"upstream_{status}",
        param=param if isinstance(param, str) else None,
        retry_after=after,
    )


def _told(raw: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _require_kind(response: EngineResponse, kind: str) -> None:
    found = dict(response.headers).get("content-type", "")
    if not found.lower().startswith(kind):
        raise EngineBrokenError(f"the engine answered with {found!r}, not {kind}")
