"""A reply being parsed, without any socket: bytes in, status, headers and body out.

`connection` feeds it. Bytes are parsed by llhttp (httptools); everything that a peer can get wrong ends in
`EngineBrokenError`.
"""

import re
from collections import deque
from functools import lru_cache

import httptools

from shipway.gateway.ports import EngineBrokenError

_HEAD_BYTES = 64 * 1024
"""Headers of a reply at most."""
_FIRST_FINAL = 200
_SWITCHING = 101
# Replies with these statuses have no body, whatever their headers say (RFC 9112, 6.3).
_BODILESS = frozenset({204, 304})
_CHUNK_END = b"\r\n"
_MOST_DIGITS = 7
_NO_START = b"\0"
_SIZE = re.compile(rb"[0-9a-fA-F]{1,7}")
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


@lru_cache(maxsize=4096)
def chunk_start(size_bytes: int) -> bytes:
    """Return how a whole chunk begins, in the writing of nearly all servers, by what it takes on the wire."""
    for digits in range(1, _MOST_DIGITS):
        held = size_bytes - digits - len(_CHUNK_END) * 2
        start = b"%x\r\n" % max(0, held)
        if held > 0 and len(start) == digits + len(_CHUNK_END):
            return start
    return _NO_START


@lru_cache(maxsize=4096)
def chunk_bytes(size: bytes) -> int:
    """Return how many bytes a chunk holds by the line before it, without its end; -1 when that is no plain size."""
    return int(size, 16) if _SIZE.fullmatch(size) else -1


class Reply:
    """One reply after another on a connection.

    `status` is 0 until the head of a final reply has come; `received` counts the bytes of the body but for chunks that
    were passed on as they came, `buffered` those that nobody took; `ended` says that the body is whole;
    `is_between_chunks` that a whole chunk may come next, which need not be parsed.
    """

    __slots__ = (
        "_bodiless",
        "_head_bytes",
        "_last",
        "_parser",
        "_until_close",
        "body",
        "buffered",
        "ended",
        "fields",
        "is_between_chunks",
        "received",
        "status",
    )

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.expect(bodiless=False)
        # Until something is asked, nothing may come.
        self.ended = True

    def expect(self, *, bodiless: bool) -> None:
        """Start over for the next reply; `bodiless` for the reply to HEAD."""
        self.status = 0
        self.fields: list[tuple[bytes, bytes]] = []
        self.body: deque[bytes] = deque()
        self.buffered = 0
        self.received = 0
        self.ended = False
        self.is_between_chunks = False
        self._head_bytes = 0
        self._bodiless = bodiless
        self._until_close = False
        self._last = False

    @property
    def last(self) -> bool:
        """Return whether no other reply can follow this one on its connection."""
        return self._last or not self.ended

    def feed(self, data: bytes) -> None:
        """Parse what came.

        Raises:
            EngineBrokenError: it is not the reply to one HTTP request.
        """
        if self.ended:
            # What comes now would be taken for the reply to the next request.
            raise EngineBrokenError("the engine sent bytes that no request asked for")
        try:
            self._parser.feed_data(data)
            # The beginning of the next chunk's size would not end a line.
            if self.is_between_chunks and not data.endswith(_CHUNK_END):
                self.is_between_chunks = False
        except httptools.HttpParserUpgrade:
            raise EngineBrokenError("the engine switched protocols") from None
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, EngineBrokenError):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise EngineBrokenError(f"the engine's reply is not HTTP: {error!r}") from error

    def chunk_in(self, data: bytes) -> bytes | None:
        """Return what a chunk holds when these bytes are it, whole and alone; None when they have to be parsed."""
        if not self.is_between_chunks:
            return None
        start = chunk_start(len(data))
        if not data.startswith(start) or not data.endswith(_CHUNK_END):
            return None
        held = data[len(start) : -2]
        self.received += len(held)
        return held

    def end_of_file(self) -> None:
        """End a body that has no other end."""
        if self.status and self._until_close:
            self.ended = True

    # What the parser calls; the names are httptools'.

    def on_message_begin(self) -> None:
        """Refuse the beginning of what would be taken for the reply to the next request."""
        if self.ended:
            raise EngineBrokenError("the engine sent two replies to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, within bounds."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _HEAD_BYTES:
            raise EngineBrokenError(f"the reply's headers are larger than {_HEAD_BYTES} bytes")
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the status; a 1xx is waited out."""
        status = self._parser.get_status_code()
        if status == _SWITCHING:
            raise EngineBrokenError("the engine switched protocols")
        if status < _FIRST_FINAL:
            self.fields.clear()
            return
        if self.status:
            raise EngineBrokenError("the engine sent two replies to one request")
        self.status = status
        framed = not _FRAMING.isdisjoint([name.lower() for name, _ in self.fields])
        if self._bodiless or status in _BODILESS:
            # The parser may wait for a body that never comes, so such a connection is not used again.
            self._bodiless = self.ended = True
            self._last = framed
            return
        self._until_close = not framed
        # The parser knows this only until the body ends.
        self._last = not self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if self._bodiless:
            raise EngineBrokenError("the engine sent a body where none may be")
        self.body.append(data)
        self.buffered += len(data)
        self.received += len(data)

    def on_chunk_header(self) -> None:
        """Note that a chunk has begun, or the trailer."""
        self.is_between_chunks = False

    def on_chunk_complete(self) -> None:
        """Note that a chunk is whole."""
        self.is_between_chunks = not self._bodiless

    def on_message_complete(self) -> None:
        """Note the end of the reply; that of a 1xx is none."""
        self.is_between_chunks = False
        if self.status:
            self.ended = True
