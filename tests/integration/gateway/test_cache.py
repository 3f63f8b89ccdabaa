"""The answer cache on real sockets: who waits for whom, what is kept, and that no tenant ever sees another's answer."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from shipway.adapters.memory.answers import MemoryAnswers
from shipway.core.clock import SystemClock
from shipway.core.errors import UnavailableError
from shipway.core.snapshot import KeyEntry
from shipway.gateway.cache import AnswerCache, CacheParts
from shipway.gateway.cache_model import CachePolicy
from shipway.gateway.kept import Kept
from shipway.gateway.model import ModelPrice
from shipway.gateway.semantic import SemanticIndex

pytestmark = pytest.mark.anyio
ASK = {"model": "chat", "messages": [{"role": "user", "content": "What is it?"}], "temperature": 0}
PATH = "/v1/chat/completions"


def reply(text: str = "An answer.", **choice: Any) -> dict[str, Any]:
    base = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return {"id": "c1", "object": "chat.completion", "choices": [{**base, **choice}], "usage": usage}


def answering(text: str = "An answer.", **choice: Any):
    async def script(wire: Any) -> None:
        await wire.json(reply(text, **choice))

    return script


def event(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + orjson.dumps({**head, "choices": choices, **fields}) + b"\n\n"


USAGE = event({}, choices=[], usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})


async def streaming(wire: Any) -> None:
    await wire.head()
    for data in (event({"role": "assistant"}), event({"content": "An "}), event({"content": "answer."})):
        await wire.chunk(data)
    await wire.chunk(event({}, "stop") + USAGE + b"data: [DONE]\n\n")
    await wire.end()


class Held:
    """An upstream script that waits for a word before it goes on."""

    def __init__(self, then: Any) -> None:
        self.go = asyncio.Event()
        self._then = then

    async def __call__(self, wire: Any) -> None:
        await self.go.wait()
        await self._then(wire)


class Words:
    """An embedder whose vectors are what each test says."""

    digest = "sha256:words"

    def __init__(self, **vectors: tuple[float, float]) -> None:
        self.vectors = vectors
        self.fails = False

    async def embed(self, texts: Any) -> Any:
        if self.fails:
            raise RuntimeError("no model")
        return np.array([self.vectors[text.split()[0].lower()] for text in texts], np.float32)


def cache_of(
    *, store: Any = None, semantic: SemanticIndex | None = None, notes: Any = None, **policy: Any
) -> AnswerCache:
    prices = {"tiny": ModelPrice(1e6, 1e5, 2e6)}
    from shipway.gateway.model import GatewaySettings

    policies = {name: CachePolicy(semantic=semantic is not None, **policy) for name in ("chat", "ask")}
    return AnswerCache(
        CacheParts(
            store=store or MemoryAnswers(SystemClock(), max_bytes=1 << 20),
            policies=policies,
            clock=SystemClock(),
            note=notes or (lambda *_, **__: None),
            settings=GatewaySettings(prices=prices),
            semantic=semantic,
        )
    )


@pytest.fixture
def cached(run_gateway, quick):
    @asynccontextmanager
    async def make(cache: AnswerCache | None = None, **options: Any):
        made = cache or cache_of()
        async with run_gateway(quick, kept=Kept(cache=made), **options) as bench:
            bench.cache = made
            yield bench

    return make


async def all_wait(cache: AnswerCache, count: int) -> None:
    """Wait until so many follow the one flight."""
    while sum(len(flight.waiting) for flight in cache._flights._flights.values()) < count:
        await asyncio.sleep(0.001)


async def test_another_tenant_never_gets_the_answer(cached):
    async with cached() as bench:
        other = KeyEntry(
            "key_other", __import__("hashlib").sha256(b"swk_other").hexdigest(), "rival", ("staff",), ("invoke",)
        )
        bench.apply(bench.snapshot(keys=(*bench.snapshot().keys, other)))
        bench.upstream.play(answering("for acme"), answering("for rival"))
        _, first, _ = await bench.post(PATH, ASK)
        _, second, headers = await bench.post(PATH, ASK, key="swk_other")

        assert first["choices"][0]["message"]["content"] == "for acme"
        assert second["choices"][0]["message"]["content"] == "for rival"
        assert headers["x-shipway-cache"] == "miss"


async def test_the_same_request_is_answered_once_and_costs_nothing_again(cached):
    async with cached() as bench:
        bench.upstream.play(answering())
        status, first, headers = await bench.post(PATH, ASK)
        again, second, found = await bench.post(PATH, {**ASK, "user": "ann", "metadata": {"a": "b"}})

        assert (status, again) == (200, 200)
        assert first == second
        assert (headers["x-shipway-cache"], found["x-shipway-cache"]) == ("miss", "hit")
        assert found["age"].isdigit()
        assert len(bench.upstream.heard) == 1
        miss, hit = bench.sink.records
        assert (miss.cache_hit, hit.cache_hit) == ("", "exact")
        assert (hit.tokens_in, hit.tokens_out, hit.cost_usd) == (0, 0, 0.0)
        assert hit.tokens_saved == 15
        assert hit.saved_usd == pytest.approx(10 + 2 * 5)
        assert hit.model == "tiny"


@pytest.mark.parametrize(
    "change", [{"temperature": 0.5}, {"max_tokens": 3}, {"messages": [{"role": "user", "content": "What is it"}]}]
)
async def test_a_request_that_differs_is_asked_again(cached, change):
    async with cached() as bench:
        bench.upstream.play(answering())
        await bench.post(PATH, ASK)
        await bench.post(PATH, {**ASK, **change})

        assert len(bench.upstream.heard) == 2


async def test_what_is_not_deterministic_is_not_kept_unless_asked(cached):
    warm = {**ASK, "temperature": 0.9}
    async with cached() as bench:
        bench.upstream.play(answering())
        for _ in range(2):
            _, _, headers = await bench.post(PATH, warm)
        assert "x-shipway-cache" not in headers
        assert len(bench.upstream.heard) == 2
    async with cached(cache_of(always=True)) as bench:
        bench.upstream.play(answering())
        for _ in range(2):
            await bench.post(PATH, warm)
        assert len(bench.upstream.heard) == 1


async def test_a_candidate_cannot_poison_stable_and_a_promotion_invalidates(cached):
    async with cached() as bench:
        route = replace(bench.snapshot().route("chat"), candidate="rel_b", candidate_weight=1.0)
        bench.apply(bench.snapshot(routes=(route,)))
        bench.upstream.play(answering("candidate"), answering("stable"), answering("promoted"))
        await bench.post(PATH, ASK)
        bench.apply(bench.snapshot(version=2))
        _, stable, _ = await bench.post(PATH, ASK)
        bench.apply(
            bench.snapshot(version=3, routes=(replace(route, stable="rel_c", candidate=None, candidate_weight=0.0),))
        )
        _, promoted, _ = await bench.post(PATH, ASK)

        assert stable["choices"][0]["message"]["content"] == "stable"
        assert promoted["choices"][0]["message"]["content"] == "promoted"


async def test_a_release_that_is_no_longer_served_is_forgotten(cached):
    async with cached() as bench:
        bench.cache.keep_only(["rel_a"])
        bench.upstream.play(answering())
        await bench.post(PATH, ASK)
        bench.cache.keep_only(["rel_b"])
        await asyncio.gather(*bench.cache._forgetting)
        await bench.post(PATH, ASK)

        assert len(bench.upstream.heard) == 2


async def test_fifty_equal_requests_at_once_make_one_call(cached):
    async with cached() as bench:
        held = Held(answering())
        bench.upstream.play(held)
        asked = [asyncio.ensure_future(bench.post(PATH, ASK)) for _ in range(50)]
        await all_wait(bench.cache, 49)
        held.go.set()
        answers = await asyncio.gather(*asked)

        assert len(bench.upstream.heard) == 1
        assert all(status == 200 and body == answers[0][1] for status, body, _ in answers)
        assert sorted(record.cache_hit for record in bench.sink.records) == [""] + ["exact"] * 49
        assert sum(record.tokens_out for record in bench.sink.records) == 5


async def test_when_the_leaders_client_leaves_the_next_one_leads(cached):
    async with cached() as bench:
        held = Held(answering())
        bench.upstream.play(held, answering("second try"))
        leader = asyncio.ensure_future(bench.post(PATH, ASK))
        await bench.upstream.arrived.wait()
        asked = [asyncio.ensure_future(bench.post(PATH, ASK)) for _ in range(5)]
        await all_wait(bench.cache, 5)
        leader.cancel()
        answers = await asyncio.gather(*asked)

        assert {body["choices"][0]["message"]["content"] for _, body, _ in answers} == {"second try"}
        assert len(bench.upstream.heard) == 2
        await asyncio.wait_for(bench.upstream.heard[0].closed.wait(), 10)


@pytest.mark.parametrize("status", [400, 500])
async def test_an_engine_error_reaches_the_leader_alone_and_is_not_kept(cached, status):
    async def failing(wire: Any) -> None:
        await wire.json({"error": {"message": "no"}}, status)

    async with cached() as bench:
        held = Held(failing)
        bench.upstream.play(held, answering("fine"))
        leader = asyncio.ensure_future(bench.post(PATH, ASK))
        await bench.upstream.arrived.wait()
        asked = [asyncio.ensure_future(bench.post(PATH, ASK)) for _ in range(4)]
        await all_wait(bench.cache, 4)
        held.go.set()
        failed, *answers = await asyncio.gather(leader, *asked)

        assert failed[0] in {400, 502}
        assert [status for status, _, _ in answers] == [200] * 4
        assert len(bench.upstream.heard) == 2


async def test_with_a_broken_engine_nobody_waits_for_more_than_two_attempts(cached):
    async def failing(wire: Any) -> None:
        await wire.json({"error": {"message": "no"}}, 400)

    async with cached() as bench:
        held = Held(failing)
        bench.upstream.play(held, failing)
        asked = [asyncio.ensure_future(bench.post(PATH, ASK)) for _ in range(6)]
        await all_wait(bench.cache, 5)
        held.go.set()
        answers = await asyncio.gather(*asked)

        assert [status for status, _, _ in answers] == [400] * 6
        assert len(bench.upstream.heard) == 6


async def test_a_stream_is_replayed_byte_for_byte_as_a_stream(cached):
    async with cached() as bench:
        bench.upstream.play(streaming)
        first = await bench.stream(ASK)
        second = await bench.stream(ASK)

        assert first == second
        assert first.endswith(b"data: [DONE]\n\n")
        assert len(bench.upstream.heard) == 1
        assert bench.sink.records[1].cache_hit == "exact"
        assert bench.sink.records[1].stream
        assert bench.sink.records[1].ttft_ms is not None


async def test_a_stream_that_is_cut_while_others_wait_is_not_kept_and_they_are_served(cached):
    started = asyncio.Event()

    async def cut(wire: Any) -> None:
        await wire.head()
        await wire.chunk(event({"content": "An "}))
        started.set()
        await gate.wait()
        wire.cut()

    gate = asyncio.Event()
    async with cached() as bench:
        bench.upstream.play(cut, streaming)
        leader = asyncio.ensure_future(bench.stream(ASK))
        await started.wait()
        asked = [asyncio.ensure_future(bench.stream(ASK)) for _ in range(5)]
        await all_wait(bench.cache, 5)
        gate.set()
        broken, *answers = await asyncio.gather(leader, *asked)

        assert b'"error"' in broken
        assert b"[DONE]" not in broken
        assert all(b"answer." in body and body.endswith(b"data: [DONE]\n\n") for body in answers)
        assert len(bench.upstream.heard) == 2


async def test_a_stream_with_usage_answers_a_whole_request_and_one_without_does_not(cached):
    async with cached() as bench:
        bench.upstream.play(streaming, streaming, answering("whole"))
        await bench.stream({**ASK, "stream_options": {"include_usage": True}})
        _, body, headers = await bench.post(PATH, ASK)
        assert headers["x-shipway-cache"] == "hit"
        assert body["choices"][0]["message"]["content"] == "An answer."
        assert body["usage"]["completion_tokens"] == 5

        other = {**ASK, "messages": [{"role": "user", "content": "Other?"}]}
        await bench.stream(other)
        _, body, headers = await bench.post(PATH, other)
        assert headers["x-shipway-cache"] == "miss"
        assert body["choices"][0]["message"]["content"] == "whole"


@pytest.mark.parametrize(
    "choice",
    [
        {"finish_reason": "content_filter"},
        {"message": {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, "finish_reason": "tool_calls"},
        {"finish_reason": None},
    ],
)
async def test_refusals_tool_calls_and_unfinished_answers_are_asked_again(cached, choice):
    async with cached() as bench:
        bench.upstream.play(answering(**choice))
        await bench.post(PATH, ASK)
        await bench.post(PATH, ASK)

        assert len(bench.upstream.heard) == 2


async def test_an_answer_from_documents_is_kept_for_the_same_rights_alone(cached):
    async with cached(cache_of(always=True)) as bench:
        ask = {**ASK, "model": "ask"}
        await bench.post(PATH, ask)
        _, body, headers = await bench.post(PATH, ask)
        assert headers["x-shipway-cache"] == "hit"
        assert body["citations"][0]["document"] == "returns.md"
        assert b"[DONE]" in await bench.stream(ask)
        assert len(bench.answerer.asked) == 1
        hit = bench.sink.records[-1]
        assert (hit.events, hit.documents, hit.tokens_saved) == (("fallback",), ("returns.md",), 62)

        narrow = replace(bench.snapshot().keys[0], groups=("public",))
        bench.apply(bench.snapshot(version=2, keys=(narrow,)))
        await bench.post(PATH, ask)
        assert len(bench.answerer.asked) == 2


class Broken(MemoryAnswers):
    async def get(self, key: Any) -> Any:
        raise UnavailableError("down")

    put = get
    forget = get


async def test_a_store_that_is_down_is_a_miss_and_said_once(cached):
    notes: list[str] = []
    store = Broken(SystemClock(), max_bytes=1 << 20)

    async def put(key: Any, answer: Any, *, ttl_s: float) -> None:
        raise UnavailableError("down")

    store.put = put
    async with cached(cache_of(store=store, notes=lambda name, **_: notes.append(name))) as bench:
        bench.upstream.play(answering())
        for _ in range(3):
            assert (await bench.post(PATH, ASK))[0] == 200

        assert len(bench.upstream.heard) == 3
        assert notes == ["cache_unavailable"]


def questions(words: Words) -> SemanticIndex:
    return SemanticIndex(words, 0.9)


async def test_another_wording_gets_the_answer_and_a_different_question_does_not(cached):
    near = (0.995, 0.0998749)
    words = Words(which=(1.0, 0.0), what=near, where=near, how=(0.0, 1.0))
    async with cached(cache_of(semantic=questions(words))) as bench:
        bench.upstream.play(answering("first"), answering("other"))

        async def ask(text: str) -> tuple[str, str]:
            _, body, headers = await bench.post(PATH, {**ASK, "messages": [{"role": "user", "content": text}]})
            return body["choices"][0]["message"]["content"], headers["x-shipway-cache"]

        assert await ask("Which documents are needed for a refund claim?") == ("first", "miss")
        assert await ask("What paperwork must I send for my refund?") == ("first", "hit")
        assert bench.sink.records[-1].cache_hit == "semantic"
        # As near by its vector, but the wording says that it is another question.
        assert await ask("Where must paperwork for my refund be sent?") == ("other", "miss")
        assert await ask("How are you today then?") == ("other", "miss")


async def test_an_embedder_that_fails_is_a_miss(cached):
    words = Words(what=(1.0, 0.0))
    words.fails = True
    async with cached(cache_of(semantic=questions(words))) as bench:
        bench.upstream.play(answering())
        assert (await bench.post(PATH, ASK))[0] == 200


async def test_a_caller_with_little_time_does_not_wait_for_anothers_answer_longer_than_that(cached):
    async with cached() as bench:
        held = Held(answering())
        bench.upstream.play(held)
        leader = asyncio.ensure_future(bench.post(PATH, ASK))
        await bench.upstream.arrived.wait()
        status, body, _ = await bench.post(PATH, ASK, x_request_timeout_ms="50")
        held.go.set()

        assert (status, body["error"]["code"]) == (504, "timeout")
        assert (await leader)[0] == 200


async def test_an_answer_that_is_too_large_is_passed_on_and_not_kept(cached):
    cache = cache_of()
    cache._parts = replace(cache._parts, max_answer_bytes=1000)
    async with cached(cache) as bench:
        bench.upstream.play(answering("x" * 2000))
        for _ in range(2):
            status, body, headers = await bench.post(PATH, ASK)
            assert (status, headers["x-shipway-cache"]) == (200, "miss")
            assert len(body["choices"][0]["message"]["content"]) == 2000
        assert len(bench.upstream.heard) == 2


async def test_a_hit_has_the_hash_of_its_question_like_any_record(cached):
    async with cached() as bench:
        bench.upstream.play(answering())
        for _ in range(2):
            await bench.post(PATH, ASK)
            await bench.post(PATH, {**ASK, "model": "ask", "seed": 1})
        hashes = {record.question_hash for record in bench.sink.records}

        assert len(hashes) == 1
        assert hashes != {""}


async def test_generate_is_answered_from_the_cache_too(cached):
    async with cached() as bench:
        bench.upstream.play(answering())
        ask = {"route": "chat", "prompt": "What is it?", "temperature": 0}
        _, first, _ = await bench.post("/generate", ask)
        _, second, headers = await bench.post("/generate", ask)

        assert headers["x-shipway-cache"] == "hit"
        assert first["text"] == second["text"]
        assert first["request_id"] != second["request_id"]
        assert len(bench.upstream.heard) == 1


async def test_a_header_is_said_once_and_the_last_word_counts():
    from shipway.gateway.accounting import Account
    from shipway.gateway.model import GatewaySettings

    account = Account.opened("req_1", SystemClock(), GatewaySettings())
    account.say("x", "nobody hears")
    account.stamp = [("a", "1")]
    account.say("x", "miss")
    account.say("x", "hit")

    assert account.stamp == [("a", "1"), ("x", "hit")]
