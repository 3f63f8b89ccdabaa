"""The folders of runs: what was planned, what came of each stage as it came, and what the stages printed.

runs/RUN/plan.json          the plan, its digest, what was asked for and when
runs/RUN/results.jsonl      one line a settled stage, appended with one write
runs/RUN/report.json        the whole; its being there says that the run is finished
runs/RUN/logs/STAGE.N.log   what attempt N printed
runs/RUN/lock               locked by the process of the run while it is under way
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipway.adapters.pipeline_store.log_file import LoggedTail
from shipway.adapters.pipeline_store.writing import write_whole
from shipway.core.disk import explained
from shipway.core.errors import NotFoundError
from shipway.pipeline.model import StageResult
from shipway.pipeline.ports import RunRecord
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.tail import OutputTail

_PLAN, _RESULTS, _REPORT, _LOGS, _LOCK = "plan.json", "results.jsonl", "report.json", "logs", "lock"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def run_id(self) -> str:
        """Return the id of the run; ids sort by age."""
        return self.path.name

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.path / _REPORT).is_file()

    @property
    def under_way(self) -> bool:
        """Whether a process works on the run now."""
        try:
            descriptor = os.open(self.path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @contextmanager
    def worked_on(self) -> Iterator[None]:
        """Let others see that the run is under way for as long as the body runs.

        Raises:
            StoreError: the disk refuses.
        """
        with explained(self.path / _LOCK, "cannot be locked"):
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # The folder has one run at a time: whoever holds it only looks, and is gone at once.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def plan(self) -> dict[str, Any]:
        """Return what was planned; empty when that cannot be read."""
        return _object(self.path / _PLAN)

    def report(self) -> dict[str, Any]:
        """Return the report; empty when the run was not finished."""
        return _object(self.path / _REPORT)

    def results(self) -> dict[str, StageResult]:
        """Return the last result of each stage; a line that a crash tore is none."""
        found: dict[str, StageResult] = {}
        for line in _lines(self.path / _RESULTS):
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                result = StageResult.from_dict(json.loads(line))
                found[result.name] = result
        return found

    def append(self, result: StageResult) -> None:
        """Add the result of a stage.

        Raises:
            StoreError: the disk refuses.
        """
        line = json.dumps(result.to_dict(), ensure_ascii=True).encode() + b"\n"
        path = self.path / _RESULTS
        with explained(path, "cannot be written"):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                # A line that a crash tore has no end; the next one must not become part of it.
                torn = _ends_torn(path)
                os.write(descriptor, b"\n" + line if torn else line)
            finally:
                os.close(descriptor)

    def finish(self, report: Mapping[str, Any]) -> None:
        """Write the report.

        Raises:
            StoreError: the disk refuses.
        """
        with explained(self.path / _REPORT, "cannot be written"):
            write_whole(self.path / _REPORT, json.dumps(report).encode())

    def output(self, stage: StageSpec, attempt: int) -> OutputTail:
        """Return what takes the output of an attempt."""
        return LoggedTail(self.path / _LOGS / f"{stage.name}.{attempt}.log")

    def log_files(self, stage: str) -> list[Path]:
        """Return the logs of a stage, first attempt first."""
        numbered = {
            path.name.removeprefix(f"{stage}.").removesuffix(".log"): path
            for path in (self.path / _LOGS).glob(f"{stage}.*.log")
        }
        return [numbered[number] for number in sorted((n for n in numbered if n.isdigit()), key=int)]


@dataclass(frozen=True, slots=True)
class RunFolders:
    """The folders of all runs of a project."""

    folder: Path

    def begin(self, run_id: str, plan: Mapping[str, Any]) -> RunFolder:
        """Begin a run.

        Raises:
            StoreError: the disk refuses.
        """
        path = self.folder / run_id
        with explained(path, "cannot be made"):
            (path / _LOGS).mkdir(parents=True, exist_ok=True)
            write_whole(path / _PLAN, json.dumps(plan).encode())
        return RunFolder(path)

    def all(self) -> list[RunFolder]:
        """Return the runs, newest first."""
        try:
            found = [RunFolder(path) for path in self.folder.iterdir() if (path / _PLAN).is_file()]
        except OSError:
            return []
        return sorted(found, key=lambda run: run.run_id, reverse=True)

    def get(self, run_id: str) -> RunFolder:
        """Return a run by its id, or by the end of it as `pipeline runs` shows it.

        Raises:
            NotFoundError: there is none, or the end is that of several.
        """
        found = [run for run in self.all() if run.run_id == run_id or run.run_id.endswith(run_id)]
        if len(found) != 1:
            what = "no" if not found else f"{len(found)} runs end with this, so there is no one"
            raise NotFoundError(f"{what} run {run_id!r}", hint="`shipway pipeline runs` lists them")
        return found[0]

    def remove(self, run: RunRecord) -> None:
        """Remove a run and its logs."""
        shutil.rmtree(self.folder / run.run_id, ignore_errors=True)


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lines(path: Path) -> Iterator[bytes]:
    try:
        yield from path.read_bytes().splitlines()
    except OSError:
        return


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(size - 1)
        return file.read(1) != b"\n"
