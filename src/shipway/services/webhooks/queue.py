"""The queue of runs: what is in it survives the receiver, and what was taken once is not taken again.

One process writes it (the receiver, which holds a lock); others read it and ask for cancellations. Documents:

    pipeline_queue/ID      a run: waiting, running or one of the last that ended
    pipeline_seen/MARK     by what a taken request is known again, until it is old
    pipeline_cancel/ID     somebody asked for the end of a run
    pipeline_tested/REF    the last commit of a branch whose run passed
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio

from shipway.core.clock import Clock
from shipway.core.errors import ConflictError, NotFoundError
from shipway.core.ports import DocumentStore
from shipway.pipeline.webhooks.model import LIVE, WAITING, Entry, EntryState

QUEUE, CANCEL = "pipeline_queue", "pipeline_cancel"
_SEEN, _TESTED = "pipeline_seen", "pipeline_tested"
_KEPT_ENDED = 200
_MOST_SEEN = 20_000
_ALL = 100_000


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a run that was to be queued."""

    entry_id: str
    """Empty when the queue is full."""
    known: bool = False
    """The request was taken before, or its commit is under way."""


class RunQueue:
    """The queue of one project; `open` reads it."""

    def __init__(self, documents: DocumentStore, clock: Clock, *, max_queued: int, remember_s: float) -> None:
        self._documents = documents
        self._clock = clock
        self._max_queued = max_queued
        self._remember_s = remember_s
        self._entries: dict[str, Entry] = {}
        self._seen: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._lock = anyio.Lock()
        self.changed = anyio.Event()
        """Set when something may be done; replaced by `wait`."""

    @classmethod
    async def open(cls, documents: DocumentStore, clock: Clock, *, max_queued: int, remember_s: float) -> "RunQueue":
        """Read the queue of a project."""
        queue = cls(documents, clock, max_queued=max_queued, remember_s=remember_s)
        for entry in await stored_entries(documents):
            queue._entries[entry.id] = entry
        for mark, body, _ in await documents.list(_SEEN, limit=_ALL):
            queue._seen[mark] = (body["at_s"], body["entry"])
        # A process that was killed between the run and the marks of its request.
        for entry in queue._entries.values():
            await queue._remember(entry)
        return queue

    def now_s(self) -> float:
        """Return the time that entries are stamped with."""
        return self._clock.now_s()

    def entries(self) -> list[Entry]:
        """Return all entries, oldest first."""
        return sorted(self._entries.values(), key=lambda entry: entry.id)

    def get(self, entry_id: str) -> Entry:
        """Return an entry as it is now."""
        return self._entries[entry_id]

    def count(self, states: Collection[EntryState]) -> int:
        """Return how many entries are in one of the states."""
        return sum(entry.state in states for entry in self._entries.values())

    async def add(self, entry: Entry) -> Added:
        """Queue a run; when this returns, the death of the process does not lose it.

        Older waiting runs of the same ref are superseded.

        Raises:
            StoreError: it cannot be stored.
        """
        async with self._lock:
            known = self._known(entry)
            if known:
                return Added(known, known=True)
            older = [found for found in self.entries() if found.ref == entry.ref and found.state in WAITING]
            if self.count(WAITING) - len(older) >= self._max_queued:
                return Added("")
            # First: a mark that is too old to count would stand in the way of the same one now.
            await self._forget()
            await self._documents.put(QUEUE, entry.id, entry.to_dict(), expected_version=0)
            self._entries[entry.id] = entry
            await self._remember(entry)
            for found in older:
                await self._change(found, state=EntryState.SUPERSEDED, reason=f"a newer commit: {entry.id}")
        self._tell()
        return Added(entry.id)

    async def update(self, entry_id: str, **changes: Any) -> Entry:
        """Change an entry and return it; an entry that ends gets its time."""
        async with self._lock:
            changed = await self._change(self._entries[entry_id], **changes)
        self._tell()
        return changed

    async def supersede(self, entry_id: str, tip: str) -> Entry:
        """Note that a ref points to another commit than an entry's, and queue what that commit had waiting.

        An old request that somebody sends again, or two that arrive in the wrong order, would otherwise take the place
        of the newest.
        """
        async with self._lock:
            entry = self._entries[entry_id]
            # This first: a receiver that is killed in between must not leave both superseded.
            for found in self.entries():
                waited = found.state is EntryState.SUPERSEDED and not found.attempts
                if waited and (found.ref, found.commit) == (entry.ref, tip) and not self._live(entry.ref, tip):
                    await self._change(found, state=EntryState.QUEUED, reason="", ended_at_s=0.0)
            reason = f"the ref points to {tip[:12]} now" if tip else "the ref is gone"
            changed = await self._change(entry, state=EntryState.SUPERSEDED, reason=reason)
        self._tell()
        return changed

    async def tested(self, ref: str) -> str:
        """Return the last commit of a ref whose run passed; empty without one."""
        found = await self._documents.get(_TESTED, ref)
        return str(found[0]["commit"]) if found else ""

    async def note_tested(self, ref: str, commit: str) -> None:
        """Note that the run of a commit passed."""
        await self._documents.put(_TESTED, ref, {"commit": commit})

    async def cancellations(self) -> list[str]:
        """Return the ids that somebody wants to be cancelled, and take them off the list."""
        found = [key for key, _, _ in await self._documents.list(CANCEL)]
        for key in found:
            await self._documents.delete(CANCEL, key)
        return [key for key in found if key in self._entries]

    async def wait(self) -> None:
        """Wait until something changed since the last look."""
        await self.changed.wait()

    def looked(self) -> None:
        """Say that what has changed so far is seen."""
        self.changed = anyio.Event()

    def _tell(self) -> None:
        self.changed.set()

    def _live(self, ref: str, commit: str) -> str:
        live = (entry for entry in self.entries() if entry.state in LIVE)
        return next((entry.id for entry in live if (entry.ref, entry.commit) == (ref, commit)), "")

    def _known(self, entry: Entry) -> str:
        for mark in entry.marks:
            at_s, entry_id = self._seen.get(mark, (0.0, ""))
            if entry_id and at_s > self._clock.now_s() - self._remember_s:
                return entry_id
        return self._live(entry.ref, entry.commit)

    async def _change(self, entry: Entry, **changes: Any) -> Entry:
        if changes.get("state", EntryState.QUEUED) not in LIVE:
            changes.setdefault("ended_at_s", self._clock.now_s())
        changed = replace(entry, **changes)
        await self._documents.put(QUEUE, entry.id, changed.to_dict())
        self._entries[entry.id] = changed
        return changed

    async def _remember(self, entry: Entry) -> None:
        for mark in entry.marks:
            if mark not in self._seen:
                await self._documents.put(_SEEN, mark, {"at_s": entry.queued_at_s, "entry": entry.id})
                self._seen[mark] = (entry.queued_at_s, entry.id)

    async def _forget(self) -> None:
        oldest_s = self._clock.now_s() - self._remember_s
        while self._seen and (len(self._seen) > _MOST_SEEN or next(iter(self._seen.values()))[0] < oldest_s):
            mark = next(iter(self._seen))
            await self._documents.delete(_SEEN, mark)
            del self._seen[mark]
        ended = [entry for entry in self.entries() if entry.state not in LIVE]
        for entry in ended[:-_KEPT_ENDED]:
            await self._documents.delete(QUEUE, entry.id)
            del self._entries[entry.id]


async def stored_entries(documents: DocumentStore) -> list[Entry]:
    """Return the entries as they are stored, oldest first."""
    found = [Entry.from_dict(body) for _, body, _ in await documents.list(QUEUE, limit=_ALL)]
    return sorted(found, key=lambda entry: entry.id)


async def ask_to_cancel(documents: DocumentStore, wanted: str) -> Entry:
    """Ask the receiver to cancel a run, named by its id or the end of it.

    Raises:
        NotFoundError: there is none, or the end is that of several.
        ConflictError: it has ended.
    """
    entries: Sequence[Entry] = await stored_entries(documents)
    matching = [entry for entry in entries if wanted and entry.id.endswith(wanted.upper())]
    if len(matching) != 1:
        what = f"{len(matching)} runs end in" if matching else "there is no run"
        raise NotFoundError(f"{what} {wanted!r}", hint="`shipway pipeline queue` lists them")
    entry = matching[0]
    if entry.state not in LIVE:
        raise ConflictError(f"run {entry.id} has ended: {entry.state.value}", hint="`shipway pipeline queue` lists all")
    await documents.put(CANCEL, entry.id, {})
    return entry
