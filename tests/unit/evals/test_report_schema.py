import json
from dataclasses import fields
from pathlib import Path

from tests.unit.evals.report_sources import source_of_scores, source_of_text

from shipway.evals.gate_report import GateRow
from shipway.evals.json_schemas import compile_schema
from shipway.evals.model import Output
from shipway.evals.report_json import json_parts
from shipway.evals.report_schema import report_schema

PUBLISHED = Path(__file__).parents[3] / "docs" / "reference" / "report.schema.json"


def test_the_published_schema_is_that_of_the_code():
    assert json.loads(PUBLISHED.read_text()) == report_schema()


def test_every_field_of_a_gate_and_of_an_output_is_described():
    defined = report_schema()["$defs"]
    assert set(defined["gate"]["properties"]) == {field.name for field in fields(GateRow)}
    assert set(defined["output"]["properties"]) == {field.name for field in fields(Output)}


def test_reports_obey_the_schema():
    validator = compile_schema(report_schema())
    for source in (source_of_scores([1.0] * 30), source_of_scores([0.0] * 30, [1.0] * 30), source_of_text("x")):
        body = json.loads("".join(json_parts(source)))
        assert [problem.message for problem in validator.iter_errors(body)] == []


def test_the_schema_refuses_another_verdict():
    body = json.loads("".join(json_parts(source_of_scores([1.0] * 30))))
    assert not compile_schema(report_schema()).is_valid({**body, "verdict": "GREAT"})
