"""HTML: headings, paragraphs, list items and tables; scripts, styles and navigation are dropped."""

from html.parser import HTMLParser

from shipway.adapters.documents.decoding import decoded
from shipway.adapters.documents.rows import row_blocks
from shipway.rag.ports import Block, Extract

_DROPPED = frozenset({"script", "style", "noscript", "template", "svg", "nav", "iframe", "object"})
_BREAKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "br",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "html",
        "head",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}


class HtmlReader:
    """Reads `.html` and `.htm`."""

    @property
    def version(self) -> str:
        """Return name and version."""
        return "html/1"

    async def read(self, path: str, data: bytes) -> Extract:
        """Return the blocks and the page's title."""
        parser = _Blocks()
        parser.feed(decoded(path, data))
        parser.close()
        return parser.extract()


class _Blocks(HTMLParser):
    """Collects blocks while the parser walks over tags; wrong nesting costs structure, never text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._found: list[Block] = []
        self._text: list[str] = []
        self._dropped: list[str] = []
        self._heading = 0
        self._title: str | None = None
        self._in_title = False
        self._rows: list[tuple[bool, list[str]]] | None = None

    def extract(self) -> Extract:
        self._flush()
        self._end_table()
        return Extract(tuple(self._found), title=self._title)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _DROPPED:
            self._dropped.append(tag)
        if self._dropped:
            return
        if tag == "title":
            self._in_title = True
        elif tag in _HEADINGS:
            self._flush()
            self._heading = _HEADINGS[tag]
        elif tag in _BREAKS:
            self._start_block(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._dropped:
            if tag in self._dropped:
                del self._dropped[self._dropped.index(tag) :]
            return
        if tag == "title":
            self._in_title = False
        elif tag in _HEADINGS:
            self._flush()
            self._heading = 0
        elif tag in _BREAKS:
            self._flush()
            if tag == "table":
                self._end_table()

    def handle_data(self, data: str) -> None:
        if self._dropped:
            return
        if self._in_title:
            self._title = " ".join(f"{self._title or ''} {data}".split()) or None
        else:
            self._text.append(data)

    def _start_block(self, tag: str) -> None:
        self._flush()
        if tag == "table":
            self._end_table()
            self._rows = []
        elif self._rows is not None and tag == "tr":
            self._rows.append((True, []))
        elif self._rows and tag in {"td", "th"}:
            only_names, cells = self._rows[-1]
            self._rows[-1] = (only_names and tag == "th", [*cells, ""])

    def _flush(self) -> None:
        text = " ".join("".join(self._text).split())
        self._text = []
        if self._rows and self._rows[-1][1] and not self._heading:
            cells = self._rows[-1][1]
            cells[-1] = f"{cells[-1]} {text}".strip()
        elif text:
            self._found.append(Block("heading", text, self._heading) if self._heading else Block("text", text))

    def _end_table(self) -> None:
        rows = [row for row in self._rows or [] if row[1]]
        self._rows = None
        header = rows.pop(0)[1] if rows and rows[0][0] and len(rows) > 1 else []
        self._found.extend(row_blocks(header, [cells for _, cells in rows]))
