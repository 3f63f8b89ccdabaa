"""What a gateway process keeps between requests, as the project file asks: answers, conversations, copies, feedback."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from shipway.adapters.memory.answers import MemoryAnswers
from shipway.adapters.memory.conversations import DocumentConversations, MemoryConversations
from shipway.config.environment import process_environment
from shipway.config.secrets import resolve_secret
from shipway.core.errors import ShipwayError, UsageError
from shipway.gateway.cache import AnswerCache, CacheParts
from shipway.gateway.cache_model import AnswerStore, CachePolicy, SimilarQuestions
from shipway.gateway.feedback import CountRating, FeedbackDesk
from shipway.gateway.kept import Kept, Remembering
from shipway.gateway.memory import ConversationStore, MemoryPolicy
from shipway.gateway.model import GatewaySettings
from shipway.gateway.ports import EventNote
from shipway.gateway.serving import Applied, Serving
from shipway.gateway.shadow import DocumentPairs
from shipway.gateway.shadow_desk import ShadowSettings
from shipway.services.application import Application

if TYPE_CHECKING:
    from shipway.adapters.redis_answers.client import RestingRedis
    from shipway.gateway.semantic import QuestionEmbedder

_LOOK_S = 1.0
_LOOKS_A_PURGE = 600


@dataclass(frozen=True, slots=True)
class Keeping:
    """The parts that `GatewayParts` takes, and what has to run beside the server for them."""

    kept: Kept
    shadow: ShadowSettings
    feedback: FeedbackDesk
    run: Callable[[], Coroutine[Any, Any, None]]


@asynccontextmanager
async def opened_keeping(
    app: Application, serving: Serving, settings: GatewaySettings, note: EventNote, *, worker: str, count: CountRating
) -> AsyncIterator[Keeping]:
    """Open what the project file asks for; for routes that it does not name nothing is built."""
    memory = _memory(app, note)
    cache = await _cache(app, settings, note)
    pairs = app.project.shadow.keep_answers
    shadow = ShadowSettings(
        max_queued=app.project.shadow.max_queued,
        max_active=app.project.shadow.max_active,
        pairs=DocumentPairs(app.state.documents, worker=worker, max_pairs=pairs) if pairs else None,
    )
    feedback = FeedbackDesk(app.state.records, app.state.documents, app.clock, count=count)
    try:
        yield Keeping(Kept(cache, memory), shadow, feedback, lambda: _mind(serving, cache, memory, note))
    finally:
        if cache is not None:
            await cache.close()
        if memory is not None:
            await memory.store.close()


def cache_embedder(app: Application) -> "QuestionEmbedder":
    """Return the model that compares questions.

    Raises:
        UsageError: none is named.
    """
    name = app.project.cache.embedding or (app.project.corpus.embedding if app.project.corpus else None)
    if name is None:
        raise UsageError("no model compares questions", hint="name one in cache.embedding (`shipway models list`)")
    # Its libraries take a hundred megabytes; a gateway without a semantic cache must not pay for them.
    made: QuestionEmbedder = import_module("shipway.entrypoints.rag_parts").embedder(name)
    return made


async def _cache(app: Application, settings: GatewaySettings, note: EventNote) -> AnswerCache | None:
    chosen = app.project.cache
    if not chosen.routes:
        return None
    policies = {
        name: CachePolicy(route.ttl_s, route.always, route.tool_calls, route.semantic, route.follow_s)
        for name, route in chosen.routes.items()
    }
    return AnswerCache(
        CacheParts(
            store=_answers(app),
            policies=policies,
            clock=app.clock,
            note=note,
            settings=settings,
            semantic=await _semantic(app, note) if any(policy.semantic for policy in policies.values()) else None,
            max_answer_bytes=chosen.max_answer_bytes,
        )
    )


def _answers(app: Application) -> AnswerStore:
    chosen = app.project.cache
    if chosen.store == "memory":
        return MemoryAnswers(app.clock, max_bytes=chosen.max_bytes)
    redis = _redis(app)
    module = import_module("shipway.adapters.redis_answers.answers")
    made: AnswerStore = module.RedisAnswers(
        redis, prefix=f"{_prefix(app)}:answers:", max_answer_bytes=chosen.max_answer_bytes
    )
    return made


async def _semantic(app: Application, note: EventNote) -> SimilarQuestions | None:
    """Return the index of questions, None (and a line in the log that says why) without a calibration that holds."""
    try:
        embedder = await asyncio.to_thread(cache_embedder, app)
        found, reason = await import_module("shipway.services.caching").calibration_in_force(app, embedder)
    except ShipwayError as error:
        note("semantic_cache_off", reason=error.message)
        return None
    if found is None:
        note("semantic_cache_off", reason=reason)
        return None
    note("semantic_cache_on", threshold=found.threshold, bound=found.bound)
    made: SimilarQuestions = import_module("shipway.gateway.semantic").SemanticIndex(embedder, found.threshold)
    return made


def _memory(app: Application, note: EventNote) -> Remembering | None:
    chosen = app.project.memory
    if not chosen.routes:
        return None
    policies = {
        name: MemoryPolicy(route.ttl_s, route.max_turns, route.max_chars) for name, route in chosen.routes.items()
    }
    store: ConversationStore
    if chosen.store == "redis":
        module = import_module("shipway.adapters.redis_answers.conversations")
        store = module.RedisConversations(_redis(app), prefix=f"{_prefix(app)}:conversations:")
    elif chosen.store == "state":
        store = DocumentConversations(app.state.documents, app.clock)
    else:
        store = MemoryConversations(app.clock)
    return Remembering(store, policies, note)


def _redis(app: Application) -> "RestingRedis":
    redis = app.project.redis
    if redis is None:
        raise UsageError("store redis needs a section redis with its url")
    try:
        module = import_module("shipway.adapters.redis_answers.client")
    except ImportError as error:
        hint = "install it with `pip install 'shipway[redis]'`"
        raise UsageError("the section redis needs the Redis client, which is not installed", hint=hint) from error
    url = resolve_secret(redis.url, root=app.loaded.root, environ=process_environment())
    made: RestingRedis = module.RestingRedis(url, app.clock, timeout_s=redis.timeout_s)
    return made


def _prefix(app: Application) -> str:
    return f"shipway:{app.project.app}:{app.environment}"


async def _mind(serving: Serving, cache: AnswerCache | None, memory: Remembering | None, note: EventNote) -> None:
    """Drop the answers of releases that are no longer served, and conversations that have expired."""
    seen: Applied | None = None
    looks = 0
    while True:
        if cache is not None and serving.current is not None and serving.current is not seen:
            seen = serving.current
            cache.keep_only(seen.releases)
        if memory is not None and isinstance(memory.store, DocumentConversations) and looks % _LOOKS_A_PURGE == 0:
            try:
                await memory.store.purge()
            except ShipwayError as error:
                note("memory_not_purged", error=error.message)
        looks += 1
        await asyncio.sleep(_LOOK_S)
