"""The gateway as an application: one exchange in, one reply, one record, one log line.

`entrypoints/dataplane` serves it; the wiring builds it.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

from shipway.core import record as events
from shipway.core.clock import Clock
from shipway.core.errors import StoreError
from shipway.core.ids import ulid
from shipway.gateway.accounting import CLIENT_GONE_STATUS, Account
from shipway.gateway.admission import Admission
from shipway.gateway.attempts import EngineCalls
from shipway.gateway.auth import OPERATE
from shipway.gateway.exchange import Exchange
from shipway.gateway.feedback import FeedbackDesk
from shipway.gateway.http_route import PREFIX, HttpProxy
from shipway.gateway.kept import Kept
from shipway.gateway.model import GatewaySettings
from shipway.gateway.model_api import ModelApi
from shipway.gateway.ofrep import PREFIX as FLAGS_PREFIX
from shipway.gateway.ofrep import FlagDesk
from shipway.gateway.ports import EngineClient, EventNote, RecordSink, RequestLogger, RequestMetrics
from shipway.gateway.quota_book import QuotaBook
from shipway.gateway.replies import RefusedError, Reply, error_reply, refusal_of
from shipway.gateway.serving import Serving
from shipway.gateway.shadow_desk import ShadowDesk, ShadowSettings
from shipway.gateway.status import StatusPages
from shipway.gateway.tokens import TokenDesk
from shipway.gateway.traced import TRACEPARENT, join_trace
from shipway.gateway.user_word import FEEDBACK, FORGET, UserWord
from shipway.gateway.validate import STREAMING, Endpoint
from shipway.telemetry.tracing import Tracer

Handler = Callable[[Exchange, Account], Awaitable[None]]

SOCKET = "/ws"
"""What a streaming endpoint's path ends with when it is spoken to over a WebSocket."""
_MODELS = "/v1/models"
_UNCOUNTED = frozenset({"/health", "/ready"})
_TOO_LARGE = 413
_SERVER_ERROR = 500
_LAST_WORD_S = 1.0
_LINGER_S = 2.0


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """What the gateway works with; `log` writes one line for each request, `note` any other event.

    Without `quotas` nobody is limited, without `tokens` keys alone open.
    """

    engines: EngineClient
    records: RecordSink
    metrics: RequestMetrics
    log: RequestLogger
    note: EventNote
    clock: Clock
    uniform: Callable[[], float]
    quotas: QuotaBook | None = None
    tokens: TokenDesk | None = None
    kept: Kept = field(default_factory=Kept)
    shadow: ShadowSettings | None = None
    feedback: FeedbackDesk | None = None
    tracer: Tracer | None = None


class Gateway:
    """The application."""

    def __init__(self, parts: GatewayParts, serving: Serving, settings: GatewaySettings) -> None:
        self._parts = parts
        self._settings = settings
        self._serving = serving
        # Ids have to be unique, not secret; the system's generator costs a system call each time.
        self._random_bits = random.Random(secrets.randbits(128)).getrandbits  # noqa: S311
        calls = self.calls = EngineCalls(parts.engines, settings, parts.clock, uniform=parts.uniform)
        self._admission = Admission(serving, parts.records, settings, parts.clock, parts.quotas, parts.tokens)
        self._pages = StatusPages(serving, calls, parts.metrics, settings, parts.clock)
        self._flags = FlagDesk(self._admission, settings, parts.clock)
        self._proxy = HttpProxy(self._admission, calls, parts.records, settings)
        kept = parts.kept
        self.shadow = self._shadow_desk()
        memory = kept.memory.store if kept.memory else None
        users = UserWord(self._admission, settings, feedback=parts.feedback, memory=memory)
        models = ModelApi(
            self._admission,
            kept.relay(calls, parts.records, settings),
            kept.desk(parts.records, settings),
            parts.records,
            settings,
            self.shadow,
        )
        self._routes: Mapping[str, tuple[str, Handler]] = {
            **{f"/v1/{endpoint}": ("POST", partial(models.openai, endpoint=endpoint)) for endpoint in Endpoint},
            **{path: ("POST", partial(models.openai, endpoint=Endpoint.RERANK)) for path in ("/rerank", "/v2/rerank")},
            **{f"/v1/{endpoint}{SOCKET}": ("GET", models.socket) for endpoint in STREAMING},
            "/generate": ("POST", models.generate),
            "/rag_answer": ("POST", models.rag_answer),
            FEEDBACK: ("POST", users.feedback),
            FORGET: ("POST", users.forget),
            "/health": ("GET", self._health),
            "/ready": ("GET", self._ready),
            "/metrics": ("GET", self._metrics),
            "/version": ("GET", self._version),
            _MODELS: ("GET", self._models),
            FLAGS_PREFIX: ("POST", self._flags.all),
        }

    @property
    def max_message_bytes(self) -> int:
        """Return the largest message of a WebSocket: a request's body."""
        return self._settings.max_body_bytes

    @property
    def at_work(self) -> int:
        """Return how many requests are being served."""
        return self._admission.places.at_work

    @property
    def waiting(self) -> int:
        """Return how many requests wait for a place at work."""
        return self._admission.places.waiting

    @property
    def beside(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """Return what has to run beside the server."""
        return () if self.shadow is None else (self.shadow.run,)

    def _shadow_desk(self) -> ShadowDesk | None:
        """Return what serves shadow copies, with breakers of its own; the server runs its `run` beside itself."""
        parts = self._parts
        if parts.shadow is None:
            return None
        calls = EngineCalls(parts.engines, self._settings, parts.clock, uniform=parts.uniform)
        return ShadowDesk(calls, self._serving, parts.records, self._settings, parts.shadow, parts.note)

    def drain(self) -> None:
        """Answer `/ready` with 503 from now on; requests are still served."""
        self._serving.draining = True

    async def serve(self, exchange: Exchange) -> None:
        """Answer a request; whatever happens ends in a reply, a record and a log line."""
        account = self._opened()
        account.stamp = exchange.stamp
        exchange.stamp.append(("x-request-id", account.id))
        if self._parts.tracer is not None or exchange.headers.raw(TRACEPARENT) is not None:
            join_trace(self._parts.tracer, exchange, account, self._routes)
        status = _SERVER_ERROR
        try:
            await self._handler(exchange)(exchange, account)
            status = account.record.status if account.record else 200
        except asyncio.CancelledError:
            status = self._abort(account, gone=exchange.gone)
            raise
        except Exception as error:  # noqa: BLE001 - the edge: every failure becomes a reply in our shape
            status = await self._fail(exchange, account, error)
        finally:
            if account.hold is not None:
                account.settle()
            if exchange.path not in _UNCOUNTED:
                self._publish(account, status)

    def refused(self, refusal: RefusedError) -> Reply:
        """Return the reply to what is no request, or one too many; it is counted and logged."""
        account = self._opened()
        account.blame(refusal)
        self._publish(account, refusal.status)
        reply = error_reply(refusal, account.id)
        return replace(reply, headers=(("x-request-id", account.id), *reply.headers))

    def _opened(self) -> Account:
        request_id = f"req_{ulid(self._parts.clock.now_s(), self._random_bits)}"
        return Account.opened(request_id, self._parts.clock, self._settings)

    def _handler(self, exchange: Exchange) -> Handler:
        if exchange.path.startswith(PREFIX):
            return self._proxy.serve
        if exchange.path.startswith(f"{FLAGS_PREFIX}/"):
            return self._flags.one if exchange.method == "POST" else partial(self._wrong_method, allowed="POST")
        if exchange.path.startswith(f"{_MODELS}/"):
            method, handler = "GET", cast("Handler", self._model)
        elif exchange.path in self._routes:
            method, handler = self._routes[exchange.path]
        else:
            return self._unknown
        if exchange.method == method or (exchange.method, method) == ("HEAD", "GET"):
            return handler
        return partial(self._wrong_method, allowed=method)

    async def _fail(self, exchange: Exchange, account: Account, error: Exception) -> int:
        """Say what went wrong in the way that is still possible, after the record is written."""
        refusal = refusal_of(error)
        if refusal.status == _SERVER_ERROR:
            self._parts.note("request_failed", request_id=account.id, error=repr(error))
        account.blame(refusal)
        self._commit(account, refusal.status)
        if exchange.complete:
            return refusal.status
        try:
            async with asyncio.timeout(_LAST_WORD_S if exchange.started else self._settings.deadline_s):
                await self._say(exchange, account, refusal)
        except TimeoutError:
            self._parts.note("client_not_reading", request_id=account.id)
        return refusal.status

    async def _say(self, exchange: Exchange, account: Account, refusal: RefusedError) -> None:
        if not exchange.started:
            await self._refuse(exchange, error_reply(refusal, account.id))
        elif account.stream:
            exchange.finish(exchange.say_error(refusal, account.id))
        # Else a service's reply is cut: leaving it unfinished makes the server close the connection.

    async def _refuse(self, exchange: Exchange, reply: Reply) -> None:
        if reply.status != _TOO_LARGE:
            exchange.reply(reply.status, reply.headers, reply.body)
            return
        length = ("content-length", str(len(reply.body)))
        exchange.start(reply.status, (*reply.headers, length, ("connection", "close")))
        await exchange.write(reply.body)
        await exchange.linger(4 * self._settings.max_body_bytes, _LINGER_S)
        exchange.finish()

    def _abort(self, account: Account, *, gone: bool) -> int:
        if gone:
            account.note(events.CLIENT_GONE)
            account.error_type = "client_gone"
            status = CLIENT_GONE_STATUS
        else:
            account.blame(RefusedError(503, "the worker stops", code="stopped"))
            status = 503
        self._commit(account, status)
        return status

    def _commit(self, account: Account, status: int) -> None:
        try:
            account.commit(status, self._parts.records)
        except StoreError as error:
            # The caller learns of a failure already; there is nothing left to hold back.
            self._parts.note("record_not_written", request_id=account.id, error=error.message)

    def _publish(self, account: Account, status: int) -> None:
        record = account.unwritten(status)
        parts, trace = self._parts, account.trace
        parts.metrics.observe(record)
        if trace is None and not account.question:
            parts.log(record)
            return
        parts.log(record, question=account.question, trace_id=trace.trace_id if trace else "")
        if trace is not None and parts.tracer is not None:
            parts.tracer.finish(record, trace)

    async def _health(self, exchange: Exchange, _account: Account) -> None:
        _send(exchange, self._pages.health())

    async def _ready(self, exchange: Exchange, _account: Account) -> None:
        _send(exchange, await self._pages.ready(has_room=self._parts.records.has_room))

    async def _metrics(self, exchange: Exchange, account: Account) -> None:
        if not self._settings.metrics_public:
            self._admission.caller(exchange, account).require(OPERATE)
        # Rendering takes milliseconds when there are many releases; streams must not wait for it.
        _send(exchange, await asyncio.to_thread(self._pages.metrics))

    async def _version(self, exchange: Exchange, account: Account) -> None:
        self._admission.caller(exchange, account).require(OPERATE)
        _send(exchange, self._pages.version())

    async def _models(self, exchange: Exchange, account: Account) -> None:
        caller = self._admission.caller(exchange, account)
        _send(exchange, self._pages.models(self._admission.state(), caller))

    async def _model(self, exchange: Exchange, account: Account) -> None:
        caller = self._admission.caller(exchange, account)
        name = exchange.path.removeprefix(f"{_MODELS}/")
        _send(exchange, self._pages.model(self._admission.state(), caller, name))

    async def _unknown(self, exchange: Exchange, account: Account) -> None:
        self._admission.caller(exchange, account)
        raise RefusedError(404, f"nothing is served at {exchange.path[:100]!r}", code="unknown_path")

    async def _wrong_method(self, exchange: Exchange, account: Account, *, allowed: str) -> None:
        self._admission.caller(exchange, account)
        exchange.stamp.append(("allow", allowed))
        raise RefusedError(405, f"use {allowed} here, not {exchange.method}", code="method_not_allowed")


def _send(exchange: Exchange, reply: Reply) -> None:
    exchange.reply(reply.status, reply.headers, reply.body)
