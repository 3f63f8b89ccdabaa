"""Every state port in memory, with the semantics of `adapters/sql`.

The wiring builds it for throw-away runs, tests use it as their fake. No method awaits anything, so each is atomic among
the tasks of one event loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shipway.adapters.memory.observations import MemoryObservations
from shipway.adapters.state import (
    NOBODY,
    action_id,
    chain_faults,
    chained,
    next_lease,
    plain,
    refuse_document,
    refuse_fenced,
    refuse_snapshot,
)
from shipway.core.canonical import digest_bytes
from shipway.core.errors import ConflictError, IntegrityError, NotFoundError
from shipway.core.ids import Digest
from shipway.core.ports import AuditEvent, Fence, Lease, StoredRecord, WorkerState
from shipway.core.record import ServedRequest
from shipway.core.snapshot import KeyEntry, Snapshot


class MemoryStore:
    """All state of one process; gone with it."""

    def __init__(self) -> None:
        self.blobs = MemoryBlobs()
        self.audit = MemoryAudit()
        self.snapshots = MemorySnapshots()
        self.leases = MemoryLeases()
        self.records = MemoryRecords()
        self.observations = MemoryObservations()
        self.keys = MemoryKeys()
        self.documents = MemoryDocuments(self.leases)

    async def close(self) -> None:
        """Do nothing; there for symmetry with stores that hold connections."""


class MemoryBlobs:
    """Blobs by digest."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    async def put(self, data: bytes) -> Digest:
        """Store bytes."""
        digest = digest_bytes(data)
        self._data[digest] = data
        return digest

    async def get(self, digest: Digest) -> bytes:
        """Return a blob."""
        data = self._data.get(digest)
        if data is None:
            raise NotFoundError(f"no blob {digest}")
        if digest_bytes(data) != digest:
            raise IntegrityError(f"blob {digest}: the stored bytes no longer have this digest")
        return data


class MemoryAudit:
    """The audit log as a list."""

    def __init__(self) -> None:
        self._events: list[AuditEvent] = []
        self._actions: dict[str, AuditEvent] = {}

    async def append(self, event: AuditEvent) -> AuditEvent:
        """Store an event at the end of the chain; one whose action is there already is returned as it stands."""
        own = replace(event, details=plain(event.details, "audit details"))
        action = action_id(own)
        if action is not None and action in self._actions:
            return self._actions[action]
        self._events.append(chained(own, self._events[-1] if self._events else None))
        if action is not None:
            self._actions[action] = self._events[-1]
        return self._events[-1]

    async def entries(self, *, after: int = 0, limit: int = 1000) -> list[AuditEvent]:
        """Return events with `seq` > `after`, oldest first."""
        return [event for event in self._events if event.seq > after][:limit]

    async def verify(self) -> list[str]:
        """Return what is wrong with the chain."""
        return list(chain_faults(self._events, None))


class MemorySnapshots:
    """Snapshots and what workers reported."""

    def __init__(self) -> None:
        self._snapshots: dict[str, Snapshot] = {}
        self._workers: dict[tuple[str, str], WorkerState] = {}

    async def read(self, environment: str) -> Snapshot:
        """Return the newest snapshot."""
        return self._snapshots.get(environment, Snapshot(environment=environment))

    async def write(self, snapshot: Snapshot, *, expected_version: int) -> Snapshot:
        """Replace the snapshot if it still has `expected_version`."""
        refuse_snapshot(await self.read(snapshot.environment), snapshot, expected_version)
        written = replace(snapshot, version=expected_version + 1)
        self._snapshots[snapshot.environment] = written
        return written

    async def report(self, state: WorkerState) -> None:
        """Record what a worker has applied."""
        self._workers[state.environment, state.worker] = state

    async def workers(self, environment: str, *, seen_after_s: float) -> list[WorkerState]:
        """Return the workers that reported since `seen_after_s`, by name."""
        found = (state for (where, _), state in self._workers.items() if where == environment)
        return sorted((state for state in found if state.at_s >= seen_after_s), key=lambda state: state.worker)


class MemoryLeases:
    """Leases by name."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    async def acquire(self, name: str, holder: str, *, ttl_s: float, now_s: float) -> Lease | None:
        """Take or renew a lease."""
        wanted = Lease(name=name, holder=holder, epoch=0, renewed_at_s=now_s, ttl_s=ttl_s)
        lease = next_lease(self._leases.get(name), wanted)
        if lease is not None:
            self._leases[name] = lease
        return lease

    async def release(self, name: str, holder: str) -> None:
        """Give the lease up."""
        stored = self._leases.get(name)
        if stored is not None and stored.holder == holder:
            self._leases[name] = replace(stored, holder=NOBODY)

    async def read(self, name: str) -> Lease | None:
        """Return the lease as stored."""
        return self._leases.get(name)


class MemoryRecords:
    """Served requests in order of arrival."""

    def __init__(self) -> None:
        self._records: list[StoredRecord] = []
        self._ids: set[str] = set()
        self._marks: dict[str, int] = {}

    async def append(self, records: Sequence[ServedRequest], *, marks: dict[str, int] | None = None) -> int:
        """Store records whose id is new, and the marks."""
        before = len(self._records)
        for record in records:
            if record.id not in self._ids:
                self._ids.add(record.id)
                self._records.append(StoredRecord(position=len(self._records) + 1, record=record))
        self._marks.update(marks or {})
        return len(self._records) - before

    async def marks(self) -> dict[str, int]:
        """Return the offset of every spool file."""
        return dict(self._marks)

    async def forget_marks(self, files: Sequence[str]) -> None:
        """Remove the marks of spool files that are gone."""
        for file in files:
            self._marks.pop(file, None)

    async def find(self, record_id: str) -> ServedRequest | None:
        """Return the record of this id."""
        return next((stored.record for stored in self._records if stored.record.id == record_id), None)

    async def after(
        self, position: int, *, environment: str, rollout: str | None = None, limit: int = 5000
    ) -> list[StoredRecord]:
        """Return records after `position`, oldest first."""
        return [
            stored
            for stored in self._records[position:]
            if stored.record.environment == environment and rollout in {None, stored.record.rollout}
        ][:limit]

    async def last_position(self) -> int:
        """Return the newest record's position."""
        return len(self._records)


class MemoryKeys:
    """API keys by id."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[float, KeyEntry]] = {}
        self._revoked: set[str] = set()

    async def add(self, entry: KeyEntry, *, created_at_s: float) -> None:
        """Store a key; an id is never used twice, not even after it was revoked."""
        if entry.key_id in self._keys:
            raise ConflictError(f"key {entry.key_id!r} exists already")
        self._keys[entry.key_id] = (created_at_s, entry)

    async def list(self) -> list[KeyEntry]:
        """Return the keys in force, oldest first."""
        in_force = [pair for pair in self._keys.values() if pair[1].key_id not in self._revoked]
        return [entry for _, entry in sorted(in_force, key=lambda pair: (pair[0], pair[1].key_id))]

    async def revoke(self, key_id: str) -> bool:
        """Revoke a key."""
        if key_id not in self._keys or key_id in self._revoked:
            return False
        self._revoked.add(key_id)
        return True

    async def rotate(self, entry: KeyEntry, *, replaced_sha256: str) -> bool:
        """Store a key's new secret."""
        at_s, known = self._keys.get(entry.key_id, (0.0, None))
        if known is None or entry.key_id in self._revoked or known.sha256 != replaced_sha256:
            return False
        self._keys[entry.key_id] = (at_s, entry)
        return True


@dataclass(frozen=True, slots=True)
class _Document:
    body: dict[str, Any]
    version: int


class MemoryDocuments:
    """Documents by kind and key; bodies are copied on the way in and out."""

    def __init__(self, leases: MemoryLeases | None = None) -> None:
        self._leases = leases or MemoryLeases()
        self._kinds: dict[str, dict[str, _Document]] = {}

    async def get(self, kind: str, key: str) -> tuple[dict[str, Any], int] | None:
        """Return a document and its version."""
        found = self._kinds.get(kind, {}).get(key)
        return None if found is None else (plain(found.body, key), found.version)

    async def put(
        self,
        kind: str,
        key: str,
        body: dict[str, Any],
        *,
        expected_version: int | None = None,
        fence: Fence | None = None,
    ) -> int:
        """Write a document and return its new version."""
        where = f"{kind} {key!r}"
        own = plain(body, where)
        if fence is not None:
            refuse_fenced(where, await self._leases.read(fence.lease), fence)
        documents = self._kinds.setdefault(kind, {})
        version = documents[key].version if key in documents else 0
        refuse_document(where, version, expected_version)
        documents[key] = _Document(own, version + 1)
        return version + 1

    async def list(self, kind: str, *, prefix: str = "", limit: int = 1000) -> list[tuple[str, dict[str, Any], int]]:
        """Return (key, body, version) in order of first writing."""
        documents = self._kinds.get(kind, {})
        found = [
            (key, plain(item.body, key), item.version) for key, item in documents.items() if key.startswith(prefix)
        ]
        return found[:limit]

    async def delete(self, kind: str, key: str) -> bool:
        """Remove a document."""
        return self._kinds.get(kind, {}).pop(key, None) is not None
