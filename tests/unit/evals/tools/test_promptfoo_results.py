import math

import pytest
from tests.unit.evals.tools.recorded import changed, recorded, verdicts

from shipway.core.errors import DocumentError
from shipway.core.verdicts import Verdict
from shipway.evals.findings import as_results
from shipway.evals.tools.promptfoo_results import parse


def rows(value):
    return value["results"]["results"]


def of(change):
    """The row of the first test, changed."""

    def act(value):
        row = next(row for row in rows(value) if row["testCase"]["description"] == "period")
        value["results"]["results"] = [row]
        del value["results"]["stats"]
        change(row)

    return parse(changed("promptfoo-half.json", act))


def test_repeats_of_a_test_are_one_case_with_numbers():
    report = parse(recorded("promptfoo-run.json"))

    assert verdicts(report) == {
        ("period", 0): "PASS",
        ("period", 1): "PASS",
        ("cost", 0): "PASS",
        ("cost", 1): "PASS",
        ("trains", 0): "FAIL",
        ("trains", 1): "FAIL",
    }
    assert (report.verdict, report.tool_version) == (Verdict.FAIL, "0.123.1")


def test_named_scores_are_metrics_of_the_cases_that_have_them():
    report = parse(recorded("promptfoo-run.json"))

    assert verdicts(report, "facts") == dict.fromkeys([("period", 0), ("period", 1), ("cost", 0), ("cost", 1)], "PASS")


def test_a_target_that_did_not_answer_is_an_error_and_no_failure():
    report = parse(recorded("promptfoo-half.json"))

    assert verdicts(report) == {("period", 0): "PASS", ("cost", 0): "ERROR", ("trains", 0): "FAIL"}
    found = next(item for item in report.findings if item.case_id == "cost" and not item.metric)
    assert found.message.startswith("API error: 500")
    assert verdicts(report, "facts")["cost", 0] == "ERROR"


def test_a_judge_that_wrote_prose_is_an_error_unless_another_assertion_failed():
    report = parse(recorded("promptfoo-prose.json"))

    assert verdicts(report) == {("period", 0): "ERROR", ("cost", 0): "PASS", ("trains", 0): "FAIL"}
    assert verdicts(report, "facts") == {("period", 0): "PASS", ("cost", 0): "PASS"}
    messages = {item.case_id: item.message for item in report.findings if not item.metric}
    assert messages["period"] == "llm-rubric: Could not extract JSON from llm-rubric response"
    assert messages["trains"] == 'icontains: Expected output to contain "two years"'


def test_a_judge_that_passes_with_score_zero_contradicts_itself():
    def contradict(row):
        row["gradingResult"]["componentResults"][1]["score"] = 0

    (found, _) = of(contradict).findings
    assert found.verdict is Verdict.ERROR
    assert found.message == "llm-rubric: the judge said pass True and score 0: known"


def test_with_a_threshold_a_judge_that_failed_leaves_no_verdict():
    def one_failed_one_unsure(row):
        row["testCase"]["threshold"] = 0.5
        row["success"] = False
        first, second = row["gradingResult"]["componentResults"]
        first["pass"] = False
        second["metadata"] = {"graderError": True}

    assert of(one_failed_one_unsure).findings[0].verdict is Verdict.ERROR


@pytest.mark.parametrize("score", [math.nan, math.inf, None, "high"])
def test_a_score_that_is_no_number_is_an_error(score):
    def spoil(row):
        row["score"] = row["namedScores"]["facts"] = score

    assert [item.verdict for item in of(spoil).findings] == [Verdict.ERROR, Verdict.ERROR]


def test_several_providers_are_cases_of_their_own_in_one_cluster():
    def copied(value):
        other = [{**row, "provider": {"id": "openai:chat:other"}} for row in rows(value)]
        value["results"]["results"] += other
        del value["results"]["stats"]

    report = parse(changed("promptfoo-half.json", copied))

    assert len(as_results(report, "promptfoo.pass")) == 6
    assert sum("findings for one case" in str(result.errors) for result in as_results(report, "promptfoo.pass")) == 0
    assert {item.details["cluster"] for item in report.findings} == {"period", "cost", "trains"}


def test_two_tests_without_a_description_have_names_of_their_own():
    def unnamed(value):
        for row in rows(value):
            row["testCase"]["metadata"] = {}
            del row["testCase"]["description"]

    assert sorted(verdicts(parse(changed("promptfoo-half.json", unnamed)))) == [
        ("test-1", 0),
        ("test-2", 0),
        ("test-3", 0),
    ]


def test_results_that_were_lost_on_the_way_are_a_problem_of_the_whole():
    report = parse(changed("promptfoo-run.json", lambda value: rows(value).pop()))

    assert report.problems == ("promptfoo counted 6 results and wrote 5",)
    assert report.verdict is Verdict.ERROR


def test_a_file_without_a_test_is_a_problem():
    report = parse(changed("promptfoo-run.json", lambda value: rows(value).clear()))

    assert report.problems == ("promptfoo judged no test",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "out.json: is empty"),
        (b"  \n", "out.json: is empty"),
        (recorded("promptfoo-run.json")[:5000], "out.json: is not JSON"),
        (b"[]", "out.json: holds a list, not the object that promptfoo writes"),
        (b"\xff\xfe{", "out.json: is not UTF-8 at byte 0"),
        (b'{"results": {}}', "out.json: has no results.results: this is no result file of promptfoo"),
        (b"[" * 100_000, "out.json: is nested too deeply"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "out.json: nested more than 64 levels deep"),
        (
            changed("promptfoo-run.json", lambda value: value["results"].update(version=4)),
            "out.json: is written by promptfoo in version 4 of its format; version 3 is read",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(data, said):
    with pytest.raises(DocumentError) as caught:
        parse(data, "out.json")
    assert caught.value.message.startswith(said)
