"""The JSON report: everything that was asked, answered, scored and decided; `report_schema` publishes its form.

It is written piece by piece, because a hundred thousand answers do not fit in memory, and read back by `eval report`.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from importlib import import_module
from typing import Any

import orjson

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow, Needed
from shipway.evals.model import Binding, Case, CaseResult, Dataset, Output, RunReport, ToolCall
from shipway.evals.report_schema import VERSION, report_schema
from shipway.evals.report_source import Places, ReportSource
from shipway.evals.report_tables import Estimate, Group, grouped, overall, scored

# JSON may hold them as they are, but an editor or a terminal that shows the file would obey them.
_OBEYED = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
_HALF = re.compile("[\ud800-\udfff]")
_TUPLES = ("groups", "expected_sources", "must_not_contain", "tags", "assertions", "context", "messages")


def json_parts(source: ReportSource) -> Iterator[str]:
    """Yield the report as JSON text, one result a line."""
    head = _text(_head(source))
    yield head[:-1] + ',"runs":{'
    arms = [("candidate", source.run), ("baseline", source.baseline_run)]
    for number, (name, run) in enumerate((name, run) for name, run in arms if run is not None):
        yield ("," if number else "") + f'"{name}":['
        for index, result in enumerate(run.results):
            yield (",\n" if index else "\n") + _text(_result(result))
        yield "]"
    yield "}}\n"


def read_json_report(data: bytes, name: str) -> ReportSource:
    """Return the evaluation of a JSON report; `name` is what messages call it.

    Raises:
        UsageError: it is no report, of another version, or was changed by hand.
    """
    hint = "name a file that `shipway eval run --json-file` or `shipway eval report --format json` wrote"
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{name}: no JSON: {error}", hint=hint) from error
    if isinstance(body, dict) and "run" in body and "schema" not in body:
        # What a run leaves in its folder when no gate looked at it.
        problem = body.get("problem") or "a part of a run is judged once `shipway eval merge` has put it together"
        raise UsageError(f"{name}: run {body['run']} was not judged, so that there is nothing to report", hint=problem)
    if isinstance(body, dict) and isinstance(body.get("schema"), int) and body["schema"] != VERSION:
        other = f"{name}: version {body['schema']} of the report; this Shipway reads {VERSION}"
        raise UsageError(other, hint="render it with the Shipway that wrote it, or evaluate again")
    schema = import_module("shipway.evals.json_schemas").compile_schema(report_schema())
    wrong = next(iter(schema.iter_errors(body)), None)
    if wrong is not None:
        where = "".join(f"[{key!r}]" for key in wrong.instance_path) or "the document"
        raise UsageError(f"{name}: no report of an evaluation: {where}: {wrong.message[:200]}", hint=hint)
    try:
        return _source(body)
    except (KeyError, TypeError, UsageError) as error:
        raise UsageError(f"{name}: this report was changed after it was written: {error}", hint=hint) from error


def _head(source: ReportSource) -> dict[str, Any]:
    tables = scored(source)
    tags, clusters = grouped(source, tables, "tag"), grouped(source, tables, "cluster")
    everything = overall(source, tables)
    arms = [("candidate", source.run), ("baseline", source.baseline_run)]
    return {
        "schema": VERSION,
        "id": source.id,
        "run": source.run_id,
        "release": source.release,
        "baseline": source.baseline,
        "verdict": source.verdict.value,
        "gates": [asdict(row) for row in source.gates.rows],
        "warnings": list(source.gates.warnings),
        "binding": asdict(source.run.binding),
        "dataset": {
            "name": source.run.dataset.name,
            "digest": source.run.dataset.digest,
            "cases": [case.to_dict() for case in source.run.dataset.cases],
        },
        "repeats": source.run.repeats,
        "targets": {
            name: {
                "name": run.target,
                "digest": run.target_digest,
                "repeats": run.repeats,
                "binding": asdict(run.binding),
                "provenance": dict(run.provenance),
            }
            for name, run in arms
            if run is not None
        },
        "metrics": _group(everything),
        "tags": {group.label: _group(group) for group in tags.rows},
        "clusters": {group.label: _group(group) for group in clusters.rows},
        "left_out": {"tags": tags.left_out, "clusters": clusters.left_out},
        "cost": dict(source.cost),
        "provenance": dict(source.run.provenance),
        "places": {
            "cases": dict(source.places.cases),
            "gates": dict(source.places.gates),
            "project_file": source.places.project_file,
        },
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        name: {**_estimate(found), "baseline": _estimate(group.baseline[name]) if name in group.baseline else None}
        for name, found in group.candidate.items()
    }


def _estimate(found: Estimate) -> dict[str, Any]:
    return asdict(found)


def _result(result: CaseResult) -> dict[str, Any]:
    return {
        "case": result.case_id,
        "repeat": result.repeat,
        "scores": dict(result.scores),
        "errors": dict(result.errors),
        "output": {field.name: _plain_output(result.output, field.name) for field in fields(Output)},
    }


def _plain_output(output: Output, name: str) -> Any:
    if name == "tool_calls":
        return [{"name": call.name, "arguments": dict(call.arguments)} for call in output.tool_calls]
    return getattr(output, name)


def _text(value: Any) -> str:
    """Return JSON that every reader takes: no NaN, no half of a surrogate pair, nothing that an editor obeys."""
    try:
        # Numbers that JSON lacks are null here.
        text = orjson.dumps(value).decode()
    except TypeError:
        # Halves of pairs, whole numbers beyond 64 bits, and what a target's provenance may hold.
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)
    return _OBEYED.sub(_escape, _HALF.sub("\ufffd", text))


def _escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1] if ord(found[0]) > 0x7F else "\\u007f"  # noqa: PLR2004 - json leaves DEL alone


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _source(body: Mapping[str, Any]) -> ReportSource:
    dataset = Dataset(body["dataset"]["name"], tuple(_case(row) for row in body["dataset"]["cases"]))
    runs = {name: _run(body, name, dataset) for name in body["runs"]}
    return ReportSource(
        body["id"],
        body["release"],
        body["baseline"],
        GateReport(tuple(gate_row_of(row) for row in body["gates"]), tuple(body["warnings"])),
        runs["candidate"],
        runs.get("baseline"),
        body["run"],
        body["cost"],
        Places(**body["places"]),
    )


def _run(body: Mapping[str, Any], name: str, dataset: Dataset) -> RunReport:
    if name not in body["targets"]:
        raise UsageError(f"results of {name}, and nothing about whose they are")
    target = body["targets"][name]
    results = tuple(
        CaseResult(row["case"], row["repeat"], row["scores"], row["errors"], output_of(row["output"]))
        for row in body["runs"][name]
    )
    binding = Binding(**target["binding"])
    if binding.dataset != dataset.digest:
        raise UsageError(
            f"its cases have the digest {dataset.digest}, and the run of {name} was bound to {binding.dataset}"
        )
    return RunReport(
        target["name"], target["digest"], dataset, target["repeats"], results, binding, target["provenance"]
    )


def _case(row: Mapping[str, Any]) -> Case:
    values = {("assertions" if name == "assert" else name): value for name, value in row.items()}
    values |= {name: tuple(values[name]) for name in _TUPLES if name in values}
    terms = values.get("must_contain", ())
    values["must_contain"] = tuple(term if isinstance(term, str) else tuple(term) for term in terms)
    return Case(**values)


def output_of(row: Mapping[str, Any]) -> Output:
    """Return the output that a stored result holds; fields that this version does not know are left out."""
    known = {field.name for field in fields(Output)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items() if name in known
    }
    calls = tuple(ToolCall(call["name"], call["arguments"]) for call in values.get("tool_calls") or ())
    values["tool_calls"] = calls
    return Output(**values)


def gate_row_of(row: Mapping[str, Any]) -> GateRow:
    """Return the finding that a stored gate holds; fields that it lacks have their defaults."""
    known = {field.name for field in fields(GateRow)}
    values = {name: value for name, value in row.items() if name in known}
    interval, needed, verdict = (values.get(name) for name in ("interval", "needed", "verdict"))
    return GateRow(
        **{
            **values,
            "verdict": None if verdict is None else Verdict(verdict),
            "interval": None if interval is None else tuple(interval),
            "needed": None if needed is None else Needed(**needed),
        }
    )
