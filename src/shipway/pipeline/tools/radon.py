"""radon: how complex functions are and how hard modules are to keep. It always exits with 0.

Source: radon's documentation, `cc --json` and `mi --json`.
"""

from collections.abc import Iterator, Sequence

from shipway.core.findings import Finding
from shipway.core.verdicts import Verdict
from shipway.pipeline.tools.model import Tool, ToolOutput
from shipway.pipeline.tools.reading import json_of, objects, place


def argv(paths: Sequence[str], exclude: Sequence[str]) -> tuple[str, ...]:
    """Return the call; every function is in its report."""
    return ("radon", "cc", "--json", *(("--exclude", ",".join(exclude)) if exclude else ()), "--", *paths)


def tool(most: int) -> Tool:
    """Return radon; more than `most` independent paths through a function fail."""

    def read(output: ToolOutput) -> Iterator[Finding]:
        for file, blocks in json_of(output.stdout, dict).items():
            if isinstance(blocks, dict):
                yield _unread(str(file), str(blocks.get("error")))
                continue
            for block in objects(blocks):
                complexity = block.get("complexity")
                if not isinstance(complexity, int | float) or complexity <= most:
                    continue
                message = f"{block.get('type')} {block.get('name')} has complexity {complexity}, above {most}"
                yield Finding(
                    "radon",
                    "complexity",
                    Verdict.FAIL,
                    "complexity",
                    float(complexity),
                    message,
                    place(file, block.get("lineno")),
                    rule="radon/complexity",
                )

    return Tool("radon", "pip install radon", read, found=frozenset())


def _unread(file: str, reason: str) -> Finding:
    message = f"could not be looked at: {reason}"
    return Finding("radon", "unread", Verdict.ERROR, message=message, location=file, rule="radon/unread")
