"""Recorded answers, replayed offline; `choosing` opens one.

Two forms, line by line: answers from anywhere, `{"case", "answer", …}` with the fields of `Output`, and the attempts of
a run of Shipway, `{"case", "repeat", "output"}`, which stand in its folder. Only where each line begins is held.
"""

import codecs
import hashlib
import os
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import anyio.to_thread
import orjson

from shipway.core.canonical import digest_json
from shipway.core.errors import DatasetError, UnavailableError, UsageError
from shipway.evals.model import Case, Output
from shipway.services.engine_caller import too_large
from shipway.services.targets.answers import LIMIT_BYTES, NoAnswerError, output_of

_ATTEMPTS = "attempts-"
_SUFFIX = ".jsonl"
_LONGEST_LINE = 4 * LIMIT_BYTES
_MOST_PROBLEMS = 20
_BESIDE = frozenset({"case", "id", "repeat", "question", "metadata"})
_OF_THE_GATEWAY = frozenset({"snapshot_version", "conversation_source", "question_hash"})

Key = tuple[str, int]
"""A case and a repeat."""


@dataclass(slots=True)
class _Line:
    """Where the answer to a case stands."""

    number: int
    start: int
    size: int
    failed: bool


@dataclass(frozen=True, slots=True)
class RecordedLog:
    """Answers that were given before. Where no latency was recorded, none is judged: that of reading says nothing."""

    name: str
    digest: str
    file: str
    lines: Mapping[Key, _Line] = field(repr=False)
    descriptor: int

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Return the answer that was recorded.

        Raises:
            UsageError: there is none, or it was given to another question.
            UnavailableError: the file is no longer what it was when it was opened.
        """
        line = self.lines.get((case.id, repeat))
        if line is None:
            raise UsageError(f"{self.file} has no answer to {self._what(case, repeat)}")
        # A line that was read a moment ago is in memory: a thread would take longer than the reading.
        data = os.pread(self.descriptor, line.size, line.start)
        try:
            row = orjson.loads(data)
            found, asked, output = _read(row)
        except (orjson.JSONDecodeError, NoAnswerError) as error:
            raise UnavailableError(f"{self.file}:{line.number}: the file changed while it was read") from error
        if found != (case.id, repeat):
            raise UnavailableError(f"{self.file}:{line.number}: the file changed while it was read")
        if asked is not None and asked != case.question:
            raise UsageError(
                f"{self.file}:{line.number}: case {case.id!r} was recorded for another question, {asked[:80]!r};"
                " record the answers again, or give the changed case a new id"
            )
        return output

    def beside(self, cases: Collection[str]) -> str:
        """Return what to say of answers to cases that are none of these; nothing when there are none."""
        known = set(cases)
        unknown = list(dict.fromkeys(name for name, _ in self.lines if name not in known))
        if not unknown:
            return ""
        first, several = unknown[0], len(unknown) > 1
        line = min(found.number for (name, _), found in self.lines.items() if name == first)
        named = f"{len(unknown)} cases" if several else "a case"
        called = f"the first is {first!r}" if several else f"it is {first!r}"
        return f"{self.file} has answers to {named} that the dataset does not have; {called} (line {line})"

    def _what(self, case: Case, repeat: int) -> str:
        repeats = sorted(number for name, number in self.lines if name == case.id)
        if not repeats:
            return f"case {case.id!r}"
        has = f"repeats 0 to {repeats[-1]}" if repeats[-1] else "one repeat"
        return f"case {case.id!r}, repeat {repeat}; it has {has}"


@asynccontextmanager
async def opened_log(path: Path, shown: str) -> AsyncIterator[RecordedLog]:
    """Open a file of recorded answers or the folder of a run; `shown` is how errors call it.

    Raises:
        UsageError: it is not there, or the folder holds the attempts of several targets.
        DatasetError: everything that is wrong in it, by line.
    """
    file, name = await anyio.to_thread.run_sync(_file_of, path, shown)
    try:
        stream = await anyio.to_thread.run_sync(lambda: file.open("rb"))
    except OSError as error:
        raise UsageError(f"log {name}: cannot be read: {error.strerror or error}") from error
    try:
        digest, lines = await anyio.to_thread.run_sync(_indexed, stream, name, file.name.startswith(_ATTEMPTS))
        yield RecordedLog(f"log:{shown}", digest, name, lines, stream.fileno())
    finally:
        stream.close()


def _file_of(path: Path, shown: str) -> tuple[Path, str]:
    if not path.exists():
        raise UsageError(f"log {shown}: there is no such file", hint="the path counts from the project's folder")
    if not path.is_dir():
        return path, shown
    found = sorted(path.glob(f"{_ATTEMPTS}*{_SUFFIX}"))
    if len(found) != 1:
        named = ", ".join(file.name for file in found) or f"no {_ATTEMPTS}*{_SUFFIX}"
        hint = "name one of them" if found else "name the folder of a run, or a file of recorded answers"
        raise UsageError(f"log {shown}: the folder holds {named}", hint=hint)
    return found[0], f"{shown.rstrip('/')}/{found[0].name}"


def _indexed(stream: BinaryIO, name: str, is_run: bool) -> tuple[str, dict[Key, _Line]]:  # noqa: FBT001 - one caller
    """Return digest and index of a file, read once and line by line."""
    hashed = hashlib.sha256()
    lines: dict[Key, _Line] = {}
    problems: list[str] = []
    start = _after_mark(stream)
    for number, data in enumerate(_lines(stream), start=1):
        hashed.update(data)
        # A run that was killed leaves its last line torn.
        is_torn = is_run and not data.endswith(b"\n")
        try:
            if data.strip() and not is_torn:
                _keep(lines, data, _Line(number, start, len(data), failed=False))
        except NoAnswerError as error:
            problems.append(f"{name}:{number}: {error}")
            if len(problems) == _MOST_PROBLEMS:
                problems.append(f"{name}: and perhaps more")
                break
        start += len(data)
    if not lines and not problems:
        problems.append(f"{name}: holds no answer")
    if problems:
        hint = 'one JSON object a line: {"case": "a", "answer": "…"}; more repeats with "repeat": 1'
        raise DatasetError(problems, hint=hint)
    return digest_json({"kind": "log", "content": hashed.hexdigest()}), lines


def _after_mark(stream: BinaryIO) -> int:
    """Leave out the mark that some editors begin UTF-8 files with; return where the text begins."""
    if stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
        return len(codecs.BOM_UTF8)
    stream.seek(0)
    return 0


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while data := stream.readline(_LONGEST_LINE):
        yield data


def _keep(lines: dict[Key, _Line], data: bytes, line: _Line) -> None:
    if len(data) >= _LONGEST_LINE:
        raise NoAnswerError(too_large(LIMIT_BYTES))
    try:
        row = orjson.loads(data.rstrip())
    except orjson.JSONDecodeError as error:
        raise NoAnswerError(_unread(data, error)) from error
    key, _, output = _read(row)
    line.failed = output.error is not None
    before = lines.get(key)
    # A failed attempt of a run is made again when the run is resumed: the later line counts.
    if before is not None and not ("output" in row and before.failed):
        raise NoAnswerError(f"case {key[0]!r}, repeat {key[1]}, was recorded in line {before.number} already")
    lines[key] = line


def _unread(data: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        data.decode()
    except UnicodeDecodeError as wrong:
        return f"not UTF-8 at byte {wrong.start + 1} of the line; write the file as UTF-8"
    return f"not JSON ({error.msg} at column {error.pos + 1})"


def _read(row: Any) -> tuple[Key, str | None, Output]:
    if not isinstance(row, dict):
        raise NoAnswerError(f"not an object but {type(row).__name__}")
    if _OF_THE_GATEWAY & row.keys():
        raise NoAnswerError("a record of the gateway, which keeps no texts: there is nothing to replay")
    case, repeat, asked = row.get("case", row.get("id")), row.get("repeat", 0), row.get("question")
    if not isinstance(case, str) or not case:
        raise NoAnswerError("names no case: write its id under `case`")
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 0:
        raise NoAnswerError(f"repeat must be a whole number from 0 on, not {repeat!r}")
    if asked is not None and not isinstance(asked, str):
        raise NoAnswerError("question must be text")
    values = row["output"] if "output" in row else {name: row[name] for name in row if name not in _BESIDE}
    if not isinstance(values, dict):
        raise NoAnswerError("output must be an object")
    output = output_of({**values, "cached": True} if values.get("latency_ms") is None else values)
    return (case, repeat), asked, output
