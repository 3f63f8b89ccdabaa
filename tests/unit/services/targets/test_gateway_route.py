import json

import pytest

from shipway.core.errors import NotFoundError, UpstreamError
from shipway.evals.model import Case
from shipway.evals.ports import HttpReply
from shipway.services.targets.gateway_route import GatewayRoute, Serving, opened_route

CASE = Case(id="c 1", question="Why?")
REPLY = {"choices": [{"message": {"content": "Because."}}], "citations": [{"index": 1, "document": "d.md"}]}
ROUTES = {
    "chat": {"stable": {"release": "rel_a"}, "candidate": {"release": "rel_b"}, "candidate_weight": 0.1},
    "ask": {"stable": {"release": "rel_a"}, "candidate": None, "candidate_weight": 0.0},
    "gone": {"stable": None, "candidate": None},
}


class Gateway:
    """Answers `/version` from a table and chats with one reply; notes what was asked."""

    def __init__(self, reply=REPLY, version=None, status=200, **headers):
        self.version = {"routes": ROUTES} if version is None else version
        self.reply, self.status = reply, status
        self.headers = {"x-shipway-release": "rel_a", **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.asked = []

    async def call(self, request):
        self.asked.append(request)
        value = self.version if request.url.endswith("/version") else self.reply
        return HttpReply(self.status, self.headers, json.dumps(value).encode(), 1.0, 2.0)


def route(gateway, name="chat", **fields):
    usual = {"serving": Serving(""), "timeout_s": 30.0, "run": "eval-1", "key": "swk_1"}
    return GatewayRoute(f"route:{name}", name, "http://gw:1", caller=gateway, **{**usual, **fields})


async def test_a_route_is_asked_with_key_and_a_conversation_of_its_own():
    gateway = Gateway()
    target = await opened_route(route(gateway, "ask", fields={"max_tokens": 9}))

    output = await target.ask(CASE, repeat=2)

    assert (output.answer, output.citations, output.latency_ms) == ("Because.", ("d.md",), 2.0)
    asked = gateway.asked[-1]
    assert asked.url == "http://gw:1/v1/chat/completions"
    assert dict(asked.headers)["authorization"] == "Bearer swk_1"
    assert dict(asked.headers)["x-shipway-conversation"] == "eval-1-2-c 1"
    assert json.loads(asked.body) == {
        "model": "ask",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Why?"}],
    }


@pytest.mark.parametrize("name", ["x" * 500, "é" * 150])
async def test_a_long_name_of_a_case_still_makes_a_conversation_of_its_own(name):
    gateway = Gateway()
    target = route(gateway, serving=Serving("rel_a"))

    for number in range(2):
        await target.ask(Case(id=f"{name}{number}", question="Why?"), repeat=0)

    first, second = (dict(asked.headers)["x-shipway-conversation"] for asked in gateway.asked)
    assert first != second
    assert len(first) <= 200
    assert first.isascii()


async def test_the_candidate_may_answer_while_it_has_a_share():
    target = await opened_route(route(Gateway(x_shipway_release="rel_b")))

    assert target.serving == Serving("rel_a", "rel_b", 0.1)
    assert (await target.ask(CASE, repeat=0)).answer == "Because."


@pytest.mark.parametrize(
    ("release", "named"), [("rel_c", "release rel_c answered"), ("", r"release \(none named\) answered")]
)
async def test_an_answer_of_a_release_that_came_meanwhile_is_an_error(release, named):
    target = await opened_route(route(Gateway(x_shipway_release=release)))

    with pytest.raises(UpstreamError, match=f"{named}; when the evaluation began it was rel_a and rel_b"):
        await target.ask(CASE, repeat=0)


async def test_an_answer_from_the_cache_is_an_error():
    target = await opened_route(route(Gateway(x_shipway_cache="hit"), "ask"))

    with pytest.raises(UpstreamError, match="route 'ask' answered from its cache"):
        await target.ask(CASE, repeat=1)


async def test_a_route_that_is_not_served_is_named_with_what_is_near():
    with pytest.raises(NotFoundError) as caught:
        await opened_route(route(Gateway(), "chta"))
    assert caught.value.message == "the gateway at http://gw:1 serves no route 'chta' to this key"
    assert caught.value.hint == "did you mean 'chat'?"

    with pytest.raises(NotFoundError) as caught:
        await opened_route(route(Gateway(version={"routes": {}})))
    assert caught.value.hint == "nothing is deployed there: `shipway deploy REL`"


@pytest.mark.parametrize("version", [[], 3, {"version": 1}, {"routes": [1]}, {"data": [{"id": "gpt"}]}])
async def test_what_is_no_gateway_is_said_to_be_none(version):
    with pytest.raises(UpstreamError, match="this is no gateway of Shipway"):
        await opened_route(route(Gateway(version=version)))


async def test_a_route_without_a_release_cannot_be_evaluated():
    with pytest.raises(NotFoundError, match="has no release of route 'gone' in force"):
        await opened_route(route(Gateway(), "gone"))


async def test_the_digest_changes_with_what_serves_and_not_with_the_key():
    gateway = Gateway()
    opened = await opened_route(route(gateway))
    other = [
        route(gateway, serving=Serving("rel_c", "rel_b", 0.1)),
        route(gateway, serving=Serving("rel_a", "rel_b", 0.2)),
        route(gateway, serving=opened.serving, fields={"max_tokens": 9}),
        route(gateway, "ask", serving=opened.serving),
    ]

    assert len({opened.digest, *(target.digest for target in other)}) == 5
    assert route(gateway, serving=opened.serving, key="swk_2", run="eval-2").digest == opened.digest
    assert "swk_1" not in repr(opened)


async def test_a_candidate_without_a_share_decides_nothing():
    gateway = Gateway()

    assert (
        route(gateway, serving=Serving("rel_a", "rel_b", 0.0)).digest == route(gateway, serving=Serving("rel_a")).digest
    )
    assert Serving("rel_a", "rel_b", 0.0).releases == {"rel_a"}
