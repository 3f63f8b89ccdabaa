"""Sampled answers on real sockets: kept masked, for the same conversations on both ways, and no user sees anything."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.errors import StoreError
from shipway.core.snapshot import position
from shipway.gateway.lane_routes import LaneRoutes
from shipway.gateway.sampled_lane import SampledLaneRoutes
from shipway.gateway.sampling import SAMPLE_KIND, AnswerSampler, DocumentSamples, SamplingSettings

pytestmark = pytest.mark.anyio
PATH = "/v1/chat/completions"
ASK = {"model": "chat", "messages": [{"role": "user", "content": "Hi, I am ann@example.org"}]}
USAGE = {"prompt_tokens": 4, "completion_tokens": 2}


async def says(wire: Any) -> None:
    text = "Dear ann@example.org, yes."
    if not wire.heard.json().get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        await wire.json({"choices": [choice], "usage": USAGE})
        return
    await wire.head()
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": "stop"}
    await wire.chunk(b"data: " + orjson.dumps({"choices": [delta], "usage": USAGE}) + b"\n\ndata: [DONE]\n\n")
    await wire.end()


class Full:
    async def add(self, sample: Any) -> None:
        raise StoreError("no space left on device")


class Stuck:
    def __init__(self) -> None:
        self.free = asyncio.Event()

    async def add(self, sample: Any) -> None:
        await self.free.wait()


@pytest.fixture
def sampled(run_gateway):
    @asynccontextmanager
    async def make(share: float = 1.0, sink: Any = None, routes: frozenset[str] = frozenset(), **options: Any):
        state = MemoryStore()
        settings = SamplingSettings(share, routes)
        kept = DocumentSamples(state.documents, worker="w", keep=options.pop("keep", 500))
        notes: list[tuple[str, dict[str, Any]]] = []
        sampler = AnswerSampler(
            settings, sink or kept, lambda event, **fields: notes.append((event, fields)), environment="test"
        )
        async with run_gateway(sampler=sampler, **options) as bench:
            bench.upstream.play(says)
            task = asyncio.ensure_future(sampler.run())
            # Bench is a plain dataclass: what a test adds to it is its own.
            bench.sampler, bench.state, bench.sampling_notes = sampler, state, notes
            try:
                yield bench
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    return make


async def samples(bench: Any) -> list[dict[str, Any]]:
    await bench.sampler.drained()
    return [body for _, body, _ in await bench.state.documents.list(SAMPLE_KIND)]


@pytest.mark.parametrize("short_way", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_is_kept_masked_with_the_request_that_it_belongs_to(sampled, short_way, stream):
    async with sampled(short_way=short_way) as bench:
        if stream:
            assert b"ann@example.org" in await bench.stream(ASK)
        else:
            _, body, _ = await bench.post(PATH, ASK)
            assert body["choices"][0]["message"]["content"] == "Dear ann@example.org, yes."
        [kept] = await samples(bench)

    assert (kept["question"], kept["answer"]) == ("Hi, I am [email]", "Dear [email], yes.")
    assert (kept["request_id"], kept["release"]) == (bench.sink.records[0].id, "rel_a")
    assert bench.sampler.counts == Counter(taken=1, kept=1)


@pytest.mark.parametrize("short_way", [True, False])
async def test_the_same_conversations_are_sampled_on_both_ways(sampled, short_way):
    async with sampled(share=0.5, short_way=short_way) as bench:
        for number in range(30):
            await bench.post(PATH, ASK, x_shipway_conversation=f"c{number}")
        kept = {item["request_id"] for item in await samples(bench)}
        found = {record.conversation for record in bench.sink.records if record.id in kept}

    wanted = {f"c{number}" for number in range(30) if position("quality", f"c{number}") < 0.5}
    assert 0 < len(wanted) < 30
    assert found == wanted


async def test_only_what_is_sampled_leaves_the_short_way_and_without_sampling_nothing_looks(sampled, run_gateway):
    async with sampled(share=0.5) as bench:
        assert type(bench.gateway.lane._routes) is SampledLaneRoutes
    async with run_gateway() as bench:
        assert type(bench.gateway.lane._routes) is LaneRoutes
        assert bench.gateway.beside == ()


async def test_other_routes_goldens_embeddings_and_failures_are_not_kept(sampled):
    async with sampled(routes=frozenset({"ask"})) as bench:
        await bench.post(PATH, ASK)
        await bench.post(PATH, {**ASK, "model": "ask"})
        assert [item["route"] for item in await samples(bench)] == ["ask"]

    async def fails(wire: Any) -> None:
        await wire.json({"error": {"message": "boom"}}, 500)

    async with sampled() as bench:
        bench.upstream.play(fails)
        status, _, _ = await bench.post(PATH, ASK)
        bench.upstream.play(says)
        await bench.post(PATH, ASK, x_shipway_conversation="golden-chat/1/0")
        await bench.post("/v1/embeddings", {"model": "chat", "input": "hi"})
        assert status >= 500
        assert await samples(bench) == []


async def test_a_store_that_fails_costs_a_sample_and_no_user_and_no_word_is_logged(sampled):
    async with sampled(sink=Full()) as bench:
        for _ in range(3):
            status, _, _ = await bench.post(PATH, ASK)
            assert status == 200
        await bench.sampler.drained()

    assert bench.sampler.counts == Counter(taken=3, failed=3)
    assert {event for event, _ in bench.sampling_notes} == {"answer_sample_failed"}
    assert "ann@" not in str(bench.sampling_notes)
    assert "Dear" not in str(bench.sampling_notes)


async def test_more_than_can_be_written_is_dropped_and_counted_and_nobody_waits(sampled):
    sink = Stuck()
    async with sampled(sink=sink) as bench:
        for _ in range(70):
            status, _, _ = await bench.post(PATH, ASK)
            assert status == 200
        counts = bench.sampler.counts
        assert counts["taken"] == 70
        assert counts["dropped"] >= 70 - 64 - 1
        sink.free.set()
        await bench.sampler.drained()
        assert counts["kept"] + counts["dropped"] == 70


async def test_the_newest_are_kept_and_the_oldest_go(sampled):
    async with sampled(keep=3) as bench:
        for _ in range(5):
            await bench.post(PATH, ASK)
        kept = {item["request_id"] for item in await samples(bench)}
    assert kept == {record.id for record in bench.sink.records[-3:]}


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Dear ann@example.org, yes."}]}],
    "usage": {"input_tokens": 4, "output_tokens": 2},
}


async def responds(wire: Any) -> None:
    if not wire.heard.json().get("stream"):
        await wire.json(RESPONSE)
        return
    await wire.head()
    for kind, told in (
        ("response.created", {"response": {**RESPONSE, "status": "in_progress", "output": []}}),
        ("response.output_text.delta", {"delta": "Dear "}),
        ("response.completed", {"response": RESPONSE}),
    ):
        await wire.chunk(b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **told})))
    await wire.end()


@pytest.mark.parametrize("short_way", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_answers_of_the_responses_api_are_kept_as_well(sampled, short_way, stream):
    async with sampled(short_way=short_way) as bench:
        bench.upstream.play(responds)
        asked = {"model": "chat", "input": "Hi, I am ann@example.org", "stream": stream}
        headers = {"authorization": "Bearer swk_invoke"}
        async with bench.client.post(f"{bench.url}/v1/responses", json=asked, headers=headers) as reply:
            assert reply.status == 200
            assert b"ann@example.org" in await reply.read()
        [kept] = await samples(bench)

    assert (kept["question"], kept["answer"]) == ("Hi, I am [email]", "Dear [email], yes.")
    assert (kept["request_id"], kept["route"]) == (bench.sink.records[0].id, "chat")


@pytest.mark.parametrize(
    ("path", "asked", "route", "answer"),
    [
        ("/generate", {"route": "chat", "prompt": "I am ann@example.org"}, "chat", "Dear [email], yes."),
        ("/generate", {"route": "ask", "prompt": "I am ann@example.org"}, "ask", "You may return goods"),
        ("/rag_answer", {"question": "I am ann@example.org"}, "ask", "You may return goods"),
    ],
)
async def test_plain_answers_are_kept_as_well(sampled, path, asked, route, answer):
    async with sampled() as bench:
        status, body, _ = await bench.post(path, asked)
        assert (status, bool(body.get("text") or body.get("answer"))) == (200, True)
        [kept] = await samples(bench)

    assert (kept["route"], kept["question"]) == (route, "I am [email]")
    assert kept["answer"].startswith(answer)
    assert kept["request_id"] == bench.sink.records[0].id


async def test_plain_answers_of_conversations_that_are_not_sampled_are_not_kept(sampled):
    async with sampled(share=0.0) as bench:
        assert (await bench.post("/rag_answer", {"question": "hi"}))[0] == 200
        assert (await bench.post("/generate", {"route": "chat", "prompt": "hi"}))[0] == 200
        assert await samples(bench) == []
