import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.evals.model import Case
from shipway.services.targets.answers import NoAnswerError
from shipway.services.targets.templates import filled, filled_header, filled_url, header_text, values_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HOSTILE = 'a", "admin": true, "x": "{id}'


def case(**fields):
    return Case(**{"id": "c1", "question": "Why?", "tenant": "acme", **fields})


def test_every_place_of_a_template_is_filled():
    template = {
        "text": "Q: {question} ({id})",
        "who": "{tenant}",
        "n": "{repeat}",
        "history": "{messages}",
        "docs": "{context}",
        "all": "{variables}",
        "deep": [{"lang": "{lang}"}, 3, None, "in {years} years"],
    }
    asked = case(messages=({"role": "user", "content": "Hi"},), context=("p",), variables={"lang": "de", "years": 2})

    assert filled(template, values_of(asked, 1)) == {
        "text": "Q: Why? (c1)",
        "who": "acme",
        "n": 1,
        "history": [{"role": "user", "content": "Hi"}],
        "docs": ["p"],
        "all": {"lang": "de", "years": 2},
        "deep": [{"lang": "de"}, 3, None, "in 2 years"],
    }


@given(TEXT)
def test_no_question_changes_the_shape_of_a_request(question):
    template = {"text": "Q: {question}", "mode": "plain"}

    sent = orjson.loads(orjson.dumps(filled(template, values_of(case(question=question), 0))))

    assert sent == {"text": f"Q: {question}", "mode": "plain"}


def test_a_value_is_not_looked_through_for_places():
    assert filled("{question}!", values_of(case(question=HOSTILE), 0)) == HOSTILE + "!"


def test_a_variable_does_not_take_the_place_of_the_question():
    assert filled("{question}", values_of(case(variables={"question": "Other?"}), 0)) == "Why?"


def test_a_variable_that_the_case_lacks_is_named_with_what_is_near():
    with pytest.raises(NoAnswerError) as caught:
        filled({"a": "{lnag}"}, values_of(case(variables={"lang": "de"}), 0))

    assert str(caught.value) == "the template names {lnag}, but the case has no such variable; did you mean 'lang'?"


def test_braces_around_no_name_stay():
    assert filled('{"a": {question}} {1}', values_of(case(), 0)) == '{"a": Why?} {1}'


@given(TEXT.filter(lambda text: text not in {"", ".", ".."}))
def test_no_question_reaches_beyond_its_part_of_an_address(question):
    url = filled_url("http://bot/a/{question}/b?q={question}&x=1", values_of(case(question=question), 0))

    assert url.isascii()
    assert (url.count("/"), url.count("?"), url.count("&"), url.count("#"), url.count(" ")) == (5, 1, 1, 0, 0)


@pytest.mark.parametrize("question", ["", ".", ".."])
def test_a_step_in_the_path_is_no_value(question):
    with pytest.raises(NoAnswerError, match="cannot stand in a path"):
        filled_url("http://bot/{question}", values_of(case(question=question), 0))


@given(st.text())
def test_no_value_ends_a_header(text):
    found = header_text(text) if text.isascii() else header_text(text.encode("utf-8", "replace").decode())

    assert found.isascii()
    assert found == "" or found.isprintable()


def test_a_header_keeps_what_it_can_hold():
    assert filled_header("case {id}", values_of(case(id="a b/c"), 0)) == "case a b/c"
    assert filled_header("case {id}", values_of(case(id="ä\r\nx-admin: 1"), 0)) == "case %C3%A4%0D%0Ax-admin: 1"
