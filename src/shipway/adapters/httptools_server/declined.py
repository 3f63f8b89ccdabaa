"""Offers to switch protocols that are not taken: the request counts as if the offer had not been made.

Java's HTTP client, for one, offers `h2c` with every first request, bodies included. llhttp takes what follows such a
head for the other protocol, so `connection` gives the head to a new parser, without the offer.
Source: RFC 9110, section 7.8; RFC 7540, section 3.2.
"""

from collections.abc import Iterable, Sequence

from shipway.gateway.replies import RefusedError

_OFFER = frozenset({b"upgrade", b"http2-settings"})


def without_offer(method: bytes, target: bytes, version: str, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return a request's head as bytes, without the fields that offer another protocol; names are in lower case.

    Raises:
        RefusedError: 400, a value does not fit into a line.
    """
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode("ascii")), *_lines(fields)]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise RefusedError(400, "a header of this request has a line break", code="bad_request")
    return b"\r\n".join((*lines, b"", b""))


def _lines(fields: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    for name, value in fields:
        if name in _OFFER:
            continue
        kept = _other_options(value) if name == b"connection" else value
        if kept or not value:
            yield b"%b: %b" % (name, kept)


def _other_options(value: bytes) -> bytes:
    """Return what a Connection field says beside the offer, `close` above all."""
    options = (option.strip() for option in value.split(b","))
    return b", ".join(option for option in options if option and option.lower() not in _OFFER)
