"""black as the formatter: exit 0 formatted, 1 would change files, 123 could not read some. It has no JSON.

Source: black's documentation, "Usage and configuration": lines on stderr, one for each file.
"""

import re
from collections.abc import Iterator, Sequence

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import Tool, ToolOutput
from shipway.pipeline.tools.reading import place

_WOULD = re.compile(r"^would reformat (.+?)(?: \(.*\))?$")
_CANNOT = re.compile(r"^error: cannot (?:format|parse):? (.+?):(?:(\d+):\d+)?(.*)$")
_CRASHED = 123


def argv(paths: Sequence[str], arguments: Sequence[str] = (), *, fix: bool = False) -> tuple[str, ...]:
    """Return the call that says what is not formatted, or that formats."""
    return ("black", *(() if fix else ("--check",)), "--no-color", *arguments, "--", *paths)


def _read(output: ToolOutput) -> Iterator[Finding]:
    for line in output.stderr.splitlines():
        if would := _WOULD.match(line):
            message = "black would reformat this file"
            yield Finding("black", "format", Verdict.FAIL, message=message, location=would[1], rule="black/format")
        elif cannot := _CANNOT.match(line):
            where = place(cannot[1], int(cannot[2])) if cannot[2] else cannot[1]
            message = cannot[3].strip() or "black cannot read this file"
            yield Finding("black", "syntax", Verdict.FAIL, message=message, location=where, rule="black/syntax")


BLACK = Tool("black", "pip install black", _read, found=frozenset({1, _CRASHED}))
