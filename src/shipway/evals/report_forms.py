"""Evaluations as Markdown, for pull requests and records, and as JSON values, for the store.

Everything that a stranger may have written goes through `literal`: it stays text in a pull request, where a name after
@ would send somebody a message.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shipway.evals.gate_report import GateReport
from shipway.evals.model import RunReport
from shipway.evals.report import Regression, Table, failure_fields, gate_table, more_cases, regression_fields
from shipway.evals.report_failures import Failure
from shipway.evals.report_text import one_line

MARKER = "<!-- shipway evaluation -->"
"""The first line of every comment, by which a CI job finds the one that it wrote before and edits it."""
MOST_BYTES = 60_000
"""GitHub refuses a comment of more than 65,536 characters; bytes are counted, so that no way of counting is over it."""

# Nothing in a text may become a heading, a link, an image or HTML.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@:])")
# Words that no part of GitHub turns into a mention, an issue, a commit or a link, once the markup is escaped.
_PLAIN = re.compile(r"(?!.*(?:[@#]|://|www\.|\bGH-\d|\b[0-9a-f]{7,40}\b|`))[^\x00-\x1f]*", re.IGNORECASE)
_BACKTICKS = re.compile(r"`+")
_LEFT_OUT_BYTES = 500
_LINE_CHARS = 500


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    entries: Sequence[str]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def within(self, room: int) -> tuple[list[str], int]:
        """Return the lines for which there is room, and how many entries are among them; no lines without an entry."""
        used, count = _size(["", *self.before, *self.after]), 0
        for entry in self.entries:
            used += _size([entry])
            if used > room:
                break
            count += 1
        return (["", *self.before, *self.entries[:count], *self.after] if count else []), count


def markdown(
    report: GateReport,
    tags: Table | None = None,
    worse: Sequence[Regression] = (),
    failed: Sequence[Failure] = (),
) -> str:
    """Return gates, warnings, the table by tag and regressions or failures as one comment, and what had no room."""
    left_open = [(row, more_cases(row)) for row in report.rows]
    folded = f"<details><summary>Worse than the baseline: {len(worse)}</summary>"
    regressed = [_entry(item.case.id, regression_fields(item)) for item in worse]
    wrong = [_entry(item.case.id, failure_fields(item)) for item in failed]
    by = escaped(failed[0].metric) if failed else ""
    folded_failed = f"<details><summary>Failed by {by}: {len(failed)}</summary>"
    sections = [
        _Section("gates", list(_rows(gate_table(report)))),
        _Section("open gates", [f"- {literal(row.gate)}: {said}" for row, said in left_open if said]),
        _Section("warnings", [f"- **Warning:** {literal(warning)}" for warning in report.warnings]),
        _Section("tags", list(_rows(tags or [])), ("### By tag", "")),
        _Section("worse cases", regressed, (folded, ""), ("", "</details>")),
        _Section("failed cases", wrong, (folded_failed, ""), ("", "</details>")),
    ]
    lines, left = [MARKER, f"## Evaluation: {report.verdict.value}"], []
    for section in sections:
        block, count = section.within(MOST_BYTES - _LEFT_OUT_BYTES - _size(lines))
        lines += block
        if count < len(section.entries):
            left.append(f"{len(section.entries) - count} {section.name}")
    if left:
        lines += [
            "",
            f"_Left out, for a comment holds no more: {', '.join(left)}. The JSON and HTML reports have all._",
        ]
    return "\n".join(lines) + "\n"


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
    """Return a text that Markdown shows as it is, on one line; `literal` also keeps mentions from being sent."""
    return _MARKUP.sub(r"\\\1", one_line(text)).replace("www.", "www\\.")


def literal(text: str, *, cell: bool = False) -> str:
    """Return a text that a code host shows as it is: words with their markup escaped, anything else as code.

    `cell` is for tables, which are cut into cells before anything else is read and take the backslash away again.

    A backslash before @ or a number sign stops Markdown alone; mentions and issues are looked for afterwards, and
    nowhere but in code.
    """
    line = one_line(text, _LINE_CHARS)
    if _PLAIN.fullmatch(line):
        return escaped(line)
    fence = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(line)), default=0))
    return f"{fence} {line.replace('|', chr(92) + '|') if cell else line} {fence}"


def _entry(case_id: str, fields: Sequence[tuple[str, str]]) -> str:
    lines = [f"  - {heading}: {literal(text)}" for heading, text in fields]
    return "\n".join([f"- **{literal(case_id) or 'a case without a name'}**", *lines])


def _rows(rows: Table) -> Iterator[str]:
    if not rows:
        return
    headings = list(rows[0])
    yield "| " + " | ".join(literal(name, cell=True) for name in headings) + " |\n|" + " --- |" * len(headings)
    for row in rows:
        yield "| " + " | ".join(literal(row[name], cell=True) for name in headings) + " |"


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return list(value) if isinstance(value, tuple) else value
