import json
import subprocess
import sys

import pytest

from shipway.core.errors import UsageError
from shipway.core.record import ABSTAINED
from shipway.evals.assertion_checks import CHECKS
from shipway.evals.assertion_types import TYPES
from shipway.evals.assertions import (
    flat,
    holds,
    import_function,
    is_refusal,
    load_assertions,
    load_functions,
    parse_assertions,
    prepare_similarities,
    share_held,
)
from shipway.evals.metric_context import MetricContext
from shipway.evals.model import Attempt, Case, Dataset, Output

CASE = Case(id="c", question="How long?")


def check(entry, answer="", **output):
    (assertion,) = parse_assertions([entry])
    return holds(assertion, CASE, Output(answer=answer, **output), MetricContext())


@pytest.mark.parametrize(
    ("entry", "good", "bad"),
    [
        ({"type": "contains", "value": "EUR"}, "5 EUR", "5 eur"),
        ({"type": "icontains", "value": "EUR 1,000"}, "eur\u00a01000", "eur 10000"),
        ({"type": "contains-any", "value": ["a1", "b2"]}, "has B2", "has c3"),
        ({"type": "contains-all", "value": ["a1", "b2"]}, "b2 a1", "only a1"),
        ({"type": "contains-none", "value": ["a1", "b2"]}, "only c3", "has B2"),
        ({"type": "starts-with", "value": "Within 30"}, "within\u00a030 days", "Within 300 days"),
        ({"type": "equals", "value": "Yes."}, "  YES. ", "Yes. But"),
        ({"type": "regex", "value": r"^\d+ days$"}, "30 days", "30 days more"),
        ({"type": "is-json"}, '{"a": 1}', "{a: 1}"),
        ({"type": "length", "min": 2, "max": 4}, "four", "fives"),
        ({"type": "json-schema", "value": {"type": "object", "required": ["a"]}}, '{"a": 1}', '{"b": 1}'),
        ({"type": "levenshtein", "value": "Thirty days", "max": 2}, "thirty day", "three days"),
        ({"type": "levenshtein", "value": "Thirty days", "min_ratio": 0.9}, "thirty day", "three days"),
        ({"type": "language", "value": "de"}, "Sie haben dreißig Tage Zeit.", "You have thirty days for it."),
        ({"type": "no-pii"}, "Call us within 30 days.", "Write to jo@example.org."),
        ({"type": "assert-set", "assert": [{"type": "icontains", "value": "a"}]}, "a", "b"),
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


def test_every_type_that_can_be_read_can_be_judged():
    assert set(TYPES) == set(CHECKS)


@pytest.mark.parametrize("kind", ["javascript", "not-javascript"])
def test_a_type_of_promptfoo_names_the_way_to_run_it(kind):
    with pytest.raises(UsageError, match="is run by promptfoo alone: `promptfoo eval`"):
        parse_assertions([{"type": kind, "value": "x"}])


def dataset_calling(path):
    return Dataset("d", (Case(id="c", question="?", assertions=({"type": "python", "value": path},)),))


def run_function(function, path="shipway.evals.assertions:is_refusal"):
    (assertion,) = parse_assertions([{"type": "python", "value": path}])
    return holds(assertion, CASE, Output(), MetricContext(functions={path: function}))


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


A, B = {"type": "icontains", "value": "a"}, {"type": "icontains", "value": "b"}


@pytest.mark.parametrize(
    ("answer", "expected"), [("a b", [True, True]), ("a", [True, False]), ("b", [False, False]), ("", [False, False])]
)
def test_a_group_holds_when_its_share_by_weight_does(answer, expected):
    members = [{**A, "weight": 3}, B]
    groups = [{"type": "assert-set", "assert": members, **keys} for keys in ({"threshold": 0.75}, {})]
    assert [check(group, answer) for group in groups] == expected


def test_a_group_in_a_group_counts_as_one_member():
    inner = {"type": "assert-set", "assert": [A, B]}
    outer = {"type": "assert-set", "assert": [inner, A], "threshold": 0.5}
    assert check(outer, "a")
    assert [item.value for item in flat(parse_assertions([outer, B]))] == ["a", "b", "a", "b"]


def test_the_share_that_holds_is_by_weight():
    parsed = parse_assertions([{**A, "weight": 3}, {**B, "weight": 0.5}])
    assert share_held(parsed, CASE, Output(answer="b"), MetricContext()) == pytest.approx(0.5 / 3.5)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**A, "weight": 0}, "weight: expected a number above 0, got 0; remove the entry to switch it off"),
        ({**A, "weight": float("nan")}, "weight: expected a number above 0"),
        ({**A, "weight": True}, "weight: expected a number above 0"),
        ({**A, "metric": " "}, "metric: expected the name of a score"),
        ({**A, "threshold": 0.5}, "threshold: unknown for type 'icontains'"),
        ({"type": "assert-set"}, "assert: 'assert-set' needs a list of assertions, got None"),
        ({"type": "assert-set", "assert": []}, "assert: 'assert-set' needs a list of assertions, got []"),
        ({"type": "assert-set", "assert": [A], "threshold": 0}, "threshold: 'assert-set' needs a number above 0"),
        ({"type": "assert-set", "assert": [A, {"type": "regexx"}]}, "assert[1]: type: unknown 'regexx'"),
        ({"type": "assert-sett", "assert": [A]}, "did you mean 'assert-set'"),
    ],
)
def test_a_wrong_weight_metric_or_group_is_refused(entry, message):
    with pytest.raises(UsageError) as caught:
        parse_assertions([entry])
    assert message in str(caught.value)


def test_groups_that_never_end_are_refused():
    entry = A
    for _ in range(50):
        entry = {"type": "assert-set", "assert": [entry]}
    with pytest.raises(UsageError, match="groups are nested more than 4 deep"):
        parse_assertions([entry])


class Lengths:
    """A similarity that is 1 for texts of equal length, and keeps what it was asked."""

    digest = "sha256:x"

    def __init__(self):
        self.asked = []

    async def similarity(self, pairs):
        self.asked.append(list(pairs))
        return [1.0 if len(a) == len(b) else 0.1 for a, b in pairs]


def similar(*texts):
    return tuple({"type": "similar", "value": text} for text in texts)


async def test_similarities_are_measured_in_one_call_for_answers_that_need_them():
    nested = ({"type": "assert-set", "assert": list(similar("four"))},)
    cases = (
        Case(id="a", question="?", assertions=similar("abc", "abcd")),
        Case(id="b", question="?", assertions=nested),
        Case(id="c", question="?", assertions=(A,)),
    )
    attempts = [Attempt(case.id, 0, Output(answer="five")) for case in cases]
    lengths = Lengths()

    found = await prepare_similarities(cases, [*attempts, Attempt("a", 1, Output(error="timeout"))], lengths)

    assert lengths.asked == [[("five", "abc"), ("five", "abcd"), ("five", "four")]]
    assert found == {("a", 0): {"abc": 0.1, "abcd": 1.0}, ("b", 0): {"four": 1.0}}


async def test_a_dataset_without_similar_assertions_asks_nobody():
    lengths = Lengths()
    assert await prepare_similarities((CASE,), [Attempt("c", 0, Output(answer="x"))], lengths) == {}
    assert lengths.asked == []


def dataset_of(*entries):
    return Dataset("d", (Case(id="c", question="?", assertions=entries),))


async def test_a_schema_file_is_read_below_the_project_once(tmp_path):
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas/answer.json").write_text('{"type": "object", "required": ["days"]}')
    entry = {"type": "json-schema", "file": "schemas/answer.json"}
    dataset = dataset_of(entry, {"type": "assert-set", "assert": [entry]})

    loaded = await load_assertions(dataset, tmp_path)
    context = MetricContext(assertions=loaded.by_case)

    for assertion in loaded.by_case["c"]:
        assert holds(assertion, CASE, Output(answer='{"days": 30}'), context)
        assert not holds(assertion, CASE, Output(answer="{}"), context)


async def test_another_schema_behind_the_same_path_is_another_measurement(tmp_path):
    dataset = dataset_of({"type": "json-schema", "file": "a.json"})
    digests = set()
    for schema in ("true", "true", "false"):
        (tmp_path / "a.json").write_text(schema)
        digests.add((await load_assertions(dataset, tmp_path)).digest)
    assert len(digests) == 2
    assert (await load_assertions(dataset_of(A), tmp_path)).digest is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "json-schema: 'a.json' cannot be read: No such file or directory"),
        ("{\n'a': 1}", "json-schema: a.json:2: not JSON"),
        ('{"type": "objekt"}', "json-schema: a.json: not a usable JSON Schema"),
        ("[]", "json-schema: a.json: a JSON Schema is an object, got '[]'"),
    ],
)
async def test_a_schema_file_that_is_none_is_refused_before_the_run(tmp_path, source, message):
    if source is not None:
        (tmp_path / "a.json").write_text(source)
    with pytest.raises(UsageError) as caught:
        await load_assertions(dataset_of({"type": "json-schema", "file": "a.json"}), tmp_path)
    assert message in str(caught.value)


def test_a_schema_that_was_not_read_is_an_error_and_no_answer():
    with pytest.raises(UsageError, match=r"schema file 'a\.json' was not read"):
        check({"type": "json-schema", "file": "a.json"}, "{}")


async def test_a_language_that_nobody_knows_is_refused_before_the_run(tmp_path):
    with pytest.raises(UsageError, match="no language 'dee'; did you mean 'de'"):
        await load_assertions(dataset_of({"type": "language", "value": "dee"}), tmp_path)


def test_parsing_loads_no_library_that_no_entry_needs():
    script = (
        "import sys, json; from shipway.evals.assertions import parse_assertions; "
        "parse_assertions([{'type': 'regex', 'value': 'x'}, {'type': 'language', 'value': 'de'}]); "
        "print(json.dumps(sorted({'jsonschema_rs', 'rapidfuzz', 'py3langid'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("nowhere.at_all:check", "modules are looked for in the project's folder and among what is installed"),
        ("json:no_such", "define no_such in json, or correct the name"),
        ("nowhere", "Write it as package.module:function."),
    ],
)
def test_what_is_wrong_with_a_path_is_what_the_advice_is_about(path, hint):
    with pytest.raises(UsageError) as caught:
        import_function(path)
    assert caught.value.hint == hint
