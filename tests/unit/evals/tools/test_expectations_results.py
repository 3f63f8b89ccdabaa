import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.evals.tools.recorded import changed, recorded

from shipway.core.errors import DocumentError
from shipway.core.verdicts import Verdict
from shipway.evals.tools.expectations_results import parse, suite_of

RECORDED = "expectations.json"


def one(change):
    def act(value):
        value["result"]["results"] = value["result"]["results"][:1]
        change(value["result"]["results"][0])

    return parse(changed(RECORDED, act), "suite.json").findings[0]


def test_what_does_not_hold_names_the_cases_and_what_could_not_be_computed_is_an_error():
    report = parse(recorded(RECORDED), "suite.json")

    found = {item.name: item for item in report.findings}
    failed = found["expect_column_values_to_match_regex question"]
    assert (failed.verdict, failed.rule, failed.location) == (Verdict.FAIL, "dataset/expectation", "suite.json")
    assert failed.message == "expect_column_values_to_match_regex question: 1 of 3 cases: trains"
    assert found["expect_column_values_to_be_unique id"].verdict is Verdict.PASS
    broken = found["expect_column_values_to_not_be_null nowhere"]
    assert broken.verdict is Verdict.ERROR
    assert 'The column "nowhere" in BatchData does not exist' in broken.message
    assert (report.suite, report.tool_version, report.verdict) == ("dataset", "1.24.0", Verdict.ERROR)


def test_an_expectation_of_mild_severity_is_a_warning():
    found = {item.name: item for item in parse(recorded(RECORDED), "suite.json").findings}

    mild = found["expect_column_values_to_match_regex reference"]
    assert (mild.verdict, mild.details) == (Verdict.PASS, {"level": "warning"})
    assert mild.message.endswith("2 of 3 cases: cost, trains")


def test_many_cases_are_counted_and_some_are_named():
    def many(item):
        item.update(success=False, exception_info={"raised_exception": False})
        rows = [{"id": f"c{number}"} for number in range(9)]
        item["result"] = {"element_count": 20, "unexpected_count": 9, "unexpected_index_list": rows}

    assert one(many).message.endswith("9 of 20 cases: c0, c1, c2, c3, c4 and 4 more")


def test_an_expectation_about_the_whole_shows_what_was_found():
    def counted(item):
        item.update(success=False, result={"observed_value": 3}, exception_info={"raised_exception": False})

    assert one(counted).message.endswith("does not hold, found 3")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{}", "has no result.results"),
        (recorded(RECORDED)[:200], "is not JSON"),
        (changed(RECORDED, lambda value: value.update(schema=2)), "in version 2 of its format"),
    ],
)
def test_what_is_no_result_is_refused(data, said):
    with pytest.raises(DocumentError, match=said):
        parse(data, "suite.json")


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        (b"", "suite.json: is empty"),
        (b'{"expectations": []}', "suite.json: has no expectations"),
        (b'{"expectations": [{"type": "expect_a"}, {"type": 3}]}', "expectation 2 has no type"),
        (b'{"expectations": ["a"]}', "expectation 1 has no type"),
    ],
)
def test_what_is_no_suite_is_refused(suite, said):
    with pytest.raises(DocumentError, match=said):
        suite_of(suite, "suite.json")


def test_suites_of_older_versions_are_read():
    suite = {
        "expectations": [{"expectation_type": "expect_a", "kwargs": {"column": "x"}, "meta": {"severity": "info"}}]
    }

    assert suite_of(json.dumps(suite).encode(), "s") == [
        {"type": "expect_a", "kwargs": {"column": "x"}, "severity": "info"}
    ]


@given(data=st.data())
def test_any_value_in_any_place_is_a_finding_or_is_refused(data):
    value = json.loads(recorded(RECORDED))
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
    other = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
    item = data.draw(st.sampled_from(value["result"]["results"]))
    holder = data.draw(st.sampled_from([value, value["result"], item, item["expectation_config"], item["result"]]))
    holder[data.draw(st.sampled_from([*holder, "extra"]))] = data.draw(other)

    try:
        report = parse(json.dumps(value).encode(), "s")
    except DocumentError:
        return
    assert all(isinstance(item.verdict, Verdict) for item in report.findings)
