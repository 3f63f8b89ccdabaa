"""The loops of the control process that find out what users get: pairs, judgements, goldens, and the alarm.

Of several control processes one does each job; should two do the same for a moment, each fact is still observed once.
What a job needs (models, statistics, datasets) is loaded when there is something to do: most projects ask for nothing.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from shipway.core.errors import ShipwayError
from shipway.gateway.sampling import SAMPLE_KIND
from shipway.gateway.shadow import PAIR_KIND
from shipway.services.application import Application
from shipway.services.quality.pairs import PairObserver

_LEASE_S = 30.0


class Note(Protocol):
    """Writes a log event."""

    def __call__(self, event: str, **fields: object) -> None:
        """Write it."""
        ...


class Work(Protocol):
    """What a job does in one look."""

    async def work(self, app: Application) -> None:
        """Do what there is to do, by this configuration."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A job: how often it looks, whether there is anything to do, and what makes its worker then."""

    name: str
    pause_s: float
    is_wanted: Callable[[Application], Awaitable[bool]]
    make: Callable[[], Awaitable[Work]]


@dataclass(frozen=True, slots=True)
class WatchParts:
    """What the loops work with; `app` gives the configuration in force."""

    app: Callable[[], Application]
    note: Note
    holder: str


@dataclass(slots=True)
class Turn:
    """Whose turn a job is, by a lease that is renewed when a third of it is over."""

    name: str
    holder: str
    _asked_s: float = float("-inf")
    _is_mine: bool = False

    async def is_mine(self, app: Application) -> bool:
        """Tell whether this process does the job in the application's environment."""
        elapsed_s = app.clock.monotonic_s()
        if elapsed_s - self._asked_s >= _LEASE_S / 3:
            self._asked_s, name = elapsed_s, f"{self.name}/{app.environment}"
            lease = await app.state.leases.acquire(name, self.holder, ttl_s=_LEASE_S, now_s=app.clock.now_s())
            self._is_mine = lease is not None
        return self._is_mine


@dataclass(slots=True)
class QualityWatch:
    """All jobs of one process."""

    parts: WatchParts
    jobs: tuple[Job, ...]
    _said: dict[str, str] = field(default_factory=dict)

    async def run(self, stop: anyio.Event) -> None:
        """Work until `stop`; a job that fails is noted and tried again."""
        async with anyio.create_task_group() as group:
            for job in self.jobs:
                group.start_soon(self._repeat, job)
            await stop.wait()
            # A judgement may take minutes; what is not written is judged again.
            group.cancel_scope.cancel()

    async def _repeat(self, job: Job) -> None:
        turn = Turn(f"quality-{job.name}", self.parts.holder)
        worker: Work | None = None
        try:
            while True:
                try:
                    worker = await self._look(job, turn, worker)
                except Exception as error:  # noqa: BLE001 - the edge of a process: noted, and tried again
                    self._failed(job.name, error)
                await anyio.sleep(job.pause_s)
        finally:
            if worker is not None:
                with anyio.CancelScope(shield=True):
                    await worker.close()

    async def _look(self, job: Job, turn: Turn, worker: Work | None) -> Work | None:
        app = self.parts.app()
        # No lease for a job that nobody asked for: it would be written to the disk every few seconds.
        if await job.is_wanted(app) and await turn.is_mine(app):
            worker = worker or await job.make()
            await worker.work(app)
        return worker

    def _failed(self, job: str, error: Exception) -> None:
        """Note a failure once until another one comes: a key that is missing must not fill the log."""
        said = error.message if isinstance(error, ShipwayError) else ""
        if self._said.get(job) != f"{type(error).__name__}/{said}":
            self._said[job] = f"{type(error).__name__}/{said}"
            self.parts.note("quality_job_failed", job=job, error=type(error).__name__, message=said)


class PairsWork:
    """Compares shadow copies with what users got."""

    def __init__(self) -> None:
        self._observer: PairObserver | None = None

    async def made(self) -> Work:
        """Return itself; it costs nothing to have."""
        return self

    async def is_wanted(self, app: Application) -> bool:
        """Tell whether there may be copies."""
        return await self._of(app).is_due()

    async def work(self, app: Application) -> None:
        """Observe the pairs that are complete."""
        await self._of(app).observe(app.project.rollout.events)

    def _of(self, app: Application) -> PairObserver:
        if self._observer is None:
            self._observer = PairObserver(app.state, app.clock, app.environment)
        return self._observer

    async def close(self) -> None:
        """Hold nothing."""


async def has_answers(app: Application) -> bool:
    """Tell whether answers were kept for a judge."""
    for kind in (SAMPLE_KIND, PAIR_KIND):
        if await app.state.documents.list(kind, limit=1):
            return True
    return False


async def has_goldens(app: Application) -> bool:
    """Tell whether goldens are asked."""
    return app.project.quality.goldens is not None


async def has_rules(app: Application) -> bool:
    """Tell whether anything is observed that the rules look at."""
    chosen = app.project.quality
    return chosen.goldens is not None or chosen.sample > 0.0
