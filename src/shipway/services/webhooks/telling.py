"""Telling GitHub and GitLab how runs stand: in order, again after a failure, and never in the way of the queue."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio

from shipway.core.errors import StoreError, UnavailableError, UpstreamError
from shipway.pipeline.webhooks.model import Entry, EntryState
from shipway.pipeline.webhooks.ports import StatusSenders
from shipway.services.webhooks.queue import RunQueue

_DELAYS_S = (2.0, 10.0, 60.0, 300.0)
_MOST_WAITING = 1000
_SERVER_ERROR, _TOO_MANY = 500, 429
_TEXTS = {
    EntryState.QUEUED: "waits for its turn",
    EntryState.INTERRUPTED: "was interrupted and runs again",
    EntryState.RUNNING: "runs",
    EntryState.PASSED: "passed",
    EntryState.FAILED: "failed",
    EntryState.UNDECIDED: "could not be decided",
    EntryState.ERROR: "could not be done",
    EntryState.SUPERSEDED: "was superseded by a newer commit",
    EntryState.CANCELLED: "was cancelled",
}
Sleep = Callable[[float], Awaitable[None]]
Note = Callable[..., None]


class Teller:
    """Reports the states of entries; only the newest state of an entry is worth a request."""

    def __init__(self, queue: RunQueue, senders: StatusSenders, note: Note, sleep: Sleep = anyio.sleep) -> None:
        self._queue = queue
        self._senders = senders
        self._note = note
        self._sleep = sleep
        self._waiting: dict[str, None] = {}
        self._lost: dict[str, str] = {}
        self._new = anyio.Event()

    def tell(self, entry: Entry) -> None:
        """Have the state of an entry reported, if it is not yet; returns at once."""
        done = entry.state.value in {entry.told, self._lost.get(entry.id)}
        if not done and entry.provider in self._senders and len(self._waiting) < _MOST_WAITING:
            self._waiting[entry.id] = None
            self._new.set()

    async def run(self) -> None:
        """Report until cancelled; what an earlier receiver had not reported comes first."""
        for entry in self._queue.entries():
            self.tell(entry)
        while True:
            await self._new.wait()
            self._new = anyio.Event()
            while self._waiting:
                entry_id = next(iter(self._waiting))
                del self._waiting[entry_id]
                with suppress(KeyError):
                    await self._report(entry_id)

    async def _report(self, entry_id: str) -> None:
        error = ""
        for delay_s in (0.0, *_DELAYS_S):
            await self._sleep(delay_s)
            # Looked at again each time: what it was a minute ago nobody wants to know.
            entry = self._queue.get(entry_id)
            if entry.told == entry.state:
                return
            try:
                await self._senders[entry.provider].send(entry, f"{_TEXTS[entry.state]} ({entry.id})")
            except (UnavailableError, UpstreamError) as failed:
                error = failed.message
                self._lost[entry_id] = entry.state.value
                if isinstance(failed, UpstreamError) and not _may_pass(failed.status):
                    break
                continue
            self._lost.pop(entry_id, None)
            with suppress(StoreError):
                await self._queue.update(entry_id, told=entry.state.value)
            return
        self._note("webhook_status_lost", run=entry_id, error=error)


def _may_pass(status: int) -> bool:
    return status >= _SERVER_ERROR or status == _TOO_MANY
