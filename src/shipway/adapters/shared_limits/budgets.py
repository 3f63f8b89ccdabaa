"""What budgets have spent, in the store's documents: it outlives the machine's memory.

One document an environment, merged: of two amounts for a period the larger one is true, because each worker writes what
all of them have spent.
"""

from collections.abc import Iterable
from typing import Any

from shipway.core.errors import ConflictError
from shipway.core.ports import DocumentStore

KIND = "budgets"

Spent = tuple[int, int, int]
"""Period, nano-dollars, alerts given."""


class BudgetStore:
    """The document of one environment."""

    def __init__(self, documents: DocumentStore, environment: str) -> None:
        self._documents = documents
        self._environment = environment
        self._known: dict[str, Spent] = {}

    async def load(self) -> None:
        """Read what is stored; called before the first request."""
        found = await self._documents.get(KIND, self._environment)
        self._known = _parsed(found[0]) if found else {}

    def known(self, name: str) -> Spent | None:
        """Return what was stored for a budget."""
        return self._known.get(name)

    async def save(self, spent: Iterable[tuple[str, int, int, int]]) -> None:
        """Write what has changed.

        A write that meets another worker's is left to the next flush: theirs holds nearly the same.
        """
        mine = {name: (period, amount, alerts) for name, period, amount, alerts in spent}
        if all(self._known.get(name) == value for name, value in mine.items()):
            return
        found = await self._documents.get(KIND, self._environment)
        stored, version = (_parsed(found[0]), found[1]) if found else ({}, 0)
        merged = {**stored, **{name: max(value, stored.get(name, (0, 0, 0))) for name, value in mine.items()}}
        if merged != stored:
            body: dict[str, Any] = {"spent": {name: list(value) for name, value in merged.items()}}
            try:
                await self._documents.put(KIND, self._environment, body, expected_version=version)
            except ConflictError:
                return
        self._known = merged


def _parsed(body: dict[str, Any]) -> dict[str, Spent]:
    return {name: (int(value[0]), int(value[1]), int(value[2])) for name, value in body.get("spent", {}).items()}
