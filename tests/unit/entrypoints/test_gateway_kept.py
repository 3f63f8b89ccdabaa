"""What a gateway keeps when its configuration changes: which stores go on, and which are closed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shipway.adapters.memory.answers import MemoryAnswers
from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.core.clock import SystemClock
from shipway.entrypoints.gateway_kept import Keeping, KeepingParts, open_keeping
from shipway.gateway.cache_model import CacheKey, Form, StoredAnswer
from shipway.gateway.model import GatewaySettings
from shipway.gateway.serving import Serving
from shipway.services.application import Application, Workspace

PROJECT = """
app: shop
models: { echo: { engine: echo, model: echo } }
routes: { chat: { kind: chat, model: echo }, other: { kind: chat, model: echo } }
"""
CACHED = "cache: { routes: { chat: {} }, max_bytes: 4000000 }\n"
KEY = CacheKey("rel", "digest")
ANSWER = StoredAnswer(Form.WHOLE, b"an answer")

pytestmark = pytest.mark.anyio


def app_of(root: Path, more: str) -> Application:
    (root / "shipway.yaml").write_text(PROJECT + more)
    return Application(load_project(root, {}), Workspace(root), MemoryStore(), SystemClock(), "gateway")


@pytest.fixture
def opened(tmp_path):
    parts = KeepingParts(Serving(lambda *_, **__: None), lambda *_, **__: None, "gateway-0", lambda *_: None)

    async def open_(more: str, before: Keeping | None = None) -> Keeping:
        return await open_keeping(app_of(tmp_path, more), GatewaySettings(), parts, before)

    return open_


def store_of(keeping: Keeping) -> Any:
    assert keeping.kept.cache is not None
    return keeping.kept.cache.store


async def test_answers_go_on_when_another_route_is_cached_too(opened):
    first = await opened(CACHED)
    await store_of(first).put(KEY, ANSWER, ttl_s=60.0)
    second = await opened("cache: { routes: { chat: {}, other: {} }, max_bytes: 4000000 }\n", first)

    second.adopt(first)
    await first.close([second])

    assert store_of(second) is store_of(first)
    assert (await store_of(second).get(KEY)).body == b"an answer"


async def test_a_smaller_cache_drops_what_does_not_fit_when_it_is_adopted_and_not_before(opened):
    first = await opened(CACHED)
    for number in range(20):
        body = replace(ANSWER, body=bytes(100_000))
        await store_of(first).put(CacheKey("rel", str(number)), body, ttl_s=60.0)
    second = await opened(CACHED.replace("4000000", "1000000"), first)
    store: MemoryAnswers = store_of(first)
    assert await store.get(CacheKey("rel", "0")) is not None

    second.adopt(first)

    assert await store.get(CacheKey("rel", "1")) is None
    assert await store.get(CacheKey("rel", "19")) is not None


async def test_answers_are_dropped_with_the_last_configuration_that_keeps_any(opened):
    first = await opened(CACHED)
    store = store_of(first)
    await store.put(KEY, ANSWER, ttl_s=60.0)
    second, third = await opened("", first), await opened(CACHED, first)

    await first.close([second, third])
    assert await store.get(KEY) is not None

    await third.close([second])
    assert await store.get(KEY) is None
    assert second.kept.cache is None


async def test_conversations_go_on_unless_they_lie_elsewhere(opened):
    first = await opened("memory: { routes: { chat: {} }, store: memory }\n")
    longer = await opened("memory: { routes: { chat: { max_turns: 3 } }, store: memory }\n", first)
    elsewhere = await opened("memory: { routes: { chat: {} }, store: state }\n", first)

    assert longer.kept.memory.store is first.kept.memory.store
    assert longer.kept.memory.policies["chat"].max_turns == 3
    assert elsewhere.kept.memory.store is not first.kept.memory.store


async def test_pairs_of_a_shadow_go_on_in_the_same_places(opened):
    first = await opened("shadow: { keep_answers: 5 }\n")
    same = await opened("shadow: { keep_answers: 5, max_queued: 9 }\n", first)
    fewer = await opened("shadow: { keep_answers: 2 }\n", first)
    none = await opened("", first)

    assert same.shadow.pairs is first.shadow.pairs
    assert fewer.shadow.pairs is not first.shadow.pairs
    assert none.shadow.pairs is None
