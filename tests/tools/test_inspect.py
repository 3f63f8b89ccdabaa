"""Inspect itself, run by its adapter: on a dataset, and on a task file of its own."""

import pytest

pytestmark = [pytest.mark.tools, pytest.mark.timeout(250)]

OWN = """\
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


@task
def returns():
    sample = Sample(input="How long can I return it?", target="30 days", id="own")
    return Task(dataset=MemoryDataset([sample]), solver=generate(), scorer=includes())
"""


def verdicts(report, metric):
    return {(item.case_id, item.repeat): item.verdict.value for item in report.findings if item.metric == metric}


def test_a_dataset_is_answered_by_the_target_and_scored(tool, endpoint, cases, tmp_path, noted):
    inspect = tool("inspect")
    report = inspect.run(tmp_path / "c.jsonl", cases=cases, metrics=("includes", "model_graded_qa"), repeats=2)

    expected = {
        (name, repeat): "FAIL" if name == "trains" else "PASS"
        for name in ("period", "cost", "trains")
        for repeat in (0, 1)
    }
    assert report.problems == ()
    assert verdicts(report, "includes") == verdicts(report, "model_graded_qa") == expected
    assert endpoint.hits.count("answers") == 6
    noted["inspect"] = inspect.took


def test_a_target_that_fails_for_one_case_is_an_error_there(tool, cases, tmp_path):
    report = tool("inspect").run(tmp_path / "cases.jsonl", cases=cases, target="half")

    assert verdicts(report, "includes") == {("period", 0): "PASS", ("cost", 0): "ERROR", ("trains", 0): "FAIL"}


def test_a_task_file_of_inspect_runs_as_it_is(tool, tmp_path):
    path = tmp_path / "returns.py"
    path.write_text(OWN)

    report = tool("inspect").run(path, repeats=2)
    assert report.problems == ()
    assert verdicts(report, "includes") == {("own", 0): "PASS", ("own", 1): "PASS"}
