import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.evals.assertion_types import TYPES
from shipway.evals.assertions import parse_assertions


def refusal(entry):
    with pytest.raises(UsageError) as caught:
        parse_assertions([entry])
    return str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "json-schema"}, "'json-schema' needs exactly one of 'value' and 'file'"),
        ({"type": "json-schema", "value": True, "file": "a.json"}, "needs exactly one of 'value' and 'file'"),
        ({"type": "json-schema", "value": "object"}, "value: a JSON Schema is an object, got 'object'"),
        (
            {"type": "json-schema", "value": {"type": "objekt"}},
            'value: not a usable JSON Schema: "objekt" is not valid',
        ),
        (
            {"type": "json-schema", "value": {"$ref": "http://127.0.0.1/x"}},
            "refers to 'http://127.0.0.1/x', and schemas are not",
        ),
        ({"type": "json-schema", "file": "/etc/passwd"}, "file: '/etc/passwd' leaves the project"),
        ({"type": "json-schema", "file": "a/../../b"}, "file: 'a/../../b' leaves the project"),
        (
            {"type": "similar", "value": "x", "threshold": 1.5},
            "threshold: 'similar' needs a number above 0 and up to 1",
        ),
        ({"type": "similar", "value": ""}, "value: 'similar' needs a text"),
        ({"type": "llm-rubric", "value": "x", "threshold": "high"}, "threshold: 'llm-rubric' needs a number"),
        ({"type": "levenshtein", "value": "x"}, "needs exactly one of 'max' and 'min_ratio'"),
        ({"type": "levenshtein", "value": "x", "max": 1, "min_ratio": 1}, "needs exactly one of"),
        ({"type": "levenshtein", "value": "x", "max": 1.5}, "max: 'levenshtein' needs a whole number from 0, got 1.5"),
        ({"type": "levenshtein", "value": "x", "min_ratio": 0}, "min_ratio: 'levenshtein' needs a number above 0"),
        ({"type": "language", "value": "German"}, "needs ISO 639 codes such as 'de', got 'German'"),
        ({"type": "language", "value": []}, "needs a list of texts"),
        ({"type": "language", "value": "de", "min_confidence": 2}, "min_confidence: 'language' needs a number"),
        ({"type": "no-pii", "kinds": ["e-mail"]}, "kinds: 'no-pii' knows no 'e-mail'; did you mean 'email'"),
        ({"type": "no-pii", "kinds": "email"}, "kinds: 'no-pii' needs a list of texts"),
        ({"type": "tool-called"}, "name: 'tool-called' needs a text, got None"),
        ({"type": "tool-called", "name": "a", "arguments": []}, "arguments: 'tool-called' needs an object"),
        ({"type": "tool-called", "name": "a", "times": -1}, "times: 'tool-called' needs a whole number from 0"),
        ({"type": "tool-called", "name": "a", "order": "b"}, "order: 'tool-called' needs a list of texts"),
        ({"type": "tool-called", "name": "a", "times": 0, "order": ["b"]}, "order: 'tool-called' with times 0"),
        ({"type": "latency", "max": -1}, "max: 'latency' is never below 0, so -1 never holds"),
        ({"type": "length", "max": float("nan")}, "max: 'length' needs a number, got nan"),
        ({"type": "not-contains-none", "value": "x"}, "value: 'not-contains-none' needs a list of texts"),
    ],
)
def test_an_entry_that_could_never_be_judged_is_refused(entry, message):
    assert message in refusal(entry)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+",
        r"^(\w+\s?)*$",
        r"(?:[a-z]*)+!",
        r"((x+))+y",
        r"(?P<word>\d{2,})*",
        r"(\s*a+)+$",
        r"([^\]]*)*",
        r"(a|a)*b",
        r"(?:\w|\d)+$",
        r"(x|.)*y",
    ],
)
def test_a_pattern_that_repeats_what_can_be_had_in_several_ways_is_refused(pattern):
    assert "repeats what can be had in several ways, which takes for ever on some answers" in refusal(
        {"type": "regex", "value": pattern}
    )


@pytest.mark.parametrize(
    "pattern",
    [r"(ab+)+", r"(\w+,)*\w+", r"a+b*", r"\(a+\)+", r"(a|b)+", r"(\d|[a-f])+", r"(\d{2})+", r"[+*]+", "(a+)?"],
)
def test_a_pattern_that_repeats_something_between_is_taken(pattern):
    (assertion,) = parse_assertions([{"type": "regex", "value": pattern}])
    assert assertion.value == re.compile(pattern)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("value", "file", "min", "max", "threshold", "kinds", "name", "order", "times", "assert", "weight", "metric")


@given(
    st.sampled_from([*TYPES, "assert-set", "not-regex", "x"]),
    st.dictionaries(st.sampled_from(KEYS), json_values, max_size=3),
)
def test_any_entry_is_read_or_refused_with_a_message(kind, keys):
    try:
        (assertion,) = parse_assertions([{"type": kind, **keys}])
    except UsageError as error:
        said = error.message
    else:
        said = assertion.type if assertion.weight > 0 else ""
    assert said
