"""What the state contracts in tests/contract/state cannot see from outside."""

from dataclasses import replace

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.ports import AuditEvent

pytestmark = pytest.mark.anyio


async def test_a_changed_audit_entry_is_reported_by_its_number():
    store = MemoryStore()
    for number in range(3):
        await store.audit.append(AuditEvent(at_s=float(number), actor="ada", action="deploy", subject="s"))
    store.audit._events[1] = replace(store.audit._events[1], actor="eve")
    assert [fault.split(":")[0] for fault in await store.audit.verify()] == ["audit seq 2"]


async def test_two_stores_share_nothing():
    first, second = MemoryStore(), MemoryStore()
    await first.documents.put("label", "a", {})
    assert await second.documents.get("label", "a") is None
