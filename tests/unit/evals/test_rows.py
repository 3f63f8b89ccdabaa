"""How files of cases are written in the world: Excel's marks, separators and character sets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import DatasetError
from shipway.evals.dataset import parse_dataset
from shipway.evals.rows import FileForm, read_csv

BOM = b"\xef\xbb\xbf"
KNOWN = frozenset({"id", "question", "tags", "reference"})


def problem_of(data, file="cases.csv", form=None):
    with pytest.raises(DatasetError) as caught:
        parse_dataset(data, file, form=form or FileForm())
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("c.csv", b"id,question\na,How?\n"),
        ("c.jsonl", b'{"id": "a", "question": "How?"}\n'),
        ("c.yaml", b"- id: a\n  question: How?\n"),
    ],
)
def test_a_byte_order_mark_is_no_part_of_the_first_heading(file, data):
    assert parse_dataset(BOM + data, file).digest == parse_dataset(data, file).digest


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_semicolons_and_tabs_are_recognised(separator):
    text = f"id{separator}question\na{separator}How, or; not?\n" if separator == "\t" else ""
    text = text or f'id{separator}question\na{separator}"How, or; not?"\n'
    assert parse_dataset(text.encode(), "c.csv").cases[0].question == "How, or; not?"


def test_the_separator_line_that_excel_writes_is_obeyed_and_counted():
    text = "sep=;\nid;question;tags\na;q;x|y\nb;q;;\n"
    assert problem_of(text.encode()).startswith("cases.csv:4: 4 cells under 3 columns")


def test_a_heading_that_two_separators_explain_equally_is_refused_naming_both():
    assert problem_of(b"id,question;tags\na,q;t\n") == (
        "cases.csv:1: separated by ',' or by ';'? each gives 1 known column; write one of them throughout, or name it: "
        "--delimiter (in shipway.yaml: delimiter)"
    )


def test_a_heading_of_one_column_is_not_ambiguous():
    assert problem_of(b"id\na\n") == "cases.csv:2: question: missing; every case needs one"


def test_a_separator_that_is_named_is_used():
    form = FileForm(delimiter="|")
    assert parse_dataset(b"id|question\na|q\n", "c.csv", form=form).cases[0].question == "q"


def test_a_latin_1_file_is_refused_with_line_and_hint():
    assert problem_of("id,question\na,q\nb,Gehört\n".encode("latin-1")) == (
        "cases.csv:3: not UTF-8 (byte 0xf6); save it as UTF-8, or name its encoding: --encoding latin-1 (in "
        "shipway.yaml: encoding)"
    )


def test_a_latin_1_file_is_read_when_it_is_called_one():
    data = "id;question\na;Wie heißt er?\n".encode("latin-1")
    assert parse_dataset(data, "c.csv", form=FileForm(encoding="latin-1")).cases[0].question == "Wie heißt er?"


@pytest.mark.parametrize("data", ["id,question\n".encode("utf-16"), b"\xfe\xff\x00i"])
def test_utf_16_is_refused_with_its_name(data):
    assert problem_of(data).startswith("cases.csv:1: UTF-16, not UTF-8; save it as UTF-8, or name its encoding")


def test_utf_16_is_read_when_it_is_called_so():
    data = "id,question\na,q\n".encode("utf-16")
    assert parse_dataset(data, "c.csv", form=FileForm(encoding="utf-16")).cases[0].id == "a"


def test_bytes_that_the_named_encoding_does_not_have_are_refused_with_their_line():
    data = b"id,question\na,\xff\n"
    assert problem_of(data, form=FileForm(encoding="ascii")).startswith("cases.csv:2: not ascii (byte 0xff)")


@pytest.mark.parametrize("name", ["latin-99", "hex", "rot13"])
def test_an_encoding_of_no_text_is_refused(name):
    assert f"no encoding {name!r}" in problem_of(b"id", form=FileForm(encoding=name))


def test_a_format_that_is_named_prevails_over_the_suffix():
    data = b'{"id": "a", "question": "q"}\n'
    assert parse_dataset(data, "cases.txt", form=FileForm(format="jsonl")).cases[0].id == "a"


def test_objects_and_lists_in_csv_are_json():
    text = 'id,question,metadata,variables,context\na,q,"{""x"": 1}","{""y"": [2]}",one|two\n'
    case = parse_dataset(text.encode(), "c.csv").cases[0]
    assert (case.metadata, case.variables, case.context) == ({"x": 1}, {"y": [2]}, ("one", "two"))


def test_an_object_in_csv_that_is_not_json_is_named():
    assert problem_of(b"id,question,metadata\na,q,x=1\n").startswith(
        "cases.csv:2: metadata: not a JSON object (Expecting value)"
    )


@given(st.text(alphabet='ab,;\t"\n |', max_size=60))
def test_any_text_is_rows_or_problems_with_a_line_of_the_file(text):
    rows, problems = read_csv(text, known=KNOWN)
    assert all(1 <= line <= text.count("\n") + 1 for line, _, _ in problems)
    assert all(row.line <= text.count("\n") + 1 for row in rows)
