"""Markdown: headings, paragraphs, list items and tables; a YAML front matter is metadata."""

import re
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from shipway.adapters.documents.decoding import decoded
from shipway.adapters.documents.rows import row_blocks
from shipway.core.errors import DocumentError
from shipway.rag.parse import parse_metadata
from shipway.rag.ports import Block, Extract

_FRONT_MATTER = re.compile(r"---[^\S\n]*\n(.*?\n)?(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)", re.DOTALL)
_TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][^<>]*>", re.DOTALL)


class MarkdownReader:
    """Reads `.md`."""

    @property
    def version(self) -> str:
        """Return name and version."""
        return "markdown/1"

    async def read(self, path: str, data: bytes) -> Extract:
        """Return the blocks below the front matter."""
        return read_markdown(path, decoded(path, data))


def read_markdown(path: str, text: str) -> Extract:
    """Return the blocks and the front matter of Markdown text.

    Raises:
        DocumentError: the front matter is not a YAML mapping, or has no end.
    """
    metadata: dict[str, Any] = {}
    match = _FRONT_MATTER.match(text)
    if match:
        metadata = parse_metadata(path, match.group(1) or "")
        text = text[match.end() :]
    elif re.match(r"---[^\S\n]*\n\w+:", text):
        raise DocumentError(path, "the front matter has no end", hint="close it with a line of three dashes")
    return Extract(tuple(_blocks(MarkdownIt("commonmark").enable("table").parse(text))), metadata=metadata)


def _blocks(tokens: list[Token]) -> list[Block]:
    found: list[Block] = []
    table: list[Token] | None = None
    heading = 0
    for token in tokens:
        if token.type == "table_open":
            table = []
        elif token.type == "table_close":
            found.extend(_table_rows(table or []))
            table = None
        elif table is not None:
            table.append(token)
        elif token.type == "heading_open":
            heading = int(token.tag[1])
        elif token.type == "inline":
            found.append(Block("heading", _plain(token), heading) if heading else Block("text", _plain(token)))
            heading = 0
        elif token.type in {"fence", "code_block", "html_block"}:
            found.append(Block("text", _TAG.sub(" ", token.content) if token.type == "html_block" else token.content))
    return found


def _table_rows(tokens: list[Token]) -> list[Block]:
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_plain(token))
    return row_blocks(rows[0], rows[1:]) if rows else []


def _plain(token: Token) -> str:
    """Return inline text without its markup; soft line breaks are spaces."""
    parts: list[str] = []
    for child in token.children or []:
        if child.type in {"softbreak", "hardbreak"}:
            parts.append(" ")
        elif child.type == "image":
            parts.append(_plain(child))
        elif child.type in {"text", "code_inline", "text_special"}:
            parts.append(child.content)
    return " ".join("".join(parts).split())
