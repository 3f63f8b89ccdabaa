"""The opening of a WebSocket: what a client must send, which of its protocols is chosen, the key of a browser.

`connection` asks here for each request that wants to switch; whether it may is the gateway's answer, like any other.
Source: RFC 6455, sections 4.1 and 4.2.
"""

import asyncio
import base64
import binascii
from collections.abc import Iterable

from wsproto.utilities import generate_accept_token

from shipway.adapters.httptools_server.wire import ReplyWire
from shipway.gateway.exchange import Headers, RequestHead
from shipway.gateway.outbox import OutboxTransport
from shipway.gateway.replies import RefusedError

KEY_PROTOCOL = "openai-insecure-api-key."
"""A browser cannot set headers on a WebSocket: its key comes as a protocol with this beginning."""
SWITCHING = 101
_VERSION = "13"
_NONCE_BYTES = 16


def wants_websocket(method: str, headers: Headers) -> bool:
    """Return whether a request asks for a WebSocket."""
    return method == "GET" and (headers.get("upgrade") or "").lower() == "websocket"


def with_key(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers with a browser's key where other clients have it."""
    if any(name == b"authorization" for name, _ in fields):
        return fields
    for name in _protocols(Headers(fields)):
        if name.startswith(KEY_PROTOCOL):
            return [*fields, (b"authorization", b"Bearer " + name.removeprefix(KEY_PROTOCOL).encode("latin-1"))]
    return fields


def acceptance(headers: Headers) -> list[tuple[str, str]]:
    """Return the headers that accept an opening; the key of a browser is not among them.

    Raises:
        RefusedError: 400, it is no opening of this version of the protocol.
    """
    if headers.get("sec-websocket-version") != _VERSION:
        raise RefusedError(400, f"use WebSocket version {_VERSION}", param="sec-websocket-version")
    nonce = headers.get("sec-websocket-key") or ""
    try:
        sound = len(base64.b64decode(nonce, validate=True)) == _NONCE_BYTES
    except (binascii.Error, ValueError):
        sound = False
    if not sound:
        raise RefusedError(400, "the header sec-websocket-key is no nonce", param="sec-websocket-key")
    fields = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", generate_accept_token(nonce.encode()).decode()),
    ]
    chosen = next((name for name in _protocols(headers) if not name.startswith(KEY_PROTOCOL)), None)
    return [*fields, ("sec-websocket-protocol", chosen)] if chosen else fields


def _protocols(headers: Headers) -> list[str]:
    offered = [value.decode("latin-1") for name, value in headers.fields if name == b"sec-websocket-protocol"]
    return [name for value in offered for name in (part.strip() for part in value.split(",")) if name]


class UpgradeWire(ReplyWire):
    """The reply to an opening: any but 101 is a usual one, after which the connection ends.

    `accepted` once 101 was given; then nothing but its head has left. `early` is what the client sent before the socket
    was there to read it.
    """

    __slots__ = ("_acceptance", "accepted", "early", "head")

    def __init__(self, transport: OutboxTransport, loop: asyncio.AbstractEventLoop, head: RequestHead) -> None:
        super().__init__(transport, loop, method=head.method, old=False, keeps=False)
        self._acceptance = acceptance(head.headers)
        self.head = head
        self.accepted = False
        self.early = b""

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Make the head."""
        if status != SWITCHING:
            super().start(status, headers)
            return
        self.accepted = True
        lines = [f"{name}: {value}\r\n" for name, value in (*self._acceptance, *headers)]
        self._transport.write(("HTTP/1.1 101 Switching Protocols\r\n" + "".join(lines) + "\r\n").encode("latin-1"))

    def finish(self, data: bytes) -> None:
        """Send the last piece; after a 101 there is none."""
        if self.accepted:
            self.whole = True
        else:
            super().finish(data)
