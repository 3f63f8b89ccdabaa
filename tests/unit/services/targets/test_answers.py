import pytest

from shipway.evals.model import Output, ToolCall
from shipway.services.targets.answers import LIMIT_BYTES, NoAnswerError, checked_answer, output_of, tool_calls_of


def test_every_field_of_an_output_is_read():
    found = output_of(
        {
            "answer": "yes",
            "model_text": "y",
            "citations": ["a", 7],
            "retrieved": ["a", "b"],
            "passages": ("p",),
            "events": ["abstained"],
            "tool_calls": [{"name": "find", "arguments": {"q": 1}}],
            "tokens_in": 3,
            "tokens_out": 4,
            "latency_ms": 5,
            "ttft_ms": 1.5,
            "cost_usd": 0,
            "cached": True,
            "error": None,
        }
    )

    assert found == Output(
        answer="yes",
        model_text="y",
        citations=("a", "7"),
        retrieved=("a", "b"),
        passages=("p",),
        events=("abstained",),
        tool_calls=(ToolCall("find", {"q": 1}),),
        tokens_in=3,
        tokens_out=4,
        latency_ms=5.0,
        ttft_ms=1.5,
        cost_usd=0.0,
        cached=True,
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "it has neither answer nor error"),
        ({"answer": None}, "it has neither answer nor error"),
        ({"answr": "yes"}, "unknown field 'answr'; did you mean 'answer'?"),
        ({"answer": 3}, "answer must be text, not 3"),
        ({"answer": "a", "citations": [None]}, "citations must be a list of texts, not [None]"),
        ({"answer": "a", "citations": {"a": 1}}, "citations must be a list of texts, not {'a': 1}"),
        ({"answer": "a", "tokens_in": -1}, "tokens_in must be a whole number from 0 on, not -1"),
        ({"answer": "a", "tokens_in": True}, "tokens_in must be a whole number from 0 on, not True"),
        ({"answer": "a", "cost_usd": float("nan")}, "cost_usd must be a number from 0 on, not nan"),
        ({"answer": "a", "latency_ms": "fast"}, "latency_ms must be a number from 0 on, not 'fast'"),
        ({"answer": "a", "cached": 1}, "cached must be true or false, not 1"),
        ({"answer": "a", "tool_calls": [{"arguments": {}}]}, "tool_calls.0 has no name: {'arguments': {}}"),
        ({"answer": "a", "tool_calls": "find"}, "tool_calls must be a list, not 'find'"),
    ],
)
def test_what_is_no_output_is_refused_with_the_place(values, reason):
    with pytest.raises(NoAnswerError) as caught:
        output_of(values)

    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ('{"q": 1}', {"q": 1}),
        ("", {}),
        (None, {}),
        ('{"q": ', {"(not JSON)": '{"q": '}),
        ("[1]", {"(not JSON)": [1]}),
    ],
)
def test_tool_calls_in_openais_words_are_read_and_what_a_model_wrote_wrongly_is_kept(arguments, read):
    call = {"id": "x", "type": "function", "function": {"name": "find", "arguments": arguments}}

    (found,) = tool_calls_of([call])

    assert (found.name, found.arguments) == ("find", read)


def test_an_answer_of_the_limit_is_whole_and_one_byte_more_is_an_error():
    assert len(checked_answer("x" * LIMIT_BYTES)) == LIMIT_BYTES
    with pytest.raises(NoAnswerError, match="answer larger than 10,000,000 bytes"):
        checked_answer("x" * (LIMIT_BYTES - 1) + "ä")
