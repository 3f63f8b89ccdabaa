"""A run's judgements as JSON lines on disk (`judgements.jsonl`), so that a resumed run asks no judge twice."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shipway.core.disk import disk_error
from shipway.core.ids import Digest
from shipway.evals.judgement import Claim, Judgement
from shipway.evals.judging import Judged

_MODE = 0o600


class JudgementLog:
    """Implements `judging.JudgementSink` for one target on a file that several share; a torn line is dropped."""

    def __init__(self, path: Path, target: str) -> None:
        """Open the file for appending.

        Raises:
            StoreError: it cannot be written.
        """
        self._path = path
        self._target = target
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, _MODE)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")
        except OSError as error:
            raise disk_error(error, path, "cannot be written") from error

    def write(self, judged: Judged) -> None:
        """Append one judgement in a single write.

        Raises:
            StoreError: the disk does not take it.
        """
        try:
            os.write(self._file, judged_line(judged, self._target))
        except OSError as error:
            raise disk_error(error, self._path, "cannot be written") from error

    def kept(self, judge: Digest) -> Iterator[Judged]:
        """Return the target's judgements by this judge, the later of two of one place last; no errors."""
        for line in self._path.read_bytes().split(b"\n"):
            target, found = read_judged(line)
            if found is not None and found.judgement and (target, found.judge) == (self._target, judge):
                yield found

    def close(self) -> None:
        """Bring everything to the disk and close the file."""
        os.fsync(self._file)
        os.close(self._file)


def judged_line(judged: Judged, target: str) -> bytes:
    """Return one line of the file."""
    body: dict[str, Any] = {
        "case": judged.case_id,
        "repeat": judged.repeat,
        "target": target,
        "task": judged.task,
        "judge": judged.judge,
    }
    if judged.judgement is not None:
        body["judgement"] = asdict(judged.judgement)
    else:
        body["error"] = judged.error
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def read_judged(line: bytes) -> tuple[str, Judged | None]:
    """Return what a line says and of which target; ("", None) for a torn one."""
    try:
        body = json.loads(line)
        told = body.get("judgement")
        found = Judged(
            body["case"],
            body["repeat"],
            body["task"],
            Digest(body["judge"]),
            _judgement(told) if told is not None else None,
            body.get("error", ""),
        )
        return str(body["target"]), found
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", None


def _judgement(told: dict[str, Any]) -> Judgement:
    claims = tuple(Claim(**claim) for claim in told["claims"])
    return Judgement(**{**told, "claims": claims, "votes": tuple(told["votes"])})
