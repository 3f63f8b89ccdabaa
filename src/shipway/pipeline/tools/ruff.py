"""ruff: lint, format, complexity and docstrings. Exit 0 nothing, 1 found something, 2 wrong call or defect.

Source: ruff's documentation, "Exit codes"; JSON as `--output-format json` writes it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import Tool, ToolOutput
from shipway.pipeline.tools.reading import json_of, objects, place

INSTALL = "pip install ruff"
_REPORT = ("--output-format", "json")


def lint_argv(paths: Sequence[str], arguments: Sequence[str] = (), *, fix: bool = False) -> tuple[str, ...]:
    """Return the call that lints, or that mends what can be mended safely."""
    return ("ruff", "check", *(("--fix", "--exit-zero") if fix else _REPORT), *arguments, "--", *paths)


def format_argv(paths: Sequence[str], arguments: Sequence[str] = (), *, fix: bool = False) -> tuple[str, ...]:
    """Return the call that says what is not formatted, or that formats."""
    return ("ruff", "format", *(() if fix else ("--check", *_REPORT)), *arguments, "--", *paths)


def complexity_argv(paths: Sequence[str], most: int, arguments: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the call that names functions with more than `most` independent paths."""
    rules = ("--select", "C901", "--config", f"lint.mccabe.max-complexity={most}")
    return lint_argv(paths, (*rules, *arguments))


def docs_argv(paths: Sequence[str], select: Sequence[str], exclude: Sequence[str]) -> tuple[str, ...]:
    """Return the call that looks at docstrings."""
    left_out = tuple(word for pattern in exclude for word in ("--extend-exclude", pattern))
    return lint_argv(paths, ("--select", ",".join(select), *left_out))


def _read(output: ToolOutput) -> Iterator[Finding]:
    for row in objects(json_of(output.stdout, list)):
        code = str(row.get("code") or row.get("name") or "error")
        where = row.get("location")
        start: dict[str, Any] = where if isinstance(where, dict) else {}
        fix = row.get("fix")
        details = {"column": start.get("column")} if start.get("column") else {}
        if isinstance(fix, dict) and fix.get("applicability") == "safe":
            details["fixable"] = True
        yield Finding(
            "ruff",
            code,
            Verdict.FAIL,
            message=str(row.get("message") or ""),
            location=place(row.get("filename"), start.get("row")),
            rule=f"ruff/{code}",
            details=details,
        )


LINT = Tool("ruff", INSTALL, _read)
"""For `check` and, from ruff 0.15 on, for `format --check`."""
