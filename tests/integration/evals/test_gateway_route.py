"""A route of a gateway that runs on a real socket, as the target of an evaluation."""

import json
from dataclasses import replace

import pytest
from tests.integration.gateway.conftest import KEY, NARROW_KEY, OPERATOR_KEY, running

from shipway.core.errors import NotFoundError, UpstreamError
from shipway.evals.model import Case
from shipway.services.targets.gateway_route import GatewayRoute, Serving, opened_route

CASE = Case(id="a", question="May I return it?")
REPLY = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "tiny",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hallo"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23},
}


@pytest.fixture
async def bench():
    async with running() as found:
        yield found


async def opened(bench, caller, route, key=KEY, **fields):
    made = GatewayRoute(
        f"route:{route}", route, bench.url, Serving(""), caller, timeout_s=30.0, run="eval-1", key=key, **fields
    )
    return await opened_route(made)


async def test_a_chat_route_answers_as_it_answers_users(bench, caller):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    target = await opened(bench, caller, "chat")

    output = await target.ask(CASE, repeat=0)

    assert (output.answer, output.tokens_in, output.tokens_out) == ("Hallo", 20, 3)
    assert target.serving == Serving("rel_a")
    (record,) = bench.sink.records
    assert (record.route, record.release, record.conversation) == ("chat", "rel_a", "eval-1-0-a")
    assert json.loads(bench.upstream.heard[-1].body)["messages"][0]["content"] == "You are rel_a."


@pytest.mark.parametrize("measure_ttft", [False, True])
async def test_a_route_over_documents_names_its_citations(bench, caller, measure_ttft):
    target = await opened(bench, caller, "ask", measure_ttft=measure_ttft)

    output = await target.ask(CASE, repeat=0)

    assert output.answer.startswith("You may return goods within 30 days.")
    assert output.citations == ("returns.md",)
    assert (output.tokens_in, output.tokens_out) == (50, 12)
    assert (output.ttft_ms is not None) == measure_ttft


async def test_a_deployment_in_the_middle_of_an_evaluation_is_an_error(bench, caller):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    target = await opened(bench, caller, "chat")
    routes = tuple(type(route)(route.route, "rel_b") for route in bench.snapshot().routes)
    bench.apply(bench.snapshot(version=2, routes=routes))

    with pytest.raises(UpstreamError, match="release rel_b answered; when the evaluation began it was rel_a"):
        await target.ask(CASE, repeat=0)


async def test_the_candidate_of_a_rollout_is_known_to_the_key_of_an_operator(bench, caller):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    rollout = tuple(replace(route, candidate="rel_b", candidate_weight=1.0) for route in bench.snapshot().routes)
    bench.apply(bench.snapshot(version=2, routes=rollout))

    operator = await opened(bench, caller, "chat", key=OPERATOR_KEY)
    assert operator.serving == Serving("rel_a", "rel_b", 1.0)
    assert (await operator.ask(CASE, repeat=0)).answer == "Hallo"
    other = await opened(bench, caller, "chat")
    with pytest.raises(UpstreamError, match="release rel_b answered; when the evaluation began it was rel_a"):
        await other.ask(CASE, repeat=0)


async def test_a_wrong_key_and_a_missing_route_are_told(bench, caller):
    with pytest.raises(UpstreamError) as caught:
        await opened(bench, caller, "chat", key="swk_wrong")
    assert caught.value.status == 401

    for route, key in (("chat", NARROW_KEY), ("chot", KEY)):
        with pytest.raises(NotFoundError, match=f"serves no route '{route}' to this key"):
            await opened(bench, caller, route, key=key)
