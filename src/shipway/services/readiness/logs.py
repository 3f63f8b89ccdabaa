"""The newest lines of the gateway's logs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shipway.readiness.facts import LogFacts, LogLine

_LAST_BYTES = 262_144


def read_logs(folder: Path) -> LogFacts:
    """Return the ends of the logs of gateways, oldest line first."""
    return LogFacts(tuple(line for path in sorted(folder.glob("gateway*.log")) for line in _lines(path)))


def _lines(path: Path) -> Iterator[LogLine]:
    with path.open("rb") as file:
        size = path.stat().st_size
        file.seek(max(0, size - _LAST_BYTES))
        data = file.read()
    # The first line may be cut in two.
    whole = data if size <= _LAST_BYTES else data.partition(b"\n")[2]
    lines = whole.decode(errors="replace").splitlines()
    for number, text in enumerate(lines, start=1 - len(lines)):
        where = (
            f".shipway/logs/{path.name}, line {number} from its end"
            if number
            else f".shipway/logs/{path.name}, last line"
        )
        yield LogLine(where, text, _fields(text))


def _fields(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
