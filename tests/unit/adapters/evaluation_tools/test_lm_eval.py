import pytest

from shipway.adapters.evaluation_tools.lm_eval import task_of
from shipway.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("task: returns\noutput_type: generate_until", ("returns", True)),
        ("task: returns", ("returns", True)),
        ("task: returns\noutput_type: multiple_choice", ("returns", False)),
        ("task: returns\nprocess_docs: !function utils.process", ("returns", True)),
    ],
)
def test_tasks_that_generate_are_put_to_a_chat_endpoint(text, expected):
    assert task_of(text, "t.yaml") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: [", "t.yaml: not YAML"),
        ("group: a", "t.yaml: names no task"),
        ("task: [a, b]", "t.yaml: names no task"),
        ("task: 'a,b'", "has a comma"),
        ("task: a\noutput_type: loglikelihood_rolling", "'loglikelihood_rolling' has no score of single documents"),
    ],
)
def test_what_is_no_task_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        task_of(text, "t.yaml")
