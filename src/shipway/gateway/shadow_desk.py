"""Offering copies of requests and serving them with the shadow's release; `app` builds one when a worker may shadow."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from shipway.core.clock import Clock
from shipway.core.errors import NotFoundError
from shipway.gateway.accounting import Account
from shipway.gateway.admission import Admitted
from shipway.gateway.answer_route import AnswerDesk
from shipway.gateway.attempts import EngineCalls
from shipway.gateway.cache_content import stream_text
from shipway.gateway.exchange import Exchange
from shipway.gateway.model import GatewaySettings
from shipway.gateway.ports import AnswerRoute, ChatRoute, EventNote, RecordSink
from shipway.gateway.recording import RecordingWire
from shipway.gateway.relay import ChatRelay, reply_text
from shipway.gateway.replies import refusal_of
from shipway.gateway.serving import Serving
from shipway.gateway.shadow import SHADOW, PairSink, ShadowCopy, ShadowQueue, is_shadowed, pair_of
from shipway.gateway.validate import Endpoint, ModelCall, last_user_text

ServeCall = Callable[[Exchange, Account, ModelCall, Admitted], Awaitable[None]]

_OK = 200
_LONGEST_ANSWER_BYTES = 1 << 20
_SHADOWED_ENDPOINTS = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})


@dataclass(frozen=True, slots=True)
class ShadowSettings:
    """How much a worker may shadow; `pairs` None keeps no answers."""

    max_queued: int = 64
    max_active: int = 2
    pairs: PairSink | None = None


class ShadowDesk:
    """The shadows of one worker. `calls` are its own: what fails here must open no breaker of the users."""

    def __init__(
        self,
        calls: EngineCalls,
        serving: Serving,
        records: RecordSink,
        settings: GatewaySettings,
        limits: ShadowSettings,
        note: EventNote,
    ) -> None:
        self.calls = calls
        self._clock: Clock = calls.clock
        self._serving = serving
        self._records = records
        self._settings = replace(settings, max_attempts=1)
        self._relay = ChatRelay(calls, records, self._settings)
        self._answers = AnswerDesk(records, self._settings)
        self._pairs = limits.pairs
        self.queue = ShadowQueue(
            self._serve,
            note,
            max_queued=limits.max_queued,
            max_active=limits.max_active,
            max_copy_s=settings.llm_deadline_s + settings.connect_timeout_s,
        )

    async def beside(
        self, exchange: Exchange, account: Account, call: ModelCall, admitted: Admitted, serve: ServeCall
    ) -> None:
        """Let a request be served, then offer a copy of it; the copy never waits and never fails."""
        if self._pairs is None or not self._is_chosen(account, admitted):
            await serve(exchange, account, call, admitted)
            self._offer(account, call, admitted, None)
            return
        wire = RecordingWire(exchange.wire, limit_bytes=_LONGEST_ANSWER_BYTES)
        exchange.wire = wire
        try:
            await serve(exchange, account, call, admitted)
        finally:
            exchange.wire = wire.wire
        self._offer(account, call, admitted, _text(wire.body, stream=call.stream))

    def _offer(self, account: Account, call: ModelCall, admitted: Admitted, answer: str | None) -> None:
        traffic = admitted.traffic
        if traffic.shadow is None or not self._is_chosen(account, admitted) or account.conversation is None:
            return
        # What operators switched (a model killed, a route locked) is about this moment; a copy does not work around it.
        if admitted.orders is not None:
            return
        if call.endpoint not in _SHADOWED_ENDPOINTS or not isinstance(admitted.runtime, ChatRoute | AnswerRoute):
            return
        # What the cache gave cost nothing; asking a shadow for it would.
        if account.extras is not None and account.extras.cache_hit:
            return
        caller = admitted.caller
        self.queue.offer(
            ShadowCopy(account.id, traffic.shadow, admitted.release, account.conversation, call, caller, answer)
        )

    async def run(self) -> None:
        """Serve copies until cancelled; the server runs this beside itself."""
        await self.queue.run()

    @staticmethod
    def _is_chosen(account: Account, admitted: Admitted) -> bool:
        traffic = admitted.traffic
        is_stable = admitted.release == traffic.stable and traffic.shadow != traffic.stable
        return is_stable and is_shadowed(traffic.shadow, traffic.shadow_share, account.id)

    async def _serve(self, copy: ShadowCopy) -> None:
        state = self._serving.current
        loaded = state.releases.get(copy.release) if state is not None else None
        if state is None or loaded is None:
            raise NotFoundError(f"the shadow release {copy.release} is not loaded here")
        if state.board is not None and state.board.orders(copy.call.route, self._clock.now_s()) is not None:
            raise NotFoundError(f"the route {copy.call.route!r} is switched; its copies wait for better times")
        account = Account.opened(f"{copy.request_id}.{SHADOW}", self._clock, self._settings)
        account.obey(state.served)
        # Without a rollout no analysis counts it; without a caller it is no tenant's.
        account.rollout = None
        account.release, account.route, account.conversation = copy.release, copy.call.route, copy.conversation
        account.note(SHADOW)
        account.extra().shadow_of = copy.request_id
        loaded.enter()
        try:
            text = await self._answered(account, copy, loaded.runtime.routes)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            refusal = refusal_of(error)
            account.blame(refusal)
            account.commit(refusal.status, self._records)
            raise
        finally:
            loaded.leave()
        account.commit(_OK, self._records)
        pair = pair_of(copy, self._clock, question=last_user_text(copy.call.body), shadow_answer=text)
        if pair is not None and self._pairs is not None:
            await self._pairs.add(pair)

    async def _answered(self, account: Account, copy: ShadowCopy, routes: Mapping[str, Any]) -> str:
        call = replace(copy.call, stream=False, wants_usage=False, body=_whole(copy.call.body))
        match routes.get(copy.call.route):
            case ChatRoute() as chat:
                _, reply = await self._relay.ask(account, call, chat)
                return reply_text(reply)
            case AnswerRoute() as documents:
                return (await self._answers.answered(account, documents, call.body["messages"], copy.caller)).text
            case _:
                raise NotFoundError(f"the shadow release {copy.release} does not serve {copy.call.route!r}")


def _whole(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}


def _text(body: bytes | None, *, stream: bool) -> str | None:
    """Return the text that the user got, None when it was too long to be kept."""
    if body is None:
        return None
    if stream:
        return stream_text(body)
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return reply_text(reply) if isinstance(reply, dict) else None
