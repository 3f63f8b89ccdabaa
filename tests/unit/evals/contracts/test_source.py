"""Files that remember their lines."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.evals.contracts.source import Problems, read_source

TEXT = b"""\
- name: a
  request:
    path: /x
- name: b
"""


def test_every_key_and_item_has_its_line():
    source = read_source(TEXT, "c.yaml")
    assert source.place((0, "request", "path")) == "c.yaml:3"
    assert source.place((1,)) == "c.yaml:4"


def test_a_path_without_a_line_has_that_of_what_holds_it():
    source = read_source(TEXT, "c.yaml")
    assert source.place((0, "request", "headers", "x")) == "c.yaml:2"


def test_text_that_looks_like_a_date_a_time_or_a_number_key_stays_text():
    source = read_source(b"{a: 2024-01-31, b: 12:30, 200: {x: 1}, c: 1.5, d: yes, e: ~}", "c.yaml")
    assert source.value == {"a": "2024-01-31", "b": "12:30", "200": {"x": 1}, "c": 1.5, "d": True, "e": None}


def test_a_merge_key_gives_what_is_not_written():
    source = read_source(b"- &a {x: 1, y: 2}\n- {<<: *a, y: 3}\n", "c.yaml")
    assert source.value[1] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\nb: 2\na: 3\n", "c.yaml:3: 'a' is written twice in one object; keep one"),
        (b"a: [1\nb: 2", "c.yaml:2: not YAML: a list that begins with [ is not closed with ]"),
        (b"", "c.yaml:1: the file is empty"),
        (b"a: 1\nb: \xe9\n", "c.yaml:2: not UTF-8 (byte 0xe9); save it as UTF-8"),
        (b"[" * 200 + b"]" * 200, "c.yaml:1: nested more than 64 levels deep; write it flat"),
        (b"? [a, b]\n: 1\n", "c.yaml:1: a key must be one word, not a list or a mapping"),
        (b"x" * 4_000_001, "c.yaml: larger than 4000000 bytes; divide it"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(data, message):
    with pytest.raises(UsageError) as refused:
        read_source(data, "c.yaml")
    assert str(refused.value) == message


def test_aliases_cannot_unfold_into_a_huge_file():
    levels = ["- &a0 [x, x, x, x, x, x, x, x]"]
    levels += [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 9)]
    with pytest.raises(UsageError, match="unfolds into more than 400000 values"):
        read_source("\n".join(levels).encode(), "c.yaml")


def test_a_json_file_with_tabs_has_lines_too():
    source = read_source(b'{\n\t"a": {\n\t\t"b": "x\\ty"\n\t}\n}', "c.json")
    assert source.value == {"a": {"b": "x\ty"}}
    assert source.place(("a", "b")) == "c.json:3"


def test_a_broken_json_file_is_refused_with_its_line():
    with pytest.raises(UsageError, match=r"^c\.json:2: not JSON"):
        read_source(b'{\n"a": }', "c.json")


def test_problems_are_told_once_each_with_their_place():
    problems = Problems(read_source(TEXT, "c.yaml"))
    problems.add((1, "name"), "wrong")
    problems.add((1, "name"), "wrong")
    with pytest.raises(UsageError) as refused:
        problems.refuse()
    assert str(refused.value) == "c.yaml:4: name: wrong"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@given(_JSON)
def test_a_json_file_says_what_json_says(value):
    document = {"a": value}
    for ascii_only in (True, False):
        text = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert read_source(text, "c.json").value == document
