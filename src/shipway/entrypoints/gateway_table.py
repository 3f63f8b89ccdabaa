"""What a gateway worker serves with by one configuration, and how another one takes its place.

A table is built beside the one in traffic and takes its place between two requests. What is counted, kept or known
(limits, answers, conversations, breakers, keys of issuers) passes on; what only the former table had is closed when the
requests that began with it have ended.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from shipway.config.changes import Changes, changes, obeyable
from shipway.config.environment import process_environment
from shipway.config.loading import load_project
from shipway.core.errors import ConflictError, UsageError
from shipway.core.ids import ReleaseId
from shipway.entrypoints.gateway_kept import Keeping, KeepingParts, Work, open_keeping
from shipway.entrypoints.gateway_limits import Counters, Issuers, issuers_of
from shipway.entrypoints.runtime_factory import LocalRuntimeFactory
from shipway.gateway.app import Gateway, GatewayParts
from shipway.gateway.model import GatewaySettings
from shipway.gateway.ports import ReleaseLoader
from shipway.gateway.serving import LoadedRelease
from shipway.gateway.shadow_desk import ShadowDesk
from shipway.gateway.watch import SnapshotWatcher
from shipway.services.application import Application
from shipway.services.config_board import ConfigBoard
from shipway.services.runtimes import ReleaseRuntimes

_ISSUERS_S = 3.0


@dataclass(slots=True, eq=False)
class Table:
    """One configuration, opened. `tasks` work for it alone, `keys_task` fetches its issuers' keys."""

    app: Application
    settings: GatewaySettings
    parts: GatewayParts
    keeping: Keeping
    issuers: Issuers
    factory: LocalRuntimeFactory
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    keys_task: "asyncio.Task[None] | None" = None

    @property
    def runtimes(self) -> ReleaseRuntimes:
        """Return what loads releases by this configuration."""
        return ReleaseRuntimes(self.app, self.factory)


@dataclass(frozen=True, slots=True)
class TableParts:
    """What a table is built with, whatever the configuration; `gateway` are the parts that stay."""

    gateway: GatewayParts
    counters: Counters
    keeping: KeepingParts
    settings: Callable[[Application], GatewaySettings]


async def open_table(app: Application, parts: TableParts, before: Table | None = None) -> Table:
    """Open a configuration; what the one before can go on with is shared with it."""
    base, settings = parts.gateway, parts.settings(app)
    issuers = issuers_of(app, base.note, base.uniform, before.issuers if before else None)
    keeping = await open_keeping(app, settings, parts.keeping, before.keeping if before else None)
    made = replace(
        base,
        quotas=parts.counters.book(app.project),
        tokens=issuers.desk,
        kept=keeping.kept,
        shadow=keeping.shadow,
        feedback=keeping.feedback,
        sampler=keeping.sampler,
    )
    factory = LocalRuntimeFactory(app, before.factory if before else None)
    return Table(app, settings, made, keeping, issuers, factory)


class Tables:
    """The table in traffic; `run` belongs beside the server, `prepare` to `services.config_follower`."""

    def __init__(
        self,
        live: Table,
        parts: TableParts,
        gateway: Gateway,
        watcher: SnapshotWatcher,
        board: ConfigBoard,
        reporting: Callable[[ReleaseLoader], ReleaseLoader],
    ) -> None:
        self.live = live
        self._parts = parts
        self._gateway = gateway
        self._watcher = watcher
        self._board = board
        self._reporting = reporting
        # Those that hold something: in traffic, prepared, or with requests that began with them.
        self._open = [live]
        self._retiring: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None

    async def run(self, follow: Work) -> None:
        """Work for the table in traffic and follow the orders until cancelled; a work that fails ends the process."""
        async with asyncio.TaskGroup() as self._group:
            self._fetch_keys(self.live)
            self._begin(self.live)
            self._group.create_task(follow())

    async def prepare(self, revision: int) -> "PreparedTable":
        """Open a revision beside what is served with now, with every release that is in traffic.

        Raises:
            ShipwayError: it cannot be served by; the error says why.
        """
        live = self.live
        files = self._board.files(revision)
        wanted = await asyncio.to_thread(load_project, live.app.loaded.root, process_environment(), files)
        if wanted.environment != live.app.environment:
            raise ConflictError(f"this worker serves {live.app.environment!r}, not {wanted.environment!r}")
        project = obeyable(live.app.project, wanted.project)
        app = replace(live.app, loaded=replace(wanted, project=project))
        table = await open_table(app, self._parts, live)
        self._open.append(table)
        prepared = PreparedTable(self, table, changes(live.app.project, wanted.project))
        try:
            if table.issuers is not live.issuers:
                self._fetch_keys(table)
                await table.issuers.settled(_ISSUERS_S)
            await prepared.load()
        except BaseException:
            await prepared.discard()
            raise
        return prepared

    def in_traffic(self) -> AbstractSet[ReleaseId]:
        """Return the releases that serve now."""
        return self._watcher.in_traffic()

    def adopt(self, table: Table, releases: Mapping[ReleaseId, LoadedRelease]) -> None:
        """Serve with a table from the next request on; one step of the event loop."""
        before, self.live = self.live, table
        former_shadow = self._gateway.shadow
        table.keeping.adopt(before.keeping)
        replaced = self._watcher.swap(self._reporting(table.runtimes), releases)
        self._gateway.obey(table.parts, table.settings)
        if table.issuers is before.issuers:
            table.keys_task, before.keys_task = before.keys_task, None
        self._begin(table)
        retiring = asyncio.ensure_future(self._retire(before, replaced, former_shadow))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def drop(self, table: Table) -> None:
        """Close what a table has to itself; nothing is served with it any more."""
        tasks = [*table.tasks, *([table.keys_task] if table.keys_task else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if table in self._open:
            self._open.remove(table)
        try:
            await table.keeping.close([other.keeping for other in self._open])
            await table.factory.leave_to([other.factory for other in self._open])
        except Exception as error:  # noqa: BLE001 - the edge of somebody else's code; serving goes on
            self.note("config_not_closed", error=repr(error))

    def note(self, event: str, **fields: object) -> None:
        """Write a line."""
        self._parts.gateway.note(event, **fields)

    async def close(self) -> None:
        """Close what the tables hold; nothing is served any more."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        for table in [table for table in self._open if table is not self.live]:
            await self.drop(table)
        await self.live.keeping.close()
        await self.live.factory.close()

    def _begin(self, table: Table) -> None:
        for work in (table.keeping.run, *self._gateway.beside):
            table.tasks.append(self._started(work))

    def _fetch_keys(self, table: Table) -> None:
        if table.issuers.run is not None:
            table.keys_task = self._started(table.issuers.run)

    def _started(self, work: Work) -> "asyncio.Task[None]":
        if self._group is None:
            raise UsageError("tables are not run yet")
        return self._group.create_task(work())

    async def _retire(self, table: Table, releases: Sequence[LoadedRelease], shadow: ShadowDesk | None) -> None:
        """Close what a former table had to itself, after the last request that began with it and its copy."""
        for loaded in releases:
            await loaded.left()
        if shadow is not None:
            await shadow.queue.drained()
        await self.drop(table)
        self.note("config_retired", tables=len(self._open))


class PreparedTable:
    """A table beside the one in traffic; implements `services.config_follower.Prepared`."""

    def __init__(self, tables: Tables, table: Table, found: Changes) -> None:
        self._tables = tables
        self._table = table
        self._releases: dict[ReleaseId, LoadedRelease] = {}
        self.changes = found

    async def load(self) -> None:
        """Load every release that is in traffic by the new configuration."""
        while missing := self._tables.in_traffic() - self._releases.keys():
            for release in missing:
                self._releases[release] = LoadedRelease(release, await self._table.runtimes.load(release))

    async def adopt(self) -> None:
        """Serve with it from the next request on; a release that came meanwhile is loaded first."""
        try:
            await self.load()
        except Exception as error:  # noqa: BLE001 - all workers have agreed; that one release goes on as it was loaded
            self._tables.note("release_kept_as_it_was", error=repr(error))
        self._tables.adopt(self._table, self._releases)

    async def discard(self) -> None:
        """Let go of it; it was never served with."""
        for loaded in self._releases.values():
            await loaded.close()
        await self._tables.drop(self._table)
