"""Which budgets of this host were reset in their period, and how often: a file beside the counters.

Of two amounts that a budget has spent the larger one counts (`budgets`), so a reset has to be told apart from a worker
that knows less. `limits` writes here before and after it clears a counter; whoever saves or reads amounts compares.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

from shipway.core.disk import explained
from shipway.gateway.ledger import FIXED, Quota, Storage
from shipway.gateway.quota import Bucket

_ALERTS = FIXED - 1

Resets = Mapping[str, tuple[int, int]]
"""By budget: the period, and how often it was reset in it."""


class ResetLog:
    """The file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "resets.json"

    def read(self) -> Resets:
        """Return all resets that are on record."""
        try:
            found = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        return {name: (int(period), int(count)) for name, (period, count) in found.items()}

    def add(self, periods: Mapping[str, int]) -> None:
        """Record a reset of each budget in its present period; those of periods that are over are forgotten."""
        with explained(self._path.parent, "cannot hold the limits that workers share"):
            lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = self.read()
                for name, period in periods.items():
                    before, count = known.get(name, (period, 0))
                    known = {**known, name: (period, count + 1 if before == period else 1)}
                fresh = self._path.with_suffix(".new")
                fresh.write_text(json.dumps(known))
                fresh.replace(self._path)
            finally:
                os.close(lock)


def clear(storage: Storage, quota: Quota, buckets: frozenset[Bucket]) -> bool:
    """Set what is used of these buckets to nothing; what is reserved stays, because those who hold it give it back.

    Returns False when the quota's places are no longer its own; nothing was changed then.
    """
    cells, slots = storage.cells, storage.slots
    for handle in storage.handles:
        if storage.lock(handle):
            storage.healed(handle)
    try:
        if quota.generation != storage.tags[slots]:
            return False
        rates = [(row[0], row[-1]) for row in quota.requests] + [(row[0], row[-1]) for row in quota.tokens]
        for slot, bucket in rates:
            if bucket in buckets:
                cells[slot] = 0.0
        for slot, *_rest, bucket in quota.money:
            if bucket in buckets:
                cells[slot] = 0.0
                cells[_ALERTS * slots + slot] = 0.0
    finally:
        for handle in storage.handles:
            storage.unlock(handle)
    return True
