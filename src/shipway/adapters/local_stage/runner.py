"""Runs a stage's command in a process group of its own; implements `pipeline.ports.StageRunner`.

However an attempt ends (by itself, by timeout, by Ctrl-C, by SIGKILL to the pipeline) no process of its group is left.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from shipway.adapters.local_stage import entry_main
from shipway.adapters.local_stage.keeper import GroupKeeper
from shipway.adapters.local_stage.processes import Command, how_it_ended, run_group
from shipway.core.errors import ShipwayError, UsageError
from shipway.core.verdicts import Verdict
from shipway.pipeline.limits import numbers_in
from shipway.pipeline.model import StageOutcome, exit_verdict
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.visible import LARGEST_OUTPUT_BYTES, parse_outputs, results_document, visible_environment

_RESULTS, _OUTPUT, _METRICS, _TOLD = ".results.json", ".output.json", ".metrics-before", ".exit-code"


class LocalStageRunner:
    """Commands of this machine, with the project's folder as working directory.

    `environ` is where declared variables are taken from. Between SIGTERM and SIGKILL a group has `grace_s`. Entered as
    a context it has one keeper for all commands; otherwise each command has one of its own.
    """

    def __init__(self, root: Path, environ: Mapping[str, str], *, grace_s: float = 5.0) -> None:
        self._root = root
        self._environ = environ
        self._grace_s = grace_s
        self._keeper: GroupKeeper | None = None
        self._folder: Path | None = None

    async def __aenter__(self) -> Self:
        """Start the keeper of all commands."""
        self._keeper = GroupKeeper()
        self._folder = Path(tempfile.mkdtemp(prefix="shipway-stages-"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the keeper go."""
        keeper, self._keeper = self._keeper, None
        folder, self._folder = self._folder, None
        if keeper is not None:
            keeper.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    async def run(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        """Run the command once."""
        # Without a context of commands each has a folder of its own.
        folder = self._folder or Path(tempfile.mkdtemp(prefix="shipway-stage-"))
        attempt = _Attempt(self._root, stage, context, f"{folder}/{stage.name}.{context.attempt}")
        argv = attempt.argv
        environment = visible_environment(stage, self._environ, context.results)
        # These are two small files in the folder of temporary ones: less work than a thread that would do it.
        attempt.prepare()
        try:
            code = await self._run(argv, environment | attempt.variables(), context)
            return attempt.collect(code)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            return StageOutcome(Verdict.ERROR, problem=f"cannot start {argv[0]!r}: {reason or error}")
        finally:
            attempt.forget()
            if self._folder is None:
                shutil.rmtree(folder, ignore_errors=True)

    async def _run(self, argv: tuple[str, ...], environment: Mapping[str, str], context: StageContext) -> int:
        if self._keeper is not None:
            command = Command(argv, self._root, environment, self._keeper, self._grace_s)
            return await run_group(command, context.output)
        with GroupKeeper() as keeper:
            return await run_group(Command(argv, self._root, environment, keeper, self._grace_s), context.output)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The files of one attempt."""

    root: Path
    stage: StageSpec
    context: StageContext
    place: str
    """What the paths of its files begin with; texts, because this happens for every stage and paths take their time."""

    @property
    def argv(self) -> tuple[str, ...]:
        if self.stage.entry is None:
            return self.stage.run or ("",)
        # -P keeps the folder of the script itself out of the way of the project's modules.
        return (sys.executable, "-P", entry_main.__file__, self.stage.entry, self.place + _TOLD)

    def prepare(self) -> None:
        """Write what the stage may read."""
        _write(self.place + _RESULTS, results_document(self.context.results))
        # Between attempts so little time may pass that the file system's clock does not tell them apart.
        if self.stage.metrics and self.context.attempt == 1:
            _write(self.place + _METRICS, _signature(self.root / self.stage.metrics))

    def forget(self) -> None:
        """Remove the files of this attempt."""
        metrics, told = (_METRICS,) if self.stage.metrics else (), (_TOLD,) if self.stage.entry is not None else ()
        for suffix in (_RESULTS, _OUTPUT, *metrics, *told):
            with suppress(OSError):
                os.unlink(self.place + suffix)  # noqa: PTH108

    def variables(self) -> dict[str, str]:
        """Return the variables that name files of this attempt."""
        found = {
            "SHIPWAY_RESULTS": self.place + _RESULTS,
            "SHIPWAY_OUTPUT": self.place + _OUTPUT,
            "SHIPWAY_RUN": self.context.run_id,
            "SHIPWAY_ATTEMPT": str(self.context.attempt),
            "SHIPWAY_SHARD": self.context.shard,
        }
        if self.stage.entry is not None:
            found["SHIPWAY_WITH"] = json.dumps(dict(self.stage.with_))
        if self.stage.resources.gpus:
            found["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, self.context.gpus))
        return found

    def collect(self, code: int) -> StageOutcome:
        """Return what the attempt came to."""
        verdict = exit_verdict(code)
        if self.stage.entry is not None and code >= 0 and _written(self.place + _TOLD) != str(code).encode():
            said = f"{how_it_ended(code)}, but {self.stage.entry} has not returned: it ended its process itself"
            return StageOutcome(Verdict.ERROR, code, problem=f"{said}\n  return a value, or raise")
        try:
            outputs = parse_outputs(_written(self.place + _OUTPUT))
            if self.stage.metrics and verdict is Verdict.PASS:
                outputs = {**self._numbers(), **outputs}
        except (ShipwayError, OSError) as error:
            ended = f"{how_it_ended(code)}; " if code else ""
            return StageOutcome(Verdict.ERROR, code, problem=f"{ended}{error}")
        return StageOutcome(verdict, code, outputs, "" if verdict is Verdict.PASS else how_it_ended(code))

    def _numbers(self) -> dict[str, float]:
        path = self.root / self.stage.metrics
        now = _signature(path)
        if not now:
            raise UsageError(f"passed, but did not write its metrics file {self.stage.metrics}")
        if now.encode() == _written(self.place + _METRICS):
            raise UsageError(f"passed, but left its metrics file {self.stage.metrics} as it was before")
        return numbers_in(_written(str(path)), self.stage.metrics)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)


def _written(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(LARGEST_OUTPUT_BYTES + 1)
    except FileNotFoundError:
        return b""


def _signature(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"
