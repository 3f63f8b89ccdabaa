"""Evaluations as Markdown, for pull requests and records, and as JSON values, for other programs."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from shipway.evals.gate_report import GateReport
from shipway.evals.model import RunReport
from shipway.evals.report import Regression, Table, gate_table, regression_fields

# An answer is a stranger's text: nothing in it may become a heading, a link, an image or HTML in a pull request.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@:])")


def markdown(report: GateReport, tags: Table | None = None, worse: Sequence[Regression] = ()) -> str:
    """Return gates, warnings, the table by tag and the regressions as one Markdown text."""
    parts = [f"## Evaluation: {report.verdict.value}", *_markdown_table(gate_table(report))]
    parts += [f"- **Warning:** {escaped(warning)}" for warning in report.warnings]
    if tags:
        parts += ["", "### By tag", *_markdown_table(tags)]
    if worse:
        parts += ["", f"### Worse than the baseline: {len(worse)}"]
    for item in worse:
        parts += ["", f"**{escaped(item.case.id)}**", ""]
        parts += [f"- {heading}: {escaped(text)}" for heading, text in regression_fields(item)]
    return "\n".join(parts) + "\n"


def as_json(report: GateReport) -> dict[str, Any]:
    """Return gates, warnings and verdict as JSON values; a bound that is infinite is null."""
    return {
        "verdict": report.verdict.value,
        "warnings": list(report.warnings),
        "gates": [{name: _json_value(value) for name, value in asdict(row).items()} for row in report.rows],
    }


def run_as_json(run: RunReport) -> dict[str, Any]:
    """Return a run with its outputs and scores as JSON values."""
    return {
        "target": run.target,
        "target_digest": run.target_digest,
        "dataset": run.dataset.name,
        "repeats": run.repeats,
        "binding": asdict(run.binding),
        "results": [
            {
                "case": result.case_id,
                "repeat": result.repeat,
                "scores": dict(result.scores),
                "errors": dict(result.errors),
                "output": {name: _json_value(value) for name, value in asdict(result.output).items()},
            }
            for result in run.results
        ],
    }


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split())).replace("www.", "www\\.")


def _markdown_table(rows: Table) -> list[str]:
    if not rows:
        return []
    headings = list(rows[0])
    return [
        "",
        "| " + " | ".join(headings) + " |",
        "|" + " --- |" * len(headings),
        *("| " + " | ".join(escaped(row[name]) for name in headings) + " |" for row in rows),
        "",
    ]


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return list(value) if isinstance(value, tuple) else value
