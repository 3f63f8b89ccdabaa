"""What this worker serves at this moment: one value, swapped whole.

The watcher writes it, requests read it. A request keeps the release it was assigned to until it ends; a release that
left the snapshot is closed after its last request.
"""

import asyncio
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from shipway.core.errors import UsageError
from shipway.core.ids import ReleaseId
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.gateway.auth import KeyRing
from shipway.gateway.flags import FlagSet, compile_flags
from shipway.gateway.parking import ParkingLot
from shipway.gateway.ports import EventNote, ReleaseRuntime
from shipway.gateway.switchboard import SwitchBoard


class LoadedRelease:
    """A runtime and the requests that use it."""

    def __init__(self, release: ReleaseId, runtime: ReleaseRuntime) -> None:
        self.release = release
        self.runtime = runtime
        self._users = 0
        self._last_one: asyncio.Event | None = None

    def enter(self) -> ReleaseRuntime:
        """Keep the runtime open until `leave`."""
        self._users += 1
        return self.runtime

    def leave(self) -> None:
        """Take note that a request has ended."""
        self._users -= 1
        if self._last_one is not None and not self._users:
            self._last_one.set()

    @property
    def in_use(self) -> bool:
        """Tell whether a request uses it."""
        return self._users > 0

    async def left(self) -> None:
        """Wait until nobody uses it any more."""
        while self._users:
            self._last_one = self._last_one or asyncio.Event()
            self._last_one.clear()
            await self._last_one.wait()

    async def close(self) -> None:
        """Close the runtime when nobody uses it any more."""
        await self.left()
        await self.runtime.close()


_NO_FLAGS = FlagSet({})


@dataclass(frozen=True, slots=True)
class Applied:
    """One state of the worker.

    `served` is what requests obey: `snapshot`, without candidates while control is silent and without those that this
    worker cannot load. `board` is None while the snapshot holds no switch.
    """

    snapshot: Snapshot
    served: Snapshot
    keys: KeyRing
    releases: Mapping[ReleaseId, LoadedRelease]
    routes: Mapping[str, RouteTraffic]
    dead_man_tripped: bool = False
    board: SwitchBoard | None = None
    flags: FlagSet = _NO_FLAGS


class Serving:
    """The holder of the present state.

    `draining` once the worker is told to stop; `unwritten` while the store has no snapshot at all; in `parking` the
    requests of parked routes wait. Each of `on_gone` is called with a release that has left the table, after its last
    request.
    """

    def __init__(self, note: EventNote) -> None:
        self.current: Applied | None = None
        self.draining = False
        self.store_reachable = False
        self.unwritten = False
        self.parking = ParkingLot()
        self.on_gone: list[Callable[[ReleaseId], None]] = []
        self._note = note
        self._closing: set[asyncio.Task[None]] = set()
        self._told: Snapshot | None = None
        self._compiled: tuple[FlagSet, Mapping[str, Any]] = (_NO_FLAGS, {})

    @property
    def finishes_parked(self) -> bool:
        """Tell whether a request is under way that a route took before it was parked."""
        current = self.current
        return current is not None and any(
            route.parked and route.stable in current.releases and current.releases[route.stable].in_use
            for route in current.routes.values()
        )

    def apply(self, snapshot: Snapshot, releases: Mapping[ReleaseId, LoadedRelease], *, silent: bool) -> None:
        """Swap to a snapshot whose stable releases are all loaded, and let go of those it no longer names.

        A candidate that is not among `releases` has no traffic.
        """
        before = self.current.releases if self.current else {}
        served = _served(snapshot, releases.keys(), silent=silent)
        told = self._newest(snapshot)
        self.current = Applied(
            snapshot=snapshot,
            served=served,
            routes={traffic.route: traffic for traffic in served.routes},
            keys=KeyRing(snapshot.keys),
            releases=dict(releases),
            dead_man_tripped=silent,
            board=_board(told),
            flags=self._flags(told),
        )
        self.parking.look_again()
        for release, loaded in before.items():
            if release not in releases:
                self.retire(loaded)

    def switch(self, snapshot: Snapshot) -> None:
        """Obey a snapshot's switches and flags before its releases are loaded: an incident does not wait for them."""
        if self.current is not None:
            told = self._newest(snapshot)
            self.current = replace(self.current, board=_board(told), flags=self._flags(told))
            self.parking.look_again()

    def reequip(self, releases: Mapping[ReleaseId, LoadedRelease]) -> list[LoadedRelease]:
        """Serve the same snapshot with releases that were loaded anew; returns those that end with their last request.

        A release that is not among them stays as it is.
        """
        if self.current is None:
            return []
        before = self.current.releases
        self.current = replace(self.current, releases={name: releases.get(name, old) for name, old in before.items()})
        replaced = [old for name, old in before.items() if name in releases]
        for loaded in replaced:
            self.retire(loaded)
        return replaced

    def _newest(self, snapshot: Snapshot) -> Snapshot:
        """Return the newest snapshot seen: applying an older one again must not bring back what a switch stopped."""
        known = self._told
        if known is None or (snapshot.epoch, snapshot.version) >= (known.epoch, known.version):
            self._told = known = snapshot
        return known

    def _flags(self, snapshot: Snapshot) -> FlagSet:
        known, document = self._compiled
        if document == snapshot.flags:
            return known
        try:
            known = compile_flags(snapshot.flags)
        except UsageError as error:
            # Another version of the control plane may know more; what was in force stays.
            self._note("flags_refused", version=snapshot.version, error=error.message)
        self._compiled = (known, snapshot.flags)
        return known

    def retire(self, loaded: LoadedRelease) -> None:
        """Close a release after its last request."""
        task = asyncio.ensure_future(self._close(loaded))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close every release after its last request."""
        for loaded in self.current.releases.values() if self.current else ():
            self.retire(loaded)
        self.current = None
        await asyncio.gather(*self._closing)

    async def _close(self, loaded: LoadedRelease) -> None:
        try:
            await loaded.close()
        except Exception as error:  # noqa: BLE001 - the edge of somebody else's code; serving goes on
            self._note("release_not_closed", release=loaded.release, error=str(error))
        else:
            self._note("release_closed", release=loaded.release)
        if self.current is None or loaded.release not in self.current.releases:
            for forget in self.on_gone:
                forget(loaded.release)


def _board(snapshot: Snapshot) -> SwitchBoard | None:
    return SwitchBoard(snapshot.switches) if snapshot.switches else None


def _served(snapshot: Snapshot, loaded: Container[ReleaseId], *, silent: bool) -> Snapshot:
    if silent:
        return snapshot.without_candidates()
    routes = tuple(
        route
        if route.candidate is None or route.candidate in loaded
        else replace(route, candidate=None, candidate_weight=0.0)
        for route in snapshot.routes
    )
    return replace(snapshot, routes=routes)
