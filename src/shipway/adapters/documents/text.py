"""Plain text: paragraphs between blank lines."""

import re

from shipway.adapters.documents.decoding import decoded
from shipway.rag.ports import Block, Extract

_BLANK = re.compile(r"\n[^\S\n]*\n")


class TextReader:
    """Reads `.txt`."""

    @property
    def version(self) -> str:
        """Return name and version."""
        return "text/1"

    async def read(self, path: str, data: bytes) -> Extract:
        """Return a block a paragraph."""
        return Extract(tuple(Block("text", " ".join(part.split())) for part in _BLANK.split(decoded(path, data))))
