"""A load test on real sockets against a server whose delays and one stall are known.

Nothing here depends on how fast the machine is: what is asserted are relations that waiting can only strengthen.
"""

import asyncio
import json
import random
import time

import pytest

from shipway.adapters.httptools_client.client import HttptoolsEngineClient
from shipway.core.clock import SystemClock
from shipway.load.plan import Arrivals, Kind, Limits, LoadPlan, Stage, Template
from shipway.services.load.asking import EndpointAsker
from shipway.services.load.generator import GeneratorParts, generate
from shipway.services.load.mix import Mix

pytestmark = pytest.mark.anyio

DELAY_S = 0.02
STALL_AT, STALL_S = 20, 1.0
WORD = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
TEMPLATE = Template("q", {"model": "m", "messages": [{"role": "user", "content": "Where?"}]})


class OneAtATime:
    """Serves one request after another, each after a delay; from the 20th on it stands still once for a second."""

    def __init__(self):
        self.turn = asyncio.Lock()
        self.served = 0
        self.stalled_from_s = self.stalled_until_s = 0.0

    async def __call__(self, wire):
        async with self.turn:
            self.served += 1
            if self.served == STALL_AT:
                self.stalled_from_s = time.monotonic()
                await asyncio.sleep(STALL_S)
                self.stalled_until_s = time.monotonic()
            await asyncio.sleep(DELAY_S)
        await wire.json({"choices": [], "usage": {"completion_tokens": 2}})


async def loaded(upstream, plan, template=TEMPLATE):
    client, clock = HttptoolsEngineClient(), SystemClock()
    asker = EndpointAsker(client, clock.monotonic_s, plan.timeout_s)
    mix = Mix([template], upstream.url, plan, "hush")
    began_s = clock.monotonic_s()
    try:
        return await generate(plan, GeneratorParts(asker.ask, mix.prepare, clock)), began_s
    finally:
        await client.close()


def plan(per_s, seconds, **fields):
    usual = {"arrivals": Arrivals.CONSTANT, "warmup_s": 0.0, "limits": Limits({"p99_ms": 1}), "stream": False}
    return LoadPlan(Kind.RATE, (Stage(seconds, per_s, per_s),), **{**usual, **fields})


async def test_every_request_that_was_due_during_a_stall_waited_for_its_end(upstream):
    server = OneAtATime()
    upstream.play(server)

    found, began_s = await loaded(upstream, plan(20, 4))

    assert [sample.outcome.error for sample in found.samples] == [""] * 79
    assert all(sample.latency_ms >= DELAY_S * 1000 for sample in found.samples)
    stalled = [s for s in found.samples if server.stalled_from_s <= began_s + s.due_s <= server.stalled_until_s]
    # A second's worth of requests, and each was answered after the stall: none of them is missing.
    assert len(stalled) >= 15
    for sample in stalled:
        assert sample.latency_ms >= (server.stalled_until_s - began_s - sample.due_s) * 1000
    # A client that asks again when it has its answer would have met it once.
    assert sum(sample.latency_ms >= 500 for sample in found.samples) >= 8


async def test_what_is_sent_is_a_chat_with_its_key(upstream):
    upstream.play(lambda wire: wire.json({"choices": []}))

    await loaded(upstream, plan(20, 0.2))

    heard = upstream.heard[0]
    assert (heard.method, heard.target, heard.headers["authorization"]) == (
        "POST",
        "/v1/chat/completions",
        "Bearer hush",
    )
    assert json.loads(heard.body)["messages"][0]["content"].endswith("Where?")


async def test_streams_are_followed_to_their_end_and_broken_ones_are_told_from_whole_ones(upstream):
    async def whole(wire):
        await wire.head()
        await wire.chunk(WORD)
        await wire.chunk(WORD + b"data: [DONE]\n\n")
        await wire.end()

    async def cut(wire):
        await wire.head()
        await wire.chunk(WORD)
        wire.cut()

    upstream.play(whole, cut, whole)

    found, _ = await loaded(upstream, plan(20, 0.21, stream=True))

    broken = [sample.outcome for sample in found.samples if sample.outcome.is_broken_stream]
    good = [sample for sample in found.samples if not sample.outcome.error]
    assert len(broken) == 1
    assert "cut off" in broken[0].error
    assert good
    assert all(0 < sample.ttft_ms <= sample.latency_ms for sample in good)


async def test_nobody_there_is_an_error_of_the_request_and_no_crash(upstream):
    upstream.play(lambda wire: wire.json({}))
    await upstream.stop()
    await upstream.start()
    url = upstream.url
    await upstream.stop()
    client, clock = HttptoolsEngineClient(), SystemClock()
    made = Mix([TEMPLATE], url, plan(1, 1)).prepare(random.Random(1))

    outcome = await EndpointAsker(client, clock.monotonic_s, 5.0).ask(made)

    await client.close()
    await upstream.start()
    assert outcome.error == "no connection"


async def test_an_answer_that_never_ends_times_out_and_says_so(upstream):
    async def hangs(wire):
        await wire.head()
        await wire.chunk(WORD)
        await asyncio.Event().wait()

    upstream.play(hangs)

    found, _ = await loaded(upstream, plan(10, 0.15, stream=True, timeout_s=0.3))

    outcome = found.samples[0].outcome
    assert outcome.is_timeout
    assert outcome.error == "no whole answer within 0.3 s"
    assert found.samples[0].latency_ms >= 300
