"""A candidate that is turned away on an engine which stable's users need: who waits is decided by whose limit it is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from shipway.core.snapshot import position
from shipway.gateway.ports import ChatRoute
from shipway.gateway.route_plan import RoutePlan
from shipway.gateway.routing import compile_chains
from shipway.gateway.serving import LoadedRelease

pytestmark = pytest.mark.anyio
ASKED = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
NAMES = [f"c{number}" for number in range(20)]
CONVERSATIONS = {
    "rel_a": next(name for name in NAMES if position("s", name) >= 0.5),
    "rel_b": next(name for name in NAMES if position("s", name) < 0.5),
}
"""A conversation of each release at a weight of one half."""
REPLY = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}


@dataclass
class Pair:
    """A gateway on one engine with a stable release and a candidate; the engine turns the candidate away."""

    bench: Any
    make_runtime: Callable[..., Any]

    def route(self, model: str, key: str = "k1", **more: Any) -> ChatRoute:
        return ChatRoute(f"{self.bench.upstream.url}/v1", model, api_key=key, **more)

    def with_fallback(self, model: str) -> ChatRoute:
        """Return a route that falls back to another model of the same engine."""
        targets = {"first": self.route(model), "spare": self.route("spare")}
        chains = compile_chains({"first": ["spare"]}, targets)
        return replace(targets["first"], plan=RoutePlan("first", targets, chains=chains))

    def serve(self, stable: ChatRoute, candidate: ChatRoute) -> None:
        share = {"candidate": "rel_b", "candidate_weight": 0.5, "salt": "s"}
        routes = tuple(replace(route, **share) for route in self.bench.snapshot().routes)
        releases = {
            name: LoadedRelease(name, self.make_runtime(name, {"chat": route}))
            for name, route in (("rel_a", stable), ("rel_b", candidate))
        }
        self.bench.serving.apply(self.bench.snapshot(routes=routes, rollout="ro_1"), releases, silent=False)

    def turn_away(self, model: str, **headers: str) -> None:
        """Have the engine answer the candidate's requests for a model with 429."""

        async def script(wire: Any) -> None:
            of_candidate = wire.heard.headers["x-shipway-release"] == "rel_b"
            if of_candidate and wire.heard.json()["model"] == model:
                await wire.json({"error": {"message": "too many"}}, 429, **headers)
            else:
                await wire.json(REPLY)

        self.bench.upstream.play(script)

    async def ask(self, release: str) -> tuple[int, str]:
        """Return the status and, of a refusal, its code."""
        conversation = CONVERSATIONS[release]
        status, reply, _ = await self.bench.post("/v1/chat/completions", ASKED, x_shipway_conversation=conversation)
        return status, reply["error"]["code"] if status != 200 else ""

    def heard(self) -> list[tuple[str, str]]:
        """Return release and model of each request that the engine got."""
        return [(one.headers["x-shipway-release"], one.json()["model"]) for one in self.bench.upstream.heard]


@pytest.fixture
def pair(bench: Any, make_runtime: Callable[..., Any]) -> Pair:
    return Pair(bench, make_runtime)


@pytest.mark.parametrize("other", [{"model": "huge"}, {"model": "tiny", "key": "k2"}], ids=["model", "key"])
async def test_the_limit_of_a_candidates_own_model_or_key_does_not_stop_stable_on_the_same_engine(pair, other):
    pair.serve(pair.route("tiny"), pair.route(**other))
    pair.turn_away(other["model"], retry_after="30")

    found = [await pair.ask(release) for release in ("rel_b", "rel_b", "rel_a")]

    assert found == [(429, "upstream_429"), (429, "engine_cooling"), (200, "")]
    assert pair.heard() == [("rel_b", other["model"]), ("rel_a", "tiny")]


async def test_a_limit_that_names_a_time_is_that_of_all_releases_on_the_same_model_and_key(pair):
    pair.serve(pair.route("tiny"), pair.route("tiny", prompt_version="worse@2"))
    pair.turn_away("tiny", retry_after="30")

    found = [await pair.ask(release) for release in ("rel_b", "rel_a")]

    assert found == [(429, "upstream_429"), (429, "engine_cooling")]
    assert pair.heard() == [("rel_b", "tiny")]


async def test_a_candidate_that_is_turned_away_without_a_time_takes_no_model_from_stable(pair):
    pair.serve(pair.with_fallback("tiny"), pair.with_fallback("tiny"))
    pair.turn_away("tiny")

    found = [await pair.ask(release) for release in ("rel_b", "rel_a")]

    assert found == [(200, ""), (200, "")]
    assert pair.heard() == [("rel_b", "tiny"), ("rel_b", "spare"), ("rel_a", "tiny")]
    fell_back = [(record.release, "model_fallback" in record.events) for record in pair.bench.sink.records]
    assert fell_back == [("rel_b", True), ("rel_a", False)]
