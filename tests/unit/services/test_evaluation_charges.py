from types import SimpleNamespace

import pytest

from shipway.config.sections.models import Price
from shipway.services.evaluation_charges import release_charge, target_charge

POLICY = {
    "routes": {"ask": {"kind": "rag", "model": "m"}, "chat": {"kind": "chat", "model": "m"}, "own": {"kind": "http"}},
    "budgets": {"max_prompt": 6000, "max_new": 100},
}
RELEASE = SimpleNamespace(manifest={"policy": POLICY, "models": {"m": {"max_ctx": 2048, "max_out": 256}}})
PRICED = SimpleNamespace(models={"m": SimpleNamespace(price=Price(input=1.0, output=2.0))})
FREE = SimpleNamespace(models={"m": SimpleNamespace(price=Price())})


def test_answers_from_documents_take_whole_prompts_until_one_knows_better():
    found = release_charge(PRICED, RELEASE, "ask", {})
    assert (found.tokens_in, found.tokens_out, found.whole) == (2048 - 100, 100, True)
    assert found.usd(1_000_000, 1_000_000) == 3.0


def test_the_last_evaluation_knows_better():
    known = {"calls": 10, "tokens_in": 5000, "tokens_out": 300, "of": "eval_1"}
    found = release_charge(PRICED, RELEASE, "ask", known)
    assert (found.tokens_in, found.tokens_out) == (500, 30)
    assert "eval_1" in found.basis


def test_a_chat_takes_the_question_and_the_longest_answer():
    found = release_charge(PRICED, RELEASE, "chat", {})
    assert (found.tokens_in, found.tokens_out, found.whole) == (0, 100, False)


@pytest.mark.parametrize("project", [FREE, SimpleNamespace(models={})])
def test_a_model_without_a_price_has_no_cost_which_is_not_the_cost_0(project):
    assert release_charge(project, RELEASE, "chat", {}).usd(1, 1) is None


def target(name="f", **more):
    return SimpleNamespace(name=name, digest="d", **more)


def test_a_service_of_ones_own_tells_its_costs_itself_and_until_then_they_are_unknown():
    for found in (
        release_charge(PRICED, RELEASE, "own", {}),
        target_charge(PRICED, target("python:bot:answer"), {}),
        target_charge(PRICED, target("http https://bot.example/ask"), {}),
    ):
        assert found.tells
        assert "no earlier run tells it" in found.unknown
        assert found.expected_usd(1, 5, 5) is None


def test_what_a_function_told_in_its_last_run_is_what_it_is_expected_to_take():
    known = {"calls": 10, "tokens_in": 500, "tokens_out": 30, "usd": 0.2, "of": "run_1"}
    found = target_charge(PRICED, target("python:bot:answer"), known)
    assert (found.tokens_in, found.tokens_out, found.whole, found.unknown) == (50, 3, True, "")
    assert found.expected_usd(5, 250, 15) == pytest.approx(0.1)
    assert found.basis == "the calls of the last run, run_1"


def test_a_function_that_told_nothing_stays_unknown_and_is_not_for_nothing():
    known = {"calls": 10, "tokens_in": 0, "tokens_out": 0, "usd": None, "of": "run_1"}
    found = target_charge(PRICED, target("python:bot:answer"), known)
    assert found.unknown == "python:bot:answer told neither tokens nor cost in its last run, run_1"
    assert found.expected_usd(1, 0, 0) is None


def test_recorded_answers_take_nothing_again():
    found = target_charge(PRICED, target("log:answers.jsonl"), {})
    assert (found.replayed, found.unknown, found.expected_usd(3, 5, 5)) == (True, "", 0.0)


def routed(kind, **more):
    return SimpleNamespace(
        models={"m": SimpleNamespace(price=Price(input=1.0, output=2.0), max_out=256, max_ctx=2048)},
        routes={"chat": SimpleNamespace(kind=kind, model=None if kind == "http" else "m")},
        budgets=SimpleNamespace(max_prompt=6000, max_new=100),
        **more,
    )


def test_a_route_answers_as_long_as_its_model_may():
    asked = target("route:chat", route="chat", fields={})
    chat, rag = (target_charge(routed(kind), asked, {}) for kind in ("chat", "rag"))
    assert (chat.tokens_in, chat.tokens_out, chat.usd(1_000_000, 0)) == (0, 100, 1.0)
    assert (rag.tokens_in, rag.tokens_out, rag.whole) == (2048 - 100, 100, True)
    short = target_charge(routed("chat"), target("route:chat", route="chat", fields={"max_tokens": 20}), {})
    assert short.tokens_out == 20
    known = {"calls": 2, "tokens_in": 20, "tokens_out": 10, "of": "run_1"}
    assert target_charge(routed("chat"), asked, known).tokens_out == 5


def test_what_a_route_takes_that_the_project_does_not_have_is_unknown():
    elsewhere = target("route:far", route="far", fields={})
    assert "how long the answers of route:far may be" in target_charge(routed("chat"), elsewhere, {}).unknown
    service = target_charge(routed("http"), target("route:chat", route="chat", fields={}), {})
    assert service.tells


def test_an_endpoint_has_the_price_that_it_was_given():
    price = SimpleNamespace(input_usd=1.0, output_usd=2.0)
    priced = target_charge(PRICED, target(price=price, fields={"max_tokens": 64}), {})
    assert (priced.usd(1_000_000, 0), priced.tokens_out) == (1.0, 64)
    assert target_charge(PRICED, target(price=None, fields={"max_tokens": 1}), {}).usd(1, 1) is None


def test_an_endpoint_without_a_longest_answer_says_what_to_give_until_an_earlier_run_knows_better():
    asked = target("http://h/v1#m", price=None, fields={})
    found = target_charge(PRICED, asked, {})
    assert found.unknown.startswith("nobody knows how long the answers of http://h/v1#m may be: write max_tokens")
    known = {"calls": 2, "tokens_in": 20, "tokens_out": 10, "of": "run_1"}
    assert (target_charge(PRICED, asked, known).tokens_out, target_charge(PRICED, asked, known).unknown) == (5, "")
