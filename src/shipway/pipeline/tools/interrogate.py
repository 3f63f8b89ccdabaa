"""interrogate: how much has a docstring. Exit 0 enough, 1 too little; a defect of its own exits with 1 as well.

Source: interrogate's documentation, `-v`: a table and a line `RESULT:`. It has no JSON.
"""

import re
from collections.abc import Iterator, Sequence

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import Tool, ToolOutput, UnreadableOutputError

_RESULT = re.compile(r"RESULT: (PASSED|FAILED) \(minimum: ([\d.]+)%, actual: ([\d.]+)%\)")
_FOLDER = re.compile(r"=+ Coverage for (.+?) =+$")
_ROW = re.compile(r"\| (\S.*?) +\| +(\d+) \| +(\d+) \| +(\d+) \| +[\d.]+% \|")


def argv(paths: Sequence[str], least_percent: float, arguments: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the call."""
    return ("interrogate", "-v", "--no-color", "--fail-under", f"{least_percent:g}", *arguments, *paths)


def _read(output: ToolOutput) -> Iterator[Finding]:
    text = output.stdout.decode(errors="replace")
    result = _RESULT.search(text)
    if result is None:
        raise UnreadableOutputError("its output has no line RESULT")
    failed, folder = result[1] == "FAILED", ""
    yield Finding(
        "interrogate",
        "docstrings",
        Verdict.FAIL if failed else Verdict.PASS,
        "percent",
        float(result[3]),
        f"{result[3]} % have a docstring, at least {result[2]} % must" if failed else "",
        rule="interrogate/docstrings",
    )
    for line in text.splitlines():
        if head := _FOLDER.match(line):
            folder = head[1].rstrip("/") + "/"
        row = _ROW.match(line)
        if row and row[1] != "TOTAL" and int(row[3]):
            yield Finding(
                "interrogate",
                "missing",
                Verdict.PASS,
                message=f"{row[3]} of {row[2]} have no docstring",
                location=folder + row[1],
                rule="interrogate/missing",
                details={"level": "warning"},
            )


INTERROGATE = Tool("interrogate", "pip install interrogate", _read)
