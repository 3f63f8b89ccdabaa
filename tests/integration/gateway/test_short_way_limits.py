"""What never goes the short way, and what is chosen there as on the long way."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from tests.integration.gateway.test_short_way import (
    ASK,
    KEY,
    REPLY,
    answer,
    asking,
    book,
    dial,
    flights,
    left,
    planned,
    serve,
    settled,
    until,
)

from shipway.adapters.memory.answers import MemoryAnswers
from shipway.adapters.memory.conversations import MemoryConversations
from shipway.adapters.memory.limits import MemoryLimits
from shipway.config.sections.routes import Rates
from shipway.core.clock import ManualClock, SystemClock
from shipway.core.switches import Switch, SwitchKind
from shipway.gateway.budgeter import EstimatedTokens
from shipway.gateway.cache import AnswerCache, CacheParts
from shipway.gateway.cache_model import CachePolicy
from shipway.gateway.kept import Kept, Remembering
from shipway.gateway.memory import MemoryPolicy
from shipway.gateway.model import GatewaySettings, TokenBudget
from shipway.gateway.quota_book import QuotaBook, QuotaRules
from shipway.gateway.route_plan import Escalated, PromptChoice
from shipway.gateway.routing import RoutingTable, Rule, compile_split
from shipway.gateway.shadow_desk import ShadowSettings
from shipway.telemetry.tracing import RequestTrace, Tracer

pytestmark = pytest.mark.anyio

__all__ = ["dial"]

Prepare = Callable[[Any], None]


class FarLimits:
    """Limits that somebody far away counts: everything is asked and waited for."""

    def __init__(self) -> None:
        self._near = MemoryLimits(ManualClock())
        self.asked = 0

    def prepared(self, buckets: Any) -> Any:
        return self._near.prepared(buckets)

    async def reserve(self, prepared: Any, tokens: int, nano_usd: int) -> Any:
        self.asked += 1
        return self._near.reserve_now(prepared, tokens, nano_usd)

    async def standings(self, prepared: Any) -> Any:
        return await self._near.standings(prepared)

    def settle(self, hold: Any, tokens: int, nano_usd: int) -> None:
        self._near.settle(hold, tokens, nano_usd)

    def release(self, hold: Any) -> None:
        self._near.release(hold)


def _cache() -> AnswerCache:
    policies = {"chat": CachePolicy()}
    store = MemoryAnswers(SystemClock(), max_bytes=1 << 20)
    settings = GatewaySettings()
    return AnswerCache(CacheParts(store=store, policies=policies, clock=SystemClock(), note=_quiet, settings=settings))


def _memory() -> Remembering:
    return Remembering(MemoryConversations(SystemClock()), {"chat": MemoryPolicy()}, _quiet)


OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "cache": lambda: {"kept": Kept(cache=_cache())},
    "memory": lambda: {"kept": Kept(memory=_memory())},
    "hedges": lambda: {"settings": {"hedge_share": 0.1}},
    "far-limits": lambda: {"quotas": QuotaBook(FarLimits(), MemoryLimits(ManualClock()), QuotaRules(rates=Rates()))},
    "limits-on-all": lambda: {
        "quotas": QuotaBook(
            MemoryLimits(ManualClock()), MemoryLimits(ManualClock()), QuotaRules(rates=Rates(headers="all"))
        )
    },
    "input-too-long": lambda: {"settings": {"max_input_chars": 1}},
    "body-too-long": lambda: {"settings": {"max_body_bytes": 10}},
}  # fmt: skip


def _quiet(*_told: Any, **_fields: Any) -> None:
    """Say nothing."""


def _own(bench: Any, **fields: Any) -> None:
    serve(bench, replace(bench.routes("rel_a")["chat"], **fields))


def _switched(bench: Any, kind: SwitchKind, target: str, value: str | int = "") -> None:
    bench.apply(bench.snapshot(switches=(Switch(kind, target, value),)))


def _shadowed(bench: Any) -> None:
    route = replace(bench.snapshot().route("chat"), shadow="rel_b", shadow_share=1.0)
    bench.apply(bench.snapshot(routes=(route,)))


def _escalating(bench: Any) -> None:
    plan = planned(bench, Rule(0, low_chars=1000, to="large"))
    own = replace(bench.routes("rel_a")["chat"], plan=replace(plan, escalate={"small": Escalated("large", 0.5)}))
    serve(bench, own)


def _prompted(bench: Any) -> None:
    plan = planned(bench, Rule(0, prompt="other"))
    prompts = {"other": PromptChoice(({"role": "system", "content": "Other."},), "9")}
    serve(bench, replace(bench.routes("rel_a")["chat"], plan=replace(plan, prompts=prompts)))


PREPARED: dict[str, Prepare] = {
    "killed-route": lambda bench: _switched(bench, SwitchKind.KILL_ROUTE, "chat"),
    "locked-route": lambda bench: _switched(bench, SwitchKind.LOCK_ROUTE, "chat", "small"),
    "switch-of-another-route": lambda bench: _switched(bench, SwitchKind.KILL_ROUTE, "other"),
    "shadow": _shadowed,
    "replicas": lambda bench: _own(bench, replicas=(bench.upstream.url + "/v1",)),
    "replicas-of-a-model": lambda bench: planned(bench, replicas=(bench.upstream.url + "/v1",)),
    "escalation": _escalating,
    "header-rule": lambda bench: planned(bench, Rule(0, headers=(("x-tier", "gold"),), to="large")),
    "flag-rule": lambda bench: planned(bench, Rule(0, flag="new-model", to="large")),
    "prompt-rule": _prompted,
    "token-budget": lambda bench: _own(bench, budget=TokenBudget(30, EstimatedTokens())),
}


@pytest.mark.parametrize("what", [*OPTIONS, *PREPARED])
async def test_what_takes_more_than_one_engines_answer_never_goes_the_short_way(dial, run_gateway, quick, what):
    options = OPTIONS[what]() if what in OPTIONS else {}
    settings = replace(quick, **options.pop("settings", {}))
    if what == "shadow":
        options["shadow"] = ShadowSettings()
    async with run_gateway(settings, **options) as bench:
        bench.upstream.play(answer)
        if what in PREPARED:
            PREPARED[what](bench)
        client = await dial(bench)
        with flights(bench) as taken:
            for _ in range(3):
                client.send(asking())
                assert (await client.reply())[0] in {200, 400, 413, 503}
                if what == "body-too-long":
                    break
        assert taken == []
        await settled(bench)


@pytest.mark.parametrize("change", ["switch", "release"])
async def test_what_operators_change_holds_from_the_next_equal_request_on(dial, run_gateway, quick, change):
    async with run_gateway(quick) as bench:
        bench.upstream.play(answer)
        client = await dial(bench)
        with flights(bench) as taken:
            client.send(asking())
            assert (await client.reply())[0] == 200
            if change == "switch":
                killed = replace(bench.serving.current.snapshot, switches=(Switch(SwitchKind.KILL_ROUTE, "chat"),))
                bench.serving.switch(killed)
                client.send(asking())
                assert (await client.reply())[2]["error"]["code"] == "route_switched_off"
            else:
                routes = tuple(replace(route, stable="rel_b") for route in bench.snapshot().routes)
                bench.apply(bench.snapshot(version=2, routes=routes))
                client.send(asking())
                _, headers, _ = await client.reply()
                assert headers["x-shipway-release"] == "rel_b"
                assert bench.upstream.heard[-1].headers["x-shipway-release"] == "rel_b"
                assert bench.upstream.heard[-1].json()["messages"][0]["content"] == "You are rel_b."
        assert len(taken) == (1 if change == "switch" else 2)
        await settled(bench)


async def test_a_release_that_leaves_is_closed_after_its_last_flight(dial, run_gateway, quick):
    go = asyncio.Event()

    async def later(wire: Any) -> None:
        await go.wait()
        await wire.json(REPLY)

    async with run_gateway(quick) as bench:
        bench.upstream.play(later)
        client = await dial(bench)
        runtime = bench.serving.current.releases["rel_a"].runtime
        client.send(asking())
        await bench.upstream.arrived.wait()
        routes = tuple(replace(route, stable="rel_b") for route in bench.snapshot().routes)
        bench.apply(bench.snapshot(version=2, routes=routes))
        await asyncio.sleep(0.01)
        assert not runtime.closed
        go.set()
        _, headers, _ = await client.reply()
        assert headers["x-shipway-release"] == "rel_a"
        await until(lambda: runtime.closed)
        assert bench.sink.records[0].snapshot_version == 1


RULES: dict[str, tuple[Rule, ...]] = {
    "length": (Rule(0, low_chars=50, to="large"),),
    "tenant": (Rule(0, tenants=frozenset({"acme"}), low_chars=10, to="large"),),
    "another-tenant": (Rule(0, tenants=frozenset({"other"}), to="large"),),
    "complexity": (Rule(0, low_complexity=0.3, to="large"),),
    "split": (Rule(0, low_chars=5, to="both"),),
    "header-for-long-ones": (Rule(0, low_chars=50, headers=(("x-tier", "gold"),), to="large"),),
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
async def test_both_ways_choose_the_same_model(dial, run_gateway, quick, rules):
    texts = [
        "hi",
        "hello there",
        "x" * 60,
        "Prove that the sum of 1/n^2 converges; then derive its limit step by step.",
    ]
    seen: list[Any] = []
    taken: list[Any] = []
    for short_way in (True, False):
        async with run_gateway(quick, short_way=short_way) as bench:
            bench.upstream.play(answer)
            plan = planned(bench, *rules)
            table = RoutingTable(
                "small", "small", rules, {"both": compile_split("both", {"small": 1, "large": 1})}, plan.table.known
            )
            serve(bench, replace(bench.routes("rel_a")["chat"], plan=replace(plan, table=table)))
            client = await dial(bench)
            for number, text in enumerate(texts * 3):
                value = {
                    **ASK,
                    "messages": [{"role": "user", "content": text}],
                    "metadata": {"conversation_id": str(number)},
                }
                if short_way:
                    with flights(bench) as flown:
                        client.send(asking(value))
                        status, headers, _ = await client.reply()
                    taken += flown
                else:
                    client.send(asking(value))
                    status, headers, _ = await client.reply()
                heard = bench.upstream.heard[-1].json()["model"]
                seen.append(
                    (short_way, number, status, headers["x-shipway-model"], heard, bench.sink.records[-1].model)
                )
            await settled(bench)
    half = len(seen) // 2
    assert [found[1:] for found in seen[:half]] == [found[1:] for found in seen[half:]]
    assert taken


async def test_limits_are_the_same_whichever_way_a_request_goes(dial, run_gateway, quick):
    told: list[Any] = []
    for short_way in (True, False):
        quotas = QuotaBook(
            MemoryLimits(ManualClock()), MemoryLimits(ManualClock()), QuotaRules(rates=Rates(per_key_min=4))
        )
        async with run_gateway(quick, quotas=quotas, short_way=short_way) as bench:
            bench.upstream.play(answer)
            client = await dial(bench)
            found = []
            for _ in range(4):
                client.send(asking())
                status, headers, _ = await client.reply()
                found.append((status, headers.get("retry-after"), headers.get("x-ratelimit-remaining-requests")))
            told.append((found, await left(quotas)))
            await settled(bench)
    assert told[0] == told[1]
    assert [status for status, *_ in told[0][0]] == [200, 200, 429, 429]


async def test_places_at_work_are_counted_over_both_ways(dial, run_gateway, quick):
    go = asyncio.Event()

    async def later(wire: Any) -> None:
        await go.wait()
        await wire.json(REPLY)

    async with run_gateway(replace(quick, max_active=2, max_queued=1), quotas=book()) as bench:
        bench.upstream.play(later)
        clients = [await dial(bench) for _ in range(4)]
        with flights(bench) as taken:
            for client in clients:
                client.send(asking())
            await until(lambda: bench.gateway.places.waiting == 1)
            go.set()
            statuses = sorted([(await client.reply())[0] for client in clients])
        assert (len(taken), statuses) == (2, [200, 200, 200, 503])
        await settled(bench)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/rerank", "/rerank", "/v2/rerank"])
async def test_a_trace_is_the_same_on_both_ways(dial, run_gateway, quick, path):
    traces: list[RequestTrace] = []
    asked = ASK if "chat" in path else {"model": "chat", "query": "q", "documents": ["a"]}
    for short_way in (True, False):
        tracer = Tracer(
            lambda _record, trace: traces.append(trace), ratio=1.0, uniform=lambda: 0.0, random_bits=lambda bits: bits
        )
        async with run_gateway(quick, tracer=tracer, short_way=short_way) as bench:
            bench.upstream.play(answer)
            client = await dial(bench)
            client.send(asking(asked, path=path.encode()))
            assert (await client.reply())[0] == 200
            await settled(bench)
            assert bench.upstream.heard[-1].headers["traceparent"] == traces[-1].headers()[0][1]
    short, long = traces
    same = ("method", "path", "trace_id", "span_id", "engine_id", "parent_id", "stages")
    assert {name: getattr(short, name) for name in same} == {name: getattr(long, name) for name in same}
    assert short.engine_url.startswith("http://127.0.0.1:")


async def test_replies_to_one_packet_of_requests_come_in_its_order(dial, run_gateway, quick):
    go = asyncio.Event()

    async def later(wire: Any) -> None:
        if wire.heard.json()["seed"] == 0:
            await go.wait()
        await wire.json({**REPLY, "seed": wire.heard.json()["seed"]})

    async with run_gateway(quick) as bench:
        bench.upstream.play(later)
        client = await dial(bench)
        client.send(asking({**ASK, "seed": 0}))
        await bench.upstream.arrived.wait()
        others = [asking({**ASK, "seed": seed}) for seed in (1, 2)]
        refused = asking({"model": "nothing", "messages": []}, key=KEY)
        client.send(others[0] + refused + others[1] + b"GARBAGE\r\n\r\n")
        await until(lambda: any(flight.client._early for flight in bench.gateway.calls.watch._calls))
        go.set()
        seeds = [(status, body.get("seed")) for status, _, body in [await client.reply() for _ in range(5)]]
        assert seeds == [(200, 0), (200, 1), (400, None), (200, 2), (400, None)]
        assert await client.rest() == b""
        client.leave()
        await settled(bench)
        assert orjson.dumps([record.status for record in bench.sink.records]) == b"[200,200,200]"
