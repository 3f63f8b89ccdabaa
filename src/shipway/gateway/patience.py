"""How long one call to an engine may take: the whole, the first token, and each pause in a stream.

One timer of the loop minds all calls of a worker: a timer for each call would cost more than the call's other policies
together, and nobody sets these times to a hundredth of a second. Up to 64 calls are looked at every 20 ms; of more, a
part each time, so that the others do not wait for the look: a call then ends up to a third of a second late.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from shipway.core.errors import DeadlineError
from shipway.gateway.replies import RefusedError
from shipway.gateway.rounds import Rounds

TIMEOUT_HEADER = "x-request-timeout-ms"

_TICK_S = 0.02
_PARTS = 16
_SILENT = "the engine fell silent in the middle of its answer"
_LONGEST_TIMEOUT_DIGITS = 8


def asked_timeout_s(given: str | None) -> float | None:
    """Return how long a caller waits by its own header, None without one.

    Raises:
        RefusedError: 400, it is no whole number of milliseconds.
    """
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or not 0 < len(given) <= _LONGEST_TIMEOUT_DIGITS or not int(given):
        message = f"{TIMEOUT_HEADER} must be a whole number of milliseconds from 1"
        raise RefusedError(400, message, param=TIMEOUT_HEADER)
    return int(given) / 1000


class Timed(Protocol):
    """What has a time at which it is over: `wake_s`, monotonic."""

    wake_s: float

    def expire(self) -> None:
        """End it; the watch calls this once."""
        ...


class Watch:
    """Minds the time of a worker's calls while there are any."""

    def __init__(self) -> None:
        self._calls: set[Timed] = set()
        self._rounds = Rounds(self._calls, _PARTS)
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Timed) -> None:
        """Mind a call."""
        self._calls.add(call)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def discard(self, call: Timed) -> None:
        """Forget a call."""
        self._calls.discard(call)

    def _tick(self) -> None:
        if not self._calls:
            self._timer = None
            self._rounds = Rounds(self._calls, _PARTS)  # the old one may hold calls that have ended
            return
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        # First: one call that cannot be ended must not leave all others without a watch.
        self._timer = loop.call_later(_TICK_S, self._tick)
        for call in self._rounds.part():
            if call.wake_s <= now_s and call in self._calls:
                self._calls.discard(call)
                call.expire()


class Patience:
    """A timeout that moves while a reply arrives; one that `is_short` says nothing about the engine when it is over.

    Waiting for a client that reads slowly is bounded by the deadline alone and is never the engine's fault. `wake_s` is
    the loop's time at which it is over.
    """

    __slots__ = (
        "_client_reads",
        "_cut",
        "_due_s",
        "_end_s",
        "_expired",
        "_idle_s",
        "_loop",
        "_reason",
        "_task",
        "_watch",
        "is_short",
        "wake_s",
    )

    def __init__(self, watch: Watch, *, deadline_s: float, first_s: float, idle_s: float) -> None:
        self._watch = watch
        self.is_short = False
        self._loop = asyncio.get_running_loop()
        now_s = self._loop.time()
        self._end_s = now_s + deadline_s
        self._idle_s = idle_s
        self._reason = "no first token in time"
        self._client_reads = False
        self._expired = False
        self._task: asyncio.Task[object] | None = None
        self._cut: Callable[[], object] | None = None
        self._due_s = min(self._end_s, now_s + first_s)
        self.wake_s = self._due_s

    def begin(self) -> None:
        """Start to mind the call, which the present task makes."""
        self._task = asyncio.current_task(self._loop)
        self._cut = self._task.cancel if self._task is not None else None
        self._watch.add(self)

    def begin_without_task(self, cut: Callable[[], object]) -> None:
        """Start to mind a call that no task waits for; `cut` ends it."""
        self._cut = cut
        self._watch.add(self)

    def leave(self) -> None:
        """Stop to mind a call that no task waits for."""
        self._watch.discard(self)
        self._cut = None

    def over(self) -> DeadlineError:
        """Return what it means that the time is over."""
        return DeadlineError(self._reason)

    def end(self, error: BaseException | None) -> None:
        """Stop to mind the call, which ended with `error`.

        Raises:
            DeadlineError: it ended because its time was over.
            RefusedError: 408, its time was over while the client was reading.
        """
        self._watch.discard(self)
        if not self._expired or self._task is None:
            return
        # As `asyncio.timeout` does: when somebody else cancelled the task too, that cancellation goes on.
        if self._task.uncancel() <= 0 and isinstance(error, asyncio.CancelledError):
            if self._client_reads:
                raise RefusedError(408, "the client read too slowly", code="client_too_slow") from error
            raise self.over() from error

    @property
    def client_slow(self) -> bool:
        """Return whether time is being spent on a client that reads slowly."""
        return self._client_reads

    def heard(self) -> None:
        """Start the next pause, in which the engine is waited for: it has just sent something."""
        self._reason = _SILENT
        due_s = self._loop.time() + self._idle_s
        # For each piece of a stream; `min` takes three times as long.
        self._due_s = self.wake_s = due_s if due_s < self._end_s else self._end_s  # noqa: FURB136
        self._client_reads = False

    def for_client(self) -> None:
        """Wait for the client until the deadline."""
        self._client_reads = True
        self.wake_s = self._end_s

    def for_engine(self) -> None:
        """Wait for the engine again."""
        self._client_reads = False
        self.wake_s = self._due_s

    def expire(self) -> None:
        """End the call; the watch calls it, once."""
        self._expired = True
        if self._cut is not None:
            self._cut()
