"""Whole requests over the gateway's client of engines; implements `evals.ports.JsonCaller` for evaluation targets.

The client is pooled and costs a fraction of a millisecond a call. It follows no redirect and repeats nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from shipway.core.errors import DeadlineError, UnavailableError, UpstreamError
from shipway.evals.ports import HttpCall, HttpReply
from shipway.gateway.ports import EngineBrokenError, EngineClient, EngineConnectError, EngineRequest, EngineResponse

_CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class EngineCaller:
    """Sends one request and returns the whole reply."""

    client: EngineClient
    monotonic_s: Callable[[], float]

    async def call(self, request: HttpCall) -> HttpReply:
        """Send a request; `ttft_ms` is the time of the first byte of the body.

        Raises:
            DeadlineError: no whole reply within `timeout_s`.
            UnavailableError: nobody answers; asking again is safe.
            UpstreamError: the reply is cut off or longer than `limit_bytes`; what was asked may have been done.
        """
        try:
            with anyio.fail_after(request.timeout_s):
                return await self._replied(request)
        except TimeoutError as error:
            raise DeadlineError(f"{shown(request.url)}: no whole answer within {request.timeout_s:g} s") from error

    async def _replied(self, request: HttpCall) -> HttpReply:
        started_s = self.monotonic_s()
        wanted_s = min(_CONNECT_TIMEOUT_S, request.timeout_s)
        sent = EngineRequest(request.method, request.url, request.headers, request.body, wanted_s)
        try:
            response = await self.client.send(sent)
        except EngineConnectError as error:
            raise UnavailableError(f"{shown(request.url)}: nobody answers: {error.message}") from error
        except EngineBrokenError as error:
            raise UnavailableError(f"{shown(request.url)}: no reply: {error.message}") from error
        try:
            arriving = _Arriving(request.limit_bytes, self.monotonic_s)
            await _read(request, response, arriving)
            ended_s = self.monotonic_s()
            return HttpReply(
                response.status,
                dict(response.headers),
                arriving.body(),
                ((arriving.first_s or ended_s) - started_s) * 1000.0,
                (ended_s - started_s) * 1000.0,
            )
        finally:
            response.close()


@dataclass(slots=True)
class _Arriving:
    """A body as it comes."""

    limit_bytes: int
    monotonic_s: Callable[[], float]
    first_s: float = 0.0
    size: int = 0
    parts: list[bytes] = field(default_factory=list)

    def take(self, data: bytes) -> bool:
        """Keep a piece; False when it is one too many."""
        self.first_s = self.first_s or self.monotonic_s()
        self.size += len(data)
        if self.size > self.limit_bytes:
            self.parts.clear()
            return False
        self.parts.append(data)
        return True

    def body(self) -> bytes:
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


async def _read(request: HttpCall, response: EngineResponse, arriving: _Arriving) -> None:
    status = response.status
    try:
        await response.pour(arriving.take)
    except EngineBrokenError as error:
        message = f"{shown(request.url)}: the answer was cut off after {arriving.size} bytes: {error.message}"
        raise UpstreamError(message, status=status) from error
    if arriving.size > request.limit_bytes:
        raise UpstreamError(f"{shown(request.url)}: {too_large(request.limit_bytes)}", status=status)


def too_large(limit_bytes: int) -> str:
    """Return what is said of an answer over the limit."""
    return f"answer larger than {limit_bytes:,} bytes"


def shown(url: str) -> str:
    """Return an address as errors show it: without its query, which may hold a question or more."""
    return url.partition("?")[0]
