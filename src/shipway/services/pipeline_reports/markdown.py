"""A run as one comment of a pull request; the first line tells the comment that is to be edited the next time."""

from collections.abc import Callable, Iterator, Sequence

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.evals.report_forms import MOST_BYTES, literal
from shipway.pipeline.findings import RunFindings, StageFindings, kind_of
from shipway.pipeline.model import StageState

MARKER = "<!-- shipway pipeline -->"
"""The first line of every comment, by which the one that was written before is found and edited."""
_ROOM_BYTES = 1_000
_MOST_SHOWN = 30
_SIGNS = {
    Verdict.PASS: "✅",
    Verdict.FAIL: "❌",
    Verdict.ERROR: "💥",
    Verdict.INCONCLUSIVE: "❔",
    Verdict.NO_DATA: "❔",
}
_KINDS = ("ERROR", "FAIL", "NO_DATA", "INCONCLUSIVE", "warning", "open")


def markdown(run: RunFindings, told: Callable[[StageFindings], str]) -> str:
    """Return a table of the stages and what they found, as much as a comment holds."""
    head = [
        MARKER,
        f"## {_SIGNS[run.verdict]} Pipeline: {run.verdict.value}",
        "",
        "| | stage | result |",
        "| --- | --- | --- |",
    ]
    lines = head + _fitting([_row(stage, told) for stage in run.stages], MOST_BYTES // 2)
    lines += ["", f"Run {literal(run.run.run_id)}"]
    room = MOST_BYTES - _ROOM_BYTES - _size(lines)
    for stage in run.stages:
        shown = [finding for finding in stage.report.findings if kind_of(finding) != "PASS" and finding.message]
        if stage.result.state in {StageState.SKIPPED, StageState.CANCELLED} or not (shown or stage.report.problems):
            continue
        block = _block(stage, sorted(shown, key=lambda finding: _KINDS.index(kind_of(finding))))
        if _size(block) > room:
            lines += ["", "_More than a comment holds: the other reports have all._"]
            break
        room -= _size(block)
        lines += block
    return "\n".join(lines) + "\n"


def _row(stage: StageFindings, told: Callable[[StageFindings], str]) -> str:
    ran = stage.result.state in {StageState.PASSED, StageState.FAILED}
    sign = _SIGNS[stage.result.verdict] if ran else "⏭️"
    sign = "⚠️" if ran and stage.result.allowed and stage.result.state is StageState.FAILED else sign
    return f"| {sign} | {literal(stage.result.name, cell=True)} | {literal(told(stage), cell=True)} |"


def _block(stage: StageFindings, shown: Sequence[Finding]) -> list[str]:
    failed = stage.result.state is StageState.FAILED and not stage.result.allowed
    summary = f"{literal(stage.result.name)}: {len(shown) + stage.left_out + len(stage.report.problems)}"
    lines = ["", f"<details{' open' if failed else ''}><summary>{summary}</summary>", ""]
    lines += [f"- **ERROR** {literal(problem)}" for problem in stage.report.problems]
    lines += list(_entries(shown[:_MOST_SHOWN]))
    more = len(shown) - _MOST_SHOWN + stage.left_out if len(shown) > _MOST_SHOWN else stage.left_out
    return [*lines, *([f"- {more} more"] if more else []), "", "</details>"]


def _entries(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        where = f"{literal(finding.location)}: " if finding.location else ""
        yield f"- **{kind_of(finding)}** {where}{literal(finding.rule or finding.name)}: {literal(finding.message)}"


def _fitting(rows: Sequence[str], room: int) -> list[str]:
    kept: list[str] = []
    for row in rows:
        room -= len(row.encode()) + 1
        if room < 0:
            return [*kept, f"| | | {len(rows) - len(kept)} more stages |"]
        kept.append(row)
    return kept


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
