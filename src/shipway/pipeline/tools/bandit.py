"""bandit: security of Python code. Exit 0 nothing, 1 found something; files it cannot read are in its report alone.

Source: bandit's documentation, JSON formatter.
"""

from collections.abc import Iterator, Sequence

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import Tool, ToolOutput
from shipway.pipeline.tools.reading import json_of, objects, place

SEVERITIES = ("low", "medium", "high")
# Their message quotes the password that they found.
_QUOTING = frozenset({"B105", "B106", "B107"})


def argv(paths: Sequence[str], exclude: Sequence[str], arguments: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the call."""
    left_out = ("--exclude", ",".join(exclude)) if exclude else ()
    return ("bandit", "--quiet", "--recursive", "--format", "json", *left_out, *arguments, "--", *paths)


def tool(fail_on: str) -> Tool:
    """Return bandit; what is less severe than `fail_on` is a warning."""
    failing = frozenset(SEVERITIES[SEVERITIES.index(fail_on) :])

    def read(output: ToolOutput) -> Iterator[Finding]:
        found = json_of(output.stdout, dict)
        for row in objects(found.get("errors", [])):
            message = f"could not be looked at: {row.get('reason')}"
            yield Finding(
                "bandit",
                "unread",
                Verdict.ERROR,
                message=message,
                location=str(row.get("filename")),
                rule="bandit/unread",
            )
        for row in objects(found.get("results", [])):
            severity = str(row.get("issue_severity", "")).lower()
            # A severity that bandit calls undefined is no reason to let it pass.
            fails = severity in failing or severity not in SEVERITIES
            code = str(row.get("test_id"))
            said = str(row.get("issue_text") or "")
            yield Finding(
                "bandit",
                code,
                Verdict.FAIL if fails else Verdict.PASS,
                message=said.partition(":")[0] if code in _QUOTING else said,
                location=place(row.get("filename"), row.get("line_number")),
                rule=f"bandit/{code}",
                details={"severity": severity, **({} if fails else {"level": "warning"})},
            )

    # With warnings alone it exits with 1 too.
    return Tool("bandit", "pip install bandit", read, fine=frozenset({0, 1}), found=frozenset())
