"""Rules, fallbacks, replicas, escalation, switches and flags over real sockets, with engines that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from shipway.core.errors import UnavailableError
from shipway.core.switches import Switch, SwitchKind
from shipway.gateway.model import ModelPrice
from shipway.gateway.ports import AnswerRoute, ChatRoute
from shipway.gateway.route_plan import Escalated, PromptChoice, RoutePlan
from shipway.gateway.routing import RoutingTable, compile_chains, compile_route
from shipway.gateway.serving import LoadedRelease

pytestmark = pytest.mark.anyio
KEY = "swk_invoke"
ASKED = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}


def answer(text: str, *, logprob: float | None = None) -> dict[str, Any]:
    tokens = [{"token": "x", "logprob": logprob}] if logprob is not None else None
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
        "logprobs": {"content": tokens} if tokens else None,
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def says(text: str, **more: Any) -> Any:
    async def script(wire: Any) -> None:
        await wire.json(answer(text, **more))

    return script


def fails(status: int, **headers: str) -> Any:
    async def script(wire: Any) -> None:
        await wire.json({"error": {"message": "no"}}, status=status, **headers)

    return script


async def cuts(wire: Any) -> None:
    wire.cut()


class Fleet:
    """A gateway whose route `chat` has the models `small` and `large`, each on an engine of its own."""

    def __init__(self, bench: Any, large: Any, make_runtime: Callable[..., Any]) -> None:
        self.bench = bench
        self.small, self.large = bench.upstream, large
        self._make_runtime = make_runtime

    def target(self, model: str, upstream: Any) -> ChatRoute:
        return ChatRoute(engine_base_url=f"{upstream.url}/v1", upstream_model=model)

    def apply(self, routing: dict[str, Any], *, switches: tuple[Switch, ...] = (), **more: Any) -> None:
        targets = {"small": self.target("tiny", self.small), "large": self.target("huge", self.large)}
        targets |= more.pop("targets", {})
        found = compile_route(routing, "chat", "small", targets)
        plan = RoutePlan(
            own=found if isinstance(found, str) else "small",
            targets=targets,
            table=found if isinstance(found, RoutingTable) else None,
            chains=compile_chains(routing.get("fallbacks", {}), targets),
            escalate={name: Escalated(**entry) for name, entry in routing.get("escalate", {}).items()},
            prompts=more.pop("prompts", {}),
        )
        routes = {"chat": replace(targets[plan.own], plan=plan)}
        snapshot = replace(self.bench.snapshot(), switches=switches, **more)
        release = LoadedRelease("rel_a", self._make_runtime("rel_a", routes))
        self.bench.serving.apply(snapshot, {"rel_a": release}, silent=False)

    async def ask(self, **headers: str) -> tuple[int, Any, Any]:
        return await self.bench.post("/v1/chat/completions", ASKED, **headers)


@asynccontextmanager
async def beside(bench: Any) -> AsyncIterator[Any]:
    """Serve one more engine like the bench's."""
    made = type(bench.upstream)()
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@pytest.fixture
async def fleet(bench: Any, make_runtime: Callable[..., Any]) -> AsyncIterator[Fleet]:
    async with beside(bench) as large:
        bench.upstream.play(says("from small"))
        large.play(says("from large"))
        yield Fleet(bench, large, make_runtime)


def text(reply: Any) -> str:
    return reply["choices"][0]["message"]["content"]


async def test_a_header_rule_chooses_the_model_and_the_reply_names_it(fleet):
    fleet.apply({"rules": [{"header": {"x-tier": "gold"}, "to": "large"}]})
    status, reply, headers = await fleet.ask(x_tier="gold")
    assert (status, text(reply), headers["x-shipway-model"]) == (200, "from large", "large")
    assert text((await fleet.ask())[1]) == "from small"
    assert [record.model for record in fleet.bench.sink.records] == ["huge", "tiny"]


@pytest.mark.parametrize(
    "failure", [fails(500), fails(503), fails(429, retry_after="7"), cuts], ids=["500", "503", "429", "cut"]
)
async def test_the_next_model_answers_when_the_first_one_cannot(fleet, failure):
    fleet.small.play(failure)
    fleet.apply({"fallbacks": {"small": ["large"]}})
    status, reply, _ = await fleet.ask()
    assert (status, text(reply)) == (200, "from large")
    (record,) = fleet.bench.sink.records
    assert (record.model, record.tokens_in, record.tokens_out) == ("huge", 10, 5)
    assert "model_fallback" in record.events


@pytest.mark.parametrize("status", [429, 503])
async def test_an_engine_that_asked_for_a_pause_is_not_asked_again_meanwhile(fleet, status):
    fleet.small.play(fails(status, retry_after="30"))
    fleet.apply({"fallbacks": {"small": ["large"]}})
    await fleet.ask()
    await fleet.ask()
    assert (len(fleet.small.heard), len(fleet.large.heard)) == (1, 2)


async def test_a_pause_is_not_shortened_by_what_an_earlier_request_is_told_later(fleet):
    gates = {"30": asyncio.Event(), "1": asyncio.Event()}
    waits = iter(gates)

    async def pauses(wire: Any) -> None:
        seconds = next(waits)
        await gates[seconds].wait()
        await wire.json({"error": {"message": "slow down"}}, 429, retry_after=seconds)

    fleet.small.play(pauses)
    fleet.large.play(fails(429, retry_after="30"))
    fleet.apply({"fallbacks": {"small": ["large"]}})
    both = [asyncio.ensure_future(fleet.ask()) for _ in range(2)]
    async with asyncio.timeout(5):
        while len(fleet.small.heard) < 2:
            await asyncio.sleep(0)
    gates["30"].set()
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    gates["1"].set()
    await asyncio.gather(*both)
    status, reply, headers = await fleet.ask()

    assert (status, reply["error"]["code"]) == (429, "engine_cooling")
    assert int(headers["retry-after"]) > 25
    # The fallback that asked for a pause got one too: the second request did not reach it.
    assert (len(fleet.small.heard), len(fleet.large.heard)) == (2, 1)


async def test_when_every_engine_pauses_the_caller_learns_how_long(fleet):
    fleet.small.play(fails(429, retry_after="30"))
    fleet.large.play(fails(429, retry_after="20"))
    fleet.apply({"fallbacks": {"small": ["large"]}})
    await fleet.ask()
    status, _, headers = await fleet.ask()
    assert status == 429
    assert 1 <= int(headers["retry-after"]) <= 30
    assert (len(fleet.small.heard), len(fleet.large.heard)) == (1, 1)


async def test_a_bad_request_is_not_tried_on_another_model(fleet):
    fleet.small.play(fails(400))
    fleet.apply({"fallbacks": {"small": ["large"]}})
    assert (await fleet.ask())[0] == 400
    assert fleet.large.heard == []


async def test_nobody_else_is_asked_after_the_first_byte(fleet):
    async def begins_and_cuts(wire: Any) -> None:
        await wire.head()
        await wire.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"half"}}]}\n\n')
        await asyncio.sleep(0.05)
        wire.cut()

    fleet.small.play(begins_and_cuts)
    fleet.apply({"fallbacks": {"small": ["large"]}})
    body = await fleet.bench.stream(ASKED)
    assert b"half" in body
    assert b'"error"' in body
    assert b"[DONE]" not in body
    assert fleet.large.heard == []


async def test_a_stream_that_never_began_is_begun_by_the_next_model(fleet):
    async def streams(wire: Any) -> None:
        await wire.head()
        await wire.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"whole"}}]}\n\n')
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end()

    fleet.small.play(cuts)
    fleet.large.play(streams)
    fleet.apply({"fallbacks": {"small": ["large"]}})
    body = await fleet.bench.stream(ASKED)
    assert b"whole" in body
    assert body.endswith(b"data: [DONE]\n\n")


async def test_a_certain_answer_of_the_small_model_is_used(fleet):
    fleet.small.play(says("sure", logprob=-0.1))
    fleet.apply({"escalate": {"small": {"to": "large", "above": 0.5}}})
    _, reply, _ = await fleet.ask()
    assert (text(reply), fleet.large.heard) == ("sure", [])
    assert reply["choices"][0]["logprobs"] is None
    assert fleet.small.heard[0].json()["logprobs"] is True


async def test_an_uncertain_answer_is_given_by_the_large_model_and_both_are_charged(bench, fleet):
    fleet.small.play(says("hm", logprob=-3.0))
    fleet.apply({"escalate": {"small": {"to": "large", "above": 0.5}}})
    _, reply, _ = await fleet.ask()
    (record,) = bench.sink.records
    assert (text(reply), record.model) == ("from large", "huge")
    assert "escalated" in record.events


async def test_an_escalated_request_costs_what_both_models_cost(run_gateway, quick, make_runtime):
    prices = {"tiny": ModelPrice(1.0, 1.0, 1.0), "huge": ModelPrice(100.0, 100.0, 100.0)}
    async with run_gateway(replace(quick, prices=prices)) as bench, beside(bench) as large:
        bench.upstream.play(says("hm", logprob=-3.0))
        large.play(says("from large"))
        found = Fleet(bench, large, make_runtime)
        found.apply({"escalate": {"small": {"to": "large", "above": 0.5}}})
        await found.ask()
        (record,) = bench.sink.records
        assert record.cost_usd == pytest.approx(15e-6 + 1500e-6)


async def test_in_an_outage_retries_stop_at_their_share(run_gateway, quick, make_runtime):
    async with run_gateway(replace(quick, breaker_failures=10_000)) as bench, beside(bench) as large:
        bench.upstream.play(fails(503))
        Fleet(bench, large, make_runtime).apply({})
        await asyncio.gather(*(bench.post("/v1/chat/completions", ASKED) for _ in range(50)))
        extra = len(bench.upstream.heard) - 50
        assert 0 < extra <= 10


async def test_a_slow_determined_answer_is_asked_for_twice_and_charged_once(run_gateway, quick, make_runtime):
    cut = asyncio.Event()

    async def hangs(wire: Any) -> None:
        try:
            await wire.heard.closed.wait()
        finally:
            cut.set()

    asked = {**ASKED, "temperature": 0, "max_tokens": 8}
    async with run_gateway(replace(quick, hedge_share=0.5)) as bench, beside(bench) as large:
        bench.upstream.play(says("quick"))
        found = Fleet(bench, large, make_runtime)
        found.apply({})
        for _ in range(40):
            await bench.post("/v1/chat/completions", asked)
        bench.upstream.play(hangs, says("second"))
        status, reply, _ = await bench.post("/v1/chat/completions", asked)
        assert (status, text(reply)) == (200, "second")
        await asyncio.wait_for(cut.wait(), 2.0)
        assert (len(bench.sink.records), bench.sink.records[-1].tokens_out) == (41, 5)


async def test_a_caller_in_a_hurry_does_not_open_the_breaker_for_the_others(fleet):
    async def slow(wire: Any) -> None:
        await asyncio.wait([asyncio.ensure_future(wire.heard.closed.wait())], timeout=0.3)
        await wire.json(answer("late"))

    fleet.small.play(slow)
    fleet.apply({})
    for _ in range(6):
        assert (await fleet.ask(x_request_timeout_ms="30"))[0] == 504
    fleet.small.play(says("fine"))
    assert text((await fleet.ask())[1]) == "fine"


async def test_an_escalating_route_streams_what_was_asked_as_a_stream(fleet):
    fleet.small.play(says("sure", logprob=-0.1))
    fleet.apply({"escalate": {"small": {"to": "large", "above": 0.5}}})
    body = await fleet.bench.stream({**ASKED, "stream_options": {"include_usage": True}})
    assert b'"content":"sure"' in body
    assert b'"completion_tokens":5' in body
    assert body.endswith(b"data: [DONE]\n\n")
    assert fleet.small.heard[0].json().get("stream") is None


async def test_a_failing_replica_is_replaced_by_another(fleet):
    urls = (f"{fleet.small.url}/v1", f"{fleet.large.url}/v1")
    fleet.small.play(cuts)
    fleet.apply({}, targets={"small": replace(fleet.target("tiny", fleet.small), replicas=urls)})
    replies = [await fleet.ask() for _ in range(6)]
    assert [text(reply) for _, reply, _ in replies] == ["from large"] * 6


async def test_a_killed_route_says_why_and_when_it_is_back(fleet):
    ends_s = fleet.bench.serving.current.snapshot.version + 4e9
    kill = Switch(SwitchKind.KILL_ROUTE, "chat", expires_at_s=ends_s, reason="bad answers")
    fleet.apply({}, switches=(kill,))
    status, reply, headers = await fleet.ask()
    assert (status, reply["error"]["code"]) == (503, "route_switched_off")
    assert "bad answers" in reply["error"]["message"]
    assert "retry-after" in headers
    assert fleet.small.heard == []


async def test_a_locked_route_asks_the_model_it_is_locked_to(fleet):
    lock = Switch(SwitchKind.LOCK_ROUTE, "chat", "large")
    fleet.apply({"rules": [{"max_chars": 100, "to": "small"}]}, switches=(lock,))
    assert text((await fleet.ask())[1]) == "from large"


async def test_a_killed_model_is_replaced_by_its_fallback_or_refused_without_one(fleet):
    kill = Switch(SwitchKind.KILL_MODEL, "small")
    fleet.apply({"fallbacks": {"small": ["large"]}}, switches=(kill,))
    assert text((await fleet.ask())[1]) == "from large"
    fleet.apply({}, switches=(kill,))
    status, reply, _ = await fleet.ask()
    assert (status, reply["error"]["code"]) == (503, "model_switched_off")
    assert fleet.small.heard == []


async def test_knobs_cap_the_answer_hint_the_batch_window_and_drain_long_prompts(fleet):
    cap = Switch(SwitchKind.MAX_NEW, "*", 7)
    window = Switch(SwitchKind.BATCH_WINDOW, "chat", 5)
    drain = Switch(SwitchKind.DRAIN_LONG, "chat", 100)
    fleet.apply({}, switches=(cap, window, drain))
    await fleet.ask()
    (heard,) = fleet.small.heard
    assert (heard.json()["max_tokens"], heard.headers["x-batch-window-ms"]) == (7, "5")
    long = {**ASKED, "messages": [{"role": "user", "content": "x" * 500}]}
    status, reply, headers = await fleet.bench.post("/v1/chat/completions", long)
    assert (status, reply["error"]["code"], "retry-after" in headers) == (503, "long_prompts_drained", True)


async def test_a_killed_tool_is_not_offered_and_cannot_be_forced(fleet):
    tools = [{"type": "function", "function": {"name": name}} for name in ("pay", "look")]
    fleet.apply({}, switches=(Switch(SwitchKind.KILL_TOOL, "pay"),))
    await fleet.bench.post("/v1/chat/completions", {**ASKED, "tools": tools})
    assert [tool["function"]["name"] for tool in fleet.small.heard[0].json()["tools"]] == ["look"]
    forced = {**ASKED, "tools": tools, "tool_choice": {"type": "function", "function": {"name": "pay"}}}
    status, reply, _ = await fleet.bench.post("/v1/chat/completions", forced)
    assert (status, reply["error"]["code"]) == (503, "tool_switched_off")


async def test_without_agents_no_tool_reaches_a_model(fleet):
    tools = [{"type": "function", "function": {"name": "pay"}}]
    fleet.apply({}, switches=(Switch(SwitchKind.KILL_AGENTS, "*"),))
    await fleet.bench.post("/v1/chat/completions", {**ASKED, "tools": tools, "tool_choice": "auto"})
    sent = fleet.small.heard[0].json()
    assert "tools" not in sent
    assert "tool_choice" not in sent


FLAGS = {
    "flags": {
        "model": {
            "state": "ENABLED",
            "variants": {"s": {"model": "small"}, "l": {"model": "large", "prompt": "short"}},
            "defaultVariant": "s",
            "targeting": {"if": [{"==": [{"var": "tenant"}, "acme"]}, "l", None]},
        },
        "off": {"state": "DISABLED", "variants": {"on": True}, "defaultVariant": "on"},
    }
}


async def test_a_flag_chooses_model_and_prompt(fleet):
    prompts = {"short": PromptChoice(({"role": "system", "content": "Be short."},), "short@1")}
    fleet.apply({"rules": [{"flag": "model"}]}, flags=FLAGS, prompts=prompts)
    assert text((await fleet.ask())[1]) == "from large"
    assert fleet.large.heard[0].json()["messages"][0] == {"role": "system", "content": "Be short."}
    assert fleet.bench.sink.records[0].prompt_version == "short@1"


async def test_applications_ask_for_flags_by_the_open_feature_protocol(fleet):
    fleet.apply({}, flags=FLAGS)
    asked = {"context": {"targetingKey": "u1", "tenant": "acme"}}
    status, reply, _ = await fleet.bench.post("/ofrep/v1/evaluate/flags/model", asked)
    assert (status, reply["variant"], reply["reason"]) == (200, "l", "TARGETING_MATCH")
    status, reply, _ = await fleet.bench.post("/ofrep/v1/evaluate/flags/nope", asked)
    assert (status, reply["errorCode"]) == (404, "FLAG_NOT_FOUND")
    status, reply, headers = await fleet.bench.post("/ofrep/v1/evaluate/flags", asked)
    assert (status, [flag["key"] for flag in reply["flags"]]) == (200, ["model"])
    sent = {"authorization": f"Bearer {KEY}", "if-none-match": headers["etag"]}
    async with fleet.bench.client.post(fleet.bench.url + "/ofrep/v1/evaluate/flags", json=asked, headers=sent) as again:
        assert (again.status, await again.read()) == (304, b"")
    status, _, _ = await fleet.bench.post("/ofrep/v1/evaluate/flags/model", asked, key="swk_wrong")
    assert status == 401


async def test_the_callers_own_deadline_bounds_the_engine_and_is_passed_on(fleet):
    async def hangs(wire: Any) -> None:
        await wire.heard.closed.wait()

    fleet.small.play(hangs)
    fleet.apply({})
    status, reply, _ = await fleet.ask(x_request_timeout_ms="200")
    assert (status, reply["error"]["code"]) == (504, "timeout")
    assert 0 < int(fleet.small.heard[0].headers["x-request-timeout-ms"]) <= 200
    assert (await fleet.ask(x_request_timeout_ms="soon"))[0] == 400


async def test_a_fallback_has_only_the_time_that_is_left(fleet):
    async def hangs(wire: Any) -> None:
        await wire.heard.closed.wait()

    fleet.small.play(cuts)
    fleet.large.play(hangs)
    fleet.apply({"fallbacks": {"small": ["large"]}})
    status, _, _ = await fleet.ask(x_request_timeout_ms="300")
    assert status == 504
    assert int(fleet.large.heard[0].headers["x-request-timeout-ms"]) <= 300


async def test_a_rag_route_falls_back_to_another_model_before_it_answers(bench, make_runtime):
    class Down(type(bench.answerer)):
        async def answer(self, *_arguments: Any) -> Any:
            raise UnavailableError("the engine is gone")

    targets = {"small": AnswerRoute(Down()), "large": AnswerRoute(bench.answerer)}
    plan = RoutePlan("small", targets, chains={"small": ("small", "large")})
    release = LoadedRelease("rel_a", make_runtime("rel_a", {"ask": replace(targets["small"], plan=plan)}))
    bench.serving.apply(bench.snapshot(), {"rel_a": release}, silent=False)
    status, reply, headers = await bench.post("/rag_answer", {"route": "ask", "question": "Returns?"})
    assert (status, reply["answer"][:7], headers["x-shipway-model"]) == (200, "You may", "large")
    assert "model_fallback" in bench.sink.records[0].events
