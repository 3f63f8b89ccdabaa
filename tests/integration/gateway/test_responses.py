"""Responses that the engine keeps: sealed ids out, the same engine and tenant in."""

from dataclasses import replace
from typing import Any

import openai
import orjson
import pytest
from tests.integration.gateway.conftest import KEYS, key_entry

from shipway.adapters.memory.limits import MemoryLimits
from shipway.config.sections.routes import Rates
from shipway.core.clock import ManualClock
from shipway.gateway.quota_book import QuotaBook, QuotaRules
from shipway.gateway.serving import LoadedRelease

OUTPUT = [
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "hi", "annotations": []}],
    }
]
KEPT: dict[str, Any] = {
    "id": "resp_abc",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "tiny",
    "output": OUTPUT,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10},
}
ITEMS = {"object": "list", "data": OUTPUT, "first_id": "msg_1", "last_id": "msg_1", "has_more": False}


class Store:
    """An engine that keeps one response."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.deleted = False

    async def __call__(self, wire: Any) -> None:
        heard = wire.heard
        self.asked.append((heard.method, heard.target))
        path = heard.target.partition("?")[0]
        if heard.method == "POST" and path == "/v1/responses":
            await wire.json({**KEPT, "previous_response_id": heard.json().get("previous_response_id")})
        elif self.deleted or not path.startswith("/v1/responses/resp_abc"):
            await wire.json({"error": {"message": "Response not found", "code": "not_found"}}, 404)
        elif heard.method == "DELETE":
            self.deleted = True
            await wire.json({"id": "resp_abc", "object": "response", "deleted": True})
        elif path.endswith("/input_items"):
            await wire.json(ITEMS)
        else:
            await wire.json({**KEPT, "status": "cancelled"} if path.endswith("/cancel") else KEPT)


def sdk(bench: Any, key: str = "swk_invoke") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=bench.url + "/v1", api_key=key, max_retries=0)


@pytest.fixture
def store(bench: Any) -> Store:
    made = Store()
    bench.upstream.play(made)
    other = key_entry("swk_rival", tenant="rival")
    bench.apply(bench.snapshot(version=2, keys=(*KEYS, other)))
    return made


async def test_the_sdk_reads_cancels_and_deletes_what_it_made(bench, store):
    async with sdk(bench) as client:
        made = await client.responses.create(model="chat", input="hello")
        read = await client.responses.retrieve(made.id)
        items = [item.id async for item in client.responses.input_items.list(made.id, limit=5)]
        cancelled = await client.responses.cancel(made.id)
        await client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError) as caught:
            await client.responses.retrieve(made.id)

    assert made.id.startswith("resp_abc_")
    assert (read.id, read.output_text, items) == (made.id, "hi", ["msg_1"])
    assert (cancelled.id, cancelled.status) == (made.id, "cancelled")
    assert caught.value.request_id.startswith("req_")
    assert store.asked[1:5] == [
        ("GET", "/v1/responses/resp_abc"),
        ("GET", "/v1/responses/resp_abc/input_items?limit=5"),
        ("POST", "/v1/responses/resp_abc/cancel"),
        ("DELETE", "/v1/responses/resp_abc"),
    ]
    # What is only read was not served by a release: no analysis counts it.
    assert len(bench.sink.records) == 1


async def test_the_next_turn_goes_on_from_the_engines_own_id(bench, store):
    async with sdk(bench) as client:
        first = await client.responses.create(model="chat", input="hello")
        second = await client.responses.create(model="chat", input="again", previous_response_id=first.id)

    assert bench.upstream.heard[1].json()["previous_response_id"] == "resp_abc"
    assert second.previous_response_id == first.id
    assert bench.sink.records[1].conversation == first.id


async def test_a_streamed_response_has_the_same_sealed_id_in_every_event(bench, store):
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\n".encode() + b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"

    whole = event("response.created", response={**KEPT, "output": []}) + event("response.completed", response=KEPT)

    async def drips(wire: Any) -> None:
        await wire.head()
        for start in range(0, len(whole), 37):
            await wire.chunk(whole[start : start + 37])
        await wire.end()

    async with sdk(bench) as client:
        made = await client.responses.create(model="chat", input="hello")
        bench.upstream.play(drips)
        stream = await client.responses.create(model="chat", input="hello", stream=True)
        seen = [found.response.id async for found in stream]

    assert seen == [made.id, made.id]


@pytest.mark.parametrize("key", ["swk_rival", "swk_narrow"])
async def test_another_tenant_or_a_key_of_other_routes_finds_no_response(bench, store, key):
    async with sdk(bench) as client, sdk(bench, key) as stranger:
        made = await client.responses.create(model="chat", input="hello")
        for call in (stranger.responses.retrieve, stranger.responses.delete, stranger.responses.cancel):
            with pytest.raises(openai.NotFoundError) as caught:
                await call(made.id)
            assert caught.value.code == "response_not_found"
    assert len(store.asked) == 1


@pytest.mark.parametrize("given", ["resp_abc", "resp_abc_00000000" + "0" * 16, "swk", "resp_other"])
async def test_an_id_that_was_not_given_out_here_opens_nothing(bench, store, given):
    status, told = await bench.get(f"/v1/responses/{given}")
    assert (status, told["error"]["code"], told["error"]["param"]) == (404, "response_not_found", "response_id")
    body = {"model": "chat", "input": "hi", "previous_response_id": given}
    status, told, _ = await bench.post("/v1/responses", body)
    assert (status, told["error"]["code"]) == (400, "previous_response_not_found")
    assert store.asked == []


async def test_a_tenant_cannot_go_on_from_anothers_response(bench, store):
    async with sdk(bench) as client, sdk(bench, "swk_rival") as rival:
        made = await client.responses.create(model="chat", input="hello")
        with pytest.raises(openai.BadRequestError) as caught:
            await rival.responses.create(model="chat", input="and?", previous_response_id=made.id)

    assert caught.value.code == "previous_response_not_found"
    assert len(store.asked) == 1


async def test_another_worker_finds_the_engine_of_an_id_among_several(run_gateway, quick, bench, store):
    async with sdk(bench) as client:
        made = await client.responses.create(model="chat", input="hello")
    async with run_gateway(quick) as worker:
        runtime = worker.serving.current.releases["rel_a"].runtime
        both = (worker.upstream.url + "/v1", bench.upstream.url + "/v1")
        runtime.routes = {**runtime.routes, "chat": replace(runtime.routes["chat"], replicas=both)}
        worker.serving.apply(worker.snapshot(version=3), {"rel_a": LoadedRelease("rel_a", runtime)}, silent=False)
        status, told = await worker.get(f"/v1/responses/{made.id}")

        assert (status, told["id"]) == (200, made.id)
        assert worker.upstream.heard == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "", 405),
        ("POST", "", 405),
        ("GET", "/cancel", 405),
        ("GET", "/nothing", 404),
        ("GET", "?stream=true", 400),
        ("GET", "?stream=1&a=b", 400),
        ("GET", "/..%2fmodels", 404),
        ("GET", "%0d%0aX: y", 404),
    ],
)
async def test_what_is_not_served_of_a_response_is_said(bench, store, method, path, status):
    async with sdk(bench) as client:
        made = await client.responses.create(model="chat", input="hello")
    headers = {"authorization": "Bearer swk_invoke"}
    async with bench.client.request(method, f"{bench.url}/v1/responses/{made.id}{path}", headers=headers) as reply:
        told = await reply.json()

    assert (reply.status, set(told)) == (status, {"error", "request_id"})
    assert len(store.asked) == 1


async def test_reading_a_response_is_a_request_of_the_keys_rate(run_gateway, quick):
    quotas = QuotaBook(MemoryLimits(ManualClock()), MemoryLimits(ManualClock()), QuotaRules(rates=Rates(per_key_min=4)))
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(Store())
        async with sdk(bench) as client:
            made = await client.responses.create(model="chat", input="hello")
            await client.responses.retrieve(made.id)
            with pytest.raises(openai.RateLimitError):
                await client.responses.retrieve(made.id)
