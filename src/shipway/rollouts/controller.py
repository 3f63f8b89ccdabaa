"""The loop that moves rollouts: one leader per environment, any number of controllers waiting to be it.

A tick takes or renews the lease and, for each rollout, does what `decide` says until it says to hold. Every write is
conditional (row version, snapshot version, epoch), therefore a crash or a lost lease at any point costs a repetition of
something idempotent and nothing else.
"""

from dataclasses import dataclass, replace

import anyio

from shipway.core.clock import Clock
from shipway.core.errors import ConflictError, FencedError, NotFoundError, ShipwayError
from shipway.core.ids import ReleaseId, RolloutId
from shipway.core.snapshot import Snapshot
from shipway.rollouts import desk
from shipway.rollouts.actions import (
    Action,
    Complete,
    FinishRollBack,
    Hold,
    Observed,
    Restamp,
    SetWeights,
    StartServices,
    StopServices,
)
from shipway.rollouts.analysis import Judgement, judge
from shipway.rollouts.decide import decide
from shipway.rollouts.folding import fold
from shipway.rollouts.model import Phase, Rollout
from shipway.rollouts.outbox import flushed
from shipway.rollouts.ports import Ports
from shipway.rollouts.traffic import divided, without_candidate
from shipway.rollouts.transitions import transition
from shipway.telemetry.logs import logger

# More than any chain of actions that needs no answer from a worker; what is left comes with the next tick.
_ACTIONS_PER_TICK = 12
_PAGE = 5000
_PAGES_PER_TICK = 20


@dataclass(frozen=True, slots=True)
class Timing:
    """How often a controller looks, and how long it leads without renewing."""

    interval_s: float = 1.0
    lease_ttl_s: float = 10.0


@dataclass(frozen=True, slots=True)
class _Leadership:
    epoch: int
    until_monotonic_s: float


class RolloutController:
    """Runs the rollouts of one environment while it holds the lease `rollouts/<environment>`."""

    def __init__(
        self, ports: Ports, clock: Clock, *, environment: str, holder: str, timing: Timing | None = None
    ) -> None:
        self._ports = ports
        self._clock = clock
        self._environment = environment
        self._holder = holder
        self._timing = timing or Timing()
        self._leadership: _Leadership | None = None
        self._log = logger("shipway.rollouts").bind(environment=environment, holder=holder)

    @property
    def lease_name(self) -> str:
        """Return the lease that leaders of this environment hold."""
        return f"rollouts/{self._environment}"

    @property
    def leads(self) -> bool:
        """Tell whether this controller held the lease at its last look."""
        return self._leadership is not None

    async def run(self, stop: anyio.Event) -> None:
        """Tick until `stop` is set, then give the lease up."""
        while not stop.is_set():
            try:
                await self.tick()
            except ShipwayError as error:
                # The loop outlives a store that is away: the dead man guards users meanwhile.
                self._log.warning("rollout_tick_failed", error=type(error).__name__, message=error.message)
            with anyio.move_on_after(self._timing.interval_s):
                await stop.wait()
        self._leadership = None
        await self._ports.leases.release(self.lease_name, self._holder)

    async def tick(self) -> bool:
        """Reconcile every rollout that is not settled; return whether this controller leads.

        Raises:
            ShipwayError: a port failed; the next tick starts afresh.
        """
        try:
            if not await self._lead():
                return False
            for rollout_id in await desk.unsettled(self._ports.documents, self._environment):
                await self._reconcile_or_retry(rollout_id)
        except FencedError as error:
            self._leadership = None
            self._log.warning("rollout_leader_fenced", message=error.message)
            return False
        return True

    async def reconcile(self, rollout_id: RolloutId) -> Rollout:
        """Bring one rollout as far as it can go now and return its row.

        Raises:
            FencedError: this controller does not lead (any more).
            ConflictError: the row or the snapshot changed meanwhile; reconcile again.
            NotFoundError: no such rollout.
        """
        for _ in range(_ACTIONS_PER_TICK):
            rollout, version = await desk.load(self._ports.documents, rollout_id)
            if rollout.outbox:
                self._epoch()
                rollout = await flushed(rollout, self._ports.audit)
                version = await self._save(rollout, version)
            seen = await self._with_new_records(rollout)
            observed = await self._observe(seen)
            judgement = _judged(seen, observed.now_s)
            action = decide(seen, judgement, observed)
            if isinstance(action, Hold):
                if seen is not rollout:
                    await self._save(seen, version)
                return seen
            await self._run(action, seen, observed)
            changed = transition(seen, action, judgement, observed)
            if changed is not seen:
                await self._save(changed, version)
                self._log.info("rollout_action", rollout=rollout_id, action=type(action).__name__, state=changed.state)
        return (await desk.load(self._ports.documents, rollout_id))[0]

    async def _reconcile_or_retry(self, rollout_id: RolloutId) -> None:
        try:
            rollout = await self.reconcile(rollout_id)
            if rollout.settled and not rollout.outbox:
                await desk.forget_settled(self._ports.documents, self._environment, rollout_id)
        except NotFoundError:
            self._log.debug("rollout_never_stored", rollout=rollout_id)
        except ConflictError as error:
            self._log.info("rollout_changed_meanwhile", rollout=rollout_id, message=error.message)

    async def _lead(self) -> bool:
        asked_s = self._clock.monotonic_s()
        ttl_s = self._timing.lease_ttl_s
        lease = await self._ports.leases.acquire(self.lease_name, self._holder, ttl_s=ttl_s, now_s=self._clock.now_s())
        if lease is None:
            self._leadership = None
            return False
        if self._leadership is None or self._leadership.epoch != lease.epoch:
            self._log.info("rollout_leader", epoch=lease.epoch)
        self._leadership = _Leadership(lease.epoch, asked_s + ttl_s)
        return True

    def _epoch(self) -> int:
        """Return the epoch to write with; called before every write because any wait may have outlived the lease."""
        held = self._leadership
        if held is None or self._clock.monotonic_s() >= held.until_monotonic_s:
            raise FencedError(f"{self._holder} no longer holds the lease {self.lease_name}")
        return held.epoch

    async def _save(self, rollout: Rollout, version: int) -> int:
        self._epoch()
        return await self._ports.documents.put(desk.KIND, rollout.id, rollout.to_dict(), expected_version=version)

    async def _with_new_records(self, rollout: Rollout) -> Rollout:
        if rollout.settled:
            return rollout
        evidence = rollout.evidence
        for _ in range(_PAGES_PER_TICK):
            records = await self._ports.evidence.after(
                evidence.cursor, environment=self._environment, rollout=rollout.id, limit=_PAGE
            )
            if records:
                evidence = fold(evidence, records, rollout=rollout.id, bad_events=rollout.plan.events)
            if len(records) < _PAGE:
                break
        return rollout if evidence is rollout.evidence else replace(rollout, evidence=evidence)

    async def _observe(self, rollout: Rollout) -> Observed:
        now_s = self._clock.now_s()
        snapshot = await self._ports.traffic.read(self._environment)
        # A worker that has been silent for longer has dropped the candidate by itself.
        seen_after_s = now_s - rollout.plan.dead_man_s
        workers = await self._ports.traffic.workers(self._environment, seen_after_s=seen_after_s)
        healthy = rollout.finished or await self._ports.target.healthy(rollout.candidate)
        problem = await self._problem(rollout)
        in_use = await self._in_use(rollout.id) if rollout.finished else frozenset()
        return Observed(snapshot, tuple(workers), self._epoch(), now_s, healthy, problem, in_use)

    async def _problem(self, rollout: Rollout) -> str:
        """Return why the candidate cannot be loaded; a failure from before this rollout may have been mended."""
        if rollout.finished:
            return ""
        return await self._ports.target.problem(rollout.candidate, since_s=rollout.times.created_s)

    async def _in_use(self, rollout_id: RolloutId) -> frozenset[ReleaseId]:
        found: set[ReleaseId] = set()
        for other_id in await desk.unsettled(self._ports.documents, self._environment):
            other = await desk.find(self._ports.documents, other_id)
            if other is not None and other_id != rollout_id and not other[0].finished:
                found |= {other[0].stable, other[0].candidate}
        return frozenset(found)

    async def _run(self, action: Action, rollout: Rollout, observed: Observed) -> None:
        """Do what an action does outside the row; a repetition changes nothing."""
        epoch = self._epoch()
        ports = self._ports
        match action:
            case Restamp():
                await self._write(replace(observed.snapshot, epoch=epoch))
            case SetWeights(None):
                await ports.target.start(rollout.stable)
                await self._write(without_candidate(replace(observed.snapshot, epoch=self._epoch()), rollout))
            case SetWeights(division) if division is not None:
                endpoints = {rollout.candidate: await ports.target.endpoints(rollout.candidate)}
                stamped = replace(observed.snapshot, epoch=self._epoch())
                await self._write(divided(stamped, rollout, division, endpoints))
            case StartServices():
                await ports.target.start(rollout.candidate)
            case StopServices(release, needed=False):
                await ports.target.stop(release)
            case Complete():
                await ports.labels.set(self._environment, rollout.candidate)
            case FinishRollBack() if rollout.times.promoting_s is not None:
                await ports.labels.set(self._environment, rollout.stable)
            case _:
                pass

    async def _write(self, snapshot: Snapshot) -> None:
        await self._ports.traffic.write(snapshot, expected_version=snapshot.version)


def _judged(rollout: Rollout, now_s: float) -> Judgement:
    confirmed_s = rollout.times.step_s if rollout.phase is Phase.APPLIED else None
    return judge(
        rollout.evidence,
        rollout.plan,
        rollout.step,
        elapsed_s=0.0 if confirmed_s is None else now_s - confirmed_s,
        acknowledged=rollout.acknowledged,
    )
