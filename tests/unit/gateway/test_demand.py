from dataclasses import replace

from shipway.gateway.demand import RouteDemand, route_demand, text_tokens
from shipway.gateway.model import ModelPrice, RouteLimits
from shipway.gateway.ports import AnswerRoute, ChatRoute, HttpRoute
from shipway.gateway.route_plan import Escalated, RoutePlan

PRICES = {"tiny": ModelPrice(1.0, 0.1, 2.0), "large": ModelPrice(10.0, 1.0, 30.0)}


def chat(model: str, limit: int | None = 100) -> ChatRoute:
    return ChatRoute("http://127.0.0.1:1/v1", model, limits=RouteLimits(max_output_tokens=limit))


def demand(*runtimes) -> RouteDemand:
    return route_demand(list(runtimes), PRICES, max_prompt_tokens=6000)


def test_what_may_come_out_is_what_was_asked_for_within_the_routes_limit():
    found = demand(chat("tiny"))
    assert found.of({"max_tokens": 10}, 300) == (101 + 10, 101_000 + 20_000)
    assert found.of({"max_tokens": 500}, 300)[0] == 101 + 100
    assert found.of({}, 300)[0] == 101 + 100
    assert found.of({"max_completion_tokens": 7, "max_tokens": 50}, 300)[0] == 101 + 7


def test_each_choice_may_be_as_long():
    assert demand(chat("tiny")).of({"n": 4, "max_tokens": 10}, 300)[0] == 101 + 40


def test_nonsense_in_a_body_is_not_believed():
    for value in (-1, 0, True, "9", 1.5, None, [1]):
        assert demand(chat("tiny")).of({"max_tokens": value, "n": value}, 3)[0] >= 2


def test_of_two_releases_the_dearer_one_counts():
    found = demand(chat("tiny", 50), chat("large", 80))
    assert (found.output_tokens, found.input_usd, found.output_usd) == (80, 10.0, 30.0)


def test_a_release_without_a_limit_makes_the_route_one_without():
    assert demand(chat("tiny", 50), chat("tiny", None)).output_tokens is None


def test_an_answer_from_documents_fills_the_prompt():
    found = demand(AnswerRoute(answerer=None, limits=RouteLimits(max_output_tokens=96)))
    assert found.of({}, 30)[0] == 6000 + 11 + 96


def test_a_service_of_the_users_own_is_not_metered():
    assert demand(HttpRoute()).of(None, 10_000) == (0, 0)


def test_pictures_are_not_text():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 600_000}}
    audio = {"type": "input_audio", "input_audio": {"data": "A" * 300_000, "format": "wav"}}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, picture, audio]}, 7]}
    assert text_tokens(body, 900_200) < 3100
    assert text_tokens({"messages": [{"content": "x" * 60_000}]}, 60_000) >= 20_000


def test_the_models_that_a_route_falls_back_to_may_be_the_dearest():
    plan = RoutePlan("small", {"small": chat("tiny"), "large": chat("large")})
    assert demand(replace(chat("tiny"), plan=plan)).output_usd == 30.0


def test_a_route_that_escalates_pays_for_both_answers():
    plan = RoutePlan(
        "small", {"small": chat("tiny"), "large": chat("large")}, escalate={"small": Escalated("large", 0.5, 1)}
    )
    assert demand(replace(chat("tiny"), plan=plan)).output_usd == 60.0
