"""Runs a stage's command in a process group of its own; implements `pipeline.ports.StageRunner`.

However an attempt ends — by itself, by timeout, by Ctrl-C — no process of its group is left when it returns. A process
that leaves the group on purpose (`setsid`) is not found again; one that only outlives its parent is.
"""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio

from shipway.core.errors import ShipwayError
from shipway.core.verdicts import Verdict
from shipway.pipeline.model import StageOutcome, StageSpec, exit_verdict
from shipway.pipeline.ports import StageContext
from shipway.pipeline.tail import OutputTail
from shipway.pipeline.visible import LARGEST_OUTPUT_BYTES, parse_outputs, results_document, visible_environment

_PR_SET_PDEATHSIG = 1
_READ_BYTES = 65_536
_POLL_S = 0.01
# SIGKILL cannot be refused; what is still listed after this is a zombie that its new parent does not collect.
_KILLED_S = 1.0


class LocalStageRunner:
    """Commands of this machine, with the project's folder as working directory.

    `environ` is where declared variables are taken from. Between SIGTERM and SIGKILL a group has `grace_s`.
    """

    def __init__(self, root: Path, environ: Mapping[str, str], *, grace_s: float = 5.0) -> None:
        self._root = root
        self._environ = environ
        self._grace_s = grace_s

    async def run(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        """Run the command once."""
        environment = visible_environment(stage, self._environ, context.results)
        async with anyio.TemporaryDirectory(prefix="shipway-stage-", ignore_cleanup_errors=True) as folder:
            outcome = await self._run_in(anyio.Path(folder), stage, context, environment)
        return outcome  # noqa: RET504 - within the block the type checker sees a way past it

    async def _run_in(
        self, folder: anyio.Path, stage: StageSpec, context: StageContext, environment: dict[str, str]
    ) -> StageOutcome:
        results, output = folder / "results.json", folder / "output.json"
        await results.write_text(results_document(context.results), encoding="utf-8")
        environment |= {
            "SHIPWAY_RESULTS": str(results),
            "SHIPWAY_OUTPUT": str(output),
            "SHIPWAY_RUN": context.run_id,
            "SHIPWAY_ATTEMPT": str(context.attempt),
        }
        argv = stage.run or ()
        try:
            code = await self._run(argv, environment, context.output)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            return StageOutcome(Verdict.ERROR, problem=f"cannot start {argv[0]!r}: {reason or error}")
        return await _outcome(code, output)

    async def _run(self, argv: tuple[str, ...], environment: Mapping[str, str], output: OutputTail) -> int:
        # A pipe of our own: it can be closed while a process that left the group still holds the other end.
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        try:
            try:
                process = await self._started(argv, environment, writing)
            finally:
                os.close(writing)
            return await self._watched(process, reading, output)
        finally:
            os.close(reading)

    async def _started(self, argv: tuple[str, ...], environment: Mapping[str, str], writing: int) -> Process:
        # Shielded: cut off between fork and return, nobody would know the process.
        with anyio.CancelScope(shield=True):
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=DEVNULL,
                stdout=writing,
                stderr=writing,
                cwd=self._root,
                env=environment,
                start_new_session=True,
                preexec_fn=_dying_with_parent(),
            )
        return process  # noqa: RET504 - within the block the type checker sees a way past it

    async def _watched(self, process: Process, reading: int, output: OutputTail) -> int:
        # Shielded: what the processes say on their way out is read too, and none of them blocks on a full pipe.
        draining, drained = anyio.CancelScope(shield=True), anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(_drain, reading, output, draining, drained)
            try:
                code = await process.wait()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._end_group(process)
                    # The group is gone, so the pipe is at its end unless somebody left the group with it.
                    with anyio.move_on_after(_KILLED_S):
                        await drained.wait()
                    draining.cancel()
        return code

    async def _end_group(self, process: Process) -> None:
        for number, patience_s in ((signal.SIGTERM, self._grace_s), (signal.SIGKILL, _KILLED_S)):
            if not _signal_group(process.pid, number):
                break
            with anyio.move_on_after(patience_s):
                # No event tells when the last process of a group has ended.
                while _signal_group(process.pid, 0):  # noqa: ASYNC110
                    await anyio.sleep(_POLL_S)
                break
        await process.wait()


async def _outcome(code: int, output: anyio.Path) -> StageOutcome:
    verdict = exit_verdict(code)
    try:
        outputs = parse_outputs(await _written(output))
    except (ShipwayError, OSError) as error:
        ended = f"{_how_it_ended(code)}; " if code else ""
        return StageOutcome(Verdict.ERROR, code, problem=f"{ended}{error}")
    return StageOutcome(verdict, code, outputs, "" if verdict is Verdict.PASS else _how_it_ended(code))


async def _written(output: anyio.Path) -> bytes:
    try:
        async with await output.open("rb") as file:
            return await file.read(LARGEST_OUTPUT_BYTES + 1)
    except FileNotFoundError:
        return b""


async def _drain(reading: int, output: OutputTail, scope: anyio.CancelScope, drained: anyio.Event) -> None:
    with scope:
        while True:
            await anyio.wait_readable(reading)
            data = os.read(reading, _READ_BYTES)
            if not data:
                drained.set()
                return
            output.feed(data)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Some member changed its user; it is there, and out of reach.
        return True
    return True


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


def _dying_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        # Without this a pipeline that is killed -9 would leave its commands running.
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return ask
