"""Heads of requests that were read before: a client sends the same one again and again, but for its body's length.

A head that is equal, but for the digits of its content-length, to one that the parser took means the same. Each new
one is read by a parser of its own, so that the connection's parser is where it was when the request turns out to be
none for the short way. `short_way` asks.
"""

import httptools

from shipway.gateway.exchange import Headers
from shipway.gateway.lane import LaneHead, lane_head

_LONGEST = 4096
_MOST = 4096
"""A head holds its client's key; what is forgotten is read again."""
_LARGEST_BODY = 64 * 1024
"""Larger bodies are read piece by piece, with the client held back."""
_MOST_DIGITS = 5
_END = b"\r\n\r\n"
_MARK = b"ength: "
"""Both spellings of content-length end so; `_read` sees to it that it is nothing else."""
_NAME = b"\r\ncontent-l"


class KnownHeads:
    """The heads of one server's clients, without the digits of their lengths; None for those that are not plain."""

    def __init__(self) -> None:
        self._heads: dict[bytes, LaneHead | None] = {}

    def find(self, data: bytes) -> tuple[LaneHead, int, int] | None:
        """Return what a request's head says, where its body begins and how long it is; None when it is not plain."""
        end = data.find(_END, 0, _LONGEST)
        start = data.find(_MARK, 0, end) + len(_MARK)
        if end < 0 or start < len(_MARK):
            return None
        stop = data.find(b"\r\n", start)
        digits = data[start:stop]
        if not digits.isdigit() or len(digits) > _MOST_DIGITS:
            return None
        key = data[:start] + data[stop:end]
        try:
            head = self._heads[key]
        except KeyError:
            if len(self._heads) >= _MOST:
                self._heads.clear()
            head = self._heads[key] = _read(data[: end + len(_END)])
        size = int(digits)
        return None if head is None or size > _LARGEST_BODY else (head, end + len(_END), size)


class _Collected:
    """What the parser finds in a head; the names are httptools'."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.is_complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def _read(head: bytes) -> LaneHead | None:
    found = _Collected()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    names = [name for name, _ in found.fields]
    lower = head.lower()
    is_plain = (
        found.is_complete
        and parser.get_method() == b"POST"
        and parser.get_http_version() == "1.1"
        and parser.should_keep_alive()
        and not parser.should_upgrade()
        and b"host" in names
        and lower.count(_MARK) == 1
        and _NAME + _MARK in lower
    )
    return lane_head(found.target, Headers(found.fields)) if is_plain else None
