"""lm-eval itself, run by its adapter on a task of three documents. Also part of `make test` where it is installed."""

import json

import pytest

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
