"""PDF by PDFium, in a process of its own with limits on memory, time and files (`pdf_child.py`).

Headings are lines in a larger type than the body's; neighbouring lines of several cells are a table, its first line the
column names. A scan without a text layer is refused, never indexed as an empty document.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from subprocess import PIPE, CompletedProcess
from typing import Any

import anyio

from shipway.adapters.documents import pdf_child
from shipway.adapters.documents.rows import row_blocks
from shipway.core.errors import DocumentError
from shipway.rag.ports import Block, Extract

_HEADING_RATIO = 1.12
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG")
_REASONS = {
    "encrypted": ("is encrypted", "save it without a password"),
    "format": ("is not a PDF, or a damaged one", "open and save it again, or give the file the suffix of its format"),
    "empty": ("has no pages", "remove the file"),
}


class PdfReader:
    """Reads `.pdf`."""

    def __init__(self, *, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s

    @property
    def version(self) -> str:
        """Return name and version."""
        return "pdf/1"

    async def read(self, path: str, data: bytes) -> Extract:
        """Return the blocks of all pages."""
        if not data:
            raise DocumentError(path, "is empty (0 bytes)", hint="remove the file or export the PDF again")
        result = await self._run_child(path, data)
        if "error" in result:
            reason, hint = _REASONS[result["error"]]
            raise DocumentError(path, reason, hint=hint)
        lines = [line for page in result["pages"] for line in page]
        if not lines:
            reason = f"has no text on its {len(result['pages'])} page(s)"
            raise DocumentError(path, reason, hint="it may be a scan: run OCR over it first")
        return Extract(tuple(_blocks(lines)))

    async def _run_child(self, path: str, data: bytes) -> dict[str, Any]:
        # By path and isolated (-I): the child needs no Shipway, no working directory and no user site.
        argv = [sys.executable, "-I", str(Path(pdf_child.__file__))]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        done: CompletedProcess[bytes] | None = None
        with anyio.move_on_after(self._timeout_s):
            done = await anyio.run_process(argv, input=data, stdout=PIPE, stderr=PIPE, check=False, env=environment)
        if done is None:
            reason = f"was not read within {self._timeout_s:g} s"
            raise DocumentError(path, reason, hint="split the file or print it anew")
        if done.returncode != 0:
            last = done.stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1]
            reason = f"the reader's process ended with status {done.returncode}: {last or 'no message'}"
            raise DocumentError(path, reason, hint="the file is damaged or needs more than the reader's limits")
        loaded: dict[str, Any] = json.loads(done.stdout)
        return loaded


def _blocks(lines: list[dict[str, Any]]) -> Iterator[Block]:
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[line["size"]] += sum(map(len, line["cells"]))
    body = sizes.most_common(1)[0][0]
    larger = sorted((size for size in sizes if size > body * _HEADING_RATIO), reverse=True)

    def kind(line: dict[str, Any]) -> tuple[str, float]:
        if line["size"] in larger:
            return ("heading", line["size"])
        return ("row" if len(line["cells"]) > 1 else "text", 0.0)

    for (name, size), group in groupby(lines, kind):
        rows = [line["cells"] for line in group]
        if name == "heading":
            yield Block("heading", _joined(rows), larger.index(size) + 1)
        elif name == "row" and len(rows) > 1:
            yield from row_blocks(rows[0], rows[1:])
        else:
            yield Block("text", _joined(rows))


def _joined(rows: list[list[str]]) -> str:
    text = "\n".join("  ".join(row) for row in rows)
    return " ".join(text.replace("\u00ad\n", "").replace("\u00ad", "").split())
