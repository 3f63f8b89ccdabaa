import pytest

from shipway.core.errors import UsageError
from shipway.evals.budget import Caps, Charge, Meter, Spent, estimate
from shipway.evals.model import Case, Output

CASE = Case(id="c", question="x" * 36)
PRICED = Charge(1.0, 3.0, tokens_in=10, tokens_out=20)


def answer(tokens_in, tokens_out, **more):
    return Output(answer="a", tokens_in=tokens_in, tokens_out=tokens_out, **more)


def test_an_estimate_counts_every_call_of_every_target():
    found = estimate([CASE, CASE], 3, {"new": PRICED, "old": Charge(basis="a guess")})
    assert found.spent.calls == 12
    assert found.spent.tokens_in == 6 * (10 + 10) + 6 * 10
    assert found.spent.tokens_out == 6 * 20
    assert found.spent.usd is None
    assert found.basis == "the length of the questions alone; a guess"


def test_an_estimate_has_a_price_where_all_have_one():
    found = estimate([CASE], 1, {"new": PRICED})
    assert found.spent.usd == pytest.approx((20 * 1.0 + 20 * 3.0) / 1e6)


def test_whole_prompts_are_not_counted_twice():
    assert estimate([CASE], 1, {"t": Charge(tokens_in=7, whole=True)}).spent.tokens_in == 7


def test_a_run_stops_before_the_call_that_would_exceed():
    meter = Meter({"t": PRICED}, Caps(tokens=200))
    for _ in range(5):
        ticket = meter.reserve("t", CASE)
        assert ticket is not None
        meter.settle("t", ticket, answer(20, 20))
    assert meter.spent.tokens == 200
    assert meter.reserve("t", CASE) is None


def test_calls_in_flight_count_as_what_they_are_expected_to_take():
    meter = Meter({"t": PRICED}, Caps(tokens=100))
    tickets = [meter.reserve("t", CASE) for _ in range(3)]
    assert [ticket is not None for ticket in tickets] == [True, True, False]
    meter.settle("t", tickets[0], answer(1, 1))
    assert meter.reserve("t", CASE) is not None


def test_longer_answers_than_supposed_are_believed_at_once_and_shorter_ones_after_twenty():
    meter = Meter({"t": PRICED})
    meter.settle("t", meter.reserve("t", CASE), answer(500, 500))
    assert meter.reserve("t", CASE).tokens_out == 500
    fresh = Meter({"t": PRICED})
    for number in range(20):
        ticket = fresh.reserve("t", CASE)
        assert ticket.tokens_out == 20, number
        fresh.settle("t", ticket, answer(2, 2))
    assert fresh.reserve("t", CASE).tokens_out == 2


def test_a_cap_in_dollars_holds_too():
    meter = Meter({"t": PRICED}, Caps(usd=0.0001))
    meter.settle("t", meter.reserve("t", CASE), answer(40, 20))
    assert meter.spent.usd == pytest.approx(0.0001)
    assert meter.reserve("t", CASE) is None


def test_an_answer_gets_its_price_from_its_tokens_unless_the_target_told_one():
    meter = Meter({"t": PRICED})
    priced = meter.settle("t", meter.reserve("t", CASE), answer(1_000_000, 0))
    told = meter.settle("t", meter.reserve("t", CASE), answer(1_000_000, 0, cost_usd=9.0))
    assert (priced.cost_usd, told.cost_usd) == (1.0, 9.0)
    assert meter.spent.usd == 10.0


def test_an_answer_from_the_cache_costs_nothing_again():
    meter = Meter({"t": PRICED}, Caps(tokens=100))
    meter.settle("t", meter.reserve("t", CASE), answer(1000, 1000, cached=True))
    assert meter.spent == Spent()


def test_tokens_without_a_price_make_the_cost_unknown():
    meter = Meter({"t": Charge()})
    meter.settle("t", meter.reserve("t", CASE), answer(5, 5))
    assert meter.spent.usd is None
    assert meter.spent.tokens == 10


def test_a_budget_in_dollars_without_a_price_is_refused():
    with pytest.raises(UsageError, match="nobody names the price of dear"):
        Meter({"dear": Charge(), "t": PRICED}, Caps(usd=1.0)).demand_prices()
    Meter({"t": PRICED}, Caps(usd=1.0)).demand_prices()


def test_an_excess_names_both_numbers():
    assert Caps(tokens=10).excess(Spent(1, 8, 3)) == "11 tokens, and the budget is 10"
    assert Caps(usd=0.5).excess(Spent(1, 8, 3, 0.75)) == "$0.7500, and the budget is $0.5000"
    assert Caps(usd=0.5, tokens=11).excess(Spent(1, 8, 3, 0.5)) == ""


@pytest.mark.parametrize("usd", [float("inf"), float("nan")])
def test_a_number_of_dollars_that_is_no_number_is_no_cap(usd):
    with pytest.raises(UsageError, match="dollars is no budget"):
        Caps(usd=usd)


@pytest.mark.parametrize("claimed", [{"cost_usd": float("inf")}, {"cost_usd": 1e7}, {"cost_usd": -1.0}])
def test_a_cost_that_no_call_can_have_is_an_error_and_is_not_counted(claimed):
    meter = Meter({"t": PRICED})
    output = meter.settle("t", meter.reserve("t", CASE), answer(5, 5, **claimed))
    assert (output.cost_usd, meter.spent) == (None, Spent(1, 0, 0, 0.0))
    assert "correct its cost_usd or its price" in output.error


def test_tokens_that_no_call_can_take_are_an_error_and_are_not_counted():
    meter = Meter({"t": PRICED})
    output = meter.settle("t", meter.reserve("t", CASE), answer(10**400, 5))
    assert meter.spent == Spent(1, 0, 0, 0.0)
    assert "correct its usage" in output.error


def test_what_was_spent_before_counts():
    meter = Meter({"t": PRICED}, Caps(tokens=100))
    meter.add({"t": Spent(2, 20, 30, 0.1)})
    assert meter.reserve("t", CASE) is not None
    assert meter.reserve("t", CASE) is None


def test_what_answers_took_before_tells_how_long_they_are():
    meter = Meter({"t": PRICED})
    meter.add({"t": Spent(2, 20, 300, 0.1)})
    assert meter.reserve("t", CASE).tokens_out == 150


def test_an_estimate_says_that_the_length_of_answers_is_not_known():
    found = estimate([CASE], 1, {"t": Charge(1.0, 3.0, unknown="write max_tokens"), "old": PRICED})
    assert (found.unknown, found.spent.usd) == ("write max_tokens", None)
    assert estimate([CASE], 1, {"old": PRICED}).unknown == ""


TELLS = Charge(tells=True, unknown="it tells itself")


def test_an_estimate_of_what_tells_itself_says_that_nothing_is_known():
    found = estimate([CASE], 1, {"t": TELLS})
    assert (found.blind, found.unknown, found.spent.usd) == (True, "it tells itself", None)
    assert estimate([CASE], 1, {"t": Charge(1.0, 3.0, unknown="write max_tokens")}).blind is False


def test_an_estimate_holds_the_share_of_the_judge():
    found = estimate([CASE], 1, {"t": PRICED}).with_judge(Spent(2, 100, 50, 0.5), "prompts")
    assert found.judge == Spent(2, 100, 50, 0.5)
    assert (found.spent.calls, found.spent.tokens_in, found.spent.tokens_out) == (3, 120, 70)
    assert found.basis == "the length of the questions alone; the judge by prompts"


def test_an_answer_of_unknown_cost_makes_the_sum_unknown_and_not_0():
    meter = Meter({"t": TELLS})
    meter.settle("t", meter.reserve("t", CASE), Output(answer="a"))
    assert meter.spent.usd is None
    errors = Meter({"t": TELLS})
    errors.settle("t", errors.reserve("t", CASE), Output(error="timeout"))
    assert errors.spent.usd == 0.0


def test_a_budget_in_dollars_ends_where_an_answer_does_not_tell_its_cost():
    meter = Meter({"t": TELLS}, Caps(usd=1.0))
    meter.demand_prices()
    meter.settle("t", meter.reserve("t", CASE), answer(1, 1, cost_usd=0.1))
    meter.settle("t", meter.reserve("t", CASE), answer(1, 1))
    assert meter.reserve("t", CASE) is None
    assert meter.is_blind


def test_kept_answers_of_unknown_cost_make_the_sum_unknown():
    meter = Meter({"t": TELLS})
    meter.add({"t": Spent(2, 0, 0, 0.0, untold=1)})
    assert meter.spent.usd is None


def test_recorded_answers_take_nothing_of_a_budget():
    meter = Meter({"log": Charge(replayed=True)}, Caps(tokens=10, usd=0.1))
    meter.demand_prices()
    output = meter.settle("log", meter.reserve("log", CASE), answer(500, 500, cost_usd=3.0))
    assert (output.cost_usd, meter.spent) == (3.0, Spent(1, 0, 0, 0.0))
    meter.add({"log": Spent(4, 900, 900, 9.0)})
    assert meter.spent == Spent(5, 0, 0, 0.0)


def test_answers_and_judgements_share_one_budget():
    meter = Meter({"t": PRICED, "judge:j": Charge(1.0, 2.0, tokens_out=30)}, Caps(tokens=100))
    meter.settle("t", meter.reserve("t", CASE), answer(20, 20))
    ticket = meter.reserve_judge("judge:j", 36)
    assert (ticket.tokens_in, ticket.tokens_out) == (10, 30)
    assert meter.reserve_judge("judge:j", 36) is None
    assert meter.settle_judge("judge:j", ticket, 12, 5) == Spent(1, 12, 5, 22 / 1e6)
    assert (meter.answers.tokens, meter.judged.tokens, meter.spent.tokens) == (40, 17, 57)


def test_a_call_of_the_judge_that_failed_takes_nothing_and_frees_what_was_reserved():
    meter = Meter({"judge:j": Charge(1.0, 2.0, tokens_out=80)}, Caps(tokens=100))
    meter.settle_judge("judge:j", meter.reserve_judge("judge:j", 36), 0, 0)
    assert meter.judged == Spent(1, 0, 0, 0.0)
    assert meter.reserve_judge("judge:j", 36) is not None


def test_shares_of_a_budget_are_never_more_than_the_whole():
    whole = Caps(usd=1.0, tokens=100)
    shares = [whole.share(part, 7) for part in (3, 3, 1)]
    assert [share.tokens for share in shares] == [42, 42, 14]
    assert sum(share.usd for share in shares) == pytest.approx(1.0)
    assert Caps().share(1, 2) == Caps()
