"""Inspect's samples become cases."""

import json

import pytest

from shipway.core.errors import DatasetError
from shipway.evals.dataset import read_dataset
from shipway.evals.rows import FileForm

PLAIN = {"id": 7, "input": "How many days?", "target": "45 days", "metadata": {"topic": "returns"}}
CHAT = {
    "input": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Which city?"}]},
    ],
    "target": ["Leiden", "Leyden"],
    "files": {"a.txt": "x"},
}
CHOICE = {"input": "Which city?", "choices": ["Leiden", "Delft"], "target": "B"}


def imported(*samples, file="set.jsonl"):
    text = "\n".join(json.dumps(sample) for sample in samples)
    return read_dataset(text.encode(), file, form=FileForm(format="inspect"))


def test_a_sample_becomes_a_case():
    (case,) = imported(PLAIN).dataset.cases
    assert (case.id, case.question, case.reference) == ("7", "How many days?", "45 days")
    assert case.metadata == {"topic": "returns", "origin": "set.jsonl:1"}


def test_messages_before_the_question_are_kept():
    found = imported(CHAT)
    (case,) = found.dataset.cases
    assert case.question == "Which city?"
    assert case.messages == ({"role": "system", "content": "Be brief."},)
    assert (case.reference, case.metadata["targets"]) == ("Leiden", ["Leiden", "Leyden"])
    assert found.dropped == (
        "set.jsonl:1: target: of 2 right answers the first is the reference",
        "set.jsonl:1: files: has no counterpart; left out",
    )


def test_choices_stand_below_the_question():
    (case,) = imported(CHOICE).dataset.cases
    assert case.question == "Which city?\n\nA) Leiden\nB) Delft"
    assert case.reference == "B) Delft"


def test_csv_and_json_are_read():
    csv = 'id,input,target,choices\n1,q,A,"[""x"", ""y""]"\n'
    form = FileForm(format="inspect")
    assert read_dataset(csv.encode(), "s.csv", form=form).dataset.cases[0].question.endswith("A) x\nB) y")
    array = json.dumps([PLAIN, CHAT], indent=2).encode()
    assert read_dataset(array, "s.json", form=form).lines == {"7": 2, "inspect-0002": 10}


@pytest.mark.parametrize(
    ("sample", "problem"),
    [
        ({"target": "x"}, "set.jsonl:1: question: missing"),
        ({"input": []}, "set.jsonl:1: input: no message of role user"),
        (
            {"input": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
            "set.jsonl:1: input: ends with a message that is not the user's",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "image", "image": "x.png"}]}]},
            "set.jsonl:1: input: the question holds a part that is no text",
        ),
        ({"input": "q", "choices": ["x"] * 27}, "set.jsonl:1: choices: 27, but only 26 letters"),
        ({"choices": ["x"]}, "set.jsonl:1: question: missing"),
        ({"input": 5}, "set.jsonl:1: question: expected text, got a number (5)"),
    ],
)
def test_a_broken_sample_is_refused_with_its_line(sample, problem):
    with pytest.raises(DatasetError) as caught:
        imported(sample)
    assert caught.value.problems[0].startswith(problem)
