"""The answer cache of one worker: looks up, leads or follows, keeps what may be kept.

`gateway.kept` calls `AnswerCache.obtain` around the way in which a route asks its engine, on routes that have a policy
and on no other. A cache that fails is a miss: nothing here may make a request fail that would be answered without it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from shipway.core import record as events
from shipway.core.clock import Clock
from shipway.core.errors import UnavailableError
from shipway.gateway.accounting import Account
from shipway.gateway.cache_content import unkept_because, whole_of_stream
from shipway.gateway.cache_key import Scope, exact_key, is_deterministic, semantic_scope
from shipway.gateway.cache_model import (
    EXACT,
    SEMANTIC,
    AnswerStore,
    CacheKey,
    CachePolicy,
    Form,
    SimilarQuestions,
    StoredAnswer,
)
from shipway.gateway.model import GatewaySettings
from shipway.gateway.ports import EventNote
from shipway.gateway.single_flight import Flights, Seat

HEADER = "x-shipway-cache"
# What is true of an answer whenever it is given; all other events are of the request that was served first.
_OF_THE_ANSWER = frozenset({events.ABSTAINED, events.UNSUPPORTED, events.FALLBACK})


@dataclass(frozen=True, slots=True)
class CacheParts:
    """What the cache of a worker works with; `semantic` is None while it is off or not calibrated."""

    store: AnswerStore
    policies: Mapping[str, CachePolicy]
    clock: Clock
    note: EventNote
    settings: GatewaySettings
    semantic: SimilarQuestions | None = None
    max_answer_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Cacheable:
    """A request that may be answered from the cache.

    `exact` is its key, `whole_from` that of a stream which may hold the same answer, `scope` and `question` what the
    semantic cache goes by (None where it may not).
    """

    policy: CachePolicy
    form: Form
    exact: CacheKey
    whole_from: CacheKey | None = None
    scope: CacheKey | None = None
    question: str = ""


class AnswerCache:
    """See the module."""

    def __init__(self, parts: CacheParts) -> None:
        self._parts = parts
        self._flights: Flights[StoredAnswer] = Flights()
        self._releases: frozenset[str] = frozenset()
        self._forgetting: set[asyncio.Task[None]] = set()
        self._is_down = False

    def inherit(self, before: "AnswerCache") -> None:
        """Go on with the flights and releases of the cache that this one replaces over the same store."""
        self._flights, self._releases = before._flights, before._releases  # noqa: SLF001 - of its own kind

    @property
    def store(self) -> AnswerStore:
        """Return where the answers lie."""
        return self._parts.store

    @property
    def max_answer_bytes(self) -> int:
        """Return the size above which an answer is not kept."""
        return self._parts.max_answer_bytes

    def concerns(self, route: str) -> bool:
        """Return whether a route's answers are kept at all."""
        return route in self._parts.policies

    def cacheable(self, scope: Scope, asked: Mapping[str, Any], form: Form) -> Cacheable | None:
        """Return the request as the cache sees it, None when its route or its decoding keeps it out."""
        policy = self._parts.policies.get(scope.route)
        if policy is None or not (policy.always or is_deterministic(asked, surface=scope.surface)):
            return None
        exact = exact_key(scope, asked, form)
        if exact is None:
            return None
        found = Cacheable(policy, form, exact)
        if form is Form.WHOLE:
            found = replace(found, whole_from=exact_key(scope, asked, Form.STREAM_WITH_USAGE))
        if policy.semantic and self._parts.semantic is not None:
            alike = semantic_scope(scope, asked, form)
            if alike is not None:
                found = replace(found, scope=alike[0], question=alike[1])
        return found

    async def obtain(
        self, account: Account, request: Cacheable, produce: Callable[[], Awaitable[bytes | None]]
    ) -> StoredAnswer | None:
        """Return an answer to give again, None when `produce` has answered; it returns what may be kept."""
        seat = await self._flights.join(request.exact, wait_s=account.left_s(request.policy.follow_s))
        if isinstance(seat, StoredAnswer):
            return self._hit(account, seat, EXACT)
        if seat is Seat.ALONE:
            account.say(HEADER, "miss")
            await produce()
            return None
        return await self._lead(account, request, produce)

    def keep_only(self, releases: Iterable[str]) -> None:
        """Drop the answers of releases that are no longer served; called when a worker applies a snapshot."""
        served = frozenset(releases)
        for release in self._releases - served:
            if self._parts.semantic is not None:
                self._parts.semantic.forget(release)
            task = asyncio.ensure_future(self._forget(release))
            self._forgetting.add(task)
            task.add_done_callback(self._forgetting.discard)
        self._releases = served

    async def close(self, *, keep_store: bool = False) -> None:
        """Finish dropping and give the store's connections back, unless another cache goes on with it."""
        await asyncio.gather(*self._forgetting)
        if not keep_store:
            await self._parts.store.close()

    async def _lead(
        self, account: Account, request: Cacheable, produce: Callable[[], Awaitable[bytes | None]]
    ) -> StoredAnswer | None:
        fresh: StoredAnswer | None = None
        try:
            found, how, asking = await self._found(request)
            if found is None:
                account.say(HEADER, "miss")
                fresh = self._keepable(account, request, await produce())
        except BaseException as error:
            self._flights.failed(request.exact, gone=isinstance(error, asyncio.CancelledError))
            raise
        try:
            # Before the flight ends: an equal request that comes now must find the answer.
            if fresh is not None:
                await self._keep(request, fresh, asking)
        finally:
            self._flights.landed(request.exact, found or fresh)
        return None if found is None else self._hit(account, found, how)

    async def _found(self, request: Cacheable) -> tuple[StoredAnswer | None, str, Any]:
        found = await self._get(request.exact)
        if found is None and request.whole_from is not None:
            found = _as_whole(await self._get(request.whole_from))
        if found is not None or request.scope is None or self._parts.semantic is None:
            return found, EXACT, None
        asking = await self._asking(self._parts.semantic, request.scope, request.question)
        alike = self._parts.semantic.nearest(asking, now_s=self._parts.clock.monotonic_s()) if asking else None
        return (await self._get(alike) if alike else None), SEMANTIC, asking

    def _keepable(self, account: Account, request: Cacheable, body: bytes | None) -> StoredAnswer | None:
        if body is None or len(body) > self._parts.max_answer_bytes:
            return None
        if unkept_because(request.form, body, tuple(account.events), tool_calls=request.policy.tool_calls):
            return None
        return self._answer(account, request.form, body)

    def _answer(self, account: Account, form: Form, body: bytes) -> StoredAnswer:
        usage = account.usage
        return StoredAnswer(
            form=form,
            body=body,
            usage=usage,
            cost_usd=usage.cost_usd(self._parts.settings.prices.get(account.model)),
            model=account.model,
            prompt_version=account.prompt_version,
            retrieval_count=account.retrieval_count,
            documents=account.documents,
            events=tuple(event for event in account.events if event in _OF_THE_ANSWER),
            stored_at_s=self._parts.clock.now_s(),
        )

    def _hit(self, account: Account, answer: StoredAnswer, how: str) -> StoredAnswer:
        account.reuse(answer.usage, answer.cost_usd, how)
        account.model, account.prompt_version = answer.model, answer.prompt_version
        account.retrieval_count, account.documents = answer.retrieval_count, answer.documents
        for event in answer.events:
            account.note(event)
        account.say(HEADER, "hit")
        account.say("age", str(max(0, int(self._parts.clock.now_s() - answer.stored_at_s))))
        return answer

    async def _keep(self, request: Cacheable, answer: StoredAnswer, asking: Any) -> None:
        ttl_s = request.policy.ttl_s
        try:
            await self._parts.store.put(request.exact, answer, ttl_s=ttl_s)
        except UnavailableError as error:
            self._down(error)
            return
        if asking is not None and self._parts.semantic is not None:
            expires_s = self._parts.clock.monotonic_s() + ttl_s
            self._parts.semantic.add(asking, request.exact, expires_s=expires_s)

    async def _get(self, key: CacheKey) -> StoredAnswer | None:
        try:
            found = await self._parts.store.get(key)
        except UnavailableError as error:
            self._down(error)
            return None
        self._is_down = False
        return found

    async def _asking(self, semantic: SimilarQuestions, scope: CacheKey, question: str) -> Any:
        try:
            return await semantic.asking(scope, question)
        except Exception as error:  # noqa: BLE001 - an embedder that fails is a miss, never the user's failure
            self._parts.note("cache_embedding_failed", error=repr(error))
            return None

    async def _forget(self, release: str) -> None:
        try:
            dropped = await self._parts.store.forget(release)
        except UnavailableError as error:
            self._down(error)
        else:
            self._parts.note("cache_forgot_release", release=release, answers=dropped)

    def _down(self, error: UnavailableError) -> None:
        if not self._is_down:
            self._parts.note("cache_unavailable", error=error.message)
        self._is_down = True


def form_of(*, stream: bool, wants_usage: bool) -> Form:
    """Return how a request wants its answer."""
    if not stream:
        return Form.WHOLE
    return Form.STREAM_WITH_USAGE if wants_usage else Form.STREAM


def _as_whole(stream: StoredAnswer | None) -> StoredAnswer | None:
    body = whole_of_stream(stream.body) if stream is not None else None
    return replace(stream, form=Form.WHOLE, body=body) if stream is not None and body is not None else None
