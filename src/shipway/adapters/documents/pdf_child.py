"""The process that reads one PDF: bytes on standard input, JSON on standard output.

`pdf.py` starts it by path, isolated, with limits: a PDF is the one format here whose parser is native code and whose
input may be hostile. It therefore imports nothing of Shipway.

Output: {"pages": [[line, …], …]} where a line is {"cells": [text, …], "size": font size in points}, or
{"error": "encrypted" | "format" | "empty"}.
"""

import json
import resource
import statistics
import sys
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

_MEMORY_BYTES = 1024**3
_CPU_S = 30
_FILE_BYTES = 0
# A gap wider than this many font sizes parts two table cells; a justified line's spaces stay below one.
_CELL_GAP = 1.3
# PDFium's marks for a hyphen that only divides a word at a line's end, and for a glyph without a known character.
_SPECIAL = {"\ufffe": "\u00ad", "\u0002": "\u00ad", "\x00": ""}


def main() -> None:
    """Read standard input as a PDF and write what is in it."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.write(json.dumps(extract(sys.stdin.buffer.read())))


def extract(data: bytes) -> dict[str, Any]:
    """Return the pages of a PDF, or why there are none."""
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        return {"error": "encrypted" if "password" in str(error).lower() else "format"}
    with document:
        return (
            {"pages": [_lines(document[index]) for index in range(len(document))]}
            if len(document)
            else {"error": "empty"}
        )


def _lines(page: pypdfium2.PdfPage) -> list[dict[str, Any]]:
    text_page = page.get_textpage()
    raw = text_page.raw
    found: list[dict[str, Any]] = []
    cells: list[str] = [""]
    sizes: list[float] = []
    right: float | None = None
    for index in range(pdfium.FPDFText_CountChars(raw)):
        character = chr(pdfium.FPDFText_GetUnicode(raw, index))
        if character in "\r\n":
            _add(found, cells, sizes)
            cells, sizes, right = [""], [], None
            continue
        if character.isspace() or pdfium.FPDFText_IsGenerated(raw, index):
            cells[-1] += " "
            continue
        size = pdfium.FPDFText_GetFontSize(raw, index)
        box = text_page.get_charbox(index)
        if right is not None and box[0] - right > _CELL_GAP * max(size, 1.0):
            cells.append("")
        cells[-1] += _SPECIAL.get(character, character)
        sizes.append(size)
        right = box[2]
    _add(found, cells, sizes)
    return found


def _add(found: list[dict[str, Any]], cells: list[str], sizes: list[float]) -> None:
    texts = [" ".join(cell.split()) for cell in cells]
    if any(texts):
        found.append(
            {"cells": [text for text in texts if text], "size": round(statistics.median(sizes), 1) if sizes else 0.0}
        )


if __name__ == "__main__":
    main()
