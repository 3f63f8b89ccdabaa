import pytest

from shipway.core.errors import NotYetError, UsageError
from shipway.core.record import ABSTAINED
from shipway.evals.assertions import holds, is_refusal, load_functions, parse_assertions
from shipway.evals.model import Case, Dataset, Output

CASE = Case(id="c", question="How long?")


def check(entry, answer="", **output):
    (assertion,) = parse_assertions([entry])
    return holds(assertion, CASE, Output(answer=answer, **output), {})


@pytest.mark.parametrize(
    ("entry", "good", "bad"),
    [
        ({"type": "contains", "value": "EUR"}, "5 EUR", "5 eur"),
        ({"type": "icontains", "value": "EUR 1,000"}, "eur\u00a01000", "eur 10000"),
        ({"type": "contains-any", "value": ["a1", "b2"]}, "has B2", "has c3"),
        ({"type": "contains-all", "value": ["a1", "b2"]}, "b2 a1", "only a1"),
        ({"type": "equals", "value": "Yes."}, "  YES. ", "Yes. But"),
        ({"type": "regex", "value": r"^\d+ days$"}, "30 days", "30 days more"),
        ({"type": "is-json"}, '{"a": 1}', "{a: 1}"),
        ({"type": "length", "min": 2, "max": 4}, "four", "fives"),
        ({"type": "refusal"}, "I don't know.", "30 days"),
    ],
)
def test_a_type_holds_for_a_good_answer_only_and_its_negation_for_a_bad_one_only(entry, good, bad):
    negated = {**entry, "type": "not-" + entry["type"]}
    assert [check(entry, good), check(entry, bad)] == [True, False]
    assert [check(negated, good), check(negated, bad)] == [False, True]


def test_latency_and_cost_compare_what_was_measured():
    assert check({"type": "latency", "max": 500}, latency_ms=500.0)
    assert not check({"type": "latency", "max": 500}, latency_ms=500.1)
    assert not check({"type": "cost", "max": 0.01}, cost_usd=0.02)


@pytest.mark.parametrize(("kind", "what"), [("latency", "latency_ms"), ("cost", "cost_usd")])
@pytest.mark.parametrize("negation", ["", "not-"])
def test_what_was_not_measured_neither_holds_nor_fails(kind, what, negation):
    with pytest.raises(UsageError, match=f"{what} was not measured"):
        check({"type": negation + kind, "max": 1})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("contains", "expected an object with a 'type'"),
        ({"value": "x"}, "expected an object with a 'type'"),
        ({"type": "contain", "value": "x"}, "did you mean 'contains'"),
        ({"type": "contains", "values": "x"}, "values: unknown for type 'contains'; did you mean 'value'"),
        ({"type": "contains", "value": 5}, "needs a text, got 5"),
        ({"type": "contains", "value": ""}, "needs a text, got ''"),
        ({"type": "contains-any", "value": "x"}, "needs a list of texts"),
        ({"type": "contains-all", "value": ["x", 1]}, "needs texts only"),
        ({"type": "regex", "value": "("}, "not a regular expression"),
        ({"type": "length"}, "needs 'min', 'max' or both"),
        ({"type": "length", "min": 5, "max": 2}, "min: 5 is above max 2"),
        ({"type": "latency", "max": True}, "max: 'latency' needs a number, got True"),
    ],
)
def test_a_wrong_entry_is_refused(entry, message):
    with pytest.raises(UsageError) as caught:
        parse_assertions([entry])
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["json-schema", "similar", "not-llm-rubric"])
def test_a_type_that_comes_later_says_so(kind):
    with pytest.raises(NotYetError, match="comes with a later version"):
        parse_assertions([{"type": kind, "value": "x"}])


def dataset_calling(path):
    return Dataset("d", (Case(id="c", question="?", assertions=({"type": "python", "value": path},)),))


def run_function(function, path="shipway.evals.assertions:is_refusal"):
    (assertion,) = parse_assertions([{"type": "python", "value": path}])
    return holds(assertion, CASE, Output(), {path: function})


def test_a_python_function_is_imported_by_its_dotted_path():
    path = "shipway.evals.text:normalise"
    assert load_functions(dataset_calling(path))[path].__name__ == "normalise"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("shipway.no_such:f", "cannot be imported"),
        ("shipway.evals.text:no_such", "cannot be imported"),
        ("shipway evals", "cannot be imported"),
        ("shipway.evals.assertions:LATER", "is tuple, not a function"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_before_the_run(path, message):
    with pytest.raises(UsageError, match=message):
        load_functions(dataset_calling(path))


@pytest.mark.parametrize(("result", "expected"), [(True, True), (False, False), (0.5, True), (0.49, False)])
def test_a_function_says_so_with_a_truth_value_or_a_number(result, expected):
    assert run_function(lambda _case, _output: result) is expected


def test_a_function_that_says_neither_is_an_error():
    with pytest.raises(UsageError, match="returned NoneType"):
        run_function(lambda _case, _output: None)


def test_a_function_that_was_not_loaded_is_an_error():
    with pytest.raises(UsageError, match="was not loaded"):
        check({"type": "python", "value": "a.b:c"})


def test_the_abstained_event_is_a_refusal_whatever_the_text():
    assert is_refusal(Output(answer="See our contact page.", events=(ABSTAINED,)))
    assert not is_refusal(Output(answer="See our contact page."))
