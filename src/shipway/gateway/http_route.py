"""Routes of kind http: a process of the user's own behind the gateway, its address taken from the snapshot."""

import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from urllib.parse import unquote

from shipway.gateway.accounting import Account
from shipway.gateway.admission import Admission, Admitted
from shipway.gateway.attempts import EngineCalls
from shipway.gateway.conversation import HEADER, identify_call
from shipway.gateway.exchange import Exchange
from shipway.gateway.model import GatewaySettings
from shipway.gateway.patience import Patience
from shipway.gateway.ports import EngineBrokenError, EngineRequest, EngineResponse, HttpRoute, RecordSink
from shipway.gateway.replies import RefusedError

PREFIX = "/svc/"

# Source: RFC 9110 section 7.6.1, with the older Keep-Alive and Proxy-Connection.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# The key is the gateway's; a service must not learn it. `Expect` was answered here.
_NOT_PASSED = frozenset({"authorization", "host", "expect", "x-request-id", "traceparent", "tracestate"})
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})
_DOTS = re.compile(r"(?:^|[/\\])\.\.?(?:[/\\]|$)")
_OK = 200
_SERVER_ERROR = 500
_LAST_STATUS = 599


class HttpProxy:
    """Serves `/svc/{route}/{path}`."""

    def __init__(
        self, admission: Admission, calls: EngineCalls, records: RecordSink, settings: GatewaySettings
    ) -> None:
        self._admission = admission
        self._calls = calls
        self._records = records
        self._settings = settings

    async def serve(self, exchange: Exchange, account: Account) -> None:
        """Pass a request to the release's process and its reply back, both as streams."""
        caller = self._admission.invoker(exchange, account)
        route, path = _split(exchange)
        conversation = identify_call(exchange.headers.get(HEADER), request_id=account.id)
        with await self._admission.admit(exchange, account, caller, route, conversation) as admitted:
            if not isinstance(admitted.runtime, HttpRoute):
                raise RefusedError(400, f"the route {route!r} is not of kind http; POST /v1/chat/completions serves it")
            endpoint = dict(admitted.traffic.endpoints).get(admitted.release)
            if endpoint is None:
                raise RefusedError(503, f"no process serves {route!r} now; try again", retry_after="1")
            await self._pass(exchange, account, admitted.runtime, endpoint, _request(exchange, account, admitted, path))

    async def _pass(
        self, exchange: Exchange, account: Account, route: HttpRoute, endpoint: str, request: EngineRequest
    ) -> None:
        idle_s = min(self._settings.stream_idle_s, route.timeout_s)
        patience = Patience(self._calls.watch, deadline_s=route.timeout_s, first_s=route.timeout_s, idle_s=idle_s)
        replayable = request.method in _IDEMPOTENT and request.body == b""
        request_url = endpoint.rstrip("/") + request.url
        sent = EngineRequest(
            request.method,
            request_url,
            request.headers,
            request.body,
            self._settings.connect_timeout_s,
            release=account.release,
        )
        account.calling(endpoint)
        async with self._calls.reply(endpoint, sent, patience, replayable=replayable) as response:
            if not _OK <= response.status <= _LAST_STATUS:
                raise EngineBrokenError(f"the service answered with status {response.status}")
            if response.status >= _SERVER_ERROR:
                account.blame(RefusedError(502, "", code=f"upstream_{response.status}"))
            exchange.start(response.status, _passed(response.headers))
            await self._pass_body(exchange, account, response, patience)

    async def _pass_body(
        self, exchange: Exchange, account: Account, response: EngineResponse, patience: Patience
    ) -> None:
        whole = _content_length(response)
        sent = 0
        async for data in response.chunks():
            account.first_token()
            sent += len(data)
            if whole is not None and sent >= whole:
                # The client takes the answer as complete with this byte, not with the end of the message.
                account.commit(response.status, self._records)
            patience.for_client()
            await exchange.write(data)
            patience.heard()
        account.commit(response.status, self._records)
        exchange.finish()


def _split(exchange: Exchange) -> tuple[str, str]:
    """Return route and the rest of the path, still percent-encoded, with its query."""
    raw = exchange.raw_path.decode("latin-1")
    route, _, rest = raw.partition("?")[0].removeprefix(PREFIX).partition("/")
    # Twice: a service that decodes once more must not see dots that we have not seen.
    if _DOTS.search(unquote(unquote(rest))):
        raise RefusedError(400, "the path may not hold '.' or '..' segments")
    query = exchange.query.decode("latin-1")
    return unquote(route), f"/{rest}?{query}" if query else f"/{rest}"


class _Body:
    """The caller's body, read when it is sent: for a service that cannot be reached nothing is begun."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._exchange.body_chunks()


def _request(exchange: Exchange, account: Account, admitted: Admitted, path: str) -> EngineRequest:
    headers = [(name, value) for name, value in _passed(exchange.headers.items) if name not in _NOT_PASSED]
    headers += [
        ("x-shipway-release", admitted.release),
        ("x-shipway-conversation", account.conversation.id if account.conversation else ""),
        ("x-shipway-tenant", admitted.caller.key.tenant),
        ("x-request-id", account.id),
        *account.onward,
    ]
    has_body = any(name in {"content-length", "transfer-encoding"} for name, _ in exchange.headers.items)
    body: bytes | AsyncIterable[bytes] = _Body(exchange) if has_body else b""
    return EngineRequest(exchange.method, path, tuple(headers), body)


def _passed(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers that go on: not those of this hop, and none in our own name."""
    known = list(headers)
    named = {token.strip().lower() for name, value in known if name == "connection" for token in value.split(",")}
    dropped = _HOP_BY_HOP | named
    return [
        (name, value)
        for name, value in known
        if name not in dropped and name not in {"x-request-id", "date"} and not name.startswith("x-shipway-")
    ]


def _content_length(response: EngineResponse) -> int | None:
    value = dict(response.headers).get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() else None
