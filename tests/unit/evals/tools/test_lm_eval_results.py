import json

import pytest
from tests.unit.evals.tools.recorded import changed, recorded, verdicts

from shipway.core.errors import DocumentError
from shipway.core.verdicts import Verdict
from shipway.evals.findings import as_results
from shipway.evals.tools.lm_eval_results import parse

RESULTS = "results_2026-11-21T13-33-33.456448.json"
SAMPLES = "samples_returns_2026-11-21T13-33-33.456448.jsonl"


def sampled(change=lambda _row: None, name=SAMPLES):
    rows = [json.loads(line) for line in recorded(SAMPLES).splitlines()]
    for row in rows:
        change(row)
    return {name: "\n".join(json.dumps(row) for row in rows).encode()}


def test_each_document_is_a_case_with_its_own_id():
    report = parse(recorded(RESULTS), RESULTS, sampled())

    assert verdicts(report, "exact_match") == {("period", 0): "PASS", ("cost", 0): "PASS", ("trains", 0): "FAIL"}
    assert (report.tool_version, report.suite) == ("0.4.13", "lm_eval")
    assert report.findings[0].details["tags"] == ["returns"]


def test_a_metric_over_the_whole_task_has_no_finding():
    report = parse(recorded(RESULTS), RESULTS, sampled())

    assert {item.metric for item in report.findings} == {"exact_match"}


def test_a_repeat_is_a_run_of_its_own():
    assert set(verdicts(parse(recorded(RESULTS), RESULTS, sampled(), repeat=2), "exact_match")) == {
        ("period", 2),
        ("cost", 2),
        ("trains", 2),
    }


def test_a_metric_is_named_with_its_filter_where_there_are_several():
    samples = sampled()[SAMPLES] + b"\n" + sampled(lambda row: row.update(filter="strict-match"))[SAMPLES]

    report = parse(recorded(RESULTS), RESULTS, {SAMPLES: samples})
    assert {item.metric for item in report.findings} == {"exact_match", "exact_match_strict-match"}
    assert as_results(report, "lm_eval.exact_match")[0].errors == {}


@pytest.mark.parametrize(
    ("change", "verdict", "said"),
    [
        (lambda row: row.update(exact_match=float("nan")), Verdict.ERROR, "the score is nan"),
        (lambda row: row.pop("exact_match"), Verdict.ERROR, "the score is missing"),
        (lambda row: row.update(resps=[]), Verdict.ERROR, "the target gave no answer"),
    ],
)
def test_a_score_that_is_missing_is_an_error(change, verdict, said):
    found = parse(recorded(RESULTS), RESULTS, sampled(change)).findings[0]

    assert (found.verdict, found.message) == (verdict, said)


def test_a_metric_of_which_less_is_better_is_only_measured():
    results = changed(RESULTS, lambda value: value["higher_is_better"]["returns"].update(exact_match=False))

    found = parse(results, RESULTS, sampled()).findings[0]
    assert (found.verdict, found.details["measured"], found.details["higher"]) == (Verdict.PASS, True, False)


def test_documents_that_were_lost_on_the_way_are_a_problem_of_the_whole():
    samples = {SAMPLES: recorded(SAMPLES).splitlines()[0]}

    assert parse(recorded(RESULTS), RESULTS, samples).problems == (
        "task returns: lm-eval counted 3 documents and wrote 1",
    )


def test_samples_of_a_task_whose_name_begins_alike_are_not_taken():
    report = parse(recorded(RESULTS), RESULTS, sampled(name="samples_returns_hard_2026-11-21T13-33-33.456448.jsonl"))

    assert report.problems[0] == "task returns: lm-eval counted 3 documents and wrote 0"


@pytest.mark.parametrize(
    ("data", "samples", "said"),
    [
        (recorded(RESULTS), {}, "has no samples beside it"),
        (recorded(RESULTS)[:500], sampled(), "is not JSON"),
        (recorded(RESULTS), {SAMPLES: recorded(SAMPLES)[:-30]}, f"{SAMPLES}:3: is not JSON"),
        (b"{}", sampled(), "has no results and n-samples"),
        (
            changed(RESULTS, lambda value: value.update(lm_eval_version="0.5.0")),
            sampled(),
            "in version 0.5.0 of its format; 0.4.x is read",
        ),
    ],
)
def test_files_that_cannot_be_read_are_refused(data, samples, said):
    with pytest.raises(DocumentError) as caught:
        parse(data, RESULTS, samples)
    assert said in caught.value.message
