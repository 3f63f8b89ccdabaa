"""Responses that an engine has kept: read, their input listed, cancelled, deleted. `app` hands `/v1/responses/ID` over.

The id's seal names engine and tenant, so the request goes to the engine that made the response, whichever worker gets
it. Nothing is generated, so no release is judged by it and nothing but a request is taken from the caller's limits.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from shipway.gateway.accounting import Account
from shipway.gateway.admission import Admission
from shipway.gateway.attempts import EngineCalls
from shipway.gateway.auth import Caller
from shipway.gateway.conversation import identify_call
from shipway.gateway.exchange import Exchange
from shipway.gateway.model import GatewaySettings
from shipway.gateway.patience import Patience
from shipway.gateway.ports import ChatRoute, EngineRequest
from shipway.gateway.relay import engine_address, engine_headers, refuse_errors
from shipway.gateway.replies import JSON_TYPE, RefusedError
from shipway.gateway.response_names import ResponseNames, sealed_reply

PREFIX = "/v1/responses/"

_PATH = re.compile(r"([A-Za-z0-9_.:-]{1,256})(|/input_items|/cancel)")
_METHODS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"": ("GET", "DELETE"), "/input_items": ("GET",), "/cancel": ("POST",)}
)
_STREAM = re.compile(r"(?:^|&)stream=(?!false(?:&|$))")
_QUERY = re.compile(r"[!-~]*")
_OK = 200


class ResponseDesk:
    """Serves what is asked about kept responses."""

    def __init__(self, admission: Admission, calls: EngineCalls, settings: GatewaySettings) -> None:
        self._admission = admission
        self._calls = calls
        self._settings = settings

    async def serve(self, exchange: Exchange, account: Account) -> None:
        """Pass a request to the engine that has the response, and its reply back."""
        caller = self._admission.invoker(exchange, account)
        given, rest, query = _asked(exchange)
        found = next(self._places(caller, given), None)
        if found is None:
            raise _not_found(given)
        route, target, names, own = found
        conversation = identify_call(None, request_id=account.id)
        with await self._admission.admit(exchange, account, caller, route, conversation):
            release, account.release = account.release, ""
            url = engine_address(target, f"responses/{own}{rest}")
            joined = f"{url}{'&' if '?' in url else '?'}{query}" if query else url
            headers = (*engine_headers(target, release, self._settings.deadline_s), ("x-request-id", account.id))
            wait_s = self._settings.connect_timeout_s
            request = EngineRequest(exchange.method, joined, headers, b"", wait_s, release=release)
            raw = await self._answered(account, target, request)
        exchange.reply(_OK, (JSON_TYPE,), sealed_reply(names, raw))

    async def _answered(self, account: Account, target: ChatRoute, request: EngineRequest) -> bytes:
        limit_s = self._settings.deadline_s
        patience = Patience(self._calls.watch, deadline_s=limit_s, first_s=limit_s, idle_s=limit_s)
        account.calling(target.engine_base_url)
        again = request.method == "GET" and target.replayable
        async with self._calls.reply(target.engine_base_url, request, patience, replayable=again) as response:
            await refuse_errors(response, account)
            return await response.whole(self._settings.max_reply_bytes)

    def _places(self, caller: Caller, given: str) -> Iterator[tuple[str, ChatRoute, ResponseNames, str]]:
        """Yield the routes of a caller that reach the response's engine; nothing when it is not the tenant's."""
        state = self._admission.state()
        for loaded in state.releases.values():
            for route, runtime in loaded.runtime.routes.items():
                if route not in state.routes or not caller.may_use(route) or not isinstance(runtime, ChatRoute):
                    continue
                for target in _targets(runtime):
                    names = ResponseNames(self._settings.question_hash_key, caller.key.tenant, target.engine_base_url)
                    own = names.opened(given) if names.is_here(given) else None
                    if own is not None:
                        yield route, target, names, own


def _asked(exchange: Exchange) -> tuple[str, str, str]:
    """Return the id, what is asked about it, and the query.

    Raises:
        RefusedError: 404 or 405, no such address; 400, a stream or a query that is none.
    """
    parts = _PATH.fullmatch(exchange.path.removeprefix(PREFIX))
    if parts is None:
        raise _not_found(exchange.path.removeprefix(PREFIX))
    given, rest = parts.groups()
    if exchange.method not in _METHODS[rest]:
        exchange.stamp.append(("allow", ", ".join(_METHODS[rest])))
        wanted = " or ".join(_METHODS[rest])
        raise RefusedError(405, f"use {wanted} here, not {exchange.method}", code="method_not_allowed")
    query = exchange.query.decode("latin-1")
    if not _QUERY.fullmatch(query):
        raise RefusedError(400, "the query has characters that must be percent-encoded")
    if _STREAM.search(query):
        raise RefusedError(400, "a kept response is not streamed again here; leave stream out", param="stream")
    return given, rest, query


def _targets(route: ChatRoute) -> Iterator[ChatRoute]:
    """Yield a route's engines, each address once."""
    planned = route.plan.targets.values() if route.plan is not None else ()
    for target in (route, *planned):
        if isinstance(target, ChatRoute):
            for address in dict.fromkeys((target.engine_base_url, *target.replicas)):
                yield replace(target, engine_base_url=address)


def _not_found(given: str) -> RefusedError:
    message = f"there is no response {given[:100]!r}, or the engine that made it is not in use any more"
    return RefusedError(404, message, code="response_not_found", param="response_id")
