"""What budgets have spent, in the store's documents: it outlives the machine's memory.

One document an environment, merged: of two amounts for a period the larger one is true, because each worker writes what
all of them have spent; but one from after a reset is true before any from before it (`resets`).
"""

from collections.abc import Callable, Iterable
from typing import Any

from shipway.adapters.shared_limits.resets import Resets
from shipway.core.errors import ConflictError
from shipway.core.ports import DocumentStore

KIND = "budgets"

Spent = tuple[int, int, int, int]
"""Period, resets in it, nano-dollars, alerts given."""


class BudgetStore:
    """The document of one environment."""

    def __init__(self, documents: DocumentStore, environment: str, *, resets: Callable[[], Resets] = dict) -> None:
        self._documents = documents
        self._resets = resets
        self._environment = environment
        self._known: dict[str, Spent] = {}

    async def load(self) -> None:
        """Read what is stored; called before the first request."""
        found = await self._documents.get(KIND, self._environment)
        self._known = _parsed(found[0]) if found else {}

    def known(self, name: str) -> tuple[int, int, int] | None:
        """Return period, nano-dollars and alerts stored for a budget; nothing that is from before a reset."""
        found = self._known.get(name)
        if found is None:
            return None
        period, count, amount, alerts = found
        return (period, amount, alerts) if count >= self._count(name, period, self._resets()) else None

    async def save(self, spent: Iterable[tuple[str, int, int, int]]) -> bool:
        """Write what has changed; `spent` is read after the resets.

        Returns False for a write that met another worker's: it is left to the next flush, theirs holds nearly the same.
        """
        resets = self._resets()
        mine = {
            name: (period, self._count(name, period, resets), amount, alerts) for name, period, amount, alerts in spent
        }
        if all(self._known.get(name) == value for name, value in mine.items()):
            return True
        found = await self._documents.get(KIND, self._environment)
        stored, version = (_parsed(found[0]), found[1]) if found else ({}, 0)
        merged = {**stored, **{name: max(value, stored.get(name, value)) for name, value in mine.items()}}
        if merged != stored:
            body: dict[str, Any] = {"spent": {name: _stored(value) for name, value in merged.items()}}
            try:
                await self._documents.put(KIND, self._environment, body, expected_version=version)
            except ConflictError:
                return False
        self._known = merged
        return True

    def _count(self, name: str, period: int, resets: Resets) -> int:
        """Return how often a budget was reset in a period, as far as file and store know."""
        on_file, known = resets.get(name, (0, 0)), self._known.get(name, (0, 0, 0, 0))
        return max(entry[1] for entry in (on_file, known[:2], (period, 0)) if entry[0] == period)


def _stored(value: Spent) -> list[int]:
    period, count, amount, alerts = value
    # The count is last and only there when there is one: earlier versions read three.
    return [period, amount, alerts, count] if count else [period, amount, alerts]


def _parsed(body: dict[str, Any]) -> dict[str, Spent]:
    found = {name: [int(number) for number in value] for name, value in body.get("spent", {}).items()}
    return {name: (value[0], value[3] if value[3:] else 0, value[1], value[2]) for name, value in found.items()}
