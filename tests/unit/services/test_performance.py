"""Measuring: what is sent, how many at once, and what counts as an answer."""

import random
from dataclasses import dataclass, field

import anyio
import orjson
import pytest

from shipway.core.clock import ManualClock
from shipway.core.errors import DeadlineError, UnavailableError, UsageError
from shipway.evals.performance import PerformancePlan
from shipway.evals.ports import HttpReply
from shipway.services.performance import ChatEndpoint, PerformanceParts, chat_url, measure, measure_all

pytestmark = pytest.mark.anyio

EVENTS = {"content-type": "text/event-stream"}


def stream(tokens=7, end=b"data: [DONE]\n\n"):
    usage = b"" if tokens is None else b'data: {"choices":[],"usage":{"completion_tokens":%d}}\n\n' % tokens
    return b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' + usage + end


@dataclass
class Model:
    """Answers after all requests of a batch are there."""

    clock: ManualClock = field(default_factory=ManualClock)
    reply: HttpReply | Exception = field(default_factory=lambda: HttpReply(200, EVENTS, stream(), 4.0, 10.0))
    heard: list = field(default_factory=list)
    flying: int = 0
    most: int = 0

    async def call(self, request):
        self.heard.append(request)
        self.flying += 1
        self.most = max(self.most, self.flying)
        await anyio.lowlevel.checkpoint()
        if self.flying == 1:
            # The last of a batch: what passes is the batch's time.
            self.clock.advance(0.01)
        self.flying -= 1
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


ENDPOINT = ChatEndpoint("http://127.0.0.1:1/v1/chat/completions", "m", "k-secret")


SMALL = PerformancePlan((1, 3), 1, 2)


async def run(model, plan=SMALL, **parts):
    return await measure(ENDPOINT, plan, PerformanceParts(model, model.clock, random.Random(1), **parts))


async def test_as_many_are_in_flight_as_the_batch_is_large_and_warm_ups_do_not_count():
    model = Model()
    told = []
    found = await run(model, progress=lambda *args: told.append(args))
    assert len(model.heard) == (1 + 2) * 1 + (1 + 2) * 3
    assert model.most == 3
    assert [(row.batch, row.requests, row.errors) for row in found.rows] == [(1, 2, 0), (3, 6, 0)]
    assert found.rows[1].ttft_p50_ms == 4.0
    assert found.rows[1].tokens_per_s == pytest.approx(7 * 3 / 0.01)
    assert told == [(1, 1, 2), (1, 2, 2), (3, 1, 2), (3, 2, 2)]


async def test_every_question_is_another_one_from_its_first_word_on():
    model = Model()
    await run(model)
    texts = [orjson.loads(request.body)["messages"][0]["content"] for request in model.heard]
    assert len(set(texts)) == len(texts)
    assert len({text[:30] for text in texts}) == len(texts)


async def test_the_request_streams_with_usage_at_temperature_0():
    model = Model()
    await run(model)
    body = orjson.loads(model.heard[0].body)
    assert (body["stream"], body["stream_options"], body["temperature"], body["max_tokens"]) == (
        True,
        {"include_usage": True},
        0,
        64,
    )
    assert dict(model.heard[0].headers)["authorization"] == "Bearer k-secret"


async def test_whole_replies_have_no_time_to_first_token():
    body = orjson.dumps({"usage": {"completion_tokens": 5}})
    found = await run(Model(reply=HttpReply(200, {}, body, 4.0, 10.0)), PerformancePlan((1,), 0, 2, stream=False))
    assert (found.rows[0].ttft_p50_ms, found.rows[0].tokens_per_s, found.rows[0].errors) == (None, 500.0, 0)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (HttpReply(503, {}, b"busy", 1.0, 1.0), "status 503: busy"),
        (HttpReply(401, {}, b"bad key k-secret", 1.0, 1.0), "status 401: bad key ***"),
        (HttpReply(200, {**EVENTS, "x-shipway-cache": "hit"}, stream(), 1.0, 1.0), "answered from a cache"),
        (HttpReply(200, {**EVENTS, "age": "3"}, stream(), 1.0, 1.0), "answered from a cache"),
        (HttpReply(200, {}, b"{}", 1.0, 1.0), "no stream came; --no-stream measures without one"),
        (HttpReply(200, EVENTS, stream(end=b""), 1.0, 1.0), "the stream has no end"),
        (DeadlineError("late"), "no whole reply within 60 s"),
        (UnavailableError("nobody with k-secret"), "nobody with ***"),
    ],
)
async def test_what_is_no_answer_is_counted_with_its_reason(reply, reason):
    found = await run(Model(reply=reply), PerformancePlan((1,), 0, 2))
    assert (found.rows[0].requests, found.rows[0].errors) == (2, 2)
    assert found.reasons == {reason: 2}


async def test_a_stream_without_usage_has_times_but_no_tokens():
    found = await run(Model(reply=HttpReply(200, EVENTS, stream(None), 4.0, 10.0)), PerformancePlan((1,), 0, 1))
    assert (found.rows[0].p50_ms, found.rows[0].tokens_per_s) == (10.0, None)


async def test_when_nobody_answers_the_warm_up_nothing_is_measured():
    model = Model(reply=UnavailableError("nobody answers"))
    with pytest.raises(UnavailableError, match="nobody answers"):
        await run(model)
    assert len(model.heard) == 1


async def test_two_targets_are_asked_in_turns_in_an_order_that_chance_decides():
    model = Model()
    other = ChatEndpoint("http://127.0.0.1:2/v1/chat/completions", "n")
    parts = PerformanceParts(model, model.clock, random.Random(1))
    found = await measure_all([ENDPOINT, other], PerformancePlan((1,), 1, 20), parts)
    asked = [orjson.loads(request.body)["model"] for request in model.heard]
    pairs = ["".join(asked[start : start + 2]) for start in range(0, len(asked), 2)]
    assert pairs[0] == "mn"
    assert set(pairs) == {"mn", "nm"}
    assert [item.target for item in found] == ["http://127.0.0.1:1/v1#m", "http://127.0.0.1:2/v1#n"]
    assert [item.rows[0].requests for item in found] == [20, 20]


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/chat/completions"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1/chat/completions"),
        ("https://a.example/openai/v1/", "https://a.example/openai/v1/chat/completions"),
        ("http://a/v1/chat/completions", "http://a/v1/chat/completions"),
    ],
)
def test_an_address_may_end_at_the_host_at_its_version_or_be_whole(address, url):
    assert chat_url(address) == url


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://a", "http://a?x=1", "http://me:hunter2@a"])
def test_what_is_no_address_is_refused_and_a_password_not_repeated(address):
    with pytest.raises(UsageError) as refused:
        chat_url(address)
    assert "hunter2" not in str(refused.value)
