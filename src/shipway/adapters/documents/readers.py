"""Which reader reads which suffix; the wiring hands this to the corpus build."""

from shipway.adapters.documents.docx import DocxReader
from shipway.adapters.documents.html import HtmlReader
from shipway.adapters.documents.markdown import MarkdownReader
from shipway.adapters.documents.pdf import PdfReader
from shipway.adapters.documents.text import TextReader
from shipway.rag.ports import DocumentReader


def default_readers() -> dict[str, DocumentReader]:
    """Return the readers by lower-case suffix."""
    markdown, html = MarkdownReader(), HtmlReader()
    return {
        ".md": markdown,
        ".markdown": markdown,
        ".html": html,
        ".htm": html,
        ".txt": TextReader(),
        ".pdf": PdfReader(),
        ".docx": DocxReader(),
    }
