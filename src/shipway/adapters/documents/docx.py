"""DOCX by markitdown, an optional package: Word to Markdown, and the Markdown reader from there."""

import io
from collections.abc import Callable
from functools import partial

import anyio.to_thread

from shipway.adapters.documents.markdown import read_markdown
from shipway.core.errors import DocumentError
from shipway.rag.ports import Extract


def convert_with_markitdown(data: bytes) -> str:
    """Return a Word file as Markdown.

    Raises:
        ImportError: markitdown is not installed.
    """
    from markitdown import MarkItDown  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - an optional package

    return str(MarkItDown(enable_plugins=False).convert_stream(io.BytesIO(data), file_extension=".docx").markdown)


class DocxReader:
    """Reads `.docx`."""

    def __init__(self, convert: Callable[[bytes], str] = convert_with_markitdown) -> None:
        self._convert = convert

    @property
    def version(self) -> str:
        """Return name and version."""
        return "docx/1"

    async def read(self, path: str, data: bytes) -> Extract:
        """Return the blocks."""
        if not data.startswith(b"PK\x03\x04"):
            raise DocumentError(path, "is not a Word file", hint="save it as .docx")
        try:
            text = await anyio.to_thread.run_sync(partial(self._convert, data))
        except ImportError as error:
            hint = "install `markitdown[docx]`, or save the file as Markdown or PDF"
            raise DocumentError(path, "Word files need the package markitdown", hint=hint) from error
        except Exception as error:  # a third-party parser on foreign bytes may raise anything
            raise DocumentError(path, f"cannot be read as a Word file: {error}", hint="save it again") from error
        return read_markdown(path, text)
