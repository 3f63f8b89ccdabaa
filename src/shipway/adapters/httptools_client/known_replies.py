"""Heads of replies that the parser has read before: an engine writes the same one again and again.

A head that is equal, but for the digits of its content-length, to one that the parser took for that of a whole 200
reply on a connection that lives on, means the same; so the body can be cut off behind it. `connection` asks for replies
that came in one piece.
"""

_LONGEST = 2048
_MOST = 256
_OK = b"HTTP/1.1 200 "
_END = b"\r\n\r\n"
_MARK = b"ength: "
"""Both spellings of content-length end so; `learn` sees to it that it is nothing else."""
_NAME = b"\r\ncontent-l"
_MOST_DIGITS = 9


class KnownReplies:
    """The heads of one client's engines, without the digits of their lengths."""

    def __init__(self) -> None:
        self._heads: set[bytes] = set()

    def body_of(self, data: bytes) -> bytes | None:
        """Return the body when these bytes are a whole reply with a known head, else None."""
        end = data.find(_END)
        start = data.find(_MARK, 0, end) + len(_MARK)
        stop = data.find(b"\r\n", start)
        if end < 0 or data[:start] + data[stop:end] not in self._heads:
            return None
        digits = data[start:stop]
        whole = digits.isdigit() and len(digits) <= _MOST_DIGITS and len(data) == end + len(_END) + int(digits)
        return data[end + len(_END) :] if whole else None

    def learn(self, data: bytes) -> None:
        """Remember the head of a whole 200 reply that the parser has read from these bytes alone."""
        end = data.find(_END)
        head = data[:end].lower()
        if not 0 < end <= _LONGEST or not data.startswith(_OK) or head.count(_MARK) != 1:
            return
        if _NAME + _MARK not in head or b"\r\ntransfer-encoding" in head:
            return
        start = head.find(_MARK) + len(_MARK)
        stop = data.find(b"\r\n", start)
        if len(self._heads) >= _MOST:
            # A date changes each second; what is still written is learned again.
            self._heads.clear()
        self._heads.add(data[:start] + data[stop:end])
