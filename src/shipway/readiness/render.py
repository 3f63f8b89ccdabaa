"""An audit as lines, Markdown and JSON, and the reference page of all checks."""

from collections.abc import Iterable, Iterator
from typing import Any

from shipway.readiness.audit import Audit, Result
from shipway.readiness.catalogue import CHECKS, LEVELS
from shipway.readiness.model import Area, Check, State

_MARKS = {
    State.PASS: "PASS",
    State.ATTESTED: "ATTESTED",
    State.NOT_APPLICABLE: "n/a",
    State.NOT_CHECKED: "not checked",
    State.FAIL: "FAIL",
}
_ORIGINS = {
    "D 11": "production readiness",
    "A 12": "production checklist",
    "A 13": "common mistakes",
    "E 5": "go-live list",
    "D ladder": "maturity ladder",
}


def chosen(found: Audit, areas: Iterable[Area]) -> list[Result]:
    """Return the results of some areas, of all when none is named."""
    wanted = set(areas) or set(Area)
    return [result for result in found.results if result.check.area in wanted]


def text_lines(found: Audit, areas: tuple[Area, ...] = ()) -> Iterator[str]:
    """Yield an audit for a terminal: every check in a line, below it why, evidence and fix."""
    area = None
    for result in chosen(found, areas):
        if result.check.area is not area:
            area = result.check.area
            yield f"{area.value}"
        yield f"  {_MARKS[result.state]:<12} {result.check.id:<9} {result.check.title}"
        yield from (f"{'':<25}{line}" for line in _below(result))
    yield ""
    yield _summary(found)
    if found.environment:
        yield f"settings are those of the environment {found.environment} (APP_ENV)"
    for name, absent in found.absent:
        yield f"not looked at: {name}: {absent.why} ({absent.needed})"
    yield f"level {found.level} of {len(LEVELS) - 1}, {LEVELS[found.level]}"
    if found.level + 1 < len(LEVELS):
        held = ", ".join(result.check.id for result in found.holding_up(found.level + 1))
        yield f"level {found.level + 1} is held up by {held}"
        yield "next:"
        yield from (
            f"  {number}. {step.todo}  [{', '.join(step.checks)}]" for number, step in enumerate(found.steps, 1)
        )


def _summary(found: Audit) -> str:
    counts = found.counts
    return ", ".join(f"{counts[state]} {_MARKS[state]}" for state in State if counts[state])


def _below(result: Result) -> Iterator[str]:
    if result.why:
        yield result.why
    yield from (str(item) for item in result.evidence[:3])
    if len(result.evidence) > 3:  # noqa: PLR2004
        yield f"and {len(result.evidence) - 3} more"
    if result.note:
        yield result.note
    if not result.holds:
        yield f"-> {result.todo}"
        if result.statement and result.todo == result.fix:
            yield f"or state it: `{result.statement}`"


def markdown(found: Audit, areas: tuple[Area, ...] = ()) -> str:
    """Return an audit as a page."""
    lines = ["# Readiness", "", f"**Level {found.level}** of {len(LEVELS) - 1}, {LEVELS[found.level]}.", ""]
    lines += [f"{_summary(found)}. Settings of the environment `{found.environment or 'unknown'}`.", ""]
    if found.steps:
        lines += ["## Next steps", ""]
        lines += [f"{number}. {step.todo} ({', '.join(step.checks)})" for number, step in enumerate(found.steps, 1)]
        lines.append("")
    area = None
    for result in chosen(found, areas):
        if result.check.area is not area:
            area = result.check.area
            lines += [
                "",
                f"## {area.value}",
                "",
                "| Check | State | Evidence, or what is missing |",
                "| --- | --- | --- |",
            ]
        told = "<br>".join(_cell(line) for line in _below(result))
        lines.append(f"| {result.check.id} {_cell(result.check.title)} | {_MARKS[result.state]} | {told} |")
    if found.absent:
        lines += ["", "## Not looked at", ""]
        lines += [f"- {name}: {absent.why} ({absent.needed})" for name, absent in found.absent]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def as_dict(found: Audit, areas: tuple[Area, ...] = ()) -> dict[str, Any]:
    """Return an audit as JSON has it."""
    return {
        "level": found.level,
        "environment": found.environment,
        "level_means": LEVELS[found.level],
        "counts": {state.value: count for state, count in found.counts.items()},
        "next_steps": [{"todo": step.todo, "checks": list(step.checks), "level": step.level} for step in found.steps],
        "not_looked_at": {name: {"why": absent.why, "needed": absent.needed} for name, absent in found.absent},
        "checks": [_result(result) for result in chosen(found, areas)],
    }


def _result(result: Result) -> dict[str, Any]:
    check = result.check
    return {
        "id": check.id,
        "area": check.area.value,
        "title": check.title,
        "level": check.level,
        "state": result.state.value,
        "why": result.why,
        "fix": result.fix,
        "statement": result.statement,
        "note": result.note,
        "evidence": [{"source": item.source.value, "where": item.where, "says": item.says} for item in result.evidence],
    }


def reference(checks: tuple[Check, ...] = CHECKS) -> str:
    """Return the tables of the reference page: the checks by area, and the levels."""
    lines = ["| Level | Means | Needs |", "| --- | --- | --- |"]
    for level, meaning in enumerate(LEVELS):
        own = ", ".join(check.id for check in checks if check.level == level) or "nothing"
        lines.append(f"| {level} | {meaning} | {own} |")
    for area in Area:
        head = ["| Check | Asks | Level, because | From | May be stated |", "| --- | --- | --- | --- | --- |"]
        lines += ["", f"## {area.value}", "", *head]
        for check in (item for item in checks if item.area is area):
            from_ = _ORIGINS[check.origin]
            row = (check.id, check.title, f"{check.level}: {check.because}", from_, check.attest or "no")
            lines.append("| " + " | ".join(map(_cell, row)) + " |")
    return "\n".join(lines) + "\n"
