"""Ports that several features share: the state behind control and data plane.

Above: services, the rollout controller, the data plane's watcher. Below: `adapters/memory` (a mode, and the tests'
fakes) and `adapters/sql` (SQLite, later Postgres). Both pass the contract suites in `tests/contract`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from shipway.core.ids import Digest
from shipway.core.observation import Observation, StoredObservation
from shipway.core.record import ServedRequest
from shipway.core.snapshot import KeyEntry, Snapshot


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that changed what users get, or tried to.

    `seq` is dense from 1 and `digest` chains over the previous one; both are the store's to give.
    """

    at_s: float
    actor: str
    action: str
    subject: str
    details: dict[str, Any] = field(default_factory=dict)
    seq: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """Leadership: `epoch` grows by one with each change of holder and fences every write."""

    name: str
    holder: str
    epoch: int
    renewed_at_s: float
    ttl_s: float
    beat: int = 0
    """Counts renewals, so that a reader can judge silence by its own monotonic clock."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Under which leadership a leader writes: the store refuses it once the lease has a higher epoch."""

    lease: str
    epoch: int


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a data-plane worker last applied; `version` is the snapshot's.

    `busy` while requests that it took before a route was parked are still under way.
    """

    worker: str
    environment: str
    version: int
    epoch: int
    at_s: float
    dead_man_tripped: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A served request and its place in the store's commit order."""

    position: int
    record: ServedRequest


class BlobStore(Protocol):
    """Content by its digest."""

    async def put(self, data: bytes) -> Digest:
        """Store bytes; the same bytes twice are one blob."""
        ...

    async def get(self, digest: Digest) -> bytes:
        """Return a blob.

        Raises:
            NotFoundError: no such blob.
            IntegrityError: what is stored no longer has this digest.
        """
        ...


class AuditLog(Protocol):
    """Append-only, dense sequence, hash-chained."""

    async def append(self, event: AuditEvent) -> AuditEvent:
        """Store an event durably and return it with `seq` and `digest`.

        An event whose `details` hold an `action_id` that the log has already is not stored again; the one that is
        there is returned. A controller that lost its lease between looking and writing can do no harm therefore.
        """
        ...

    async def entries(self, *, after: int = 0, limit: int = 1000) -> list[AuditEvent]:
        """Return events with `seq` > `after`, oldest first."""
        ...

    async def verify(self) -> list[str]:
        """Return what is wrong with the chain, one line a fault; empty when it holds."""
        ...


class SnapshotStore(Protocol):
    """Where control writes the data-plane snapshot and workers read it."""

    async def read(self, environment: str) -> Snapshot:
        """Return the newest snapshot; an empty one of version 0 when none was written."""
        ...

    async def write(self, snapshot: Snapshot, *, expected_version: int) -> Snapshot:
        """Replace the snapshot if it still has `expected_version`; return it with the new version.

        Raises:
            FencedError: the stored epoch is higher than `snapshot.epoch`.
            ConflictError: someone else wrote meanwhile.
        """
        ...

    async def report(self, state: WorkerState) -> None:
        """Record what a worker has applied."""
        ...

    async def workers(self, environment: str, *, seen_after_s: float) -> list[WorkerState]:
        """Return the workers that reported since `seen_after_s` (Unix time)."""
        ...


class LeaseStore(Protocol):
    """One leader at a time."""

    async def acquire(self, name: str, holder: str, *, ttl_s: float, now_s: float) -> Lease | None:
        """Take or renew a lease; None while another holder's has not expired."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """Give the lease up; nothing happens when `holder` does not hold it."""
        ...

    async def read(self, name: str) -> Lease | None:
        """Return the lease as stored."""
        ...


class RecordStore(Protocol):
    """Served requests in commit order."""

    async def append(self, records: Sequence[ServedRequest], *, marks: dict[str, int] | None = None) -> int:
        """Commit records in one transaction with the spool offsets in `marks`; known ids are skipped.

        Returns how many were new.
        """
        ...

    async def marks(self) -> dict[str, int]:
        """Return the committed offset of every spool file."""
        ...

    async def forget_marks(self, files: Sequence[str]) -> None:
        """Remove the marks of spool files that are gone; unknown ones are ignored."""
        ...

    async def find(self, record_id: str) -> ServedRequest | None:
        """Return the record of this id, None when there is none (yet)."""
        ...

    async def after(
        self, position: int, *, environment: str, rollout: str | None = None, limit: int = 5000
    ) -> list[StoredRecord]:
        """Return records committed after `position`, oldest first; only those of `rollout` when given."""
        ...

    async def last_position(self) -> int:
        """Return the newest record's position, 0 when there is none."""
        ...


class ObservationStore(Protocol):
    """Later facts about served requests, in commit order."""

    async def append(self, observations: Sequence[Observation]) -> int:
        """Commit observations in one transaction; known ids are skipped. Returns how many were new."""
        ...

    async def find(self, observation_id: str) -> Observation | None:
        """Return the observation of this id, None when there is none."""
        ...

    async def after(
        self,
        position: int,
        *,
        environment: str,
        rollout: str | None = None,
        kinds: Collection[str] = (),
        since_s: float | None = None,
        limit: int = 5000,
    ) -> list[StoredObservation]:
        """Return observations committed after `position`, oldest first.

        Only those of `rollout` when given, of `kinds` when there are any, and made since `since_s` (Unix time).
        """
        ...

    async def last_position(self) -> int:
        """Return the newest observation's position, 0 when there is none."""
        ...


class KeyStore(Protocol):
    """API keys by hash."""

    async def add(self, entry: KeyEntry, *, created_at_s: float) -> None:
        """Store a key."""
        ...

    async def list(self) -> list[KeyEntry]:
        """Return the keys that are not revoked, oldest first."""
        ...

    async def revoke(self, key_id: str) -> bool:
        """Revoke a key; False when there is no such key in force."""
        ...

    async def rotate(self, entry: KeyEntry, *, replaced_sha256: str) -> bool:
        """Store a key's new secret, if the one that it replaces is still the present one of a key in force."""
        ...


class DocumentStore(Protocol):
    """Versioned JSON documents by kind and id, for rows that are read and written whole.

    Kinds: `release`, `rollout`, `evaluation`, `label`, `deployment`, `process`, `corpus`, `pipeline_run`, `score`,
    `shadow_pair`, `cache_calibration`, `conversation`, `answer_sample`, `quality_cursor`, `quality_budget`,
    `quality_error`.
    """

    async def get(self, kind: str, key: str) -> tuple[dict[str, Any], int] | None:
        """Return a document and its version (from 1), or None."""
        ...

    async def put(
        self,
        kind: str,
        key: str,
        body: dict[str, Any],
        *,
        expected_version: int | None = None,
        fence: Fence | None = None,
    ) -> int:
        """Write a document and return its new version.

        `expected_version` 0 means "must not exist", None means "whatever is there". With a `fence`, the lease is read
        and the document written in one step: once somebody else leads, the former leader writes nothing.

        Raises:
            ConflictError: the stored version is another one.
            FencedError: the lease of `fence` has a higher epoch.
        """
        ...

    async def list(self, kind: str, *, prefix: str = "", limit: int = 1000) -> list[tuple[str, dict[str, Any], int]]:
        """Return (key, body, version) of a kind, in order of first writing."""
        ...

    async def delete(self, kind: str, key: str) -> bool:
        """Remove a document; False when there was none."""
        ...


class State(Protocol):
    """Every store of one installation, opened together."""

    @property
    def blobs(self) -> BlobStore:
        """Return the content store."""
        ...

    @property
    def audit(self) -> AuditLog:
        """Return the audit log."""
        ...

    @property
    def snapshots(self) -> SnapshotStore:
        """Return the snapshot store."""
        ...

    @property
    def leases(self) -> LeaseStore:
        """Return the lease store."""
        ...

    @property
    def records(self) -> RecordStore:
        """Return the record store."""
        ...

    @property
    def observations(self) -> ObservationStore:
        """Return the store of later facts about requests."""
        ...

    @property
    def keys(self) -> KeyStore:
        """Return the key store."""
        ...

    @property
    def documents(self) -> DocumentStore:
        """Return the document store."""
        ...

    async def close(self) -> None:
        """Give every connection back."""
        ...
