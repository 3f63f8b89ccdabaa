"""The JSON Schema of the JSON report, published as docs/reference/report.schema.json.

`report_json` writes and reads by it. A field is added without another version; one that goes or means something else
takes a new version.
"""

from dataclasses import fields
from typing import Any

from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateRow
from shipway.evals.model import Output

VERSION = 1
_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_NUMBER: dict[str, Any] = {"type": ["number", "null"]}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_MAYBE_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_VERDICTS = [verdict.value for verdict in Verdict]
_KINDS = ["threshold", "non_regression", "zero_tolerance", "judge", "cost"]

_NEEDED = {
    "type": ["object", "null"],
    "description": "What would decide if the observed effect is the true one; null: nothing to add.",
    "required": ["cases", "repeats", "text"],
    "properties": {
        "cases": {"type": ["integer", "null"], "description": "All cases, not how many more."},
        "repeats": {"type": ["integer", "null"]},
        "text": _TEXT,
        "repeats_unknown": {"type": "boolean"},
    },
}
_GATE_FIELDS: dict[str, dict[str, Any]] = {
    "gate": {**_TEXT, "description": "The gate in words."},
    "metric": _TEXT,
    "kind": {"enum": _KINDS},
    "verdict": {"enum": [*_VERDICTS, None], "description": "null: the gate does not apply."},
    "message": _TEXT,
    "value": {**_NUMBER, "description": "The candidate's mean."},
    "baseline_value": _NUMBER,
    "difference": {**_NUMBER, "description": "Candidate minus baseline, positive is better."},
    "bound": {**_NUMBER, "description": "The bound that was compared with `limit`; null when it is infinite."},
    "limit": _NUMBER,
    "n": {**_COUNT, "description": "Cases."},
    "n_clusters": _COUNT,
    "n_needed": {"type": ["integer", "null"]},
    "expected": {**_COUNT, "description": "Scores that should be there."},
    "missing": _COUNT,
    "p_value": _NUMBER,
    "adjusted_p": {**_NUMBER, "description": "Holm-adjusted among the gates that compare."},
    "alpha": {"type": "number"},
    "interval": {"type": ["array", "null"], "items": _NUMBER, "minItems": 2, "maxItems": 2},
    "mde": {**_NUMBER, "description": "The change that such a run shows four times in five."},
    "needed": _NEEDED,
    "look": {"type": "integer", "minimum": 1},
    "looks": {"type": "integer", "minimum": 1},
    "reason": {**_TEXT, "description": "The project's own."},
    "sd": _NUMBER,
}
_ESTIMATE_FIELDS: dict[str, Any] = {
    "mean": _NUMBER,
    "lower": {**_NUMBER, "description": "Of the two-sided interval at 95 %."},
    "upper": _NUMBER,
    "n": _COUNT,
    "missing": {**_COUNT, "description": "Scores that could not be computed."},
}
_OUTPUT_FIELDS: dict[str, Any] = {
    "answer": _TEXT,
    "model_text": {**_MAYBE_TEXT, "description": "Before any repair; null when nothing was generated."},
    "citations": _TEXTS,
    "retrieved": _TEXTS,
    "events": _TEXTS,
    "latency_ms": _NUMBER,
    "tokens_in": _COUNT,
    "tokens_out": _COUNT,
    "cost_usd": _NUMBER,
    "error": _MAYBE_TEXT,
    "passages": _TEXTS,
    "tool_calls": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name", "arguments"],
            "properties": {"name": _TEXT, "arguments": {"type": "object"}},
        },
    },
    "ttft_ms": _NUMBER,
    "cached": {"type": "boolean"},
}


def report_schema() -> dict[str, Any]:
    """Return the schema, a JSON Schema of draft 2020-12."""
    head, digest = _head_fields(), {"$ref": "#/$defs/digest"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of a Shipway evaluation",
        "description": "Written by `shipway eval report --format json`. Readers ignore what they do not know.",
        "type": "object",
        "required": list(head),
        "properties": head,
        "$defs": {
            "gate": _object(_GATE_FIELDS, [field.name for field in fields(GateRow)]),
            "binding": _object(dict.fromkeys(("dataset", "corpus", "judge", "metrics"), digest)),
            "digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
            "estimate": _object(_ESTIMATE_FIELDS),
            "estimates": {"type": "object", "additionalProperties": _compared()},
            "target": _object(
                {
                    "name": _TEXT,
                    "digest": _TEXT,
                    "repeats": {"type": "integer", "minimum": 1},
                    "binding": {"$ref": "#/$defs/binding"},
                    "provenance": {"type": "object"},
                }
            ),
            "result": _object(
                {
                    "case": _TEXT,
                    "repeat": _COUNT,
                    "scores": {
                        "type": "object",
                        "additionalProperties": _NUMBER,
                        "description": "null: the metric does not apply.",
                    },
                    "errors": {"type": "object", "additionalProperties": _TEXT},
                    "output": {"$ref": "#/$defs/output"},
                }
            ),
            "output": _object(_OUTPUT_FIELDS, [field.name for field in fields(Output)]),
        },
    }


def _head_fields() -> dict[str, Any]:
    estimates = {"$ref": "#/$defs/estimates"}
    by_label = {"type": "object", "additionalProperties": estimates}
    results = {"type": "array", "items": {"$ref": "#/$defs/result"}}
    return {
        "schema": {"const": VERSION},
        "id": {**_TEXT, "description": "The evaluation."},
        "run": {**_TEXT, "description": "The run that holds the answers; empty when there was none on disk."},
        "release": _TEXT,
        "baseline": {**_MAYBE_TEXT, "description": "null: a first release."},
        "verdict": {"enum": _VERDICTS},
        "gates": {"type": "array", "items": {"$ref": "#/$defs/gate"}},
        "warnings": _TEXTS,
        "binding": {"$ref": "#/$defs/binding", "description": "What the scores depend on beside the release."},
        "dataset": _object(
            {
                "name": _TEXT,
                "digest": {"$ref": "#/$defs/digest"},
                "cases": {"type": "array", "items": _case_fields()},
            }
        ),
        "repeats": {"type": "integer", "minimum": 1},
        "targets": {
            **_object({"candidate": {"$ref": "#/$defs/target"}, "baseline": {"$ref": "#/$defs/target"}}, ["candidate"])
        },
        "metrics": {**estimates, "description": "Over all judged cases, by metric."},
        "tags": {**by_label, "description": "By tag, the 200 largest."},
        "clusters": {**by_label, "description": "By cluster of two cases or more, the 200 largest."},
        "left_out": _object({"tags": _COUNT, "clusters": _COUNT}),
        "cost": {"type": "object", "additionalProperties": _NUMBER},
        "provenance": {"type": "object", "description": "Seed, hardware, versions; shown, not compared."},
        "places": _object(
            {
                "cases": {"type": "object", "additionalProperties": _TEXT},
                "gates": {"type": "object", "additionalProperties": _TEXT},
                "project_file": _TEXT,
            }
        ),
        "runs": _object({"candidate": results, "baseline": results}, ["candidate"]),
    }


def _case_fields() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A case as dataset.schema.json describes it, with every field.",
        "required": ["id", "question", "split"],
        "properties": {"id": _TEXT, "question": _TEXT, "split": {"enum": ["calibration", "test"]}},
    }


def _compared() -> dict[str, Any]:
    either = [{"$ref": "#/$defs/estimate"}, {"type": "null"}]
    return _object({**_ESTIMATE_FIELDS, "baseline": {"anyOf": either}})


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": required or list(properties), "properties": properties}
