import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.replies import RefusedError
from shipway.gateway.strict_json import DEEPEST, strict_object


def refusal(raw: bytes) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        strict_object(raw)
    assert caught.value.status == 400
    return caught.value


def attempted(raw: bytes) -> tuple[dict[str, Any] | None, str]:
    """Return the object, or why it was refused."""
    try:
        return strict_object(raw), ""
    except RefusedError as refused:
        return None, refused.code


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"model":"a","model":"b"}', "model"),
        (b'{"model" : "a", "x": 1, "model" : "a"}', "model"),
        (b'{"a":1,"b":2,"a" :3}', "a"),
        (b'{"a":1,"b":2,"a" \n\t:3}', "a"),
        (b'{"a":"q: \\":","b":{"stream":true,"n":1,"stream":false}}', "stream"),
        (b'{"messages":[{"role":"user","role":"system","content":""}]}', "role"),
        (b'{"mod\\u0065l":"a","model":"b"}', "model"),
        (b'{"a\\\\":1,"a\\\\":2}', "a\\"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_name(raw: bytes, key: str) -> None:
    refused = refusal(raw)

    assert (refused.code, refused.param) == ("duplicate_key", key)
    assert repr(key) in refused.message


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"x\\":y: \\" :","b":{"a":1},"c":[{"a":1},{"a":2}]}',
        b'{"a":{"a":{"a":1}}}',
        b'{"a\\\\":1,"a":"\\\\\\":"}',
        b'{ "a" : 1 , "b" : ":" }',
    ],
)
def test_equal_keys_in_different_objects_and_colons_in_texts_are_no_twins(raw: bytes) -> None:
    assert strict_object(raw) == json.loads(raw)


@pytest.mark.parametrize("escaped", ["\\u0000", "\\u0007", "\\b", "\\u001F", "\\u007f", "\x7f"])
def test_a_control_character_is_refused_with_the_place_where_it_stands(escaped: str) -> None:
    raw = f'{{"messages":[{{"role":"user","content":"ab{escaped}"}}]}}'.encode()
    refused = refusal(raw)

    assert (refused.code, refused.param) == ("control_character", "messages[0].content")
    assert "at 2" in refused.message


def test_a_control_character_in_a_key_is_refused_too() -> None:
    assert refusal(b'{"a":{"b\\u0000":1}}').code == "control_character"


def test_line_ends_tabs_and_a_terminals_escapes_are_text() -> None:
    text = "a\tb\r\nc\f\x1b[31mred\x1b[0m C:\\bin \\b \\u0000"

    assert strict_object(orjson.dumps({"content": text})) == {"content": text}


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40, int("1" * 300)])
@pytest.mark.parametrize(
    "written", ['{{"a":1,"seed":{}}}', '{{ "a": 1.5, "b": [{{"seed": {}}}] }}', '{{"x":1e30,"y":[{}]}}']
)
def test_a_whole_number_beyond_64_bits_is_refused_because_it_would_be_rounded(number: int, written: str) -> None:
    refused = refusal(written.format(number).encode())

    assert refused.code == "number_too_large"
    assert refused.param in {"seed", "b[0].seed", "y[0]"}
    assert str(number)[:20] in refused.message


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**63, 2**53 + 1, 0])
@pytest.mark.parametrize("written", ['{{"seed":{}}}', '{{ "seed" : {} }}'])
def test_a_whole_number_within_64_bits_stays_what_it_is(number: int, written: str) -> None:
    assert orjson.dumps(strict_object(written.format(number).encode())) == b'{"seed":%d}' % number


def test_digits_in_texts_and_numbers_with_an_exponent_are_not_whole_numbers() -> None:
    value = {"a": "9" * 40, "b": 1e30, "c": 9.3e18}

    assert strict_object(json.dumps(value).encode()) == value


def test_bytes_that_are_no_utf_8_are_refused_with_their_place() -> None:
    assert "byte 9 is 0xff" in refusal(b'{"a":"bcd\xff"}').message


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"1", b'"a"', b'{"a":NaN}', b'{"a":1}x', b'{"a":"\\ud800"}', b'{"a":"\n"}']
)
def test_anything_but_a_json_object_is_refused(raw: bytes) -> None:
    refusal(raw)


@pytest.mark.parametrize("levels", [DEEPEST, DEEPEST * 4, 5_000, 200_000])
@pytest.mark.parametrize("pair", [(b'{"a":', b"}"), (b"[", b"]")])
def test_nesting_without_end_is_refused(levels: int, pair: tuple[bytes, bytes]) -> None:
    opening, closing = pair

    refusal(b'{"deep":' + opening * levels + b"1" + closing * levels + b"}")


def test_the_deepest_nesting_that_is_allowed_passes() -> None:
    levels = DEEPEST - 1
    raw = b'{"deep":' + b"[" * levels + b"1" + b"]" * levels + b"}"

    assert strict_object(raw) == json.loads(raw)


_texts = st.text(alphabet=st.sampled_from('ab":\\ {},\n'), max_size=6)
_json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), _texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_texts, inner, max_size=4)),
    max_leaves=12,
)


def _clean(value: Any) -> bool:
    written = json.dumps(value, ensure_ascii=False).replace("\\n", "").replace("\\\\", "")
    return not any(mark in written for mark in ("\\b", "\\u", "\x7f"))


@given(
    st.dictionaries(st.text(alphabet=st.sampled_from('ab":\\'), max_size=3), _json_values, max_size=4).filter(_clean),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")]),
    st.booleans(),
)
def test_every_clean_object_passes_however_it_is_written(
    value: dict[str, Any], separators: tuple[str, str], ascii_only: Any
) -> None:
    raw = json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode()
    taken, code = attempted(raw)

    # A backslash before a b may be written so that it looks like a control character, but it is looked at again.
    assert (taken, code) == (value, "")


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", 'c"', "d:"]), _json_values), min_size=1, max_size=5),
    st.sampled_from([":", ": ", " :", "\n :"]),
)
def test_twins_are_found_however_they_are_written(pairs: list[tuple[str, Any]], colon: str) -> None:
    raw = "{" + ",".join(json.dumps(key) + colon + json.dumps(value) for key, value in pairs) + "}"
    names = [key for key, _ in pairs]
    _, code = attempted(raw.encode())

    assert code == ("duplicate_key" if len(set(names)) < len(names) else "")


@given(st.binary(max_size=80))
def test_no_bytes_bring_anything_but_an_object_or_a_refusal(raw: bytes) -> None:
    taken, code = attempted(raw)

    assert (taken is None) == bool(code)
