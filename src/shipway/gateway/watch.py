"""Keeps a worker on the newest data-plane snapshot.

A snapshot that names a release unknown here is prepared beside the traffic and swapped in when all of it is ready. One
that names no new release — a rollback, a lower weight, a revoked key — is swapped in at once, whatever is being
prepared. A candidate that cannot be loaded holds nothing else up: the rest of its snapshot is obeyed, without it. The
wiring runs `SnapshotWatcher.run` beside the server.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

from shipway.core.clock import Clock
from shipway.core.ids import ReleaseId
from shipway.core.ports import WorkerState
from shipway.core.snapshot import Snapshot
from shipway.gateway.model import WatchSettings
from shipway.gateway.ports import EventNote, ReleaseLoader, SnapshotSource, WorkerReporter
from shipway.gateway.serving import LoadedRelease, Serving


class SnapshotWatcher:
    """One worker's watcher."""

    def __init__(  # noqa: PLR0913 - its ports; there is no smaller set
        self,
        source: SnapshotSource,
        loader: ReleaseLoader,
        reporter: WorkerReporter,
        serving: Serving,
        *,
        worker: str,
        clock: Clock,
        note: EventNote,
        settings: WatchSettings | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._reporter = reporter
        self._serving = serving
        self._worker = worker
        self._clock = clock
        self._note = note
        self._settings = settings or WatchSettings()
        self._sleep = sleep
        self._nursery = _Nursery(loader, clock, note, self._settings.load_retry_s, ready=self._advance)
        self._target: Snapshot | None = None
        # Version and epoch of the last snapshot that was obeyed whole; only that is reported.
        self._obeyed = (0, 0)
        self._refused = (0, 0)
        self._store_failed = False
        self._beat: int | None = None
        self._beat_at_s = clock.monotonic_s()
        self._reported_at_s: float | None = None
        self._reported: tuple[int, int, bool, bool] | None = None

    def in_traffic(self) -> AbstractSet[ReleaseId]:
        """Return the releases that serve now."""
        return self._serving.current.releases.keys() if self._serving.current else frozenset()

    def swap(self, loader: ReleaseLoader, releases: Mapping[ReleaseId, LoadedRelease]) -> list[LoadedRelease]:
        """Serve by releases that `loader` has loaded anew and load all others with it; one step of the event loop.

        Returns the releases that were replaced; they close after their last request.
        """
        self._nursery.change(loader)
        return self._serving.reequip(releases)

    async def run(self) -> None:
        """Poll until cancelled, then let go of every release after its last request."""
        try:
            while True:
                await self.tick()
                await self._sleep(self._settings.poll_interval_s)
        finally:
            await self._nursery.close()

    async def tick(self) -> None:
        """Read once, obey, report."""
        await self._read()
        self._advance()
        self._mind_silence()
        await self._report()

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._settings.store_timeout_s):
                snapshot = await self._source.read()
                beat = await self._source.read_heartbeat()
        except Exception as error:  # noqa: BLE001 - whatever the store does, the worker goes on with what it has
            if not self._store_failed:
                self._note("snapshot_not_read", error=repr(error))
            self._store_failed = True
            self._serving.store_reachable = False
            return
        self._store_failed = False
        self._serving.store_reachable = True
        self._serving.unwritten = snapshot.version == 0
        if beat is not None and beat != self._beat:
            self._beat = beat
            self._beat_at_s = self._clock.monotonic_s()
        if self._newer(snapshot):
            self._target = snapshot

    def _newer(self, snapshot: Snapshot) -> bool:
        if snapshot.version == 0:
            return False
        known = self._target or (self._serving.current.snapshot if self._serving.current else None)
        if known is None:
            return True
        if snapshot.epoch < known.epoch:
            # A leader that lost its lease has written: obeying it would undo the one that has it.
            if self._refused != (snapshot.epoch, snapshot.version):
                self._refused = (snapshot.epoch, snapshot.version)
                self._note("snapshot_refused", version=snapshot.version, epoch=snapshot.epoch, seen_epoch=known.epoch)
            return False
        return snapshot.epoch > known.epoch or snapshot.version > known.version

    def _advance(self) -> None:
        """Apply the target if all its releases are here, or all but candidates that cannot be loaded."""
        target = self._target
        if target is None:
            return
        here = dict(self._serving.current.releases) if self._serving.current else {}
        wanted = target.releases()
        self._nursery.want(wanted - here.keys())
        here.update(self._nursery.ready(wanted))
        missing = wanted - here.keys()
        if missing:
            self._serving.switch(target)
        if not missing:
            self._target = None
            self._obeyed = (target.version, target.epoch)
            self._apply(target, here)
            self._note("snapshot_applied", version=target.version, epoch=target.epoch)
        elif self._can_do_without(missing, target):
            self._apply(target, here)
            if missing.isdisjoint(target.assigned()):
                # Users get all that was ordered; control does not wait for a shadow that cannot be loaded.
                self._obeyed = (target.version, target.epoch)
            self._note("snapshot_applied_in_part", version=target.version, epoch=target.epoch, without=sorted(missing))

    def _can_do_without(self, missing: frozenset[ReleaseId], target: Snapshot) -> bool:
        current = self._serving.current
        is_new = current is None or (current.snapshot.epoch, current.snapshot.version) != (target.epoch, target.version)
        stable = {route.stable for route in target.routes}
        return is_new and missing.isdisjoint(stable) and missing <= self._nursery.failed()

    def _apply(self, snapshot: Snapshot, here: Mapping[ReleaseId, LoadedRelease]) -> None:
        releases = {name: here[name] for name in snapshot.releases() & here.keys()}
        self._nursery.handed_over(releases.keys())
        self._serving.apply(snapshot, releases, silent=self._silent(snapshot))

    def _silent(self, snapshot: Snapshot) -> bool:
        exposed = any(route.candidate_weight > 0 for route in snapshot.routes)
        return exposed and self._clock.monotonic_s() - self._beat_at_s > snapshot.dead_man_s

    def _mind_silence(self) -> None:
        """Take candidates out of traffic while control is silent, and let them in again when it speaks."""
        current = self._serving.current
        if current is None:
            return
        silent = self._silent(current.snapshot)
        if silent != current.dead_man_tripped:
            self._serving.apply(current.snapshot, current.releases, silent=silent)
            self._note("dead_man_tripped" if silent else "dead_man_released", version=current.snapshot.version)

    async def _report(self) -> None:
        current = self._serving.current
        snapshot = current.snapshot if current else None
        now_s = self._clock.monotonic_s()
        state = (*self._obeyed, bool(current and current.dead_man_tripped), self._serving.finishes_parked)
        due = self._reported_at_s is None or now_s - self._reported_at_s >= self._settings.report_interval_s
        environment = snapshot.environment if snapshot else (self._target.environment if self._target else "")
        if not environment or (state == self._reported and not due):
            return
        version, epoch, tripped, busy = state
        report = WorkerState(
            self._worker, environment, version, epoch, self._clock.now_s(), dead_man_tripped=tripped, busy=busy
        )
        try:
            async with asyncio.timeout(self._settings.store_timeout_s):
                await self._reporter.report(report)
        except Exception as error:  # noqa: BLE001 - reported again with the next tick
            self._note("worker_not_reported", error=repr(error))
            return
        self._reported, self._reported_at_s = state, now_s


class _Nursery:
    """Releases being loaded, and those loaded but not yet in traffic."""

    def __init__(
        self,
        loader: ReleaseLoader,
        clock: Clock,
        note: EventNote,
        retry_s: float,
        *,
        ready: Callable[[], None],
    ) -> None:
        self._loader = loader
        self._clock = clock
        self._note = note
        self._retry_s = retry_s
        self._on_ready = ready
        self._loading: dict[ReleaseId, asyncio.Task[None]] = {}
        self._loaded: dict[ReleaseId, LoadedRelease] = {}
        self._failed_at_s: dict[ReleaseId, float] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def change(self, loader: ReleaseLoader) -> None:
        """Load with another loader, and again what is not in traffic yet."""
        self._loader = loader
        self.want(frozenset())

    def want(self, releases: frozenset[ReleaseId]) -> None:
        """Load these and no others."""
        for release in self._failed_at_s.keys() - releases:
            del self._failed_at_s[release]
        for release in self._loading.keys() - releases:
            self._loading.pop(release).cancel()
        for release in self._loaded.keys() - releases:
            task = asyncio.ensure_future(self._loaded.pop(release).close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        now_s = self._clock.monotonic_s()
        for release in releases - self._loading.keys() - self._loaded.keys():
            failed_at_s = self._failed_at_s.get(release)
            if failed_at_s is None or now_s - failed_at_s >= self._retry_s:
                self._loading[release] = asyncio.ensure_future(self._load(release))

    def ready(self, wanted: frozenset[ReleaseId]) -> dict[ReleaseId, LoadedRelease]:
        """Return those of `wanted` that are loaded."""
        return {release: loaded for release, loaded in self._loaded.items() if release in wanted}

    def failed(self) -> AbstractSet[ReleaseId]:
        """Return those that could not be loaded when they were last tried."""
        return self._failed_at_s.keys()

    def handed_over(self, releases: Iterable[ReleaseId]) -> None:
        """Forget releases that are in traffic now."""
        for release in releases:
            self._loaded.pop(release, None)
            self._failed_at_s.pop(release, None)

    async def close(self) -> None:
        """Stop loading and close what never came into traffic."""
        for task in self._loading.values():
            task.cancel()
        waiting = [loaded.close() for loaded in self._loaded.values()]
        await asyncio.gather(*self._loading.values(), *self._leaving, *waiting, return_exceptions=True)

    async def _load(self, release: ReleaseId) -> None:
        try:
            runtime = await self._loader.load(release)
        except Exception as error:  # noqa: BLE001 - a release that cannot be loaded must not stop the worker
            self._failed_at_s[release] = self._clock.monotonic_s()
            self._note("release_not_loaded", release=release, error=repr(error), retry_in_s=self._retry_s)
            self._loading.pop(release, None)
            return
        self._loading.pop(release, None)
        self._loaded[release] = LoadedRelease(release, runtime)
        self._on_ready()
