"""Replay of what dead workers left in the spool; `RecordSpool.recover` calls it at start."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import anyio

from shipway.adapters.spool.segments import DRAFT_SUFFIX, SUFFIX, Line, Segment, parse
from shipway.core.ports import RecordStore

_DRAFT_AGE_S = 60.0
"""A younger draft may belong to a worker that is just starting."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a replay found: `replayed` records that the store did not have, `torn` lines that nobody can read."""

    segments: int = 0
    replayed: int = 0
    torn: int = 0


async def replay(directory: Path, store: RecordStore, *, batch_rows: int) -> Recovery:
    """Commit every record of segments without a living writer, and delete these segments.

    Raises:
        StoreError: the store does not take them; the segments stay for the next attempt.
    """
    marks = await store.marks()
    found = Recovery()
    for path in await anyio.to_thread.run_sync(lambda: sorted(directory.glob(f"*{SUFFIX}"))):
        segment = await anyio.to_thread.run_sync(Segment.take_over, path)
        if segment is None:
            continue
        done = False
        try:
            lines = await anyio.to_thread.run_sync(_lines, segment, marks.get(segment.name, 0))
            replayed = await _commit(segment.name, lines, store, batch_rows)
            done = True
        finally:
            segment.close(remove=done)
        torn = sum(line.record is None for line in lines)
        found = Recovery(found.segments + 1, found.replayed + replayed, found.torn + torn)
    await anyio.to_thread.run_sync(_sweep_drafts, directory)
    return found


def _sweep_drafts(directory: Path) -> None:
    """Delete what workers left that died before their segment had its name: it never held a record."""
    for draft in directory.glob(f"*{DRAFT_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > _DRAFT_AGE_S:
                draft.unlink()


def _lines(segment: Segment, offset: int) -> list[Line]:
    return parse(segment.read(offset), offset)


async def _commit(name: str, lines: list[Line], store: RecordStore, batch_rows: int) -> int:
    replayed = 0
    for start in range(0, len(lines), batch_rows):
        batch = lines[start : start + batch_rows]
        records = [line.record for line in batch if line.record is not None]
        replayed += await store.append(records, marks={name: batch[-1].end})
    return replayed
