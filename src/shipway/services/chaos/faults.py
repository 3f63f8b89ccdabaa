"""The faults: each says beforehand what must be undone, is made, and is taken away again."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from shipway.chaos.journal import Undo
from shipway.core.errors import ConflictError
from shipway.services.chaos.ports import Lock, Processes, Proxy

Process = tuple[int, int]
"""A pid and when it started."""
Redirect = Callable[[Mapping[str, str]], Awaitable[None]]
"""Lets gateways ask engines at other addresses; returns when they do."""


@dataclass(slots=True)
class EngineFault:
    """An engine behind a proxy that answers with errors or late."""

    experiment: str
    alias: str
    engines: Mapping[str, str]
    proxy: Proxy
    redirect: Redirect
    fails: bool = False
    delay_s: float = 0.0
    share: float = 1.0

    @property
    def undo(self) -> Undo:
        """Return the addresses that gateways ask now."""
        return Undo(self.experiment, engines=dict(self.engines))

    async def prepare(self) -> None:
        """Put the proxy between gateway and engine."""
        address = await self.proxy.start()
        await self.redirect({**self.engines, self.alias: address})

    async def inject(self) -> None:
        """Let it fail."""
        self.proxy.break_it(fails=self.fails, delay_s=self.delay_s, share=self.share)

    async def remove(self) -> None:
        """Let it pass everything on."""
        self.proxy.mend()

    async def clean(self) -> None:
        """Let gateways ask the engine itself again."""
        try:
            await self.redirect(self.engines)
        finally:
            await self.proxy.stop()


@dataclass(slots=True)
class StoppedProcesses:
    """Processes that stand still: they take connections and answer nothing."""

    experiment: str
    processes: Processes
    targets: Sequence[Process]

    @property
    def undo(self) -> Undo:
        """Return the processes that must go on."""
        return Undo(self.experiment, resume=tuple(self.targets))

    async def prepare(self) -> None:
        """Need nothing."""

    async def inject(self) -> None:
        """Stop them."""
        for pid, started in self.targets:
            self.processes.stop(pid, started)

    async def remove(self) -> None:
        """Let them go on."""
        for pid, started in self.targets:
            self.processes.resume(pid, started)

    async def clean(self) -> None:
        """Leave nothing behind."""


@dataclass(slots=True)
class KilledProcess:
    """A process that is ended at once; the supervisor starts it again, so that there is nothing to undo."""

    experiment: str
    processes: Processes
    target: Process

    @property
    def undo(self) -> Undo:
        """Return nothing."""
        return Undo(self.experiment)

    async def prepare(self) -> None:
        """Need nothing."""

    async def inject(self) -> None:
        """End it."""
        self.processes.kill(*self.target)

    async def remove(self) -> None:
        """Leave it to the supervisor."""

    async def clean(self) -> None:
        """Leave nothing behind."""


@dataclass(slots=True)
class FullDisk:
    """Processes whose files cannot grow: every write fails, as on a full disk (EFBIG, not ENOSPC)."""

    experiment: str
    processes: Processes
    targets: Sequence[Process]
    _before: tuple[tuple[int, int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Remember the limits in force."""
        self._before = tuple((pid, started, self.processes.file_size_limit(pid)) for pid, started in self.targets)

    @property
    def undo(self) -> Undo:
        """Return the limits that were in force."""
        return Undo(self.experiment, file_sizes=self._before)

    async def prepare(self) -> None:
        """Need nothing."""

    async def inject(self) -> None:
        """Let no file grow.

        Raises:
            ConflictError: a process ended meanwhile.
        """
        for pid, started in self.targets:
            if not self.processes.limit_file_size(pid, started, 0):
                raise ConflictError(f"process {pid} ended meanwhile")

    async def remove(self) -> None:
        """Set the limits back."""
        for pid, started, soft in self._before:
            self.processes.limit_file_size(pid, started, soft)

    async def clean(self) -> None:
        """Leave nothing behind."""


@dataclass(slots=True)
class LockedStore:
    """A store that nobody can write to; the lock falls with this process."""

    experiment: str
    lock: Lock

    @property
    def undo(self) -> Undo:
        """Return nothing."""
        return Undo(self.experiment)

    async def prepare(self) -> None:
        """Need nothing."""

    async def inject(self) -> None:
        """Take the lock."""
        await self.lock.take()

    async def remove(self) -> None:
        """Give it back."""
        await self.lock.release()

    async def clean(self) -> None:
        """Leave nothing behind."""
