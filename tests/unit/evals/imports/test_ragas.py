"""RAGAS's evaluation sets of either age and form."""

import json

import pytest

from shipway.core.errors import DatasetError
from shipway.evals.dataset import read_dataset
from shipway.evals.rows import FileForm

NEW = {
    "user_input": "How many days?",
    "retrieved_contexts": ["Within 45 days.", "A label costs 4.90."],
    "reference": "45 days.",
    "response": "You have 45 days.",
    "synthesizer_name": "single_hop",
    "rubrics": {"score1": "bad"},
}
OLD = {"question": "Who?", "contexts": ["Leiden."], "ground_truths": ["Leiden", "NL"], "answer": "Leiden"}
TURNS = {
    "user_input": [
        {"type": "human", "content": "Hello"},
        {"type": "ai", "content": "Hi"},
        {"type": "human", "content": "And returns?"},
        {"type": "ai", "content": "45 days."},
    ],
}
CSV = "user_input,retrieved_contexts,reference\nHow many days?,\"['Within 45 days.', 'A label, 4.90.']\",45 days.\n"


def imported(text, file="set.jsonl"):
    return read_dataset(text.encode(), file, form=FileForm(format="ragas"))


def problem_of(text, file="set.jsonl"):
    with pytest.raises(DatasetError) as caught:
        imported(text, file)
    (problem,) = caught.value.problems
    return problem


def test_a_sample_of_one_turn_becomes_a_case():
    found = imported(json.dumps(NEW))
    (case,) = found.dataset.cases
    assert (case.id, case.question, case.reference) == ("ragas-0001", "How many days?", "45 days.")
    assert case.context == ("Within 45 days.", "A label costs 4.90.")
    assert case.tags == ("single_hop",)
    assert case.metadata == {"response": "You have 45 days.", "origin": "set.jsonl:1"}
    assert found.dropped == (
        "set.jsonl:1: rubrics: has no counterpart; left out",
        "set.jsonl:1: response: a recorded answer is kept in metadata and not judged",
    )


def test_the_names_before_0_2_are_read():
    (case,) = imported(json.dumps([OLD], indent=1), "set.json").dataset.cases
    assert (case.question, case.context, case.reference) == ("Who?", ("Leiden.",), "Leiden")
    assert case.metadata["response"] == "Leiden"


def test_the_last_human_turn_is_the_question():
    found = imported(json.dumps(TURNS))
    (case,) = found.dataset.cases
    assert case.question == "And returns?"
    assert [turn["role"] for turn in case.messages] == ["user", "assistant"]
    assert "1 turns after the last question" in found.dropped[0]


def test_lists_that_python_wrote_into_cells_are_lists():
    (case,) = imported(CSV, "set.csv").dataset.cases
    assert case.context == ("Within 45 days.", "A label, 4.90.")


def test_lists_that_numpy_wrote_are_refused_instead_of_being_glued_together():
    text = "user_input,retrieved_contexts\nq,\"['a'\n 'b']\"\n"
    assert problem_of(text, "set.csv") == (
        "set.csv:2: two texts stand in the list without a comma; numpy writes so, save it with lists"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"reference": "x"}', "set.jsonl:1: question: missing"),
        ('{"user_input": [{"type": "ai", "content": "x"}]}', "set.jsonl:1: user_input: no turn of type human"),
        (
            '{"user_input": [{"type": "robot", "content": "x"}, {"type": "human", "content": "x"}]}',
            "set.jsonl:1: user_input: a turn of type 'robot'",
        ),
        ('{"user_input": "q", "reference": NaN}', "set.jsonl:1: NaN is not JSON"),
        ('[{"user_input": "q"},\n 5]', "set.jsonl:2: not an object but int"),
        ('[{"user_input": "q"},\n {"user_input"]', "set.jsonl:2: not JSON"),
        ('[{"user_input": "q"}', "set.jsonl:1: not JSON"),
        ("", "set.jsonl:1: no cases"),
    ],
)
def test_a_broken_sample_is_refused_with_its_line(text, problem):
    assert problem_of(text).startswith(problem)
