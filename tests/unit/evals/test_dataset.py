import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import DatasetError
from shipway.evals.dataset import dataset_schema, load_dataset, parse_dataset, read_dataset, written_jsonl

JSONL = """\
{"id": "a", "question": "How long?", "must_contain": ["30 days", ["EUR", "euro"]], "expected_sources": ["r.md"]}

{"id": "b", "question": "Who won?", "unanswerable": true, "tags": ["sport"], "split": "calibration"}
"""
YAML = """\
cases:
  - id: b
    question: Who won?
    unanswerable: true
    tags: [sport]
    split: calibration
  - id: a
    question: How long?
    must_contain: ["30 days", [EUR, euro]]
    expected_sources: [r.md]
"""
CSV = """\
id,question,must_contain,expected_sources,unanswerable,tags,split
a,How long?,"[""30 days"", [""EUR"", ""euro""]]",r.md,,,
b,Who won?,,,true,sport,calibration
"""


def problems_of(text, file="cases.jsonl", documents=None):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(DatasetError) as caught:
        parse_dataset(data, file, documents=documents)
    return caught.value.problems


def outcome(data, file):
    try:
        return parse_dataset(data, file).cases, []
    except DatasetError as error:
        return (), error.problems


def test_the_same_cases_in_jsonl_yaml_and_csv_have_one_digest():
    digests = {
        parse_dataset(text.encode(), f"f.{end}").digest
        for text, end in ((JSONL, "jsonl"), (YAML, "yaml"), (YAML, "yml"), (CSV, "csv"))
    }
    assert len(digests) == 1


def test_a_parsed_case_has_every_field_as_written():
    case = parse_dataset(JSONL.encode(), "faq.jsonl").cases[0]
    assert (case.id, case.question, case.split) == ("a", "How long?", "test")
    assert case.must_contain == ("30 days", ("EUR", "euro"))
    assert case.expected_sources == ("r.md",)


def test_every_problem_of_a_file_is_reported_at_once_with_its_line():
    text = """\
{"id": "a", "question": "q", "must_contian": ["x"]}
{not json}
["a list"]
{"id": "b"}
{"question": "q"}
{"id": "a", "question": "again"}
{"id": "c", "question": 5, "tags": "x", "must_contain": ["ok", 30]}
"""
    not_json = "not JSON at column 2 (Expecting property name enclosed in double quotes); write one object per line"
    assert problems_of(text) == [
        "cases.jsonl:1: must_contian: unknown field; did you mean 'must_contain'?",
        f"cases.jsonl:2: {not_json}",
        "cases.jsonl:3: not an object but list; write {...}",
        "cases.jsonl:4: question: missing; every case needs one",
        "cases.jsonl:5: id: missing; every case needs one",
        "cases.jsonl:6: id: 'a' is already the id of line 1; ids must be unique",
        "cases.jsonl:7: must_contain[1]: expected text, got a number (30); put it in quotes",
        "cases.jsonl:7: question: expected text, got a number (5); put it in quotes",
        "cases.jsonl:7: tags: expected a list of texts, got text (x)",
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ('"unanswerable": true, "expected_sources": ["d"]', "expected_sources: set on an unanswerable case"),
        ('"unanswerable": true, "must_contain": ["d"]', "must_contain: set on an unanswerable case"),
        ('"unanswerable": "yes"', "unanswerable: expected true or false, got text (yes)"),
        ('"split": "train"', "split: must be 'calibration' or 'test', got 'train'"),
        ('"split": ["test"]', "split: must be"),
        ('"must_contain": [[]]', "must_contain[0]: an empty list of alternatives"),
        ('"must_contain": [["a", null]]', "must_contain[0][1]: expected text, got null"),
        ('"must_contain": [""]', "must_contain[0]: empty"),
        ('"question": " "', "question: written twice"),
        ('"tenant": NaN', "NaN is not JSON"),
        ('"assert": [{"type": "contians", "value": "x"}]', "assert[0]: type: unknown 'contians'; did you mean"),
        ('"assert": [{"type": "javascript", "value": "x"}]', "assert[0]: type: 'javascript' is run by promptfoo"),
        ('"assert": {"type": "equals"}', "assert: expected a list of objects"),
    ],
)
def test_a_wrong_field_is_named(fields, problem):
    found = problems_of('{"id": "a", "question": "q", ' + fields + "}")
    assert any(line.startswith(f"cases.jsonl:1: {problem}") for line in found), found


def test_yaml_problems_carry_the_line_of_their_field():
    text = "- id: a\n  question: q\n  tags:\n    - x\n  unanswerable: maybe\n- just text\n- id: a\n  question: q\n"
    assert problems_of(text, "c.yaml") == [
        "c.yaml:5: unanswerable: expected true or false, got text (maybe)",
        "c.yaml:6: not an object; write `- id: ...` with its fields below",
        "c.yaml:7: id: 'a' is already the id of line 1; ids must be unique",
    ]


def test_a_yaml_word_that_is_read_as_a_boolean_is_explained():
    assert problems_of("- id: a\n  question: q\n  must_contain: [yes]\n", "c.yaml") == [
        "c.yaml:3: must_contain[0]: expected text, got true or false (True); put it in quotes"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [("- id: [\n", 2), ("cases: 5\n", 1), ("- id: a\n  id: b\n", 2), ("- id: a\n  question: !x y\n", 1)],
)
def test_yaml_that_is_not_a_list_of_cases_is_refused_with_its_line(text, line):
    assert problems_of(text, "c.yaml")[0].startswith(f"c.yaml:{line}:")


def test_csv_problems_carry_the_line_at_which_their_record_begins():
    text = 'id,question,unanswerable,tags,colour\na,"two\nlines",maybe,x|y,\nb,q\nc,q,,[x,\nd,q,,,red\n'
    colour, unanswerable, cells, tags = problems_of(text, "c.csv")
    assert unanswerable == "c.csv:2: unanswerable: expected true or false, got text (maybe)"
    assert cells == "c.csv:4: 2 cells under 5 columns; quote cells that hold commas"
    assert tags.startswith("c.csv:5: tags: begins with '[' but is not a JSON array")
    assert colour.startswith("c.csv:1: colour: unknown column; ")


@pytest.mark.parametrize(("text", "line"), [("ID,Question\na,q\nb,q\n", 1), ("sep=;\nID;Question\na;q\n", 2)])
def test_a_heading_in_other_words_is_said_once_where_it_stands(text, line):
    assert problems_of(text, "c.csv") == [
        f"c.csv:{line}: ID: unknown column; did you mean 'id'?",
        f"c.csv:{line}: Question: unknown column; did you mean 'question'?",
    ]


def test_a_file_of_promptfoo_is_told_by_its_keys():
    (problem,) = problems_of("prompts: [a]\ntests: []\n", "pf.yaml")
    assert problem.endswith("; this looks like promptfoo's: --format promptfoo (in shipway.yaml: format)")


def test_csv_with_an_unclosed_quote_is_refused_at_the_record_that_opens_it():
    (problem,) = problems_of('id,question\na,q\nb,"never closed\n', "c.csv")
    assert problem.startswith("c.csv:3: not CSV: ")


def test_csv_lists_are_split_at_bars():
    case = parse_dataset(b"id,question,tags\na,q,x | y\n", "c.csv").cases[0]
    assert case.tags == ("x", "y")


@pytest.mark.parametrize("text", ["", "\n\n", "[]", "cases: []"])
def test_an_empty_file_is_refused(text):
    file = "c.jsonl" if not text.strip() else "c.yaml"
    assert problems_of(text, file) == [f"{file}:1: no cases; write at least one"]


def test_other_encodings_are_refused_with_line_and_byte():
    (problem,) = problems_of(b'{"id": "a"}\n{"id": "caf\xe9"}')
    assert problem.startswith("cases.jsonl:2: not UTF-8 (byte 0xe9); save it as UTF-8")


def test_an_unknown_format_is_refused():
    assert "cannot tell the format from '.txt'" in problems_of("x", "cases.txt")[0]


def test_a_source_that_is_not_in_the_corpus_is_refused():
    found = problems_of(JSONL, documents=["docs/r.md", "zzz.pdf"])
    assert found == ["cases.jsonl:1: expected_sources[0]: no document 'r.md' in the corpus; did you mean 'docs/r.md'?"]
    assert parse_dataset(JSONL.encode(), "c.jsonl", documents=["r.md"]).cases


async def test_a_dataset_is_named_after_its_file(tmp_path):
    path = tmp_path / "faq.jsonl"
    path.write_text(JSONL)
    assert (await load_dataset(path)).name == "faq"


async def test_a_missing_file_is_a_dataset_error(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read: No such file"):
        await load_dataset(tmp_path / "none.jsonl")


@given(st.binary(max_size=200), st.sampled_from(["c.jsonl", "c.yaml", "c.csv"]))
def test_any_bytes_are_a_dataset_or_a_dataset_error(data, file):
    cases, problems = outcome(data, file)
    assert bool(cases) is not bool(problems)
    assert all(line.startswith(f"{file}:") for line in problems)


@given(
    st.dictionaries(
        st.sampled_from([*dataset_schema()["properties"], "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["type", "value", "min"]), inner, max_size=2)
            ),
            max_leaves=6,
        ),
    )
)
def test_any_json_object_is_a_case_or_a_named_problem(row):
    cases, problems = outcome(json.dumps(row).encode(), "c.jsonl")
    assert problems or cases[0].id == row["id"]


def test_the_schema_names_every_field_and_forbids_others():
    schema = dataset_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"id", "question"}
    assert "expected_sources" in schema["properties"]


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("c.jsonl", '{"id": "a", "question": "A?"}\n' + DEEP, "c.jsonl:2: "),
        ("c.jsonl", '{"id": "a", "question": "A?", "tags": ' + "[" * 200 + "]" * 200 + "}", "c.jsonl:1: "),
        ("c.csv", f"id,question,tags\na,A?,{DEEP}\n", "c.csv:2: tags: "),
        ("c.yaml", f"- id: a\n  question: A?\n- {DEEP}", "c.yaml:3: "),
        ("c.yaml", "- id: a\n  question: A?\n  tags: " + "[" * 100 + "]" * 100, "c.yaml:1: "),
    ],
)
def test_a_case_nested_too_deeply_is_refused_with_its_line(file, text, place):
    with pytest.raises(DatasetError) as refused:
        parse_dataset(text.encode(), file)
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith(place)
    assert "nested more than 64 levels deep" in refused.value.problems[0]


def test_half_of_a_surrogate_pair_is_no_text_in_any_field():
    row = '{"id": "a", "question": "A\\ud800?", "tags": ["\\udc00"]}'
    with pytest.raises(DatasetError) as refused:
        parse_dataset(row.encode(), "c.jsonl")
    assert [problem.split(", ")[0] for problem in refused.value.problems] == [
        "c.jsonl:1: question: holds \\ud800",
        "c.jsonl:1: tags[0]: holds \\udc00",
    ]


def test_context_messages_variables_and_metadata_are_read():
    row = {
        "id": "a",
        "question": "And then?",
        "context": ["A passage."],
        "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
        "variables": {"city": "Leiden", "n": 3},
        "metadata": {"origin": "x.yaml#1"},
    }
    case = parse_dataset(json.dumps(row).encode(), "c.jsonl").cases[0]
    assert case.context == ("A passage.",)
    assert case.messages[1]["content"] == "Hi"
    assert (case.variables["n"], case.metadata["origin"]) == (3, "x.yaml#1")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ('"context": "x"', "context: expected a list of texts, got text (x)"),
        ('"messages": {"role": "user"}', "messages: expected a list of objects with 'role' and 'content'"),
        ('"messages": [{"role": "robot", "content": "x"}]', "messages[0]: role must be one of system, developer, user"),
        ('"messages": [{"role": "user"}]', "messages[0]: content: missing"),
        ('"messages": [{"role": "user", "content": 5}]', "messages[0]: content: expected text, got a number (5)"),
        ('"variables": ["x"]', "variables: expected an object, got a list"),
        ('"metadata": "x"', "metadata: expected an object, got text (x)"),
        ('"metadata": {"a": "\\ud800"}', "metadata: "),
    ],
)
def test_a_wrong_field_of_the_turns_before_is_named(fields, problem):
    found = problems_of('{"id": "a", "question": "q", ' + fields + "}")
    assert found[0].startswith(f"cases.jsonl:1: {problem}"), found


def test_yaml_values_that_json_cannot_hold_are_named():
    (problem,) = problems_of("- id: a\n  question: q\n  metadata: {day: 2026-01-31}\n", "c.yaml")
    assert problem == "c.yaml:3: metadata: $.day: date has no canonical form; use JSON values"


def test_a_case_is_written_back_as_it_was_read():
    cases = parse_dataset(JSONL.encode(), "c.jsonl")
    again = parse_dataset(written_jsonl(cases.cases), "c.jsonl")
    assert again.digest == cases.digest
    assert written_jsonl(again.cases).splitlines()[0] == (
        b'{"id": "a", "question": "How long?", "expected_sources": ["r.md"], "must_contain": ["30 days", '
        b'["EUR", "euro"]]}'
    )


def test_the_line_of_every_case_is_known():
    assert read_dataset(JSONL.encode(), "c.jsonl").lines == {"a": 1, "b": 3}
    assert read_dataset(YAML.encode(), "c.yaml").place("a") == "c.yaml:7"
