import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.canonical import digest_json
from shipway.core.errors import DatasetError
from shipway.evals.labels import Anchor, Label, lines, parse_anchors, parse_labels
from shipway.evals.model import Case

CASES = {case.id: case for case in (Case(id="a", question="A?", reference="R."), Case(id="b", question="B?"))}
JUDGE = digest_json("judge")
ROW = {"case": "a", "answer": "Yes.", "task": "faithfulness", "label": 1}


def _row_bytes(value):
    return json.dumps({**ROW, "label": value, "at_s": value, "passages": value}).encode()


def file_of(*rows):
    return "\n".join(json.dumps(row) for row in rows).encode()


def test_what_is_written_is_read_again():
    label = Label("a", "Ja, 5 €.", "citation", 0, "ann", 12.5, "why", ("p", "q"), ("doc",))
    anchor = Anchor(Label("b", "", "relevance", None), None, JUDGE)

    assert parse_labels(lines([label]), "l.jsonl", CASES) == [label]
    assert parse_anchors(lines([anchor]), "l.jsonl", CASES) == [anchor]
    assert json.loads(lines([anchor])) == {
        "case": "b",
        "answer": "",
        "task": "relevance",
        "label": None,
        "judge_label": None,
        "judge_digest": JUDGE,
    }


def test_the_last_word_of_each_person_counts():
    found = parse_labels(
        file_of({**ROW, "by": "ann"}, {**ROW, "by": "bob"}, {**ROW, "by": "ann", "label": 0}), "l", CASES
    )

    assert [(item.by, item.label) for item in found] == [("ann", 0), ("bob", 1)]


def test_a_byte_order_mark_is_no_part_of_the_file():
    assert len(parse_labels(b"\xef\xbb\xbf" + file_of(ROW), "l", CASES)) == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**ROW, "case": "aa"}, "l.jsonl:2: case: 'aa' is not in the dataset; did you mean 'a'?"),
        ({**ROW, "task": "truth"}, "l.jsonl:2: task: 'truth' is no task; there are faithfulness, relevance"),
        ({**ROW, "task": ["x"]}, "l.jsonl:2: task: ['x'] is no task"),
        ({**ROW, "label": 2}, "l.jsonl:2: label: 2 is no label; write 1 (yes), 0 (no) or null"),
        ({**ROW, "label": True}, "l.jsonl:2: label: True is no label"),
        ({**ROW, "label": "1"}, "l.jsonl:2: label: '1' is no label"),
        ({**ROW, "answer": 3}, "l.jsonl:2: answer: 3 is not a text"),
        ({**ROW, "passages": "p"}, "l.jsonl:2: passages: is not a list of texts"),
        ({**ROW, "at_s": "now"}, "l.jsonl:2: at_s: 'now' is not a time in seconds"),
        ({**ROW, "labels": 1}, "l.jsonl:2: labels: unknown field; did you mean 'label'?"),
        ({"case": "a", "answer": "", "task": "rubric"}, "l.jsonl:2: label: is missing"),
        ([], "l.jsonl:2: not an object but list"),
    ],
)
def test_every_problem_is_told_with_its_line(row, said):
    with pytest.raises(DatasetError) as caught:
        parse_labels(file_of(ROW, row), "l.jsonl", CASES)

    assert caught.value.problems[0].startswith(said)


def test_an_anchor_without_its_judge_is_refused():
    with pytest.raises(DatasetError) as caught:
        parse_anchors(file_of({**ROW, "judge_digest": "x"}), "a.jsonl", CASES)

    assert caught.value.problems == ["a.jsonl:1: judge_label: is missing", "a.jsonl:1: judge_digest: 'x' is no digest"]


@pytest.mark.parametrize(("data", "said"), [(b"", "no labels; make some with"), (b"\xff\xfe", "not UTF-8")])
def test_a_file_without_labels_is_refused(data, said):
    with pytest.raises(DatasetError, match=said):
        parse_labels(data, "l", CASES)


@given(st.binary() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(_row_bytes))
def test_no_file_is_read_but_as_labels_or_told_to_be_wrong(data):
    problems = []
    try:
        found = parse_labels(data, "l", CASES)
    except DatasetError as error:
        found, problems = [], error.problems
    assert bool(found) != bool(problems)
    assert all(problem.startswith("l:") for problem in problems)


def test_a_judge_is_asked_what_the_person_was_asked():
    request = Label("a", "Yes.", "faithfulness", 1, passages=("p",), citations=("d",)).request(CASES["a"])

    assert (request.task, request.case.id, request.output.answer) == ("faithfulness", "a", "Yes.")
    assert (request.output.passages, request.output.citations) == (("p",), ("d",))
