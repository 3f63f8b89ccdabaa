"""Every state contract runs over every store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.adapters.sql.store import SqlStore


@pytest.fixture(params=["memory", "sql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryStore | SqlStore]:
    opened = MemoryStore() if request.param == "memory" else await SqlStore.open(tmp_path / "state.db", create=True)
    yield opened
    await opened.close()
