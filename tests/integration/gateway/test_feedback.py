"""Feedback over HTTP: who may say what about which answer."""

from contextlib import asynccontextmanager

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import SystemClock
from shipway.gateway.feedback import KIND, FeedbackDesk

pytestmark = pytest.mark.anyio
PATH = "/v1/feedback"


@pytest.fixture
def open_gateway(run_gateway, quick):
    @asynccontextmanager
    async def make():
        store = MemoryStore()

        async def no_wait(_seconds: float) -> None:
            return

        desk = FeedbackDesk(store.records, store.documents, SystemClock(), sleep=no_wait)
        async with run_gateway(quick, feedback=desk) as bench:
            bench.store = store
            _, _, headers = await bench.post(
                "/v1/chat/completions", {"model": "ask", "messages": [{"role": "user", "content": "Hi"}]}
            )
            await store.records.append(bench.sink.records)
            bench.asked = headers["x-request-id"]
            yield bench

    return make


async def test_feedback_on_an_answer_is_stored_once(open_gateway):
    async with open_gateway() as bench:
        body = {"request_id": bench.asked, "id": "f1", "thumbs": "down", "comment": "call me: ann@example.org"}
        first = await bench.post(PATH, body)
        second = await bench.post(PATH, body)

        assert (first[0], second[0]) == (201, 200)
        assert first[1] == {"object": "feedback", "id": "f1", "request_id": bench.asked, "repeated": False}
        [(_, stored, _)] = await bench.store.documents.list(KIND)
        assert stored["comment"] == "call me: [email]"
        assert stored["release"] == "rel_a"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"request_id": "req_unknown", "thumbs": "up"}, 404, "request_not_found"),
        ({"request_id": "req_unknown"}, 400, "invalid_request"),
        ({"request_id": "req_unknown", "rating": 9}, 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b"{", 400, "invalid_request"),
    ],
)
async def test_bad_feedback_is_refused_in_openais_shape(open_gateway, body, status, code):
    async with open_gateway() as bench:
        found, told, _ = await bench.post(PATH, body)

        assert (found, told["error"]["code"]) == (status, code)


async def test_feedback_needs_a_key(open_gateway):
    async with open_gateway() as bench:
        assert (await bench.post(PATH, {"request_id": bench.asked, "thumbs": "up"}, key="swk_wrong"))[0] == 401


async def test_a_gateway_without_feedback_says_so(bench):
    assert (await bench.post(PATH, {"request_id": "r", "thumbs": "up"}))[0] == 404
    assert (await bench.post("/v1/conversations/forget", {"conversation_id": "c"}))[0] == 404
