"""Sends spans to an OTLP receiver over HTTP; `telemetry.export` calls it from its thread.

Source: the OTLP specification 1.x, "OTLP/HTTP": 429, 502, 503 and 504 may be tried again, after `Retry-After` if given.
"""

import http.client
import random
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from shipway.telemetry.otlp import Source, Span, breathe, rejected_spans, to_protobuf

_PASSING = frozenset({429, 502, 503, 504})
_ATTEMPTS = 4
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 5.0
_TIMEOUT_S = 10.0
_MAX_REPLY_BYTES = 65_536


class OtlpHttpTarget:
    """One receiver over one kept connection; implements `telemetry.export.SpanTarget`."""

    def __init__(
        self,
        endpoint: str,
        source: Source,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = _TIMEOUT_S,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        parts = urlsplit(endpoint)
        self._shown = f"{parts.scheme}://{parts.hostname}"
        self._host = parts.hostname or ""
        self._port = parts.port
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._headers = {"content-type": "application/x-protobuf", "user-agent": "shipway", **(headers or {})}
        self._source = source
        self._timeout_s = timeout_s
        self._uniform = uniform
        self._connection: http.client.HTTPConnection | None = None
        self._closing = threading.Event()

    def export(self, spans: Sequence[Span]) -> int:
        """Send spans; returns how many the receiver refused.

        Raises:
            OSError: it took nothing, though it was asked several times where that can help.
        """
        body, problem = to_protobuf(self._source, spans, pause=breathe), ""
        for attempt in range(_ATTEMPTS):
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**attempt) * self._uniform()
            try:
                status, reply, asked_s = self._post(body)
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if status == http.client.OK:
                    return _refused(reply)
                problem = f"status {status}"
                if status not in _PASSING:
                    break
                wait_s = max(wait_s, min(asked_s, _LONGEST_WAIT_S))
            if attempt + 1 == _ATTEMPTS or self._closing.wait(wait_s):
                break
        raise OSError(f"{self._shown} took no spans: {problem}")

    def close(self) -> None:
        """Close the connection; an export that waits before its next attempt gives up."""
        self._closing.set()
        self._forget()

    def _post(self, body: bytes) -> tuple[int, bytes, float]:
        kept = self._connection is not None
        try:
            return self._post_once(body)
        except (OSError, http.client.HTTPException):
            self._forget()
            # A kept connection that the receiver has closed meanwhile says nothing about the receiver.
            if not kept:
                raise
        try:
            return self._post_once(body)
        except (OSError, http.client.HTTPException):
            self._forget()
            raise

    def _post_once(self, body: bytes) -> tuple[int, bytes, float]:
        connection = self._connection = self._connection or self._made()
        connection.request("POST", self._path, body, self._headers)
        response = connection.getresponse()
        reply = response.read(_MAX_REPLY_BYTES)
        if response.will_close or not response.isclosed():
            self._forget()
        asked = response.getheader("retry-after", "")
        return response.status, reply, float(asked) if asked.isdigit() else 0.0

    def _made(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _refused(reply: bytes) -> int:
    try:
        return rejected_spans(reply)
    except ValueError:
        return 0  # some receivers answer with text; they have said 200
