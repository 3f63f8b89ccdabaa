import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.core.personal_data import PiiHit
from shipway.evals.assertion_checks import REGEX_CHARS
from shipway.evals.assertions import holds, parse_assertions
from shipway.evals.judgement import Judgement
from shipway.evals.metric_context import MetricContext
from shipway.evals.model import Case, Output, ToolCall

CASE = Case(id="c", question="How long?")


def check(entry, output, context=None, case=CASE):
    (assertion,) = parse_assertions([entry])
    return holds(assertion, case, output, context or MetricContext())


def answer(text):
    return Output(answer=text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"days": 30}', True), ('{"days": "30"}', False), ("30 days", False), ("", False), ('{"days": NaN}', False)],
)
def test_json_schema_judges_the_whole_answer(text, expected):
    schema = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
    assert check({"type": "json-schema", "value": schema}, answer(text)) is expected


def test_json_nested_a_thousand_times_is_an_answer_that_does_not_obey():
    assert not check({"type": "json-schema", "value": {"type": "array"}}, answer("[" * 100_000))


@pytest.mark.parametrize(("name", "expected"), [("", True), ("not-", False)])
def test_similar_compares_what_was_measured(name, expected):
    entry = {"type": f"{name}similar", "value": "thirty days"}
    assert check(entry, answer("30 days"), MetricContext(similarities={"thirty days": 0.75})) is expected
    assert check(entry, answer("30 days"), MetricContext(similarities={"thirty days": 0.7499})) is not expected


@pytest.mark.parametrize("name", ["similar", "not-similar"])
def test_a_similarity_that_was_not_measured_neither_holds_nor_fails(name):
    with pytest.raises(UsageError, match="how similar the answer is to 'x' was not measured"):
        check({"type": name, "value": "x"}, answer("y"))


def rubric(score):
    return MetricContext(judgements={"rubric": Judgement("rubric", score)})


@pytest.mark.parametrize(("score", "expected"), [(0.5, True), (0.49, False)])
def test_a_rubric_holds_from_its_threshold(score, expected):
    assert check({"type": "llm-rubric", "value": "polite"}, answer("x"), rubric(score)) is expected
    assert check({"type": "not-llm-rubric", "value": "rude"}, answer("x"), rubric(score)) is not expected


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (MetricContext(), "was not judged for rubric; name a judge in evals.judge"),
        (MetricContext(missing_judgements={"rubric": "JudgeReplyError: prose"}), "JudgeReplyError: prose"),
        (rubric(None), "the judge has no opinion on rubric 'polite'"),
    ],
)
def test_an_opinion_that_could_not_be_had_neither_holds_nor_fails(context, message):
    with pytest.raises(UsageError, match=message):
        check({"type": "llm-rubric", "value": "polite"}, answer("x"), context)


def test_the_opposite_of_one_of_several_rubrics_cannot_be_told_from_one_opinion():
    entries = ({"type": "not-llm-rubric", "value": "rude"}, {"type": "llm-rubric", "value": "short"})
    case = Case(id="c", question="?", assertions=entries)
    with pytest.raises(UsageError, match="not-llm-rubric stands beside another rubric"):
        check(entries[0], answer("x"), rubric(1.0), case)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"value": "fr"}, False),
        ({"value": ["fr", "de"]}, True),
        ({"value": "de", "min_confidence": 0.9}, True),
    ],
)
def test_a_language_is_one_of_those_named(keys, expected):
    text = "Sie können den Wasserkocher innerhalb von 45 Tagen zurückgeben."
    assert check({"type": "language", **keys}, answer(text)) is expected


@pytest.mark.parametrize("name", ["language", "not-language"])
def test_the_language_of_a_few_letters_cannot_be_told(name):
    with pytest.raises(UsageError, match="the answer has 4 letters; its language can be told from 20"):
        check({"type": name, "value": "de"}, answer("45 Tage"))


class Names:
    """A finder of what only a model finds."""

    def find(self, text):
        return [PiiHit("name", text.index("Jo"), text.index("Jo") + 2)] if "Jo" in text else []


def test_personal_data_is_what_the_finder_of_the_run_finds():
    assert check({"type": "no-pii"}, answer("Ask Jo."))
    assert not check({"type": "no-pii"}, answer("Ask Jo."), MetricContext(pii=Names()))


def test_personal_data_of_other_kinds_and_texts_that_are_allowed_may_occur():
    output = answer("Write to Help@example.org.")
    assert not check({"type": "no-pii"}, output)
    assert check({"type": "no-pii", "kinds": ["phone", "iban"]}, output)
    assert check({"type": "no-pii", "allow": ["help@example.org"]}, output)
    assert not check({"type": "no-pii", "allow": ["help@example.com"]}, output)


CALLS = Output(
    tool_calls=(
        ToolCall("find", {"order": 7, "open": True}),
        ToolCall("read", {}),
        ToolCall("refund", {"order": 7, "eur": 1}),
        ToolCall("read", {"page": 2}),
    )
)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"name": "find"}, True),
        ({"name": "delete"}, False),
        ({"name": "read", "times": 2}, True),
        ({"name": "read", "times": 1}, False),
        ({"name": "delete", "times": 0}, True),
        ({"name": "find", "times": 0}, False),
        ({"name": "find", "arguments": {"order": 7}}, True),
        ({"name": "find", "arguments": {"order": 8}}, False),
        ({"name": "find", "arguments": {"open": 1}}, False),
        ({"name": "find", "arguments": {"close": None}}, False),
        ({"name": "read", "arguments": {"page": 2}, "times": 1}, True),
        ({"name": "refund", "order": ["find", "read"]}, True),
        ({"name": "refund", "order": ["read", "find"]}, False),
        ({"name": "read", "order": ["refund"]}, False),
        ({"name": "read", "arguments": {"page": 2}, "order": ["refund"]}, True),
    ],
)
def test_a_call_is_judged_by_name_arguments_times_and_order(keys, expected):
    assert check({"type": "tool-called", **keys}, CALLS) is expected


def test_a_target_that_calls_nothing_called_no_tool():
    assert not check({"type": "tool-called", "name": "find"}, Output())
    assert check({"type": "not-tool-called", "name": "find"}, Output())


@pytest.mark.parametrize("kind", ["latency", "cost"])
def test_the_time_and_price_of_an_answer_out_of_the_cache_are_not_its_own(kind):
    output = Output(latency_ms=1.0, cost_usd=0.0, cached=True)
    with pytest.raises(UsageError, match="was not measured"):
        check({"type": kind, "max": 5}, output)


def test_a_regex_looks_at_the_beginning_of_a_long_answer():
    output = answer("30 days " + "x" * REGEX_CHARS)
    assert check({"type": "regex", "value": r"\d+ days"}, output)
    assert not check({"type": "not-regex", "value": r"\d+ days"}, output)


@pytest.mark.parametrize("pattern", ["needle", "x$", "^x+$"])
@pytest.mark.parametrize("name", ["regex", "not-regex"])
def test_what_a_regex_does_not_find_at_the_beginning_of_a_long_answer_is_not_known(name, pattern):
    output = answer("x" * REGEX_CHARS + " needle")
    with pytest.raises(UsageError, match=r"the answer has 100,007 characters; .* in the first 100,000"):
        check({"type": name, "value": pattern}, output)


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "icontains", "value": "the end"},
        {"type": "contains-none", "value": ["needle", "30"]},
        {"type": "starts-with", "value": "word"},
        {"type": "not-equals", "value": "word"},
        {"type": "not-levenshtein", "value": "word", "max": 3},
        {"type": "not-json-schema", "value": {"type": "object"}},
        {"type": "language", "value": "en"},
        {"type": "no-pii"},
        {"type": "length", "min": 9_000_000},
        {"type": "not-refusal"},
    ],
)
def test_an_answer_of_ten_megabytes_is_judged_like_any_other(entry):
    text = "word is the word and the word is here " * 262_000 + "the end"
    assert len(text) > 9_900_000
    assert check(entry, answer(text))


EVERY_TYPE = (
    {"type": "contains", "value": "30"},
    {"type": "contains-none", "value": ["30", "x"]},
    {"type": "starts-with", "value": "3"},
    {"type": "regex", "value": r"\d+ ?x"},
    {"type": "is-json"},
    {"type": "json-schema", "value": {"type": ["object", "array", "number"], "maxItems": 2}},
    {"type": "levenshtein", "value": "30 x", "max": 2},
    {"type": "levenshtein", "value": "30 x", "min_ratio": 0.5},
    {"type": "language", "value": "de"},
    {"type": "no-pii"},
    {"type": "tool-called", "name": "find"},
    {"type": "latency", "max": 1},
    {"type": "assert-set", "assert": [{"type": "refusal"}, {"type": "length", "max": 3}], "threshold": 0.5},
)
hostile = st.text(st.characters(codec=None), max_size=60) | st.text(alphabet='[]{}"0123456789.,e-@ abc', max_size=60)


@given(st.sampled_from(EVERY_TYPE), hostile)
def test_any_answer_keeps_or_breaks_an_assertion_or_cannot_be_judged(entry, text):
    try:
        found = check(entry, answer(text))
        opposite = check({**entry, "type": f"not-{entry['type']}"}, answer(text))
    except UsageError as error:
        found, opposite = bool(error.message), False
    assert found is not opposite
