"""What a gateway process keeps between requests, as the project file asks: answers, conversations, copies, feedback."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from shipway.adapters.memory.answers import MemoryAnswers
from shipway.adapters.memory.conversations import DocumentConversations, MemoryConversations
from shipway.config.environment import process_environment
from shipway.config.project import Project
from shipway.config.secrets import resolve_secret
from shipway.core.errors import ShipwayError, UsageError
from shipway.gateway.cache import AnswerCache, CacheParts
from shipway.gateway.cache_model import AnswerStore, CachePolicy, SimilarQuestions
from shipway.gateway.feedback import CountRating, FeedbackDesk
from shipway.gateway.kept import Kept, Remembering
from shipway.gateway.memory import ConversationStore, MemoryPolicy
from shipway.gateway.model import GatewaySettings
from shipway.gateway.ports import EventNote
from shipway.gateway.sampling import AnswerSampler, DocumentSamples, SamplingSettings
from shipway.gateway.serving import Applied, Serving
from shipway.gateway.shadow import DocumentPairs
from shipway.gateway.shadow_desk import ShadowSettings
from shipway.services.application import Application

if TYPE_CHECKING:
    from shipway.adapters.redis_answers.client import RestingRedis
    from shipway.gateway.semantic import QuestionEmbedder

Work = Callable[[], Coroutine[Any, Any, None]]

_LOOK_S = 1.0
_LOOKS_A_PURGE = 600


@dataclass(frozen=True, slots=True)
class Comparing:
    """What the semantic cache compares questions with; by the same name and threshold it is the same."""

    name: str
    embedder: "QuestionEmbedder"
    threshold: float
    index: SimilarQuestions


@dataclass(frozen=True, slots=True)
class Keeping:
    """The parts that `GatewayParts` takes, and what has to run beside the server for them."""

    kept: Kept
    shadow: ShadowSettings
    feedback: FeedbackDesk
    run: Work
    project: Project
    comparing: Comparing | None = None
    sampler: AnswerSampler | None = None

    def adopt(self, before: "Keeping") -> None:
        """Go on with what the one before keeps; one step of the event loop."""
        mine, theirs = self.kept.cache, before.kept.cache
        if mine is not None and theirs is not None and mine.store is theirs.store:
            mine.inherit(theirs)
            if isinstance(mine.store, MemoryAnswers):
                mine.store.resize(self.project.cache.max_bytes)

    async def close(self, others: "Collection[Keeping]" = ()) -> None:
        """Close what none of the others goes on with."""
        cache, memory = self.kept.cache, self.kept.memory
        answers = [other.kept.cache.store for other in others if other.kept.cache is not None]
        conversations = [other.kept.memory.store for other in others if other.kept.memory is not None]
        if cache is not None:
            await cache.close(keep_store=any(store is cache.store for store in answers))
        if memory is not None and not any(store is memory.store for store in conversations):
            await memory.store.close()


@dataclass(frozen=True, slots=True)
class KeepingParts:
    """What a worker keeps things with, whatever its configuration."""

    serving: Serving
    note: EventNote
    worker: str
    count: CountRating


async def open_keeping(
    app: Application, settings: GatewaySettings, parts: KeepingParts, before: Keeping | None = None
) -> Keeping:
    """Open what the project file asks for; for routes that it does not name nothing is built.

    What the one before keeps in the same way is shared with it, so that nothing is lost when this one takes its place.
    """
    note, chosen = parts.note, app.project.shadow
    memory = _memory(app, note, before)
    cache, comparing = await _cache(app, settings, note, before)
    pairs = before.shadow.pairs if before and before.project.shadow.keep_answers == chosen.keep_answers else None
    if pairs is None and chosen.keep_answers:
        pairs = DocumentPairs(app.state.documents, worker=parts.worker, max_pairs=chosen.keep_answers)
    shadow = ShadowSettings(max_queued=chosen.max_queued, max_active=chosen.max_active, pairs=pairs)
    state = app.state
    feedback = FeedbackDesk(
        state.records, state.documents, app.clock, observations=state.observations, count=parts.count
    )
    return Keeping(
        Kept(cache, memory),
        shadow,
        before.feedback if before else feedback,
        lambda: _mind(parts.serving, cache, memory, note),
        app.project,
        comparing,
        _sampler(app, parts, before.sampler if before else None),
    )


def embedding_name(app: Application) -> str | None:
    """Return the name of the model that compares questions, None where none is named."""
    return app.project.cache.embedding or (app.project.corpus.embedding if app.project.corpus else None)


def cache_embedder(app: Application) -> "QuestionEmbedder":
    """Return the model that compares questions.

    Raises:
        UsageError: none is named.
    """
    name = embedding_name(app)
    if name is None:
        raise UsageError("no model compares questions", hint="name one in cache.embedding (`shipway models list`)")
    # Its libraries take a hundred megabytes; a gateway without a semantic cache must not pay for them.
    made: QuestionEmbedder = import_module("shipway.entrypoints.rag_parts").embedder(name)
    return made


async def _cache(
    app: Application, settings: GatewaySettings, note: EventNote, before: Keeping | None
) -> tuple[AnswerCache | None, Comparing | None]:
    chosen = app.project.cache
    if not chosen.routes:
        return None, None
    policies = {
        name: CachePolicy(route.ttl_s, route.always, route.tool_calls, route.semantic, route.follow_s)
        for name, route in chosen.routes.items()
    }
    wanted = any(policy.semantic for policy in policies.values())
    comparing = await _semantic(app, note, before.comparing if before else None) if wanted else None
    parts = CacheParts(
        store=_answers(app, before),
        policies=policies,
        clock=app.clock,
        note=note,
        settings=settings,
        semantic=comparing.index if comparing else None,
        max_answer_bytes=chosen.max_answer_bytes,
    )
    return AnswerCache(parts), comparing


def _answers(app: Application, before: Keeping | None) -> AnswerStore:
    chosen = app.project.cache
    if before is not None and before.kept.cache is not None:
        former = before.project.cache
        # A store in Redis refuses what is too large by itself; the one in memory takes another size when it is adopted.
        if former.store == chosen.store and (
            chosen.store == "memory" or former.max_answer_bytes == chosen.max_answer_bytes
        ):
            return before.kept.cache.store
    if chosen.store == "memory":
        return MemoryAnswers(app.clock, max_bytes=chosen.max_bytes)
    redis = _redis(app)
    module = import_module("shipway.adapters.redis_answers.answers")
    made: AnswerStore = module.RedisAnswers(
        redis, prefix=f"{_prefix(app)}:answers:", max_answer_bytes=chosen.max_answer_bytes
    )
    return made


def _sampler(app: Application, parts: KeepingParts, before: AnswerSampler | None) -> AnswerSampler | None:
    chosen = app.project.quality
    if not chosen.sample:
        return None
    # The one before goes on where it is in its ring of samples.
    sink = before.sink if before else None
    if not isinstance(sink, DocumentSamples) or sink.keep != chosen.keep:
        sink = DocumentSamples(app.state.documents, worker=parts.worker, keep=chosen.keep)
    settings = SamplingSettings(chosen.sample, frozenset(chosen.routes))
    return AnswerSampler(settings, sink, parts.note, environment=app.environment)


async def _semantic(app: Application, note: EventNote, before: Comparing | None) -> Comparing | None:
    """Return the index of questions, None (and a line in the log that says why) without a calibration that holds."""
    name = embedding_name(app) or ""
    try:
        known = before is not None and before.name == name
        embedder = before.embedder if before and known else await asyncio.to_thread(cache_embedder, app)
        found, reason = await import_module("shipway.services.caching").calibration_in_force(app, embedder)
    except ShipwayError as error:
        note("semantic_cache_off", reason=error.message)
        return None
    if found is None:
        note("semantic_cache_off", reason=reason)
        return None
    note("semantic_cache_on", threshold=found.threshold, bound=found.bound)
    if before is not None and before.embedder is embedder and before.threshold == found.threshold:
        return before
    made: SimilarQuestions = import_module("shipway.gateway.semantic").SemanticIndex(embedder, found.threshold)
    return Comparing(name, embedder, found.threshold, made)


def _memory(app: Application, note: EventNote, before: Keeping | None) -> Remembering | None:
    chosen = app.project.memory
    if not chosen.routes:
        return None
    policies = {
        name: MemoryPolicy(route.ttl_s, route.max_turns, route.max_chars) for name, route in chosen.routes.items()
    }
    store: ConversationStore
    if before is not None and before.kept.memory is not None and before.project.memory.store == chosen.store:
        store = before.kept.memory.store
    elif chosen.store == "redis":
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
