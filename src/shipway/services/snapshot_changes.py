"""Changing what the data plane obeys, beside the rollout controller: read, change, write back, again on a conflict."""

from collections.abc import Callable

import anyio

from shipway.core.errors import ConflictError, FencedError, UnavailableError
from shipway.core.snapshot import Snapshot
from shipway.services.application import Installation

_ATTEMPTS = 20
_POLL_S = 0.05
_WORKER_ALIVE_S = 5.0
_CONFIRM_TIMEOUT_S = 6.0


async def changed_snapshot(app: Installation, change: Callable[[Snapshot], Snapshot]) -> Snapshot:
    """Write a changed snapshot; `change` may be called several times.

    Raises:
        ConflictError: somebody else kept writing.
    """
    for _ in range(_ATTEMPTS):
        snapshot = await app.state.snapshots.read(app.environment)
        try:
            return await app.state.snapshots.write(change(snapshot), expected_version=snapshot.version)
        except (ConflictError, FencedError):
            # Fenced says the same here: a new leader has written since the snapshot was read.
            continue
    raise ConflictError("the snapshot kept changing; try again")


async def obeyed_after_s(app: Installation, version: int) -> float | None:
    """Return the seconds until every living worker obeyed a version; None when none runs.

    Raises:
        UnavailableError: a living worker does not obey in time; the change is written and stays.
    """
    started_s = app.clock.monotonic_s()
    with anyio.move_on_after(_CONFIRM_TIMEOUT_S):
        while True:
            seen_after_s = app.clock.now_s() - _WORKER_ALIVE_S
            alive = await app.state.snapshots.workers(app.environment, seen_after_s=seen_after_s)
            if not alive:
                return None
            if all(worker.version >= version for worker in alive):
                return round(app.clock.monotonic_s() - started_s, 3)
            await anyio.sleep(_POLL_S)
    raise UnavailableError(
        f"snapshot {version} is written, but not every gateway worker obeys it after {_CONFIRM_TIMEOUT_S:g} s",
        hint="`shipway logs gateway` says why",
    )
