"""A rolling restart of the gateway's workers: `shipway restart` asks for it, the supervisor does it and tells.

Question and answer are two files in `.shipway/run`. The supervisor deletes the question when it takes it, so that one
that nobody took does not restart anything later.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup

from shipway.core.errors import ConflictError, NotFoundError, UnavailableError
from shipway.core.ids import ulid
from shipway.operations.rolling import Rolled, roll
from shipway.operations.supervision import Supervisor
from shipway.services.running import Running, read_json, write_json

_QUESTION = "restart.json"
_ANSWER = "restarted.json"
_POLL_S = 0.1
_TAKEN_WITHIN_S = 10.0
_LOG_LINES = 12


@dataclass(frozen=True, slots=True)
class RestartCommand:
    """The side of the command line."""

    running: Running

    async def restart(self, *, within_s: float, tell: Callable[[str], None]) -> Rolled:
        """Have every gateway worker replaced and return when the former ones have ended.

        `within_s` is what each new worker has until it must serve.

        Raises:
            ConflictError: another restart is under way.
            NotFoundError: nothing runs.
            UnavailableError: a new worker did not serve, or the supervisor does not answer.
        """
        run = self.running.workspace.run
        if not self.running.is_running():
            raise NotFoundError("nothing is running here", hint="start it with `shipway up`")
        lock = self.running.host.lock(run / "restarting.lock")
        if lock is None:
            raise ConflictError("another `shipway restart` is under way", hint="wait for it to end")
        try:
            return await self._ask(run, within_s, tell)
        finally:
            (run / _QUESTION).unlink(missing_ok=True)
            self.running.host.unlock(lock)

    async def _ask(self, run: Path, within_s: float, tell: Callable[[str], None]) -> Rolled:
        logs = {path: path.stat().st_size for path in self.running.workspace.logs.glob("gateway*.log")}
        name = ulid(self.running.clock.now_s())
        write_json(run / _QUESTION, {"id": name, "within_s": within_s})
        taken_until_s = self.running.clock.monotonic_s() + _TAKEN_WITHIN_S
        told = 0
        while True:
            answer = read_json(run / _ANSWER) or {}
            if answer.get("id") == name:
                for line in answer["lines"][told:]:
                    tell(line)
                told = len(answer["lines"])
                if answer["state"] != "rolling":
                    return _outcome(answer, logs)
            elif self.running.clock.monotonic_s() > taken_until_s:
                raise UnavailableError(
                    f"the supervisor did not take the order within {_TAKEN_WITHIN_S:g} s; nothing was restarted",
                    hint="`shipway logs supervisor` may say why; one that an older Shipway started cannot do it",
                )
            if not self.running.is_running():
                raise UnavailableError("the supervisor ended meanwhile", hint="`shipway status` shows what runs")
            await self.running.sleep(_POLL_S)


def _outcome(answer: dict[str, Any], logs: dict[Path, int]) -> Rolled:
    if answer["state"] == "done":
        return Rolled(tuple(answer["replaced"]), tuple(answer["killed"]))
    if answer["state"] == "busy":
        raise ConflictError(answer["problem"], hint="wait for it to end; `shipway status` shows who is leaving")
    said = "\n".join("  " + line for path, size in logs.items() for line in _said(path, size)) or "  (nothing)"
    raise UnavailableError(answer["problem"], hint=f"it said:\n{said}")


def _said(log: Path, after_bytes: int) -> list[str]:
    """Return what was logged since that is not the line of a request: those of the others stand in between."""
    with log.open("rb") as file:
        # A file that is shorter now was begun anew.
        file.seek(after_bytes if after_bytes <= file.seek(0, os.SEEK_END) else 0)
        text = file.read().decode(errors="replace")
    return [line for line in text.splitlines() if line and not line.startswith("{")][-_LOG_LINES:]


@dataclass(slots=True)
class RestartDesk:
    """The side of the supervisor; `look` is called with every tick, `close` before everything is stopped.

    `names` are the workers that can be replaced, none when the supervisor has no sockets to hand over.
    """

    run: Path
    supervisor: Supervisor
    names: Sequence[str]
    _rolling: anyio.CancelScope | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Forget what was asked of an earlier supervisor."""
        (self.run / _QUESTION).unlink(missing_ok=True)

    def look(self, group: TaskGroup) -> None:
        """Take an order if there is one."""
        question = read_json(self.run / _QUESTION)
        if question is None:
            return
        (self.run / _QUESTION).unlink(missing_ok=True)
        name, within_s = str(question.get("id")), question.get("within_s")
        if self._rolling is not None:
            self._answer(name, "busy", [], problem="a restart is under way already")
        elif not self.names:
            self._answer(name, "failed", [], problem="this supervisor was not started by `shipway up`")
        elif isinstance(within_s, int | float):
            self._rolling = anyio.CancelScope()
            group.start_soon(self._roll, name, float(within_s), group, name="roll")

    def close(self) -> None:
        """Stop a restart that is under way; what was not replaced yet stays."""
        if self._rolling is not None:
            self._rolling.cancel()

    async def _roll(self, name: str, within_s: float, group: TaskGroup) -> None:
        lines: list[str] = []

        def tell(line: str) -> None:
            lines.append(line)
            self._answer(name, "rolling", lines)

        self._answer(name, "rolling", lines)
        try:
            with cast("anyio.CancelScope", self._rolling):
                done = await roll(self.supervisor, self.names, group, within_s=within_s, tell=tell)
                self._answer(name, "done", lines, replaced=done.replaced, killed=done.killed)
        except UnavailableError as error:
            self._answer(name, "failed", lines, problem=error.message)
        finally:
            self._rolling = None

    def _answer(self, name: str, state: str, lines: Sequence[str], **more: object) -> None:
        # A full disk must not end what runs; the command says that it heard nothing.
        with contextlib.suppress(OSError):
            write_json(self.run / _ANSWER, {"id": name, "state": state, "lines": list(lines), **more})
