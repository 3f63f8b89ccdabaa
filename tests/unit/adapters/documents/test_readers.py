"""Readers give text that can be understood alone, and refuse a file that is not what its suffix says."""

import io
import sys
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.adapters.documents import pdf_child
from shipway.adapters.documents.docx import DocxReader
from shipway.adapters.documents.html import HtmlReader
from shipway.adapters.documents.markdown import MarkdownReader, read_markdown
from shipway.adapters.documents.pdf import PdfReader
from shipway.adapters.documents.readers import default_readers
from shipway.adapters.documents.text import TextReader
from shipway.core.errors import DocumentError
from shipway.rag.ports import Block

pytestmark = pytest.mark.anyio

MANUAL = Path(__file__).parents[4] / "examples/helpdesk/docs/tidewell/products/undertow-manual.pdf"


def blank_pdf(pages: int = 1) -> bytes:
    document = pypdfium2.PdfDocument.new()
    for _ in range(pages):
        document.new_page(200, 200)
    buffer = io.BytesIO()
    document.save(buffer)
    document.close()
    return buffer.getvalue()


async def test_markdown_gives_headings_joined_paragraphs_items_and_code():
    text = b"---\ntitle: T\n---\n# Head\n\nOne *soft*\nline [link](x).\n\n- item `a`\n\n```\ncode\n```\n<!-- gone -->\n"
    found = await MarkdownReader().read("a.md", text)
    assert found.metadata == {"title": "T"}
    assert [(b.kind, b.text.strip()) for b in found.blocks if b.text.strip()] == [
        ("heading", "Head"),
        ("text", "One soft line link."),
        ("text", "item a"),
        ("text", "code"),
    ]


@pytest.mark.parametrize(
    ("header", "row", "text"),
    [
        ("Part | Price", "Heron base | EUR 39.00", "Part: Heron base; Price: EUR 39.00."),
        ("Property | Value", "Power | 2200 watts", "Power: 2200 watts."),
        ("Property | Pelican", "Power | 2200 watts", "Power; Pelican: 2200 watts."),
        ("Part | Price", "Heron base | ", "Part: Heron base."),
    ],
)
async def test_a_table_row_names_its_columns_in_markdown_and_html(header, row, text):
    lines = [header, " | ".join("---" for _ in header.split("|")), row]
    markdown = "\n".join(f"| {line} |" for line in lines)
    cells = [["".join(f"<{tag}>{c}</{tag}>" for c in line.split("|"))] for tag, line in (("th", header), ("td", row))]
    html = "<table>" + "".join(f"<tr>{c[0]}</tr>" for c in cells) + "</table>"
    assert (await MarkdownReader().read("a.md", markdown.encode())).blocks == (Block("row", text),)
    assert (await HtmlReader().read("a.html", html.encode())).blocks == (Block("row", text),)


async def test_html_drops_scripts_styles_and_navigation_and_keeps_the_rest():
    html = (
        b"<title>T &amp; U</title><nav>menu</nav><script>x()</script><style>p{}</style><h2>Head <b>bold</b></h2>"
        b"<p>One<br>two</p><ul><li>three</li></ul>tail"
    )
    found = await HtmlReader().read("a.html", html)
    assert found.title == "T & U"
    assert [(b.kind, b.level, b.text) for b in found.blocks] == [
        ("heading", 2, "Head bold"),
        ("text", 0, "One"),
        ("text", 0, "two"),
        ("text", 0, "three"),
        ("text", 0, "tail"),
    ]


@given(words=st.lists(st.sampled_from(["alpha", "beta", "gamma"]), min_size=1), tags=st.data())
async def test_wrongly_nested_html_loses_no_text(words, tags):
    pool = [
        "<p>",
        "</p>",
        "<table>",
        "</table>",
        "<tr>",
        "</tr>",
        "<td>",
        "<th>",
        "</td>",
        "<h1>",
        "</h1>",
        "<div>",
        "<li>",
    ]
    html = "".join(tags.draw(st.sampled_from(pool)) + word for word in words)
    found = await HtmlReader().read("a.html", html.encode())
    text = " ".join(block.text for block in found.blocks)
    assert sum(map(text.count, ("alpha", "beta", "gamma"))) >= len(words)


async def test_text_paragraphs_are_joined_lines():
    found = await TextReader().read("a.txt", "\ufeffOne\r\nline.\r\n\r\nTwo.".encode())
    assert [b.text for b in found.blocks] == ["One line.", "Two."]


@pytest.mark.parametrize("suffix", [".md", ".html", ".txt"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"caf\xe9", "byte 0xe9 at offset 3 is not UTF-8"),
        (b"\xef\xbb\xbfab\xff", "byte 0xff at offset 5 is not UTF-8"),
        (b"a\x00b", "byte 0x00 at offset 1"),
        (b"%PDF-1.7", "is a PDF file, not text"),
        (b"PK\x03\x04", "is a ZIP or Office file, not text"),
    ],
)
async def test_bytes_that_are_no_text_are_refused_with_their_offset(suffix, data, message):
    with pytest.raises(DocumentError, match=message):
        await default_readers()[suffix].read(f"a{suffix}", data)


async def test_html_bytes_in_a_markdown_file_are_fine():
    found = await MarkdownReader().read("a.md", b"<h1>Head</h1>\n\n<p>Text</p>\n")
    assert [b.text.split() for b in found.blocks] == [["Head"], ["Text"]]


@pytest.mark.parametrize(("text", "message"), [("---\ntitle: x\n", "has no end"), ("---\n- a\n---\n", "not a mapping")])
async def test_a_broken_front_matter_is_refused(text, message):
    with pytest.raises(DocumentError, match=message):
        read_markdown("a.md", text)


async def test_a_rule_at_the_top_of_markdown_is_no_front_matter():
    assert [b.text for b in read_markdown("a.md", "---\n\nText.\n").blocks] == ["Text."]


async def test_a_pdf_gives_headings_by_type_size_joined_lines_and_table_rows():
    found = await PdfReader().read("a.pdf", MANUAL.read_bytes())
    assert found.blocks[0] == Block("heading", "Undertow espresso machine: user manual", 1)
    assert Block("heading", "2. Technical data of the Undertow", 2) in found.blocks
    assert Block("row", "Water tank: 1.6 litres.") in found.blocks
    assert any("for 6 minutes until the ring" in b.text for b in found.blocks)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"# not a PDF", "is not a PDF, or a damaged one"),
        (MANUAL.read_bytes()[:700], "is not a PDF, or a damaged one"),
        (blank_pdf(2), r"has no text on its 2 page\(s\)"),
    ],
)
async def test_a_pdf_that_is_none_is_refused(data, message):
    with pytest.raises(DocumentError, match=message):
        await PdfReader().read("a.pdf", data)


async def test_an_encrypted_pdf_is_told_from_a_damaged_one(monkeypatch):
    def refuse(data):
        raise pypdfium2.PdfiumError(
            "Failed to load document (PDFium: Incorrect password error).", pdfium.FPDF_ERR_PASSWORD
        )

    monkeypatch.setattr(pypdfium2, "PdfDocument", refuse)
    assert pdf_child.extract(b"x") == {"error": "encrypted"}


async def test_a_reader_that_takes_too_long_is_ended():
    with pytest.raises(DocumentError, match="was not read within 0 s"):
        await PdfReader(timeout_s=0.0).read("a.pdf", MANUAL.read_bytes())


async def test_the_pdf_process_sees_nothing_of_the_environment(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text(
        "import os, json, sys\nprint(json.dumps({'pages': [[{'cells': sorted(os.environ), 'size': 1.0}]]}))"
    )
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setattr(pdf_child, "__file__", str(child))
    found = await PdfReader().read("a.pdf", b"x")
    assert "SECRET_TOKEN" not in " ".join(b.text for b in found.blocks)


async def test_a_pdf_process_that_dies_is_a_refused_document(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text("import sys\nsys.exit('MemoryError')")
    monkeypatch.setattr(pdf_child, "__file__", str(child))
    with pytest.raises(DocumentError, match="ended with status 1: MemoryError"):
        await PdfReader().read("a.pdf", b"x")


async def test_word_files_need_the_optional_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "markitdown", None)
    with pytest.raises(DocumentError, match=r"need the package markitdown\n  install"):
        await DocxReader().read("a.docx", b"PK\x03\x04")


async def test_word_files_are_read_through_markdown():
    found = await DocxReader(lambda _: "# Head\n\nText.").read("a.docx", b"PK\x03\x04")
    assert [b.text for b in found.blocks] == ["Head", "Text."]
    with pytest.raises(DocumentError, match="is not a Word file"):
        await DocxReader(lambda _: "").read("a.docx", b"Text")
