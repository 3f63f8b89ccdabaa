"""From kept texts to the cases of a replay: the newest distinct questions of one route, each with who asked it.

How they make conversations is in `conversations`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import anyio
import anyio.to_thread

from shipway.core.errors import NotFoundError, UsageError
from shipway.core.record import ServedRequest
from shipway.evals.model import Dataset
from shipway.services.application import Application
from shipway.services.kept_texts import (
    HOW_TO_KEEP,
    KeptText,
    line_text,
    logged_texts,
    paired_texts,
    sampled_texts,
)
from shipway.services.replays.conversations import History, Turns, conversations, turns_to_ask

DATASET = "replay"
_LARGEST_LOG_BYTES = 1_000_000_000


class Source(StrEnum):
    """Where the questions come from."""

    RECORDS = "records"
    PAIRS = "pairs"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which traffic: the newest `limit` distinct questions of `route` (empty: the only one that has any).

    `history` is what stands before the later questions of a conversation.
    """

    source: Source = Source.RECORDS
    file: Path | None = None
    route: str = ""
    limit: int = 200
    history: History = History.OWN


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is replayed; `found` counts the kept texts of the route, `left_out` why others are no cases.

    `turns` says which case follows which.
    """

    route: str
    dataset: Dataset
    found: int
    left_out: Mapping[str, int] = field(default_factory=dict, hash=False)
    turns: Turns = field(default_factory=lambda: Turns(()), hash=False)


async def recorded_traffic(app: Application, wanted: Wanted) -> Recorded:
    """Return the recorded questions as cases.

    Raises:
        NotFoundError: no text was kept, or none of this route.
        UsageError: several routes have texts, or the file cannot be read.
    """
    texts, left_out = await _texts(app, wanted)
    if not texts:
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise NotFoundError(
            f"no question of {app.environment} was kept, so there is nothing to replay{f' ({why})' if why else ''}",
            hint=HOW_TO_KEEP,
        )
    route = _route(app, wanted.route, texts)
    of_route = [text for text in texts if text.route in {route, ""}]
    if len(of_route) < len(texts):
        left_out["of other routes"] += len(texts) - len(of_route)
    records = await _records(app, of_route)
    found = conversations(of_route, records, await app.state.keys.list(), wanted.history)
    left_out["asked before"] += len(of_route) - sum(map(len, found))
    turns = turns_to_ask(found, wanted.limit, wanted.history, left_out)
    return Recorded(route, Dataset(DATASET, turns.cases), len(of_route), dict(+left_out), turns)


async def _texts(app: Application, wanted: Wanted) -> tuple[list[KeptText], Counter[str]]:
    """Return the texts of a source, newest first, and what could not be used."""
    left_out: Counter[str] = Counter()
    if wanted.source is Source.PAIRS:
        found = await paired_texts(app)
    elif wanted.source is Source.LOG:
        found = await _file_texts(wanted.file, left_out)
    else:
        found = [*await sampled_texts(app), *await logged_texts(app)]
    # A file has its newest lines at the end, and no times.
    found.reverse()
    found.sort(key=lambda text: text.at_s, reverse=True)
    return [text for text in found if text.question.strip()], left_out


async def _file_texts(file: Path | None, left_out: Counter[str]) -> list[KeptText]:
    if file is None:
        raise UsageError("name the log: --log FILE")

    def read() -> list[KeptText]:
        found: list[KeptText] = []
        if file.stat().st_size > _LARGEST_LOG_BYTES:
            raise UsageError(f"--log {file}: larger than {_LARGEST_LOG_BYTES // 10**9} GB; cut it")
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    text = line_text(line)
                except (TypeError, ValueError):
                    left_out["lines that are no JSON object"] += 1
                    continue
                if text is None:
                    left_out["lines without the text of a question"] += 1
                else:
                    found.append(text if text.request_id else replace(text, request_id=f"line-{number}"))
        return found

    try:
        return await anyio.to_thread.run_sync(read)
    except OSError as error:
        raise UsageError(f"--log {file}: cannot be read: {error.strerror or error}") from error


def _route(app: Application, named: str, texts: Iterable[KeptText]) -> str:
    """Return the route that is replayed."""
    counts = Counter(text.route for text in texts if text.route)
    if named:
        if named not in app.project.routes:
            raise UsageError(f"--route {named!r}: the project has {', '.join(app.project.routes)}")
        if counts and named not in counts and not any(not text.route for text in texts):
            raise NotFoundError(
                f"no question of the route {named!r} was kept (kept: {_counted(counts)})", hint=HOW_TO_KEEP
            )
        return named
    names = list(counts) or [name for name, route in app.project.routes.items() if route.kind != "http"]
    if len(names) != 1:
        raise UsageError(f"questions of several routes were kept ({_counted(counts)}); name one with --route")
    return names[0]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "of routes nobody knows"


async def _records(app: Application, texts: Iterable[KeptText]) -> dict[str, ServedRequest]:
    found = {text.request_id: await app.state.records.find(text.request_id) for text in texts if text.request_id}
    return {name: record for name, record in found.items() if record is not None}
