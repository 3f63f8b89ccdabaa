"""How long one call to an engine may take: the whole, the first token, and each pause in a stream."""

import asyncio
from types import TracebackType
from typing import Self

from shipway.core.errors import DeadlineError
from shipway.gateway.replies import RefusedError


class Patience:
    """A timeout that moves while a reply arrives.

    Waiting for a client that reads slowly is bounded by the deadline alone and is never the engine's fault.
    """

    def __init__(self, *, deadline_s: float, first_s: float, idle_s: float) -> None:
        self._end_s = asyncio.get_running_loop().time() + deadline_s
        self._idle_s = idle_s
        self._reason = "no first token in time"
        self._client_reads = False
        self._due_s = min(self._end_s, self._end_s - deadline_s + first_s)
        self._timeout = asyncio.timeout_at(self._due_s)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as timeout:
            if self.client_slow:
                raise RefusedError(408, "the client read too slowly", code="client_too_slow") from timeout
            raise DeadlineError(self._reason) from timeout

    @property
    def client_slow(self) -> bool:
        """Return whether time is being spent on a client that reads slowly."""
        return self._client_reads

    def heard(self) -> None:
        """Start the next pause: the engine has just sent something."""
        now_s = asyncio.get_running_loop().time()
        self._reason = "the engine fell silent in the middle of its answer"
        self._due_s = min(self._end_s, now_s + self._idle_s)

    def for_client(self) -> None:
        """Wait for the client until the deadline."""
        self._client_reads = True
        self._timeout.reschedule(self._end_s)

    def for_engine(self) -> None:
        """Wait for the engine again."""
        self._client_reads = False
        self._timeout.reschedule(self._due_s)
