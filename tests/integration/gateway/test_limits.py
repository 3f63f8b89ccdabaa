"""Limits and tokens on a real socket."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from shipway.adapters.memory.limits import MemoryLimits
from shipway.config.sections.routes import Budgets, Rates
from shipway.config.sections.tenants import KeyLimits, Tenant
from shipway.core.clock import ManualClock
from shipway.core.snapshot import KeyEntry
from shipway.gateway.model import ModelPrice
from shipway.gateway.quota import LimitsLostError, Measure
from shipway.gateway.quota_book import QuotaBook, QuotaRules
from shipway.gateway.tokens import TokenDesk, TokenRefusedError, VerifiedToken

ASK = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}
REPLY = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3},
}


def book(limits=None, **sections) -> QuotaBook:
    counters = limits or MemoryLimits(ManualClock())
    return QuotaBook(counters, MemoryLimits(ManualClock()), QuotaRules(**sections))


async def left(quotas: QuotaBook, bench) -> dict[tuple[str, Measure], int]:
    key = bench.snapshot().keys[0]
    found = await quotas.limits.standings(quotas.of(key).prepared)
    return {(standing.bucket.whose, standing.bucket.measure): standing.remaining for standing in found}


async def test_a_key_over_its_rate_is_told_when_to_come_back_and_what_is_left(run_gateway, quick):
    async with run_gateway(quick, quotas=book(rates=Rates(per_key_min=4, tokens_per_min=5000))) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        assert [(await bench.post("/v1/chat/completions", ASK))[0] for _ in range(2)] == [200, 200]
        status, reply, headers = await bench.post("/v1/chat/completions", ASK)
        assert (status, reply["error"]["code"], reply["error"]["type"]) == (429, "rate_limited", "rate_limit_error")
        assert headers["Retry-After"] == "15"
        assert headers["x-ratelimit-limit-requests"] == "4"
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert headers["x-ratelimit-reset-requests"] == "30s"
        assert headers["x-ratelimit-remaining-tokens"] == "4980"
        assert len(bench.sink.records) == 2


async def test_what_is_left_can_stand_on_every_reply(run_gateway, quick):
    async with run_gateway(quick, quotas=book(rates=Rates(per_key_min=20, headers="all"))) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        _, _, headers = await bench.post("/v1/chat/completions", ASK)
        assert headers["x-ratelimit-remaining-requests"] == "9"
        assert "x-ratelimit-limit-tokens" not in headers


async def test_tokens_are_reserved_while_a_request_runs_and_settled_by_the_engines_count(run_gateway, quick):
    quotas = book(rates=Rates(tokens_per_min=5000, concurrent_per_key=2, per_tenant_min=100))
    async with run_gateway(quick, quotas=quotas) as bench:
        go = asyncio.Event()

        async def slowly(wire):
            await go.wait()
            await wire.json(REPLY)

        bench.upstream.play(slowly)
        asked = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
        await bench.upstream.arrived.wait()
        during = await left(quotas, bench)
        assert during["key", Measure.TOKENS] < 4990
        assert during["key", Measure.PLACES] == 1
        go.set()
        assert (await asked)[0] == 200
        after = await left(quotas, bench)
        assert after["key", Measure.TOKENS] == 4990
        assert after["key", Measure.PLACES] == 2
        assert after["tenant", Measure.REQUESTS] == 49


async def test_a_budget_that_is_spent_refuses_and_says_so(run_gateway, quick):
    settings = replace(quick, prices={"tiny": ModelPrice(1000.0, 0.0, 1000.0)})
    quotas = book(budgets=Budgets(daily_usd=0.09))
    async with run_gateway(settings, quotas=quotas) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        found = [await bench.post("/v1/chat/completions", ASK) for _ in range(6)]
        assert found[0][0] == 200
        status, reply, headers = found[-1]
        assert (status, reply["error"]["code"]) == (429, "budget_exceeded")
        assert "budget of this day" in reply["error"]["message"]
        assert int(headers["Retry-After"]) > 1000
        spent = sum(record.cost_usd for record in bench.sink.records)
        assert spent <= 0.09
        assert (await left(quotas, bench))["tenant", Measure.DAILY_USD] == round((0.09 - spent) * 1e9)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", {"model": "nothing", "messages": ASK["messages"]}, 404),
        ("/v1/chat/completions", {**ASK, "messages": []}, 400),
    ],
)
async def test_a_request_that_is_refused_for_another_reason_consumes_nothing(run_gateway, quick, path, body, status):
    quotas = book(rates=Rates(tokens_per_min=5000, concurrent_per_key=1), budgets=Budgets(daily_usd=1.0))
    async with run_gateway(quick, quotas=quotas) as bench:
        before = await left(quotas, bench)
        assert (await bench.post(path, body))[0] == status
        assert await left(quotas, bench) == before


async def test_a_request_whose_route_stays_parked_gives_everything_back(run_gateway, quick):
    quotas = book(rates=Rates(tokens_per_min=5000, concurrent_per_key=9), budgets=Budgets(daily_usd=1.0))
    async with run_gateway(replace(quick, park_s=0.01), quotas=quotas) as bench:
        snapshot = bench.snapshot(version=2)
        bench.apply(replace(snapshot, routes=tuple(replace(route, parked=True) for route in snapshot.routes)))
        before = await left(quotas, bench)

        status, reply, _ = await bench.post("/v1/chat/completions", ASK)

        assert (status, reply["error"]["code"]) == (503, "route_parked")
        assert await left(quotas, bench) == before


async def test_a_full_queue_gives_everything_back(run_gateway, quick):
    quotas = book(rates=Rates(tokens_per_min=5000, concurrent_per_key=9))
    async with run_gateway(replace(quick, max_active=1, max_queued=0), quotas=quotas) as bench:
        go = asyncio.Event()

        async def slowly(wire):
            await go.wait()
            await wire.json(REPLY)

        bench.upstream.play(slowly)
        asked = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
        await bench.upstream.arrived.wait()
        before = await left(quotas, bench)
        answer = await bench.post("/v1/chat/completions", ASK)
        assert answer[0] == 503, (answer, bench.notes)
        assert await left(quotas, bench) == before
        go.set()
        assert (await asked)[0] == 200


async def test_a_client_that_leaves_gives_its_place_back(run_gateway, quick):
    quotas = book(rates=Rates(concurrent_per_key=1, tokens_per_min=5000))
    async with run_gateway(quick, quotas=quotas) as bench:

        async def never(wire):
            await wire.heard.closed.wait()

        bench.upstream.play(never)
        asked = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
        await bench.upstream.arrived.wait()
        assert (await bench.post("/v1/chat/completions", ASK))[1]["error"]["code"] == "concurrency_limited"
        asked.cancel()
        await bench.upstream.heard[0].closed.wait()
        while bench.gateway.at_work:
            await asyncio.sleep(0)
        found = await left(quotas, bench)
        assert found["key", Measure.PLACES] == 1
        # Its engine had read the question.
        assert found["key", Measure.TOKENS] == 4999


async def test_addresses_that_guess_keys_are_slowed_down_and_keys_are_not(run_gateway, quick):
    async with run_gateway(quick, quotas=book(rates=Rates(per_ip_min=3))) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        found = [(await bench.post("/v1/chat/completions", ASK, key="swk_guess"))[0] for _ in range(5)]
        assert found == [401, 401, 401, 429, 429]
        assert (await bench.post("/v1/chat/completions", ASK))[0] == 200


async def test_tenants_and_keys_may_have_limits_of_their_own(run_gateway, quick):
    quotas = book(
        rates=Rates(per_key_min=2),
        tenants={"acme": Tenant(per_key_min=6)},
        key_limits={"key_operate": KeyLimits(tenant="acme", per_key_min=8)},
    )
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))

        async def passed(key: str) -> int:
            found = [(await bench.post("/v1/chat/completions", ASK, key=key))[0] for _ in range(6)]
            return found.count(200)

        assert await passed("swk_invoke") == 3
        assert await passed("swk_operate") == 4


class LostLimits(MemoryLimits):
    async def reserve(self, quota, tokens, nano_usd):
        raise LimitsLostError("gone")

    def reserve_now(self, quota, tokens, nano_usd):
        raise LimitsLostError("gone")


async def test_counters_that_are_gone_let_nobody_in(run_gateway, quick):
    async with run_gateway(quick, quotas=book(LostLimits(ManualClock()))) as bench:
        status, reply, headers = await bench.post("/v1/chat/completions", ASK)
        assert (status, reply["error"]["code"], headers["Retry-After"]) == (503, "limits_unavailable", "1")
        assert bench.upstream.heard == []


class KnownToken:
    """A verifier that knows one token."""

    epoch = 0

    def verify(self, token, *, now_s):
        if token != "eyJ.eyJ.good":
            raise TokenRefusedError("invalid_token", "the token is not valid here")
        return VerifiedToken(KeyEntry("sub_1", "", "acme", ("staff",), ("invoke",), ("chat",)), now_s + 60)


async def test_a_token_opens_beside_keys_and_has_a_quota_of_its_own(run_gateway, quick):
    quotas = book(rates=Rates(per_key_min=4, per_ip_min=2))
    async with run_gateway(quick, quotas=quotas, tokens=TokenDesk(KnownToken())) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))

        async def status(key: str, model: str = "chat") -> tuple[int, str]:
            found, reply, _ = await bench.post("/v1/chat/completions", {**ASK, "model": model}, key=key)
            return found, reply.get("error", {}).get("code", "")

        assert await status("eyJ.eyJ.good") == (200, "")
        assert await status("eyJ.eyJ.good", "other") == (403, "route_forbidden")
        assert await status("eyJ.eyJ.good") == (200, "")
        assert await status("eyJ.eyJ.good") == (429, "rate_limited")
        assert await status("swk_invoke") == (200, "")
        assert await status("eyJ.eyJ.bad") == (401, "invalid_token")
        assert await status("swk_nobody") == (401, "invalid_api_key")
        assert await status("eyJ.eyJ.bad") == (429, "rate_limited")
        assert [record.key_id for record in bench.sink.records] == ["sub_1", "sub_1", "key_invoke"]
        assert bench.upstream.heard[0].headers.get("authorization") == "Bearer sk-engine"


BAD: list[tuple[str, Any]] = [
    ("/v1/chat/completions", b"{"),
    ("/v1/chat/completions", {**ASK, "messages": []}),
    ("/v1/chat/completions", {**ASK, "model": "nothing"}),
    ("/v1/nowhere", {}),
    ("/v1/chat/completions", b'{"pad":"' + b"x" * 4096 + b'"}'),
]


async def test_requests_that_have_to_be_refused_are_limited_by_key_and_cost_it_nothing_else(run_gateway, quick):
    quotas = book(rates=Rates(per_key_min=20, tokens_per_min=5000), budgets=Budgets(daily_usd=1.0))
    async with run_gateway(replace(quick, max_body_bytes=2048), quotas=quotas) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        before = await left(quotas, bench)
        found = [await bench.post(*BAD[number % len(BAD)]) for number in range(10)]
        assert [status for status, _, _ in found] == [400, 400, 404, 404, 413] * 2
        for path, body in BAD:
            status, reply, headers = await bench.post(path, body)
            assert (status, reply["error"]["code"]) == (429, "rate_limited")
            assert "have to be refused" in reply["error"]["message"]
            assert headers["Retry-After"] == "3"
        assert await left(quotas, bench) == before
        assert [record.status for record in bench.logged[-5:]] == [429] * 5


async def test_a_key_over_its_refusals_is_stopped_before_its_body_is_read_and_others_are_not(run_gateway, quick):
    quotas = book(rates=Rates(per_key_min=2, per_ip_min=60))
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        assert [(await bench.post(*BAD[0]))[0] for _ in range(2)] == [400, 429]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(bench.url.rpartition(":")[2]))
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer swk_invoke\r\n"
            b"content-type: application/json\r\ncontent-length: 100000\r\n\r\n{"
        )
        async with asyncio.timeout(5):
            assert b" 429 " in await reader.readline()
        writer.close()
        assert (await bench.post("/v1/chat/completions", ASK, key="swk_operate"))[0] == 200


async def test_a_key_that_was_stopped_serves_again_when_its_refusals_have_drained(run_gateway, quick):
    clock = ManualClock()
    quotas = QuotaBook(MemoryLimits(clock), MemoryLimits(clock), QuotaRules(rates=Rates(per_key_min=2)))
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        assert [(await bench.post(*BAD[0]))[0] for _ in range(3)] == [400, 429, 429]
        clock.advance(31.0)
        assert (await bench.post("/v1/chat/completions", ASK))[0] == 200


async def test_keys_of_one_address_share_what_it_may_have_refused_but_not_their_good_requests(run_gateway, quick):
    quotas = book(rates=Rates(per_ip_min=3, per_key_min=100))
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        found = [(await bench.post(*BAD[0], key=key))[0] for key in ("swk_invoke", "swk_operate") * 2]
        assert found == [400, 400, 400, 429]
        for key in ("swk_invoke", "swk_operate"):
            assert (await bench.post("/v1/chat/completions", ASK, key=key))[0] == 200


async def test_what_an_engine_refuses_is_not_counted_twice(run_gateway, quick):
    quotas = book(rates=Rates(per_key_min=8))
    async with run_gateway(quick, quotas=quotas) as bench:
        bench.upstream.play(lambda wire: wire.json({"error": {"message": "no"}}, status=400))
        assert [(await bench.post("/v1/chat/completions", ASK))[0] for _ in range(5)] == [400] * 4 + [429]
        assert (await bench.post(*BAD[0]))[0] == 400
