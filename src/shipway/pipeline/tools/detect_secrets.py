"""detect-secrets: keys and passwords in files. It always exits with 0; what its baseline has is known and accepted.

Neither its report nor a finding holds a secret itself. Source: detect-secrets' documentation, `scan` and baselines.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import Tool, ToolOutput, UnreadableOutputError
from shipway.pipeline.tools.reading import json_of, objects, place

BASELINE = ".secrets.baseline"


def argv(paths: Sequence[str], exclude: Sequence[str], *, all_files: bool) -> tuple[str, ...]:
    """Return the call: files that git tracks, or all of them."""
    left_out = tuple(word for pattern in exclude for word in ("--exclude-files", pattern))
    return ("detect-secrets", "scan", *(("--all-files",) if all_files else ()), *left_out, *paths)


def tool(baseline: bytes | None = None) -> Tool:
    """Return detect-secrets; what stands in the baseline as looked at, and as no secret, is left out."""

    def read(output: ToolOutput) -> Iterator[Finding]:
        known = _known(baseline) if baseline else {}
        for file, row in _rows(output.stdout, "its output"):
            identity = _identity(file, row)
            if file == BASELINE or (identity in known and known[identity] is False):
                continue
            kind = str(row.get("type"))
            unsaid = identity in known and known[identity] is None
            yield Finding(
                "detect-secrets",
                kind,
                Verdict.FAIL,
                message=f"{kind}: take it out, and change it where it is used; if it is none, say so in {BASELINE}",
                location=place(file, row.get("line_number")),
                rule=f"detect-secrets/{kind.lower().replace(' ', '-')}",
                details={"open": f"stands in {BASELINE}, and nobody has said whether it is one"} if unsaid else {},
            )

    return Tool("detect-secrets", "pip install detect-secrets", read, found=frozenset())


def _known(baseline: bytes) -> dict[tuple[str, str, str], bool | None]:
    return {_identity(file, row): row.get("is_secret") for file, row in _rows(baseline, BASELINE)}


def _rows(data: bytes, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    results = json_of(data, dict, what).get("results")
    if not isinstance(results, dict):
        raise UnreadableOutputError(f"{what} has no results by file")
    for file, rows in results.items():
        for row in objects(rows):
            yield str(file).removeprefix("./"), row


def _identity(file: str, row: dict[str, Any]) -> tuple[str, str, str]:
    return file, str(row.get("type")), str(row.get("hashed_secret"))
