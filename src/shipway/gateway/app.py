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
from shipway.core.ids import UlidSource
from shipway.core.record import ServedRequest
from shipway.gateway.accounting import CLIENT_GONE_STATUS, Account
from shipway.gateway.admission import Admission
from shipway.gateway.attempts import EngineCalls
from shipway.gateway.exchange import Exchange
from shipway.gateway.feedback import FeedbackDesk
from shipway.gateway.flight import Flight
from shipway.gateway.http_route import PREFIX, HttpProxy
from shipway.gateway.kept import Kept
from shipway.gateway.lane import Lane
from shipway.gateway.lane_route import LaneTools
from shipway.gateway.lane_routes import LaneRoutes
from shipway.gateway.model import GatewaySettings
from shipway.gateway.model_api import Beside, ModelApi
from shipway.gateway.ofrep import PREFIX as FLAGS_PREFIX
from shipway.gateway.ofrep import FlagDesk
from shipway.gateway.pages import MODELS, Pages
from shipway.gateway.places import Places
from shipway.gateway.ports import (
    DirectEngines,
    EngineClient,
    EngineFailedError,
    EventNote,
    RecordSink,
    RequestLogger,
    RequestMetrics,
)
from shipway.gateway.quota_book import QuotaBook
from shipway.gateway.record_desk import RecordDesk
from shipway.gateway.replies import RefusedError, Reply, error_reply, refusal_of
from shipway.gateway.response_desk import PREFIX as RESPONSES
from shipway.gateway.response_desk import ResponseDesk
from shipway.gateway.sampled_lane import SampledLaneRoutes
from shipway.gateway.sampling import AnswerSampler
from shipway.gateway.serving import Serving
from shipway.gateway.shadow_desk import ShadowDesk, ShadowSettings
from shipway.gateway.status import StatusPages
from shipway.gateway.tokens import TokenDesk
from shipway.gateway.traced import TRACEPARENT, join_trace
from shipway.gateway.user_word import FEEDBACK, FORGET, UserWord
from shipway.gateway.validate import STREAMING, Endpoint
from shipway.telemetry.tracing import RequestTrace, Tracer

Handler = Callable[[Exchange, Account], Awaitable[None]]

SOCKET = "/ws"
"""What a streaming endpoint's path ends with when it is spoken to over a WebSocket."""
_UNCOUNTED = frozenset({"/health", "/ready"})
_TOO_LARGE = 413
_SERVER_ERROR = 500
_LAST_WORD_S = 1.0
_LINGER_S = 2.0
_SMALL_BYTES = 64 * 1024
_SHORTLY_S = 0.25


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
    sampler: AnswerSampler | None = None
    tracer: Tracer | None = None


class Gateway:
    """The application."""

    def __init__(self, parts: GatewayParts, serving: Serving, settings: GatewaySettings) -> None:
        self._parts = parts
        self._settings = settings
        self._serving = serving
        # Ids have to be unique, not secret; the system's generator costs a system call each time.
        self._ids = UlidSource(random.Random(secrets.randbits(128)).randbytes)  # noqa: S311
        self.calls = EngineCalls(parts.engines, settings, parts.clock, uniform=parts.uniform)
        self.shadow: ShadowDesk | None = None
        serving.on_gone.append(self.calls.forget)
        self._equip(None)

    def obey(self, parts: GatewayParts, settings: GatewaySettings) -> None:
        """Serve by other parts and settings from the next request on; what is under way ends by the old ones.

        One step of the event loop. Breakers, places, the engines' pauses and the counts of shadows stay.
        """
        before = (self._admission, self._api)
        self._parts, self._settings = parts, settings
        self.calls.obey(settings)
        self._equip(before)

    def _equip(self, before: "tuple[Admission, ModelApi] | None") -> None:
        parts, settings, serving, calls = self._parts, self._settings, self._serving, self.calls
        self._admission = Admission(serving, parts.records, settings, parts.clock, parts.quotas, parts.tokens)
        status = StatusPages(serving, calls, parts.metrics, settings, parts.clock)
        pages = self._pages = Pages(self._admission, status, parts.records, settings)
        self._flags = FlagDesk(self._admission, settings, parts.clock)
        self._proxy = HttpProxy(self._admission, calls, parts.records, settings)
        self._responses = ResponseDesk(self._admission, calls, settings)
        kept = parts.kept
        self.shadow = self._shadow_desk()
        memory = kept.memory.store if kept.memory else None
        users = UserWord(self._admission, settings, feedback=parts.feedback, memory=memory)
        models = self._api = ModelApi(
            self._admission,
            kept.relay(calls, parts.records, settings),
            kept.desk(parts.records, settings),
            parts.records,
            settings,
            Beside(self.shadow, parts.sampler),
        )
        if before is not None:
            self._admission.inherit(before[0])
            models.inherit(before[1])
        self._routes: Mapping[str, tuple[str, Handler]] = {
            **{f"/v1/{endpoint}": ("POST", partial(models.openai, endpoint=endpoint)) for endpoint in Endpoint},
            **{path: ("POST", partial(models.openai, endpoint=Endpoint.RERANK)) for path in ("/rerank", "/v2/rerank")},
            **{f"/v1/{endpoint}{SOCKET}": ("GET", models.socket) for endpoint in STREAMING},
            "/generate": ("POST", models.generate),
            "/rag_answer": ("POST", models.rag_answer),
            FEEDBACK: ("POST", users.feedback),
            FORGET: ("POST", users.forget),
            "/health": ("GET", pages.health),
            "/ready": ("GET", pages.ready),
            "/metrics": ("GET", pages.metrics),
            "/version": ("GET", pages.version),
            MODELS: ("GET", pages.models),
            FLAGS_PREFIX: ("POST", self._flags.all),
        }
        self.lane = self._lane()

    @property
    def max_message_bytes(self) -> int:
        """Return the largest message of a WebSocket: a request's body."""
        return self._settings.max_body_bytes

    @property
    def at_work(self) -> int:
        """Return how many requests are being served."""
        return self._admission.places.at_work

    @property
    def places(self) -> Places:
        """Return the places at work: they know who waits for one, and who for a route that is parked."""
        return self._admission.places

    @property
    def beside(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """Return what has to run beside the server."""
        found = (self.shadow, self._parts.sampler)
        return tuple(part.run for part in found if part is not None)

    def _shadow_desk(self) -> ShadowDesk | None:
        """Return what serves shadow copies, with breakers of its own; the server runs its `run` beside itself."""
        parts = self._parts
        if parts.shadow is None:
            return None
        before = self.shadow
        if before is None:
            calls = EngineCalls(parts.engines, self._settings, parts.clock, uniform=parts.uniform)
            self._serving.on_gone.append(calls.forget)
        else:
            calls = before.calls
        desk = ShadowDesk(calls, self._serving, parts.records, self._settings, parts.shadow, parts.note)
        if before is not None:
            desk.queue.counts = before.queue.counts
        return desk

    def drain(self, *, ends: bool = False) -> None:
        """Answer `/ready` with 503 from now on; requests are served, but not those of parked routes once it `ends`."""
        self._serving.draining = True
        if ends:
            self._serving.parking.close()

    async def serve(self, exchange: Exchange) -> None:
        """Answer a request; whatever happens ends in a reply, a record and a log line."""
        account = self._opened()
        account.stamp = exchange.stamp
        exchange.stamp.append(("x-request-id", account.id))
        if self._parts.tracer is not None or exchange.headers.raw(TRACEPARENT) is not None:
            join_trace(self._parts.tracer, exchange, account, self._routes)
        await self._run(exchange, account, self._handler(exchange)(exchange, account))

    async def resume(self, exchange: Exchange, flight: Flight) -> None:
        """Answer a request that was begun on the short way."""
        account = flight.account()
        account.stamp = exchange.stamp
        exchange.stamp += [("x-request-id", account.id), *flight.arm.stamps]
        await self._run(exchange, account, self._api.resume(exchange, account, flight))

    async def _run(self, exchange: Exchange, account: Account, work: Awaitable[None]) -> None:
        status = _SERVER_ERROR
        try:
            await work
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
        return Account.opened(self._new_id(), self._parts.clock, self._settings)

    def _new_id(self) -> str:
        return "req_" + self._ids.next(self._parts.clock.now_s())

    def _handler(self, exchange: Exchange) -> Handler:
        if exchange.path.startswith(PREFIX):
            return self._proxy.serve
        if exchange.path.startswith(f"{FLAGS_PREFIX}/"):
            return self._flags.one if exchange.method == "POST" else partial(self._pages.wrong_method, allowed="POST")
        if exchange.path.startswith(f"{MODELS}/"):
            method, handler = "GET", cast("Handler", self._pages.model)
        elif exchange.path in self._routes:
            method, handler = self._routes[exchange.path]
        elif exchange.path.startswith(RESPONSES):
            return self._responses.serve
        else:
            return self._pages.unknown
        if exchange.method == method or (exchange.method, method) == ("HEAD", "GET"):
            return handler
        return partial(self._pages.wrong_method, allowed=method)

    async def _fail(self, exchange: Exchange, account: Account, error: Exception) -> int:
        """Say what went wrong in the way that is still possible, after the record is written."""
        refusal = self._admission.turned_away(exchange, account, refusal_of(error))
        if refusal.status == _SERVER_ERROR:
            self._parts.note("request_failed", request_id=account.id, error=repr(error))
        if isinstance(error, EngineFailedError):
            self._parts.note("engine_error", request_id=account.id, model=account.model, said=error.said)
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
            if not exchange.whole:
                # Many clients send the body behind the head: read, their connection can be kept.
                await exchange.linger(_SMALL_BYTES, min(_SHORTLY_S, self._settings.deadline_s / 4))
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
        self._tell(account.unwritten(status), account.question, account.trace)

    def _tell(self, record: ServedRequest, question: str, trace: RequestTrace | None) -> None:
        parts = self._parts
        parts.metrics.observe(record)
        if trace is None and not question:
            parts.log(record)
            return
        parts.log(record, question=question, trace_id=trace.trace_id if trace else "")
        if trace is not None and parts.tracer is not None:
            parts.tracer.finish(record, trace)

    def _cut_short(self, account: Account, gone: bool) -> None:  # noqa: FBT001 - LaneTools.ended
        """Record a request that ended on the short way before its reply."""
        status = self._abort(account, gone=gone)
        if account.hold is not None:
            account.settle()
        self._publish(account, status)

    def _lane(self) -> Lane | None:
        """Return the short way, None when the parts do not allow one."""
        parts, calls, admission = self._parts, self.calls, self._admission
        if not isinstance(parts.engines, DirectEngines):
            return None
        tools = LaneTools(
            clock=parts.clock,
            settings=self._settings,
            records=parts.records,
            desk=RecordDesk(parts.records),
            places=admission.places,
            watch=calls.watch,
            limits=parts.quotas.limits if parts.quotas is not None else None,
            new_id=self._new_id,
            count_request=calls.count_request,
            calls=calls,
            publish=self._tell,
            ended=self._cut_short,
        )
        kind = LaneRoutes if parts.sampler is None else SampledLaneRoutes
        routes = kind(self._serving, admission, calls, self._api.dispatch, parts.engines, kept=parts.kept)
        if parts.sampler is not None and isinstance(routes, SampledLaneRoutes):
            routes.sampler = parts.sampler
        return Lane(tools, routes, parts.tracer)
