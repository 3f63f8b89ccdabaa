import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.budgeter import (
    TOKENS_PER_IMAGE,
    TOKENS_PER_MESSAGE,
    EstimatedTokens,
    budgeted,
    fitted,
    message_tokens,
    surely_fits,
)
from shipway.gateway.model import TokenBudget
from shipway.gateway.replies import RefusedError


class Words:
    """Counts words, so that sizes are visible in the tests."""

    def count(self, text: str) -> int:
        return len(text.split())


def said(role: str, words: int, **more: object) -> dict[str, object]:
    return {"role": role, "content": " ".join(["w"] * words), **more}


TALK = [
    said("system", 10),
    said("user", 100),
    said("assistant", 100),
    said("user", 50),
    said("assistant", 50),
    said("user", 20),
]
ALL = 330 + 6 * TOKENS_PER_MESSAGE


def test_what_fits_stays_as_it_is():
    result = fitted(TALK, budget=ALL, counter=Words(), passages=())

    assert result.messages == tuple(TALK)
    assert result.tokens == ALL
    assert not result.is_trimmed


def test_the_oldest_turn_goes_first_and_whole():
    result = fitted(TALK, budget=ALL - 1, counter=Words())

    assert list(result.messages) == [TALK[0], *TALK[3:]]
    assert (result.dropped_turns, result.dropped_messages) == (1, 2)


def test_turns_go_before_passages_and_the_lowest_ranked_passage_goes_first():
    passages = ["best " * 40, "middle " * 40, "last " * 40]
    no_turns = 30 + 2 * TOKENS_PER_MESSAGE
    result = fitted(TALK, budget=no_turns + 80, counter=Words(), passages=passages)

    assert list(result.messages) == [TALK[0], TALK[-1]]
    assert list(result.passages) == passages[:2]
    assert (result.dropped_turns, result.dropped_passages) == (2, 1)


def test_system_prompt_and_question_never_go():
    with pytest.raises(RefusedError) as caught:
        fitted(TALK, budget=30, counter=Words(), passages=["p " * 50])

    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")
    assert "46 tokens" in caught.value.message


def test_a_tool_call_goes_with_its_result_and_those_of_the_question_stay():
    talk = [
        said("user", 30),
        said("assistant", 0, tool_calls=[{"id": "1"}]),
        said("tool", 40, tool_call_id="1"),
        said("assistant", 5),
        said("user", 10),
        said("assistant", 0, tool_calls=[{"id": "2"}]),
        said("tool", 20, tool_call_id="2"),
    ]
    result = fitted(talk, budget=80, counter=Words())

    assert list(result.messages) == talk[4:]


def test_a_system_message_amid_the_talk_stays():
    talk = [said("user", 30), said("developer", 5), said("assistant", 30), said("user", 5)]
    result = fitted(talk, budget=40, counter=Words())

    assert list(result.messages) == [talk[1], talk[3]]


def test_what_is_sent_beside_the_messages_counts_too():
    assert fitted(TALK, budget=ALL, counter=Words(), around=1).dropped_turns == 1


def test_images_and_tool_calls_have_a_size():
    image = {"role": "user", "content": [{"type": "text", "text": "what is this"}, {"type": "image_url"}]}
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": "a b c"}}]}

    assert message_tokens(image, Words()) == TOKENS_PER_MESSAGE + 3 + TOKENS_PER_IMAGE
    assert message_tokens(call, Words()) == TOKENS_PER_MESSAGE + 3


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool", "system"]), st.integers(0, 40)), min_size=1),
    st.integers(0, 400),
)
def test_the_budget_is_kept_and_what_must_stay_stays(talk, budget):
    messages = [{**said(role, words), "n": number} for number, (role, words) in enumerate(talk)]
    must = [item for item in messages if item["role"] == "system"]
    last = max((place for place, item in enumerate(messages) if item["role"] == "user"), default=len(messages))
    must += messages[last:]
    try:
        result = fitted(messages, budget=budget, counter=Words(), passages=["x " * 20])
    except RefusedError:
        assert sum(message_tokens(item, Words()) for item in must) > budget
        return
    assert result.tokens <= budget
    assert [item["n"] for item in result.messages] == sorted(item["n"] for item in result.messages)
    assert {item["n"] for item in must} <= {item["n"] for item in result.messages}


@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_a_request_that_surely_fits_does_fit(texts):
    body = {"model": "m", "messages": [{"role": "user", "content": text} for text in texts]}
    budget = TokenBudget(300, EstimatedTokens())
    if surely_fits(orjson.dumps(body), budget):
        assert budgeted(body, budget)[1].tokens <= 300


def test_a_body_that_fits_is_passed_as_it_is_and_tools_count():
    body = {"messages": TALK}
    assert budgeted(body, TokenBudget(ALL, Words()))[0] is body
    with_tools = {**body, "tools": [{"type": "function", "description": "a b c"}]}
    trimmed, found = budgeted(with_tools, TokenBudget(ALL, Words()))
    assert len(trimmed["messages"]) == 4
    assert found.dropped_turns == 1


@pytest.mark.parametrize(
    ("prompt", "fits"),
    [
        ("a b c", True),
        ("a b c d", False),
        (["a", "a b c"], True),
        (["a b c d"], False),
        ([1, 2, 3], True),
        ([[1, 2, 3, 4]], False),
    ],
)
def test_a_completions_prompt_is_never_cut_but_refused(prompt, fits):
    budget = TokenBudget(3, Words())
    if fits:
        assert budgeted({"prompt": prompt}, budget)[0] == {"prompt": prompt}
        return
    with pytest.raises(RefusedError) as caught:
        budgeted({"prompt": prompt}, budget)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")


def test_the_estimate_counts_other_scripts_by_character():
    assert EstimatedTokens().count("abcdefgh") == 2
    assert EstimatedTokens().count("你好") == 2
    assert EstimatedTokens().count("") == 0
