import json
import math
from dataclasses import replace

import pytest
from tests.unit.evals.report_sources import source_of_scores, source_of_text

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow, Needed
from shipway.evals.model import Output, ToolCall
from shipway.evals.report_json import gate_row_of, json_parts, output_of, read_json_report
from shipway.evals.report_source import Places

ROW = GateRow("g", "m", "threshold", Verdict.INCONCLUSIVE, interval=(0.1, 0.9), needed=Needed(9, None, "so"), looks=2)


def written(source):
    return "".join(json_parts(source)).encode()


def test_what_is_written_is_read_back():
    output = Output("a", "b", ("c",), tool_calls=(ToolCall("t", {"x": [1]}),), latency_ms=1.5, cached=True)
    source = source_of_scores(
        [[1.0, 0.0]] * 30,
        [[1.0, 1.0]] * 30,
        outputs=[output] * 30,
        run_id="run_1",
        cost={"usd": 0.5},
        places=Places({"c0000": "a.jsonl:1"}, {"g": "shipway.yaml:2"}),
    )
    source = replace(source, gates=GateReport((ROW, *source.gates.rows), ("a warning",)))
    assert read_json_report(written(source), "r.json") == source


def test_a_first_release_has_no_baseline():
    source = source_of_scores([1.0] * 30)
    body = json.loads(written(source))
    assert (body["baseline"], sorted(body["runs"]), sorted(body["targets"])) == (None, ["candidate"], ["candidate"])
    assert read_json_report(written(source), "r.json") == source


def test_tables_have_the_estimates_of_both_runs():
    body = json.loads(written(source_of_scores([1.0, 0.0] * 15, [1.0] * 30)))
    assert body["metrics"]["correct"]["mean"] == 0.5
    assert body["metrics"]["correct"]["baseline"]["mean"] == 1.0
    assert body["tags"]["pdf"]["correct"]["n"] == 15


def test_numbers_that_json_lacks_are_null():
    row = GateRow("g", "m", "non_regression", Verdict.INCONCLUSIVE, bound=-math.inf, value=math.nan)
    source = source_of_scores([1.0] * 30, gates=GateReport((row,)))
    (gate,) = json.loads(written(source), parse_constant=pytest.fail)["gates"]
    assert (gate["bound"], gate["value"]) == (None, None)


def test_numbers_beyond_64_bits_and_foreign_values_are_written():
    source = source_of_scores([1.0] * 30)
    run = replace(source.run, provenance={"seed": 2**70, "at": Verdict.PASS, "limit": math.inf, "path": Places})
    found = json.loads(written(replace(source, run=run)))["provenance"]
    assert (found["seed"], found["at"], found["limit"]) == (2**70, "PASS", None)


def test_a_result_stands_on_a_line_of_its_own():
    lines = written(source_of_scores([1.0] * 30)).decode().splitlines()
    assert len([line for line in lines if line.startswith('{"case":')]) == 30


def test_halves_of_surrogate_pairs_are_replaced_and_what_an_editor_obeys_is_escaped():
    data = written(source_of_text("\ud800 \u202e \x1b"))
    assert b"\\u202e" in data
    assert json.loads(data)["runs"]["candidate"][0]["output"]["answer"] == "\ufffd \u202e \x1b"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body.update(schema=2), "version 2 of the report; this Shipway reads 1"),
        (lambda body: body.pop("gates"), '"gates" is a required property'),
        (lambda body: body["gates"][0].update(verdict="GREAT"), r"\['gates'\]\[0\]\['verdict'\]"),
        (lambda body: body["dataset"]["cases"][0].update(question="another"), "was changed after it was written"),
        (lambda body: body["dataset"]["cases"][0].update(colour="red"), "'colour'"),
        (
            lambda body: body["runs"].update(baseline=[]),
            "changed after it was written: results of baseline, and nothing about whose they are",
        ),
    ],
)
def test_a_report_of_another_form_or_changed_by_hand_is_refused(change, message):
    body = json.loads(written(source_of_scores([1.0] * 30)))
    change(body)
    with pytest.raises(UsageError, match=message):
        read_json_report(json.dumps(body).encode(), "r.json")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"schema": NaN}', b'"\\ud800"'])
def test_what_is_no_report_is_refused_by_its_name(data):
    with pytest.raises(UsageError, match=r"r\.json: "):
        read_json_report(data, "r.json")


def test_fields_of_a_later_version_are_left_out_and_missing_ones_have_their_defaults():
    assert output_of({"answer": "a", "later": 1}) == Output("a")
    found = gate_row_of({"gate": "g", "metric": "m", "kind": "threshold", "verdict": "PASS", "later": 1})
    assert found == GateRow("g", "m", "threshold", Verdict.PASS)
