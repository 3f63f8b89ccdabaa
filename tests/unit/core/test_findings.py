from shipway.core.findings import Finding, FindingReport, findings_lines
from shipway.core.verdicts import Verdict


def report(*findings: Finding, problems: tuple[str, ...] = ()) -> FindingReport:
    return FindingReport("lm_eval", "0.4", findings, problems)


def finding(verdict: Verdict, *, name: str = "q1", metric: str = "acc", **values: object) -> Finding:
    return Finding("lm_eval", name, verdict, metric, **values)


def test_a_suite_has_the_worst_verdict_of_its_findings():
    assert report(finding(Verdict.PASS), finding(Verdict.FAIL)).verdict is Verdict.FAIL
    assert report(finding(Verdict.FAIL), finding(Verdict.ERROR)).verdict is Verdict.ERROR
    assert report().verdict is Verdict.NO_DATA


def test_a_suite_with_a_problem_is_an_error_whatever_its_findings_say():
    assert report(finding(Verdict.PASS), problems=("timed out",)).verdict is Verdict.ERROR


def test_lines_say_where_what_and_how_many_more():
    twice = [
        Finding(
            "dataset",
            "null",
            Verdict.FAIL,
            message="empty",
            location=f"c.jsonl:{n}",
            case_id=f"c{n}",
            rule="dataset/null",
        )
        for n in range(1, 4)
    ]
    warned = Finding(
        "dataset", "pii", Verdict.PASS, message="holds one", rule="dataset/pii", details={"level": "warning"}
    )
    silent = Finding("dataset", "size", Verdict.PASS, rule="dataset/size")
    skipped = Finding("dataset", "topic", Verdict.NO_DATA, message="no version", rule="dataset/topic")
    report = FindingReport("dataset", "1", (*twice, warned, silent, skipped), ("it broke",))

    assert findings_lines(report, most=2) == [
        "dataset: ERROR: it broke",
        "c.jsonl:1: FAIL dataset/null 'c1': empty",
        "c.jsonl:2: FAIL dataset/null 'c2': empty",
        "FAIL dataset/null: 1 more",
        "dataset: warning dataset/pii: holds one",
    ]
