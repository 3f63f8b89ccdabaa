from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import ConfigError, UsageError
from shipway.rag.compose import Example, Prompt, compose, estimate_tokens, parse_prompt

PROMPT = Prompt(
    name="answer",
    version="1",
    system="Answer from the text.",
    user="Text: {passage}\nQuestion: {question}",
    examples=(Example("Text: A.\nQuestion: B?", "A."), Example("Text: C.\nQuestion: D?", "C.")),
)
EXAMPLE_PROMPTS = sorted((Path(__file__).parents[3] / "examples/helpdesk/prompts").glob("*.yaml"))


def test_system_and_examples_come_first_and_do_not_depend_on_the_question():
    one = compose(PROMPT, "First.", "Who?", max_tokens=500)
    other = compose(PROMPT, "Second.", "When?", max_tokens=500)
    assert one[:-1] == other[:-1] == list(PROMPT.prefix_messages())
    assert [message["role"] for message in one] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert one[-1]["content"] == "Text: First.\nQuestion: Who?"


def test_braces_of_a_user_are_text_and_not_a_template():
    assert compose(PROMPT, "{question}", "{passage}", max_tokens=500)[-1]["content"] == (
        "Text: {question}\nQuestion: {passage}"
    )


def test_examples_go_before_the_passage_is_cut():
    whole = compose(PROMPT, "word " * 20, "Who?", max_tokens=70)
    assert [message["role"] for message in whole] == ["system", "user", "assistant", "user"]
    assert whole[-1]["content"].count("word") == 20


@given(st.integers(min_value=25, max_value=400), st.integers(min_value=0, max_value=600))
def test_the_budget_holds_and_system_and_question_stay_whole(budget, words):
    messages = compose(PROMPT, "word " * words, "Who is it?", max_tokens=budget)
    assert sum(estimate_tokens(message["content"]) + 5 for message in messages) <= budget
    assert messages[0]["content"] == PROMPT.system
    assert messages[-1]["content"].endswith("Question: Who is it?")


def test_a_question_beyond_the_budget_is_refused():
    with pytest.raises(UsageError, match="the budget is 50"):
        compose(PROMPT, "word", "why " * 100, max_tokens=50)


def test_the_models_own_tokenizer_counts_when_it_is_there():
    def ten_a_word(text: str) -> int:
        return 10 * len(text.split())

    assert len(compose(PROMPT, "a b", "Who?", max_tokens=200)) == 6
    assert len(compose(PROMPT, "a b", "Who?", max_tokens=200, count_tokens=ten_a_word)) == 4


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: a\nversion: 1\n", "p.yaml:1: key 'system' is missing"),
        (
            "name: a\nversion: 1\nsystem: s\nuser: '{context}'",
            "unknown placeholder {context}; there are {passage}, {question}",
        ),
        ("name: a\nversion: 1\nsystem: s\nuser: '{passage!r}'", "unknown placeholder {passage}"),
        ("name: a\nversion: 1\nsystem: s\nuser: '{question'", "write {{ and }} for braces"),
        ("name: a\nversion: 1\nsystem: s\ntemprature: 0", "unknown key 'temprature'"),
        ("name: a\nversion: 1\nsystem: s\nexamples: [{user: x}]", "examples[0] needs exactly the texts"),
        ("name: a\nversion: 1\nsystem: s\nmax_tokens: 0", "max_tokens 0 is not a positive"),
        ("name: a\nversion: 1\nsystem: [s]", "system is a list, not text"),
        ("- a", "p.yaml:1: the top level is not a mapping"),
        ("- a", "a prompt file is YAML with the keys description, examples"),
        ("name: a\nsystem: [", "p.yaml:2: not valid YAML"),
        ("name: a\nsystem: [x", "a list that begins with [ is not closed with ]"),
        ("name: a\nversion: 1\nsytem: s", "p.yaml:3: unknown key 'sytem'; did you mean 'system'?"),
        ("name: a\nversion: 1\nsystem: s\nuser: '{pasage}'", "p.yaml:4: user: unknown placeholder {pasage}"),
        ("name: a\nversion: 1\nsystem: s\nuser: '{pasage}'", "did you mean {passage}?"),
        ("name: a\nversion: [1]\nsystem: s", "p.yaml:2: version is a list, not a name"),
        ("a: " + "[" * 100_000, "p.yaml: nested too deeply"),
        ("name: a\nname: b\nversion: 1\nsystem: s", "p.yaml:2: name: given twice"),
    ],
)
def test_a_broken_prompt_file_is_refused_with_its_name_and_the_fault(text, problem):
    with pytest.raises(ConfigError) as refused:
        parse_prompt(text.encode(), "p.yaml")
    assert problem in str(refused.value)


def test_a_prompt_without_a_passage_is_a_prompt_but_says_what_it_lacks():
    prompt = parse_prompt(b"name: chat\nversion: 1\nsystem: Be brief.", "p.yaml")
    assert prompt.user == "{question}"
    assert prompt.missing_placeholders() == ("passage",)


@pytest.mark.parametrize("path", EXAMPLE_PROMPTS, ids=lambda path: path.name)
def test_the_examples_prompts_are_complete_and_short(path):
    prompt = parse_prompt(path.read_bytes(), path.name)
    assert prompt.missing_placeholders() == ()
    assert sum(estimate_tokens(message["content"]) for message in prompt.prefix_messages()) < 400


def test_the_example_has_three_versions_of_its_prompt():
    names = [path.name for path in EXAMPLE_PROMPTS if ".v" in path.name]
    assert names == ["answer.v1.yaml", "answer.v2.yaml", "answer.v3.yaml"]


@pytest.mark.parametrize("data", [b"name: a\n\x89PNG\r\n\x1a\n\x00", b"name: a\nsystem: \x00"])
def test_binary_content_is_called_that_and_not_wrong_yaml(data):
    with pytest.raises(ConfigError, match=r"p\.yaml:2: binary content"):
        parse_prompt(data, "p.yaml")
