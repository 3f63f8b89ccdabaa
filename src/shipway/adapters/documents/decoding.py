"""Bytes to text for the readers of text formats."""

from shipway.core.errors import DocumentError

_MAGIC = ((b"%PDF-", "a PDF file"), (b"PK\x03\x04", "a ZIP or Office file"), (b"\x1f\x8b", "a gzip file"))


def decoded(path: str, data: bytes) -> str:
    """Return UTF-8 text with line feeds only, without a byte order mark.

    Raises:
        DocumentError: not UTF-8 (with the byte offset), or another format under this suffix.
    """
    for magic, name in _MAGIC:
        if data.startswith(magic):
            raise DocumentError(path, f"is {name}, not text", hint="give the file the suffix of its format")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The decoder counts from behind a byte order mark.
        offset = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        reason = f"byte 0x{data[offset]:02x} at offset {offset} is not UTF-8"
        raise DocumentError(path, reason, hint="save the file as UTF-8") from error
    if "\x00" in text:
        offset = data.index(b"\x00")
        raise DocumentError(path, f"byte 0x00 at offset {offset}: not a text file", hint="save the file as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")
