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


def test_a_service_of_ones_own_tells_its_costs_itself():
    assert release_charge(PRICED, RELEASE, "own", {}).usd(5, 5) == 0.0
    assert target_charge(SimpleNamespace(name="f", digest="d")).usd(5, 5) == 0.0


def test_an_endpoint_has_the_price_that_it_was_given():
    price = SimpleNamespace(input_usd=1.0, output_usd=2.0)
    priced = target_charge(SimpleNamespace(price=price, fields={"max_tokens": 64}))
    assert (priced.usd(1_000_000, 0), priced.tokens_out) == (1.0, 64)
    assert target_charge(SimpleNamespace(price=None, fields={"max_tokens": 1})).usd(1, 1) is None


def test_an_endpoint_without_a_longest_answer_says_what_to_give():
    found = target_charge(SimpleNamespace(name="http://h/v1#m", price=None, fields={}))
    assert found.unknown.startswith("nobody knows how long the answers of http://h/v1#m may be: write max_tokens")
