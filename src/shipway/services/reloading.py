"""`shipway reload`: another configuration for every gateway worker of this machine, or for none.

First every worker builds what it would serve with beside what it serves with now; only when all of them could, they are
told to swap. The other side is `services.config_follower`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio

from shipway.core.clock import Clock
from shipway.core.errors import ConfigError, ConflictError, NotFoundError, UnavailableError
from shipway.services.config_board import ConfigBoard, Orders, WorkerAnswer

_POLL_S = 0.01
_CONFIRM_S = 10.0


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What happened: the workers that obey, the seconds from the order to the last of them, of these the swap's own.

    The keys are those of `config.changes.Changes`.
    """

    revision: int
    workers: tuple[str, ...]
    obeyed_s: float
    swapped_s: float
    changed: tuple[str, ...]
    at_restart: tuple[str, ...]
    at_start: tuple[str, ...]
    with_release: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReloadCommand:
    """The side of the command line.

    `check` raises what is wrong with the files of a folder; `note` writes the audit log before the swap.
    """

    board: ConfigBoard
    root: Path
    environment: str
    clock: Clock
    check: Callable[[Path], Awaitable[object]]
    note: Callable[[int, Mapping[str, WorkerAnswer]], Awaitable[None]]
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    async def reload(self, *, within_s: float) -> Reloaded:
        """Let every worker obey the project file as it is now; `within_s` is what each has to prepare itself.

        Raises:
            ConfigError: the file is wrong; nothing was changed.
            ConflictError: another reload goes on.
            NotFoundError: no gateway runs.
            UnavailableError: a worker cannot serve by it, so none does; or one did not confirm.
        """
        lock = await self._locked(within_s)
        try:
            return await self._reload(within_s)
        finally:
            self.board.unlock(lock)

    async def _locked(self, within_s: float) -> int:
        end_s = self.clock.monotonic_s() + within_s
        while True:
            lock = self.board.lock()
            if lock is not None:
                return lock
            if self.clock.monotonic_s() > end_s:
                raise ConflictError("another `shipway reload` goes on", hint="wait for it to end, then try again")
            await self.sleep(_POLL_S)

    async def _reload(self, within_s: float) -> Reloaded:
        before = self.board.orders().committed
        revision = self.board.publish(self.root, self.environment)
        try:
            await self.check(self.board.files(revision))
            require_gateway(self.board)
            started_s = self.clock.monotonic_s()
            self.board.give(Orders(before, revision, revision))
            answers = await self._prepared(revision, within_s)
            await self.note(revision, answers)
        except BaseException:
            # Whoever has built something beside what it serves with drops it.
            self.board.give(Orders(before, 0, revision))
            self.board.drop(revision)
            raise
        swap_s = self.clock.monotonic_s()
        self.board.give(Orders(revision, 0, revision))
        workers = await self._confirmed(revision)
        end_s = self.clock.monotonic_s()
        return Reloaded(
            revision,
            workers,
            round(end_s - started_s, 3),
            round(end_s - swap_s, 3),
            *(_all(answers, name) for name in ("now", "at_restart", "at_start", "with_release")),
        )

    async def _prepared(self, revision: int, within_s: float) -> Mapping[str, WorkerAnswer]:
        """Return what the workers answered when all that live could prepare themselves."""
        end_s = self.clock.monotonic_s() + within_s
        while True:
            living = self.board.living()
            answers = {name: said for name, said in living.items() if said is not None and said.answered == revision}
            refused = {name: said.problem for name, said in answers.items() if said.problem}
            if refused:
                told = [f"{_shown(name)} cannot serve by it: {problem}" for name, problem in refused.items()]
                raise UnavailableError("nothing was changed; " + "; ".join(told), hint="`shipway logs` says more")
            if living and len(answers) == len(living):
                return answers
            if not living:
                raise UnavailableError("nothing was changed; the gateway ended meanwhile", hint="`shipway status`")
            if self.clock.monotonic_s() > end_s:
                silent = ", ".join(_shown(name) for name in living if name not in answers)
                message = f"nothing was changed; {silent} did not prepare within {within_s:g} s"
                raise UnavailableError(message, hint="a larger --timeout gives it longer; `shipway logs` says more")
            await self.sleep(_POLL_S)

    async def _confirmed(self, revision: int) -> tuple[str, ...]:
        """Return the workers when all that live serve by a revision."""
        end_s = self.clock.monotonic_s() + _CONFIRM_S
        while True:
            living = self.board.living()
            lagging = {name: said for name, said in living.items() if said is None or said.revision != revision}
            if not lagging:
                return tuple(living)
            if self.clock.monotonic_s() > end_s:
                told = [f"{_shown(name)} ({said.problem if said else ''})" for name, said in lagging.items()]
                message = f"revision {revision} is in force, but {', '.join(told)} does not obey it yet"
                raise UnavailableError(message, hint="it goes on trying; `shipway logs` says why")
            await self.sleep(_POLL_S)


def require_gateway(board: ConfigBoard) -> None:
    """Raise a NotFoundError when no gateway worker lives."""
    if not board.living():
        raise NotFoundError("no gateway runs here", hint="the file is valid; `shipway up` starts with it")


def config_problem(error: Exception) -> str:
    """Return what a worker says of a configuration that it cannot serve by, in one line."""
    if isinstance(error, ConfigError):
        return "; ".join(error.problems)
    return str(getattr(error, "message", "")) or f"{type(error).__name__}: {error}"


def _all(answers: Mapping[str, WorkerAnswer], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for said in answers.values() for key in getattr(said, name)))


def _shown(name: str) -> str:
    """Return a worker's name without its process id."""
    return name.rpartition("-")[0] or name
