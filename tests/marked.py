"""Processes that a test started, with all that came of them: known by a variable that they inherit."""

import time
from pathlib import Path

VARIABLE = "MARK"
_PATIENCE_S = 60.0


def marked(mark: str) -> list[int]:
    """Return the processes that have the variable with this value."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"{VARIABLE}={mark}".encode() in (path / "environ").read_bytes().split(b"\0"):
                state = (path / "stat").read_text().rpartition(")")[2].split()[0]
                found += [] if state == "Z" else [int(path.name)]
        except OSError:
            continue
    return found


def none_left(mark: str) -> list[int]:
    """Return the processes that are left once they had time to end."""
    until_s = time.monotonic() + _PATIENCE_S
    while (found := marked(mark)) and time.monotonic() < until_s:
        time.sleep(0.02)
    return found
