"""A gateway worker's side of `shipway reload`: prepare what is asked, swap when told, go on with the old if it fails.

The gateway process runs `ConfigFollower.run` beside its server; `entrypoints/gateway_table` builds and swaps.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from shipway.config.changes import Changes
from shipway.core.clock import Clock
from shipway.gateway.ports import EventNote
from shipway.services.config_board import ConfigBoard, WorkerAnswer
from shipway.services.reloading import config_problem

_LOOK_S = 0.05
_RETRY_S = 5.0


class Prepared(Protocol):
    """What a worker would serve with by one revision, ready beside what it serves with now."""

    @property
    def changes(self) -> Changes:
        """Return what it changes."""
        ...

    async def adopt(self) -> None:
        """Serve with it from the next request on."""
        ...

    async def discard(self) -> None:
        """Let go of it; it was never served with."""
        ...


Prepare = Callable[[int], Awaitable[Prepared]]


class ConfigFollower:
    """One worker's follower; `name` has its process id in it, because a successor may live beside its predecessor."""

    def __init__(  # noqa: PLR0913 - its ports; there is no smaller set
        self,
        board: ConfigBoard,
        name: str,
        revision: int,
        prepare: Prepare,
        *,
        clock: Clock,
        note: EventNote,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._board = board
        self._name = name
        self._prepare = prepare
        self._clock = clock
        self._note = note
        self._sleep = sleep
        self._said = WorkerAnswer(name, revision)
        self._ready: tuple[int, Prepared] | None = None
        self._failed: tuple[int, float] = (0, 0.0)
        self._told = ""

    async def run(self) -> None:
        """Follow until cancelled."""
        lock: int | None = None
        try:
            while True:
                try:
                    lock = await self._look(lock)
                except Exception as error:  # noqa: BLE001 - a folder that cannot be read must not end the worker
                    self._complain(error)
                await self._sleep(_LOOK_S)
        finally:
            if lock is not None:
                self._board.leave(self._name, lock)
            await self._drop()

    async def _look(self, lock: int | None) -> int | None:
        """Join, then follow; returns the lock that tells others that this worker lives."""
        if lock is not None:
            await self.tick()
            return lock
        lock = self._board.join(self._name)
        if lock is not None:
            await self._say(self._said)
        return lock

    def _complain(self, error: Exception) -> None:
        told = repr(error)
        if told != self._told:
            self._note("config_not_followed", error=told)
        self._told = told

    async def tick(self) -> None:
        """Look at the orders once and obey them."""
        orders = self._board.orders()
        if orders.committed and orders.committed != self._said.revision:
            await self._swap(orders.committed)
        elif orders.prepare and orders.prepare != self._said.answered:
            await self._make_ready(orders.prepare)
        elif self._ready is not None and self._ready[0] != orders.prepare:
            await self._drop()
        elif self._ready is not None and not self._board.is_commanded() and self._board.orders() == orders:
            # Whoever asked is gone, and did not put it into force before.
            await self._drop()

    async def _make_ready(self, revision: int) -> None:
        await self._drop()
        try:
            ready = await self._prepare(revision)
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on with what it has
            problem = config_problem(error)
            self._note("config_refused", revision=revision, error=problem)
            await self._say(WorkerAnswer(self._name, self._said.revision, revision, problem))
            return
        self._ready = (revision, ready)
        found = ready.changes
        told = (found.now, found.at_restart, found.at_start, found.with_release)
        await self._say(WorkerAnswer(self._name, self._said.revision, revision, "", *told))

    async def _swap(self, revision: int) -> None:
        """Serve by the revision in force; one that was not asked before, or could not, prepares itself now."""
        if self._ready is None or self._ready[0] != revision:
            if self._failed[0] == revision and self._clock.monotonic_s() - self._failed[1] < _RETRY_S:
                return
            await self._make_ready(revision)
            if self._ready is None:
                self._failed = (revision, self._clock.monotonic_s())
                return
        ready, self._ready = self._ready[1], None
        await ready.adopt()
        self._note("config_applied", revision=revision)
        await self._say(WorkerAnswer(self._name, revision, revision))

    async def _drop(self) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            await ready[1].discard()

    async def _say(self, said: WorkerAnswer) -> None:
        self._said = said
        try:
            await asyncio.to_thread(self._board.answer, self._name, said)
        except OSError as error:
            self._note("config_not_answered", error=repr(error))
