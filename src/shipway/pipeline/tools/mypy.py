"""mypy: types. Exit 0 nothing, 1 errors, 2 could not go on, which a syntax error is as well as a wrong call.

Source: mypy's documentation, `--output json`: one JSON object a line.
"""

from collections.abc import Iterator, Sequence

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import Tool, ToolOutput
from shipway.pipeline.tools.reading import json_of, place


def argv(paths: Sequence[str], arguments: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the call; without paths mypy takes those of its own settings."""
    return (
        "mypy",
        "--output",
        "json",
        "--no-error-summary",
        "--no-pretty",
        *arguments,
        *(("--", *paths) if paths else ()),
    )


def _read(output: ToolOutput) -> Iterator[Finding]:
    for line in output.stdout.splitlines():
        if not line.startswith(b"{"):
            continue
        row = json_of(line, dict, "a line of its output")
        if row.get("severity") == "note":
            continue
        code = str(row.get("code") or "error")
        yield Finding(
            "mypy",
            code,
            Verdict.FAIL,
            message=str(row.get("message") or ""),
            location=place(row.get("file"), row.get("line")),
            rule=f"mypy/{code}",
        )


MYPY = Tool("mypy", "pip install mypy", _read, found=frozenset({1, 2}))
