"""lm-eval itself, run by its adapter on a task of three documents. Also part of `make test` where it is installed."""

import json

import pytest

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict

pytestmark = [pytest.mark.tools, pytest.mark.e2e, pytest.mark.timeout(250)]

TASK = """\
task: returns
dataset_path: json
dataset_kwargs:
  data_files: {test: cases.jsonl}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 20}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 1}
"""
DOCUMENTS = [
    {"id": "period", "question": "How long can I return it?", "answer": "You can return it within 30 days."},
    {"id": "cost", "question": "Who pays for the return?", "answer": "You pay for the way back."},
    {"id": "trains", "question": "Do you repair it?", "answer": "For two years."},
]


@pytest.fixture
def task(tmp_path):
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in DOCUMENTS))
    path = tmp_path / "returns.yaml"
    path.write_text(TASK)
    return path


def test_a_task_of_local_files_is_put_to_the_target(tool, endpoint, task, noted):
    lm_eval = tool("lm-eval")
    report = lm_eval.run(task, repeats=2)

    assert report.problems == ()
    assert {(item.case_id, item.repeat): item.score for item in report.findings} == {
        (name, repeat): float(name != "trains") for name in ("period", "cost", "trains") for repeat in (0, 1)
    }
    assert {item.metric for item in report.findings} == {"exact_match"}
    # Each repeat is asked anew, with another seed: nothing is answered from a cache.
    assert len(endpoint.hits) == 6
    assert len({body["seed"] for body in endpoint.bodies}) == 2
    noted["lm-eval"] = lm_eval.took


def test_a_target_that_fails_leaves_no_scores_but_an_error_with_the_reason(tool, task):
    report = tool("lm-eval").run(task, target="half")

    assert report.verdict is Verdict.ERROR
    assert "500" in report.problems[0]
    assert report.findings == ()


CHOICES = """\
task: choices
dataset_path: json
dataset_kwargs:
  data_files: {test: choices.jsonl}
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{gold}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1}
"""
ASKED = [
    {"id": "period", "question": "How long?", "choices": ["within 30 days.", "for weeks now"], "gold": 0},
    {"id": "cost", "question": "Who pays?", "choices": ["Aunt Emma does.", "You pay for the way"], "gold": 1},
    {"id": "trains", "question": "Repairs?", "choices": ["Nobody knows them", "You can return it"], "gold": 0},
]


@pytest.fixture
def choices(tmp_path):
    (tmp_path / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ASKED))
    path = tmp_path / "choices.yaml"
    path.write_text(CHOICES)
    return path


def test_a_task_of_choices_goes_by_the_log_likelihoods_that_the_endpoint_tells(tool, endpoint, choices):
    report = tool("lm-eval").run(choices)

    assert report.problems == ()
    assert {item.metric for item in report.findings} == {"acc"}
    assert {item.case_id: item.score for item in report.findings} == {"period": 1.0, "cost": 1.0, "trains": 0.0}
    # One to see whether it can, then one for each choice.
    assert len(endpoint.hits) == 1 + 6
    assert all(body["echo"] and body["logprobs"] == 1 for body in endpoint.bodies)


def test_an_endpoint_without_log_likelihoods_is_refused_before_the_task_is_put_to_it(tool, endpoint, choices):
    with pytest.raises(UsageError, match=r"choices.yaml: .* does not tell: it does not repeat the prompt") as error:
        tool("lm-eval").run(choices, target="silent")

    assert "/v1/completions that takes echo: true and logprobs: 1" in error.value.hint
    assert len(endpoint.hits) == 1
