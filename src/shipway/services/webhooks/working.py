"""Working through the queue: one run after the other, or several of different branches at once.

A commit runs when it is what its branch points to at that moment. A receiver that ends while runs are under way leaves
them marked as interrupted; the next one runs them again, once.
"""

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import anyio
from anyio.abc import TaskGroup

from shipway.core.errors import ShipwayError, StoreError, UnavailableError
from shipway.pipeline.webhooks.model import WAITING, Entry, EntryState
from shipway.pipeline.webhooks.ports import CheckedOut, Checkouts, Ended, NotTheTip, RunProcess
from shipway.services.webhooks.queue import RunQueue
from shipway.services.webhooks.telling import Note, Sleep, Teller

_MOST_ATTEMPTS = 2
_FETCH_DELAYS_S = (2.0, 10.0, 60.0)
_LOOK_S = 0.5
_STATES = {0: EntryState.PASSED, 1: EntryState.FAILED, 4: EntryState.UNDECIDED}
ChangedParts = Callable[[Path, tuple[str, ...]], tuple[str, ...] | None]
"""Returns the parts of the release that files of the project, which changed, belong to; None for: any may have."""
Lend = Callable[[Entry, Path], Awaitable[None]]
"""Gives a checkout what earlier runs of its branch left for it."""
Tidy = Callable[[Collection[str]], Awaitable[None]]
"""Removes what belongs to none of these entries."""


async def _nothing(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class WorkParts:
    """What runs are done with; `folder` is the project's inside the repository."""

    checkouts: Checkouts
    processes: RunProcess
    teller: Teller
    note: Note
    folder: str = "."
    kept_checkouts: int = 5
    changed_parts: ChangedParts = field(default=lambda _root, _files: None)
    lend: Lend = _nothing
    tidy: Tidy = _nothing
    sleep: Sleep = anyio.sleep


class Worker:
    """Runs what the queue has; `parallel` runs of different refs at once."""

    def __init__(self, queue: RunQueue, parts: WorkParts, *, parallel: int = 1) -> None:
        self._queue = queue
        self._parts = parts
        self._parallel = parallel
        self._running: dict[str, anyio.CancelScope] = {}
        self._ended_by: dict[str, tuple[EntryState, str]] = {}
        self._comparing: set[str] = set()

    async def run(self, stop: anyio.Event) -> None:
        """Work until `stop`; then what runs is ended and marked."""
        await self._take_up()
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch_cancellations)
            group.start_soon(self._begin_all, group)
            await stop.wait()
            group.cancel_scope.cancel()

    async def _take_up(self) -> None:
        """Mark what an earlier receiver was running when it ended."""
        for entry in self._queue.entries():
            if entry.state is EntryState.RUNNING:
                await self._interrupted(entry)

    async def _interrupted(self, entry: Entry) -> None:
        if entry.attempts < _MOST_ATTEMPTS:
            found = await self._queue.update(entry.id, state=EntryState.INTERRUPTED, reason="the receiver ended")
        else:
            reason = f"the receiver ended {entry.attempts} times while it ran"
            found = await self._queue.update(entry.id, state=EntryState.ERROR, reason=reason)
        self._parts.teller.tell(found)

    async def _begin_all(self, group: TaskGroup) -> None:
        while True:
            self._queue.looked()
            for entry in self._queue.entries():
                self._parts.teller.tell(entry)
                # One that was begun a moment ago may still be stored as waiting.
                if entry.state in WAITING and entry.id not in self._running:
                    self._begin(group, entry)
            await self._queue.wait()

    def _begin(self, group: TaskGroup, entry: Entry) -> None:
        older = next((other for other in self._running if self._queue.get(other).ref == entry.ref), "")
        if older and entry.cancels and entry.id not in self._comparing:
            self._comparing.add(entry.id)
            group.start_soon(self._replace, older, entry)
        if not older and len(self._running) < self._parallel:
            self._running[entry.id] = anyio.CancelScope()
            group.start_soon(self._one, entry.id)

    async def _replace(self, older: str, entry: Entry) -> None:
        """End the run of an older commit; an old request that somebody sent again must not end that of the newest."""
        try:
            tip = await self._parts.checkouts.tip(entry)
        except ShipwayError:
            # The older one goes on, and this one's turn comes after it.
            return
        if tip == entry.commit and older in self._running:
            self._end(older, EntryState.SUPERSEDED, f"a newer commit: {entry.id}")

    def _end(self, entry_id: str, state: EntryState, reason: str) -> None:
        self._ended_by.setdefault(entry_id, (state, reason))
        self._running[entry_id].cancel()

    async def _one(self, entry_id: str) -> None:
        scope = self._running[entry_id]
        try:
            with scope:
                await self._attempt(entry_id)
        except StoreError as error:
            # It stays as it is stored, and the next receiver takes it up.
            self._parts.note("webhook_run_not_stored", run=entry_id, error=error.message)
        finally:
            with anyio.CancelScope(shield=True):
                await self._settle(entry_id)
        self._queue.changed.set()

    async def _settle(self, entry_id: str) -> None:
        """Give a run that was cut off the state that it was cut off for."""
        try:
            await self._settled(entry_id)
        except StoreError as error:
            self._parts.note("webhook_run_not_stored", run=entry_id, error=error.message)
        finally:
            del self._running[entry_id]
            self._comparing.discard(entry_id)

    async def _settled(self, entry_id: str) -> None:
        ended_by = self._ended_by.pop(entry_id, None)
        entry = self._queue.get(entry_id)
        if entry.state is EntryState.RUNNING or (ended_by and entry.state in WAITING):
            if ended_by is None:
                await self._interrupted(entry)
            else:
                self._tell(await self._queue.update(entry_id, state=ended_by[0], reason=ended_by[1]))

    async def _attempt(self, entry_id: str) -> None:
        before = self._queue.get(entry_id)
        entry = await self._queue.update(
            entry_id,
            state=EntryState.RUNNING,
            attempts=before.attempts + 1,
            reason="",
            started_at_s=self._queue.now_s(),
        )
        self._tell(entry)
        try:
            found = await self._checked_out(entry)
            if isinstance(found, NotTheTip):
                self._tell(await self._queue.supersede(entry_id, found.tip))
                return
            root = self._root(found)
            await self._parts.lend(entry, root)
            ended = await self._parts.processes.run(entry, self._arguments(entry, found, root))
        except ShipwayError as error:
            if isinstance(error, StoreError):
                raise
            self._tell(await self._queue.update(entry_id, state=EntryState.ERROR, reason=error.message))
            return
        await self._note_end(entry, ended)

    async def _note_end(self, entry: Entry, ended: Ended) -> None:
        code = ended.exit_code
        state = EntryState.ERROR if code is None else _STATES.get(code, EntryState.ERROR)
        if state is EntryState.PASSED:
            await self._queue.note_tested(entry.ref, entry.commit)
        reason = "" if state is EntryState.PASSED else ended.how
        self._tell(await self._queue.update(entry.id, state=state, exit_code=code, reason=reason))
        ids = [found.id for found in self._queue.entries() if found.attempts]
        kept = {*ids[len(ids) - self._parts.kept_checkouts :], *self._running}
        await self._parts.checkouts.remove_all_but(kept)
        await self._parts.tidy({found.id for found in self._queue.entries()})

    async def _checked_out(self, entry: Entry) -> CheckedOut | NotTheTip:
        base = "" if entry.event != "push" else await self._queue.tested(entry.ref)
        for delay_s in _FETCH_DELAYS_S:
            try:
                return await self._parts.checkouts.make(entry, base)
            except UnavailableError:
                await self._parts.sleep(delay_s)
        return await self._parts.checkouts.make(entry, base)

    def _root(self, found: CheckedOut) -> Path:
        root = (found.folder / self._parts.folder).resolve()
        if not root.is_relative_to(found.folder.resolve()):
            raise UnavailableError(f"{self._parts.folder} of the repository leads out of it through a link")
        return root

    def _arguments(self, entry: Entry, found: CheckedOut, root: Path) -> list[str]:
        changed = None
        if found.changed_files is not None:
            inside = (_inside(self._parts.folder, path) for path in found.changed_files)
            changed = self._parts.changed_parts(root, tuple(path for path in inside if path))
        return [
            f"--project={root}",
            f"--event={entry.event}",
            f"--branch={entry.branch}",
            *([] if changed is None else [f"--changed={','.join(changed)}"]),
            *entry.arguments,
        ]

    def _tell(self, entry: Entry) -> None:
        self._parts.teller.tell(entry)
        self._parts.note("webhook_run", run=entry.id, state=entry.state.value, ref=entry.ref, reason=entry.reason)

    async def _watch_cancellations(self) -> None:
        while True:
            with suppress(StoreError):
                await self.obey_cancellations()
            await self._parts.sleep(_LOOK_S)

    async def obey_cancellations(self) -> None:
        """Cancel the runs that somebody asked to have cancelled."""
        for entry_id in await self._queue.cancellations():
            if entry_id in self._running:
                self._end(entry_id, EntryState.CANCELLED, "cancelled by hand")
            elif self._queue.get(entry_id).state in WAITING:
                found = await self._queue.update(entry_id, state=EntryState.CANCELLED, reason="cancelled by hand")
                self._tell(found)


def _inside(folder: str, path: str) -> str:
    """Return a path of the repository relative to the project's folder; empty for one outside of it."""
    parts, prefix = PurePosixPath(path).parts, PurePosixPath(folder).parts
    return "/".join(parts[len(prefix) :]) if parts[: len(prefix)] == prefix else ""
