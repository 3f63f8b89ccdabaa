import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.canonical import canonical_json, digest_bytes, digest_json

TEXT = st.text(alphabet=st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcde", max_size=3), inner),
    max_leaves=10,
)


@given(VALUES)
def test_the_canonical_form_of_the_canonical_form_is_itself(value):
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@given(st.dictionaries(st.text("abcdeéß", max_size=3), st.integers(), min_size=2), st.randoms())
def test_the_order_of_keys_does_not_matter(value, random):
    items = list(value.items())
    random.shuffle(items)

    assert canonical_json(dict(items)) == canonical_json(value)


def test_the_form_is_the_one_that_is_written_down():
    value = {"b": [1.0, -0.0, 1.5, True, None], "a": {"é": "line\n"}, "Z": ()}

    assert canonical_json(value) == '{"Z":[],"a":{"é":"line\\n"},"b":[1,0,1.5,true,null]}'.encode()


def test_the_unicode_form_of_text_and_keys_does_not_matter():
    assert digest_json({"cafe\u0301": "e\u0301"}) == digest_json({"caf\u00e9": "\u00e9"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [float("nan")]}, r"\$\.a\[0\]: nan has no canonical form"),
        (float("-inf"), r"\$: -inf has no canonical form"),
        ({1: 2}, r"\$: key 1 is not a string"),
        ({"a": {"b": b"x"}}, r"\$\.a\.b: bytes has no canonical form"),
        ({"a": "\ud800"}, r"\$\.a: '\\ud800' is not valid Unicode"),
        ({"\udcff": 1}, r"\$: '\\udcff' is not valid Unicode"),
        ({"e\u0301": 1, "\u00e9": 2}, r"\$: two keys are 'é' once their Unicode form is made equal"),
    ],
)
def test_what_json_cannot_hold_exactly_is_refused_with_its_path(value, message):
    with pytest.raises(TypeError, match=message):
        canonical_json(value)


def test_a_digest_names_its_algorithm():
    assert digest_bytes(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
