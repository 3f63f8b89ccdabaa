"""A run on disk: its plan, every answer as it came, its scores and its report. The runner writes, services read.

    plan.json                what was going to be asked; a run is continued under the same plan alone
    attempts-TARGET.jsonl    one line an answer, in the order of finishing
    judgements.jsonl         what judges said
    judge-spent.jsonl        what each call of a judge took
    scores.jsonl             derived, written anew by every scoring
    report.json              the result; its presence says that the run is finished

Answers are read when somebody looks at them; in memory are their places alone.
"""

import errno
import fcntl
import os
import re
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import orjson

from shipway.core.canonical import digest_bytes
from shipway.core.disk import disk_error, explained
from shipway.core.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from shipway.evals.attempt_lines import attempt_line, read_attempt
from shipway.evals.budget import Spent, is_untold
from shipway.evals.model import Attempt, Case, CaseResult
from shipway.evals.run_plan import RunFile, differing_keys
from shipway.evals.scores import ScoreTable

PLAN_FILE = "plan.json"
REPORT_FILE = "report.json"
JUDGEMENTS_FILE = "judgements.jsonl"
SCORES_FILE = "scores.jsonl"
_LOCK_FILE = "lock"
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_PLAIN = re.compile(r"[^A-Za-z0-9._-]")
_BLOCK_BYTES = 1 << 20
_NOWHERE = -1
_CLOSED = -1


@dataclass(slots=True)
class _Log:
    """The answers of one target: the open file, and where the answer to each case and repeat stands in it."""

    path: Path
    file: int
    size: int = 0
    starts: "list[array[int]]" = field(default_factory=list)
    lengths: "list[array[int]]" = field(default_factory=list)
    failed: set[tuple[int, int]] = field(default_factory=set)
    cached: int = 0
    spent: Spent = field(default_factory=Spent)

    def note(self, row: int, repeat: int, length: int, *, failed: bool, n_cases: int) -> None:
        while len(self.starts) <= repeat:
            self.starts.append(array("q", [_NOWHERE]) * n_cases)
            self.lengths.append(array("l", [0]) * n_cases)
        self.starts[repeat][row], self.lengths[repeat][row] = self.size, length
        (self.failed.add if failed else self.failed.discard)((row, repeat))

    def has(self, row: int, repeat: int) -> bool:
        return repeat < len(self.starts) and self.starts[repeat][row] != _NOWHERE

    def read(self, row: int, repeat: int) -> Attempt:
        length, start = self.lengths[repeat][row], self.starts[repeat][row]
        if self.file >= 0:
            data = os.pread(self.file, length, start)
        else:
            # Reports are written when the run is closed.
            with self.path.open("rb") as file:
                data = os.pread(file.fileno(), length, start)
        found = read_attempt(data)
        if found is None:
            raise IntegrityError(f"{self.path}: the line at byte {self.starts[repeat][row]} is no answer any more")
        return found


class RunDirectory:
    """Implements `ports.RunSink`; one process at a time has it open."""

    def __init__(self, path: Path, plan: RunFile, cases: Sequence[Case]) -> None:
        """Open the files of a run whose plan is on disk.

        Raises:
            ConflictError: another process runs it.
            StoreError: it cannot be written.
        """
        self.path = path
        self.plan = plan
        self._cases = cases
        self._rows = {case.id: row for row, case in enumerate(cases)}
        with explained(path, "cannot be written"):
            self._lock = os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
            _demand_alone(self._lock, path)
            self._logs = {target: self._opened(target) for target in plan.targets}

    @classmethod
    def create(cls, path: Path, plan: RunFile, cases: Sequence[Case]) -> "RunDirectory":
        """Begin a run.

        Raises:
            ConflictError: the folder holds a run already.
            StoreError: it cannot be written.
        """
        if (path / PLAN_FILE).exists():
            raise ConflictError(
                f"{path} holds a run already", hint="name another folder, or go on with that run: --resume"
            )
        with explained(path, "cannot be written"):
            path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            write_whole(path / PLAN_FILE, orjson.dumps(plan.to_dict(), option=orjson.OPT_INDENT_2))
        return cls(path, plan, cases)

    @classmethod
    def begin(cls, path: Path, plan: RunFile, cases: Sequence[Case]) -> "RunDirectory":
        """Begin a run, or go on with the one of the same plan that the folder holds.

        Raises:
            UsageError: it holds a run of another plan; every key that differs is named.
            ConflictError: another process runs it.
            StoreError: it cannot be written.
        """
        if not (path / PLAN_FILE).exists():
            return cls.create(path, plan, cases)
        kept = read_plan(path)
        different = differing_keys(kept.identity, plan.identity)
        if different:
            lines = "\n".join(f"  {line}" for line in different)
            raise UsageError(f"{path} was begun under another plan:\n{lines}", hint="name another folder")
        return cls(path, kept, cases)

    def write(self, target: str, attempt: Attempt) -> None:
        """Append one answer in a single write; once this returns, killing the process does not lose it.

        Raises:
            StoreError: the disk does not take it.
        """
        log = self._logs[target]
        line = attempt_line(attempt)
        try:
            _write_line(log, line)
        except OSError as error:
            raise disk_error(error, log.path, "cannot be written") from error
        self._note(log, attempt, len(line))

    def finished(self, target: str) -> frozenset[tuple[str, int]]:
        """Return the case and repeat of every answer that is no error."""
        log = self._logs[target]
        return frozenset(
            (self._cases[row].id, repeat)
            for repeat, starts in enumerate(log.starts)
            for row, start in enumerate(starts)
            if start != _NOWHERE and (row, repeat) not in log.failed
        )

    def repeats(self) -> int:
        """Return how many repeats every target has of at least one case."""
        return min((len(log.starts) for log in self._logs.values()), default=0)

    def count(self, target: str) -> tuple[int, int]:
        """Return how many answers there are, and how many of them are errors."""
        log = self._logs[target]
        there = sum(start != _NOWHERE for starts in log.starts for start in starts)
        return there, len(log.failed)

    def cached(self) -> int:
        """Return how many answers were given before: copies, which prove nothing to a gate."""
        return sum(log.cached for log in self._logs.values())

    def spent(self) -> dict[str, Spent]:
        """Return what all answers of each target took, also those that were asked for again; copies took nothing."""
        return {target: log.spent for target, log in self._logs.items()}

    def attempts(self, target: str, case: Case, repeats: int) -> list[Attempt]:
        """Return what there is of a case, by repeat."""
        log, row = self._logs[target], self._rows[case.id]
        return [log.read(row, repeat) for repeat in range(repeats) if log.has(row, repeat)]

    def every_attempt(self, target: str, repeats: int) -> Iterator[Attempt]:
        """Return the answers of a target, by case and repeat, read as they are asked for."""
        for case in self._cases:
            yield from self.attempts(target, case, repeats)

    def results(self, target: str, table: ScoreTable) -> "StoredResults":
        """Return the results of a target: scores from memory, answers from the disk when somebody looks at one."""
        log = self._logs[target]
        places = array("q")
        for repeat in range(min(table.repeats, len(log.starts))):
            places.extend(
                row * table.repeats + repeat for row, start in enumerate(log.starts[repeat]) if start != _NOWHERE
            )
        return StoredResults(table, places, log.read)

    def close(self) -> None:
        """Bring everything to the disk and let others at it; what was answered can still be read."""
        for log in self._logs.values():
            with explained(log.path, "cannot be written"):
                os.fsync(log.file)
            os.close(log.file)
            log.file = _CLOSED
        os.close(self._lock)

    def remove_if_unanswered(self) -> None:
        """Remove the folder of a run in which nobody answered and that has no report; call it after `close`."""
        answered = any(self.finished(target) for target in self.plan.targets)
        if not answered and not (self.path / REPORT_FILE).exists():
            shutil.rmtree(self.path)

    def _opened(self, target: str) -> _Log:
        path = self.path / attempts_file(target)
        log = _Log(path, os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
        for line in _lines(log.file):
            if not line.endswith(b"\n"):
                # A process that was killed while it wrote; the answer is asked for again.
                os.ftruncate(log.file, log.size)
                break
            found = read_attempt(line)
            if found is not None and found.case_id in self._rows:
                self._note(log, found, len(line))
            else:
                log.size += len(line)
        return log

    def _note(self, log: _Log, attempt: Attempt, length: int) -> None:
        row, failed = self._rows[attempt.case_id], attempt.output.error is not None
        log.note(row, attempt.repeat, length, failed=failed, n_cases=len(self._cases))
        log.cached += attempt.output.cached
        if not attempt.output.cached:
            output = attempt.output
            told = output.tokens_in or output.tokens_out or output.cost_usd is not None
            usd = output.cost_usd if told else 0.0
            log.spent = log.spent.plus(1, output.tokens_in, output.tokens_out, usd)
            if not told and is_untold(output):
                log.spent = replace(log.spent, untold=log.spent.untold + 1)
        log.size += length


class StoredResults(Sequence[CaseResult]):
    """The results of a run, by repeat and case; `table` holds their scores."""

    def __init__(self, table: ScoreTable, places: "array[int]", read: Callable[[int, int], Attempt]) -> None:
        self.table = table
        self._places = places
        self._read = read

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> CaseResult: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[CaseResult]: ...
    def __getitem__(self, index: int | slice) -> CaseResult | Sequence[CaseResult]:
        if isinstance(index, slice):
            return [self._at(place) for place in self._places[index]]
        return self._at(self._places[index])

    def scores(self) -> Iterator[CaseResult]:
        """Return the results without their answers, which are not read."""
        return map(self._without_answer, self._places)

    def _at(self, place: int) -> CaseResult:
        found = self._without_answer(place)
        return replace(found, output=self._read(place // self.table.repeats, found.repeat).output)

    def _without_answer(self, place: int) -> CaseResult:
        row, repeat = divmod(place, self.table.repeats)
        scores, errors = self.table.at(row, repeat)
        return CaseResult(self.table.case_ids[row], repeat, scores, errors)


def read_plan(path: Path) -> RunFile:
    """Return the plan of a run.

    Raises:
        NotFoundError: the folder holds no run.
        UsageError: its plan cannot be read.
    """
    try:
        data = (path / PLAN_FILE).read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} holds no run", hint="name the folder that `shipway eval run` told") from error
    except OSError as error:
        raise disk_error(error, path / PLAN_FILE, "cannot be read") from error
    return RunFile.parse(data, str(path / PLAN_FILE))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE)
    with os.fdopen(file, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(path)


def attempts_file(target: str) -> str:
    """Return the name of the file with a target's answers."""
    return f"attempts-{file_name(target)}.jsonl"


def file_name(target: str) -> str:
    """Return a target's name as part of a file name; two targets never share one."""
    plain = _PLAIN.sub("_", target)[:80]
    return plain if plain == target else f"{plain}-{digest_bytes(target.encode('utf-8', 'replace'))[-8:]}"


def score_lines(target: str, results: Iterable[CaseResult]) -> Iterator[bytes]:
    """Return the lines of `scores.jsonl`."""
    for result in results:
        body: dict[str, Any] = {"case": result.case_id, "repeat": result.repeat, "target": target}
        yield orjson.dumps({**body, "scores": result.scores, "errors": result.errors}, option=orjson.OPT_APPEND_NEWLINE)


def _write_line(log: _Log, line: bytes) -> None:
    if os.write(log.file, line) < len(line):
        # What is left of the disk was shorter than the line: nothing of it may stay.
        os.ftruncate(log.file, log.size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _demand_alone(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise ConflictError(f"{path}: another process runs this run", hint="wait for it, or end it") from error


def _lines(file: int) -> Iterator[bytes]:
    """Return the lines of a file with their ends; the last one may have none."""
    rest, place = b"", 0
    while block := os.pread(file, _BLOCK_BYTES, place):
        place += len(block)
        *whole, rest = (rest + block).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest
