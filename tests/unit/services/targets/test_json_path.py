import pytest

from shipway.services.targets.answers import NoAnswerError
from shipway.services.targets.json_path import JsonPath

REPLY = {
    "choices": [{"message": {"content": "yes"}}, {"message": {"content": "no"}}],
    "0": "zero",
    "n": 3,
    "ok": True,
    "none": None,
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("choices.0.message.content", "yes"),
        ("choices.-1.message.content", "no"),
        ("0", "zero"),
        ("choices.*.message.content", ["yes", "no"]),
        (".", REPLY),
    ],
)
def test_a_path_leads_to_its_value(path, value):
    assert JsonPath(path).read(REPLY) == value


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("choice.0", "the reply has no 'choice.0': it has choices, 0, n, ok, none"),
        ("choices.2.message", "the reply has no 'choices.2.message': 'choices' is a list of 2"),
        ("choices.first", "the reply has no 'choices.first': 'choices' is a list of 2"),
        ("n.text", "the reply has no 'n.text': 'n' is 3"),
        ("none.text", "the reply has no 'none.text': 'none' is None"),
        ("choices.*.text", "the reply has no 'choices.*.text': 'choices.*' has message"),
        ("*.text", "the reply has no '*.text': it has choices, 0, n, ok, none"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(path, reason):
    with pytest.raises(NoAnswerError) as caught:
        JsonPath(path).read(REPLY)

    assert str(caught.value) == reason


@pytest.mark.parametrize(("path", "answer"), [("n", "3"), ("ok", "true"), ("0", "zero")])
def test_a_plain_value_is_an_answer(path, answer):
    assert JsonPath(path).answer(REPLY) == answer


@pytest.mark.parametrize("path", ["none", "choices", "."])
def test_what_is_no_text_is_no_answer(path):
    with pytest.raises(NoAnswerError, match="of the reply is no text but"):
        JsonPath(path).answer(REPLY)
