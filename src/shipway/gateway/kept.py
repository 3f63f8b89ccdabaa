"""Routes whose answers are kept or whose conversations are remembered: the relay and the desk with that around them.

`app` takes these instead of the plain ones when the configuration names such a route; without it they do not exist. The
cache sits at the last step before the engine, so that routing, fallbacks and locks have decided already and the key
holds the very model and address that would be asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from shipway.core.errors import UnavailableError
from shipway.gateway.accounting import Account
from shipway.gateway.answer_route import AnswerDesk
from shipway.gateway.attempts import EngineCalls
from shipway.gateway.auth import Caller
from shipway.gateway.cache import AnswerCache, Cacheable, form_of
from shipway.gateway.cache_content import stream_text
from shipway.gateway.cache_key import Scope
from shipway.gateway.cache_model import Form
from shipway.gateway.exchange import Exchange
from shipway.gateway.memory import ConversationStore, MemoryPolicy, Owner, owner_of, turn_of, with_memory
from shipway.gateway.model import AnswerResult, GatewaySettings
from shipway.gateway.ports import AnswerRoute, ChatRoute, EventNote, RecordSink
from shipway.gateway.recording import RecordingWire
from shipway.gateway.relay import ChatRelay, engine_body, reply_text
from shipway.gateway.replies import EVENT_STREAM
from shipway.gateway.validate import Endpoint, ModelCall, last_user_text

_OK = 200
_LONGEST_REMEMBERED_BYTES = 1 << 20
_CACHED_ENDPOINTS = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS})


class Remembering:
    """The conversations of the routes that remember."""

    def __init__(self, store: ConversationStore, policies: Mapping[str, MemoryPolicy], note: EventNote) -> None:
        self.store = store
        self.policies = policies
        self._note = note

    async def recalled(self, account: Account, call: ModelCall) -> tuple[ModelCall, Owner | None]:
        """Return the call with what was said before, and whose memory it is (None: nothing is to be remembered)."""
        policy = self.policies.get(call.route)
        if policy is None or call.endpoint is not Endpoint.CHAT or account.caller is None or not account.conversation:
            return call, None
        owner = owner_of(account.caller.key.tenant, account.conversation)
        if owner is None:
            return call, None
        try:
            turns = await self.store.recall(owner, policy)
        except UnavailableError as error:
            self._note("memory_unavailable", request_id=account.id, error=error.message)
            return call, None
        messages = with_memory(call.body["messages"], turns)
        added = sum(turn.chars for turn in turns) if len(messages) > len(call.body["messages"]) else 0
        return replace(call, body={**call.body, "messages": messages}, input_chars=call.input_chars + added), owner

    async def remember(self, owner: Owner, call: ModelCall, answer: str) -> None:
        """Keep the turn that was just completed."""
        turn = turn_of(call.body["messages"], answer)
        if turn is None:
            return
        try:
            await self.store.remember(owner, turn, self.policies[call.route])
        except UnavailableError as error:
            self._note("memory_unavailable", error=error.message)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a worker keeps between requests; None for what no route asks for."""

    cache: AnswerCache | None = None
    memory: Remembering | None = None

    def concerns(self, route: str) -> bool:
        """Return whether a route's answers are kept or its conversations remembered."""
        cached = self.cache is not None and self.cache.concerns(route)
        return cached or (self.memory is not None and route in self.memory.policies)

    def relay(self, calls: EngineCalls, records: RecordSink, settings: GatewaySettings) -> ChatRelay:
        """Return the relay of this worker."""
        if self.cache is None and self.memory is None:
            return ChatRelay(calls, records, settings)
        return KeptRelay(calls, records, settings, cache=self.cache, memory=self.memory)

    def desk(self, records: RecordSink, settings: GatewaySettings) -> AnswerDesk:
        """Return the desk of this worker."""
        return AnswerDesk(records, settings) if self.cache is None else KeptDesk(records, settings, self.cache)


class KeptRelay(ChatRelay):
    """A relay that asks cache and memory on the routes that have them."""

    def __init__(
        self,
        calls: EngineCalls,
        records: RecordSink,
        settings: GatewaySettings,
        *,
        cache: AnswerCache | None,
        memory: Remembering | None,
    ) -> None:
        super().__init__(calls, records, settings)
        self._sink = records
        self._limit_bytes = _LONGEST_REMEMBERED_BYTES if cache is None else cache.max_answer_bytes
        self._cache = cache
        self._memory = memory

    async def serve(self, exchange: Exchange, account: Account, call: ModelCall, route: ChatRoute) -> None:
        """Answer a request; streams are replayed or watched here, whole answers in `ask`."""
        if not call.stream:
            await super().serve(exchange, account, call, route)
            return
        asked, owner = await self._recalled(account, call)
        request = self._cacheable(account, asked, route)
        if request is None and owner is None:
            await super().serve(exchange, account, asked, route)
            return
        given: list[bytes] = []

        async def produce() -> bytes | None:
            wire = RecordingWire(exchange.wire, limit_bytes=self._limit_bytes)
            exchange.wire = wire
            try:
                await super(KeptRelay, self).serve(exchange, account, asked, route)
            finally:
                exchange.wire = wire.wire
            if wire.status != _OK or wire.body is None:
                return None
            given.append(wire.body)
            return wire.body

        if request is None or self._cache is None:
            await produce()
        else:
            kept = await self._cache.obtain(account, request, produce)
            if kept is not None:
                given.append(kept.body)
                account.ask(last_user_text(call.body))
                account.stream = True
                account.first_token()
                account.commit(_OK, self._sink)
                exchange.start(_OK, EVENT_STREAM)
                exchange.finish(kept.body)
        if owner is not None and self._memory is not None and given:
            await self._memory.remember(owner, call, stream_text(given[0]))

    async def ask(self, account: Account, call: ModelCall, route: ChatRoute) -> tuple[bytes, dict[str, Any]]:
        """Return a whole reply as bytes and as a value."""
        asked, owner = await self._recalled(account, call)
        request = self._cacheable(account, asked, route)
        fresh: list[tuple[bytes, dict[str, Any]]] = []

        async def produce() -> bytes:
            fresh.append(await super(KeptRelay, self).ask(account, asked, route))
            return fresh[0][0]

        if request is None or self._cache is None:
            await produce()
        else:
            kept = await self._cache.obtain(account, request, produce)
            if kept is not None:
                account.ask(last_user_text(call.body))
                fresh.append((kept.body, orjson.loads(kept.body)))
        if owner is not None and self._memory is not None:
            await self._memory.remember(owner, call, reply_text(fresh[0][1]))
        return fresh[0]

    async def _recalled(self, account: Account, call: ModelCall) -> tuple[ModelCall, Owner | None]:
        return (call, None) if self._memory is None else await self._memory.recalled(account, call)

    def _cacheable(self, account: Account, call: ModelCall, route: ChatRoute) -> Cacheable | None:
        cache = self._cache
        if cache is None or not cache.concerns(call.route) or call.endpoint not in _CACHED_ENDPOINTS:
            return None
        if account.caller is None:
            return None
        scope = Scope(
            tenant=account.caller.key.tenant,
            release=account.release,
            route=call.route,
            surface=str(call.endpoint),
            engine=repr((route.replicas or route.engine_base_url, route.url_query, route.engine_headers)),
        )
        form = form_of(stream=call.stream, wants_usage=call.wants_usage)
        return cache.cacheable(scope, engine_body(call, route), form)


class KeptDesk(AnswerDesk):
    """A desk that asks the cache; the checked answer is kept, in whatever form it is sent."""

    def __init__(self, records: RecordSink, settings: GatewaySettings, cache: AnswerCache) -> None:
        super().__init__(records, settings)
        self._cache = cache

    async def answered(
        self, account: Account, route: AnswerRoute, messages: Sequence[Mapping[str, Any]], caller: Caller
    ) -> AnswerResult:
        """Return the checked answer; another caller's only when tenant and document groups are the same."""
        request = self._cacheable(account, route, messages, caller)
        if request is None:
            return await super().answered(account, route, messages, caller)
        fresh: list[AnswerResult] = []

        async def produce() -> bytes:
            fresh.append(await super(KeptDesk, self).answered(account, route, messages, caller))
            return orjson.dumps(asdict(fresh[0]))

        kept = await self._cache.obtain(account, request, produce)
        if kept is None:
            return fresh[0]
        account.ask(last_user_text({"messages": messages}).strip())
        return _result(kept.body)

    def _cacheable(
        self, account: Account, route: AnswerRoute, messages: Sequence[Mapping[str, Any]], caller: Caller
    ) -> Cacheable | None:
        if not self._cache.concerns(account.route):
            return None
        scope = Scope(
            tenant=caller.key.tenant,
            release=account.release,
            route=account.route,
            surface=f"answers/{route.model_alias}",
            groups=tuple(sorted(caller.principal.groups)),
        )
        said = [{"role": message.get("role"), "content": message.get("content")} for message in messages]
        decided = {"temperature": 0} if route.is_deterministic else {}
        return self._cache.cacheable(scope, {"messages": said, **decided}, Form.RESULT)


def _result(body: bytes) -> AnswerResult:
    told: dict[str, Any] = orjson.loads(body)
    for name in ("citations", "events", "documents"):
        told[name] = tuple(told[name])
    return AnswerResult(**told)
