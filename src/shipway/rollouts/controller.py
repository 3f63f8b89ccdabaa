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
from shipway.core.ports import Fence
from shipway.core.snapshot import Snapshot
from shipway.rollouts import desk
from shipway.rollouts.actions import (
    Action,
    Complete,
    Displace,
    FinishRollBack,
    Hold,
    Observed,
    Restamp,
    Restore,
    SetWeights,
    StartServices,
    StopServices,
)
from shipway.rollouts.analysis import Judgement, judge
from shipway.rollouts.decide import decide
from shipway.rollouts.entering import wanted_checks
from shipway.rollouts.folding import fold, fold_observations
from shipway.rollouts.measuring import measures_of
from shipway.rollouts.model import Phase, Rollout, RolloutState
from shipway.rollouts.outbox import flushed
from shipway.rollouts.ports import Ports
from shipway.rollouts.readings import combined_e
from shipway.rollouts.traffic import divided, without_candidate
from shipway.rollouts.transitions import transition
from shipway.rollouts.watch import Watch, fold_watch
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
        self._silent_s = 0.0
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
            self._silent_s = 0.0
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
            judgement = judged(seen, observed.now_s)
            if seen is not rollout:
                seen = _with_point(seen, judgement, observed.now_s)
            observed = await self._with_checks(seen, judgement, observed)
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
        before = await self._ports.leases.read(self.lease_name)
        lease = await self._ports.leases.acquire(self.lease_name, self._holder, ttl_s=ttl_s, now_s=self._clock.now_s())
        if lease is None:
            self._leadership = None
            return False
        if self._leadership is None or self._leadership.epoch != lease.epoch:
            self._log.info("rollout_leader", epoch=lease.epoch)
        self._leadership = _Leadership(lease.epoch, asked_s + ttl_s)
        if before is not None and before.holder:
            # The workers hear of this leader at once: by the time that it looks at them, they have forgotten.
            self._silent_s = max(self._silent_s, self._clock.now_s() - before.renewed_at_s)
        return True

    def _epoch(self) -> int:
        """Return the epoch to write with; called before every write because any wait may have outlived the lease."""
        held = self._leadership
        if held is None or self._clock.monotonic_s() >= held.until_monotonic_s:
            raise FencedError(f"{self._holder} no longer holds the lease {self.lease_name}")
        return held.epoch

    def _fence(self) -> Fence:
        return Fence(self.lease_name, self._epoch())

    async def _save(self, rollout: Rollout, version: int) -> int:
        fence = self._fence()
        body = rollout.to_dict()
        return await self._ports.documents.put(desk.KIND, rollout.id, body, expected_version=version, fence=fence)

    async def _with_new_records(self, rollout: Rollout) -> Rollout:
        if rollout.watch is not None:
            rollout = await self._with_watch(rollout, rollout.watch)
        if rollout.stopped or rollout.settled:
            return rollout
        evidence, plan = rollout.evidence, rollout.plan
        measures = measures_of(plan.metrics, plan.rules, evidence.baseline)
        for _ in range(_PAGES_PER_TICK):
            records = await self._ports.evidence.after(
                evidence.cursor, environment=self._environment, rollout=rollout.id, limit=_PAGE
            )
            if records:
                evidence = fold(evidence, records, rollout=rollout.id, bad_events=plan.events, measures=measures)
            if len(records) < _PAGE:
                break
        observed = await self._ports.observations.after(
            evidence.observed, environment=self._environment, rollout=rollout.id, limit=_PAGE
        )
        if observed:
            evidence = fold_observations(
                evidence, observed, rollout=rollout.id, measures=measures, candidate=rollout.candidate
            )
        return rollout if evidence is rollout.evidence else replace(rollout, evidence=evidence)

    async def _with_watch(self, rollout: Rollout, watch: Watch) -> Rollout:
        seen = watch
        for _ in range(_PAGES_PER_TICK):
            records = await self._ports.evidence.after(seen.cursor, environment=self._environment, limit=_PAGE)
            if records:
                seen = fold_watch(seen, records, release=rollout.candidate, bad_events=rollout.plan.events)
            if len(records) < _PAGE:
                break
        return rollout if seen is watch else replace(rollout, watch=seen)

    async def _observe(self, rollout: Rollout) -> Observed:
        now_s = self._clock.now_s()
        snapshot = await self._ports.traffic.read(self._environment)
        # A worker that has been silent for longer has dropped the candidate by itself.
        seen_after_s = now_s - rollout.plan.dead_man_s
        workers = await self._ports.traffic.workers(self._environment, seen_after_s=seen_after_s)
        healthy = rollout.finished or await self._ports.target.healthy(rollout.candidate)
        problem = await self._problem(rollout)
        in_use = await self._in_use(rollout.id) if rollout.finished else frozenset()
        # Only who goes back must know whether there is something to go back to.
        restored = rollout.state is not RolloutState.ROLLING_BACK or await self._ports.target.healthy(rollout.stable)
        seen = Observed(snapshot, tuple(workers), self._epoch(), now_s, healthy, problem, in_use, restored)
        return replace(seen, silent_s=self._silent_s)

    async def _with_checks(self, rollout: Rollout, judgement: Judgement, observed: Observed) -> Observed:
        wanted = wanted_checks(rollout, judgement, observed)
        if not wanted:
            return observed
        results = {kind: await self._ports.checks.result(kind, rollout) for kind in wanted}
        return replace(observed, checks={kind: found for kind, found in results.items() if found is not None})

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
            case SetWeights(None, parked):
                await self._withdraw(rollout, observed, parked=parked)
            case SetWeights(division) if division is not None:
                endpoints = {rollout.candidate: await ports.target.endpoints(rollout.candidate)}
                stamped = replace(observed.snapshot, epoch=self._epoch())
                await self._write(divided(stamped, rollout, division, endpoints))
            case StartServices() | StopServices() | Displace() | Restore():
                await self._serve(action, rollout, observed)
            case Complete():
                await ports.labels.set(self._environment, rollout.candidate, fence=self._fence())
            case FinishRollBack() if rollout.times.promoting_s is not None:
                await ports.labels.set(self._environment, rollout.stable, fence=self._fence())
            case _:
                pass

    async def _serve(
        self, action: StartServices | StopServices | Displace | Restore, rollout: Rollout, observed: Observed
    ) -> None:
        """Start and stop what serves the releases."""
        target = self._ports.target
        match action:
            case StartServices():
                await target.start(rollout.candidate, fence=self._fence())
            case StopServices(release, needed):
                winner = rollout.stable if release == rollout.candidate else rollout.candidate
                # Another rollout says by now what runs: it may have stopped the winner to make room.
                if not observed.in_use and winner in observed.snapshot.releases():
                    # A rollback by hand stops what it left without a lease, and may have slept before it.
                    await target.start(winner, fence=self._fence())
                if not needed:
                    await target.stop(release, fence=self._fence())
            case Displace():
                await target.stop(rollout.stable, fence=self._fence())
            case Restore():
                if rollout.times.displaced_s is not None:
                    await target.stop(rollout.candidate, fence=self._fence())
                await target.start(rollout.stable, fence=self._fence())

    async def _withdraw(self, rollout: Rollout, observed: Observed, *, parked: bool) -> None:
        """Put the snapshot without the candidate in force; stable is wanted before anybody is sent there."""
        if not parked:
            await self._ports.target.start(rollout.stable, fence=self._fence())
        endpoints = await self._ports.target.endpoints(rollout.stable)
        stamped = replace(observed.snapshot, epoch=self._epoch())
        await self._write(without_candidate(stamped, rollout, endpoints, parked=parked))

    async def _write(self, snapshot: Snapshot) -> None:
        await self._ports.traffic.write(snapshot, expected_version=snapshot.version)


def judged(rollout: Rollout, now_s: float) -> Judgement:
    """Judge the step that a rollout is at."""
    confirmed_s = rollout.times.step_s if rollout.phase is Phase.APPLIED else None
    return judge(
        rollout.evidence,
        rollout.plan,
        rollout.step,
        elapsed_s=0.0 if confirmed_s is None else now_s - confirmed_s,
        now_s=now_s,
        acknowledged=rollout.acknowledged,
    )


def _with_point(rollout: Rollout, judgement: Judgement, now_s: float) -> Rollout:
    """Return the row with this look on its curve."""
    if rollout.finished:
        return rollout
    harm_e = combined_e(judgement.readings) if any(item.judged for item in judgement.readings) else judgement.harm_e
    curve = rollout.evidence.curve.with_point(now_s, harm_e, judgement.no_harm_e)
    return replace(rollout, evidence=replace(rollout.evidence, curve=curve))
