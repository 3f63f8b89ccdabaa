"""Any bytes are findings or the one refusal: no parser fails in a way of its own."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.evals.tools.recorded import recorded

from shipway.core.errors import DocumentError
from shipway.core.findings import FindingReport
from shipway.evals.findings import as_results
from shipway.evals.tools.files import SUITES, read_results
from shipway.evals.tools.ports import TOOLS

RECORDED = {
    "promptfoo": "promptfoo-run.json",
    "lm-eval": "results_2026-11-21T13-33-33.456448.json",
    "deepeval": "deepeval-run.json",
    "ragas": "ragas-half.json",
    "inspect": "inspect-run.json",
}
SAMPLES = "samples_returns_2026-11-21T13-33-33.456448.jsonl"
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**400), st.just("\ud800")
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Yield the path of every value inside another."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def read(tool, data, samples=None, file=""):
    beside = {SAMPLES: recorded(SAMPLES) if samples is None else samples} if tool == "lm-eval" else {}
    try:
        return read_results(tool, data, file or RECORDED[tool], beside)
    except DocumentError:
        return None


def hold(report):
    """What gates need of a report, whatever the file said."""
    assert isinstance(report, FindingReport)
    for metric in {f"{item.suite}.{item.metric or 'pass'}" for item in report.findings}:
        for result in as_results(report, metric):
            scores = [score for score in result.scores.values() if score is not None]
            assert all(math.isfinite(score) for score in scores)
            assert len(scores) + len(result.errors) == 1
    for item in report.findings:
        json.dumps([item.case_id, item.message, dict(item.details)]).encode()
        (item.case_id + item.message + item.metric).encode()


@pytest.mark.parametrize("tool", TOOLS)
def test_what_the_tool_wrote_is_read_as_its_own_suite(tool):
    report = read(tool, recorded(RECORDED[tool]))

    assert report.suite == SUITES[tool]
    hold(report)


@pytest.mark.parametrize("tool", TOOLS)
@given(data=st.binary(max_size=200), file=st.sampled_from(["a.json", "a.csv", "a.jsonl"]))
def test_any_bytes_are_findings_or_are_refused(tool, data, file):
    report = read(tool, data, file=file)
    if report is not None:
        hold(report)


@pytest.mark.parametrize("tool", TOOLS)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_off_is_never_taken_for_a_whole_one(tool, cut):
    data = recorded(RECORDED[tool]).rstrip()

    assert read(tool, data[: int(len(data) * cut)]) is None


@pytest.mark.parametrize("tool", TOOLS)
@given(data=st.data())
def test_a_file_with_any_other_value_in_any_place_is_findings_or_is_refused(tool, data):
    value = json.loads(recorded(RECORDED[tool]))
    *path, last = data.draw(st.sampled_from(list(places(value))))
    holder = value
    for key in path:
        holder = holder[key]
    holder[last] = data.draw(VALUES)

    report = read(tool, json.dumps(value).encode())
    if report is not None:
        hold(report)


@given(data=st.data())
def test_samples_with_any_other_value_in_any_place_are_findings_or_are_refused(data):
    rows = [json.loads(line) for line in recorded(SAMPLES).splitlines()]
    row = data.draw(st.sampled_from(rows))
    *path, last = data.draw(st.sampled_from(list(places(row))))
    holder = row
    for key in path:
        holder = holder[key]
    holder[last] = data.draw(VALUES)

    report = read("lm-eval", recorded(RECORDED["lm-eval"]), "\n".join(map(json.dumps, rows)).encode())
    if report is not None:
        hold(report)
