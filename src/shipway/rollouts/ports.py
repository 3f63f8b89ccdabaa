"""All that strategies and the controller know of the outside world.

Above: `controller` alone calls these. Below: `core.ports.SnapshotStore` is a `Traffic`, `core.ports.RecordStore` an
`Evidence`, `core.ports.ObservationStore` are `Observations`; `Target` is the supervisor of processes (or a cluster),
`Labels` the registry, `Checks` the evaluations. Every method is idempotent: after a crash the next controller calls it
again. Every write carries the leader's epoch, in the snapshot or as a `Fence`, so that a former leader is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from shipway.core.ids import ReleaseId
from shipway.core.observation import StoredObservation
from shipway.core.ports import AuditLog, DocumentStore, Fence, LeaseStore, StoredRecord, WorkerState
from shipway.core.snapshot import Snapshot
from shipway.rollouts.checks import CheckResult
from shipway.rollouts.model import Rollout


class Traffic(Protocol):
    """Where traffic is divided."""

    async def read(self, environment: str) -> Snapshot:
        """Return what the data plane was last told."""
        ...

    async def write(self, snapshot: Snapshot, *, expected_version: int) -> Snapshot:
        """Tell the data plane.

        Raises:
            FencedError: a leader with a higher epoch has written.
            ConflictError: the snapshot is no longer `expected_version`.
        """
        ...

    async def workers(self, environment: str, *, seen_after_s: float) -> list[WorkerState]:
        """Return the workers that reported since `seen_after_s` (Unix time)."""
        ...


class Target(Protocol):
    """What serves a release; releases without a process of their own are always healthy."""

    async def start(self, release: ReleaseId, *, fence: Fence) -> None:
        """Start what serves a release; nothing happens when it runs.

        Raises:
            FencedError: a leader with a higher epoch has the lease.
        """
        ...

    async def stop(self, release: ReleaseId, *, fence: Fence) -> None:
        """Stop what serves a release; nothing happens when it does not run.

        Raises:
            FencedError: a leader with a higher epoch has the lease.
        """
        ...

    async def healthy(self, release: ReleaseId) -> bool:
        """Tell whether a release can take traffic now."""
        ...

    async def problem(self, release: ReleaseId, *, since_s: float) -> str:
        """Return why a release cannot be served, as far as it was found out since `since_s`; empty when nothing was.

        The data plane cannot load it, or what serves it ends whenever it is started and never was healthy.
        """
        ...

    async def endpoints(self, release: ReleaseId) -> Mapping[str, str]:
        """Return the base URL of the process that serves each route of kind http."""
        ...


class Checks(Protocol):
    """What has to be tried before, or instead of, users."""

    async def result(self, kind: str, rollout: Rollout) -> CheckResult | None:
        """Return what a check said of the rollout's candidate, None while it runs; the first call starts it."""
        ...


class Evidence(Protocol):
    """What was served."""

    async def after(
        self, position: int, *, environment: str, rollout: str | None = None, limit: int = 5000
    ) -> list[StoredRecord]:
        """Return records committed after `position`, oldest first; only those of `rollout` when given."""
        ...


class Observations(Protocol):
    """What was learnt later about what was served."""

    async def after(
        self, position: int, *, environment: str, rollout: str | None = None, limit: int = 5000
    ) -> list[StoredObservation]:
        """Return observations committed after `position`, oldest first; only those of `rollout` when given."""
        ...


class Labels(Protocol):
    """The names that point at releases."""

    async def set(self, environment: str, release: ReleaseId, *, fence: Fence) -> None:
        """Make `release` the stable release of an environment.

        Raises:
            FencedError: a leader with a higher epoch has the lease.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world of a controller."""

    documents: DocumentStore
    leases: LeaseStore
    audit: AuditLog
    traffic: Traffic
    evidence: Evidence
    observations: Observations
    target: Target
    labels: Labels
    checks: Checks
