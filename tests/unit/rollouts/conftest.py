"""A small world for rollouts in virtual time: stores in memory, two data-plane workers, and crashes on demand."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.served import served_request

from shipway.adapters.memory.store import MemorySnapshots, MemoryStore
from shipway.adapters.state import refuse_fenced
from shipway.core.clock import ManualClock
from shipway.core.ids import ReleaseId, RolloutId, RouteName
from shipway.core.ports import AuditEvent, Fence, StoredRecord, WorkerState
from shipway.core.record import ServedRequest
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.rollouts import desk
from shipway.rollouts.checks import CheckResult
from shipway.rollouts.controller import RolloutController, Timing
from shipway.rollouts.evidence import CanaryEvidence
from shipway.rollouts.folding import fold
from shipway.rollouts.model import CommandKind, Rollout
from shipway.rollouts.plan import Guardrails, Plan, Step, settle_s
from shipway.rollouts.ports import Ports
from shipway.rollouts.watch import WatchPlan

ENVIRONMENT = "production"
STABLE, CANDIDATE = ReleaseId("rel_stable"), ReleaseId("rel_candidate")
WRITES = frozenset({"put", "delete", "write", "append", "acquire", "start", "stop", "set"})


class Crash(BaseException):
    """The controller's process ends here."""


class Snapshots(MemorySnapshots):
    """Snapshots that remember every write."""

    def __init__(self, first: Snapshot) -> None:
        super().__init__()
        self._snapshots[first.environment] = first
        self.writes: list[Snapshot] = []

    @property
    def now(self) -> Snapshot:
        return self._snapshots[ENVIRONMENT]

    async def write(self, snapshot: Snapshot, *, expected_version: int) -> Snapshot:
        self.writes.append(await super().write(snapshot, expected_version=expected_version))
        return self.writes[-1]


async def fenced(leases: Any, fence: Fence) -> None:
    """Refuse a former leader as the stores do."""
    refuse_fenced("test", await leases.read(fence.lease), fence)


@dataclass
class Target:
    """What runs, with the fence of the stores: it asks them for the newest epoch."""

    leases: Any = None
    running: set[str] = field(default_factory=lambda: {STABLE})
    healthy_releases: set[str] = field(default_factory=lambda: {STABLE, CANDIDATE})
    problems: dict[str, str] = field(default_factory=dict)

    async def start(self, release, *, fence):
        await fenced(self.leases, fence)
        self.running.add(release)

    async def stop(self, release, *, fence):
        await fenced(self.leases, fence)
        self.running.discard(release)

    async def healthy(self, release):
        return release in self.running & self.healthy_releases

    async def problem(self, release, *, since_s):
        return self.problems.get(release, "")

    async def endpoints(self, release):
        return {"ask": f"http://127.0.0.1/{release}"}


@dataclass
class Labels:
    leases: Any = None
    stable: str = STABLE

    async def set(self, environment, release, *, fence):
        await fenced(self.leases, fence)
        self.stable = release


@dataclass
class Checks:
    """Results as they were set; `asked` are the kinds that were wanted."""

    results: dict[str, CheckResult] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def result(self, kind, rollout):
        self.asked.append(kind)
        return self.results.get(kind)


@dataclass
class Fault:
    """Crashes around the n-th write (from 1), before or after it took effect; 0 is never."""

    at: int = 0
    after: bool = False
    count: int = 0

    def wrap(self, port: Any) -> Any:
        fault = self

        class Fragile:
            def __getattr__(self, name):
                method = getattr(port, name)
                if name not in WRITES:
                    return method

                async def call(*args, **kwargs):
                    fault.count += 1
                    if fault.count == fault.at and not fault.after:
                        raise Crash
                    result = await method(*args, **kwargs)
                    if fault.count == fault.at:
                        raise Crash
                    return result

                return call

        return Fragile()


class World:
    """Everything outside the controllers, and the means to start them, serve conversations and let time pass."""

    def __init__(self, plan: Plan, *, seed: int = 0, rates: tuple[float, float] = (0.2, 0.2)) -> None:
        self.plan = plan
        self.rates = rates
        self.random = random.Random(seed)
        self.clock = ManualClock()
        store = MemoryStore()
        self.documents, self.leases, self.audit, self.records = (
            store.documents,
            store.leases,
            store.audit,
            store.records,
        )
        self.observations = store.observations
        self.target, self.labels, self.checks = Target(self.leases), Labels(self.leases), Checks()
        route = RouteTraffic(RouteName("ask"), STABLE)
        other = RouteTraffic(RouteName("other"), ReleaseId("rel_else"))
        self.snapshots = Snapshots(Snapshot(ENVIRONMENT, version=1, routes=(route, other)))
        self.worker_views = {"w1": self.snapshots.now, "w2": self.snapshots.now}
        self.tripped: set[str] = set()
        self.busy: set[str] = set()
        self.rollout_id = RolloutId("ro_1")
        self.conversations = 0

    async def start(self, *, seed_id: str = "ro_1") -> Rollout:
        self.rollout_id = RolloutId(seed_id)
        rollout = desk.new_rollout(
            self.rollout_id,
            ENVIRONMENT,
            ("ask",),
            releases=(STABLE, CANDIDATE),
            plan=self.plan,
            now_s=self.clock.now_s(),
        )
        await self.apply()
        return await desk.start(self.documents, rollout, actor="ada")

    def controller(self, holder: str = "a", fault: Fault | None = None) -> RolloutController:
        wrap: Callable[[Any], Any] = (fault or Fault()).wrap
        ports = Ports(
            documents=wrap(self.documents),
            leases=wrap(self.leases),
            audit=wrap(self.audit),
            traffic=wrap(self.snapshots),
            evidence=self.records,
            observations=self.observations,
            target=wrap(self.target),
            labels=wrap(self.labels),
            checks=self.checks,
        )
        timing = Timing(lease_ttl_s=10.0)
        return RolloutController(ports, self.clock, environment=ENVIRONMENT, holder=holder, timing=timing)

    async def command(self, kind: CommandKind, reason: str = "") -> Rollout:
        return await desk.submit(self.documents, self.clock, self.rollout_id, kind, actor="ada", reason=reason)

    @property
    def events(self) -> list[AuditEvent]:
        return self.audit._events

    @property
    def stored(self) -> list[StoredRecord]:
        return self.records._records

    async def row(self) -> Rollout:
        return (await desk.load(self.documents, self.rollout_id))[0]

    async def apply(self) -> None:
        """Let every worker obey the newest snapshot and report it."""
        for worker in self.worker_views:
            self.worker_views[worker] = self.snapshots.now
            await self.report(worker)

    async def report(self, worker: str) -> None:
        view, tripped = self.worker_views[worker], worker in self.tripped
        await self.snapshots.report(
            WorkerState(worker, ENVIRONMENT, view.version, view.epoch, self.clock.now_s(), tripped, worker in self.busy)
        )

    async def serve(self, count: int) -> None:
        """Serve new conversations of one request each, by the workers in turn."""
        served = []
        workers = sorted(self.worker_views)
        for _ in range(count):
            self.conversations += 1
            worker = workers[self.conversations % len(workers)]
            served.append(self.request(f"c{self.conversations}", worker))
        await self.records.append(served)

    def request(self, conversation: str, worker: str = "w1", **changes: Any) -> ServedRequest:
        snapshot = self.worker_views[worker]
        if worker in self.tripped:
            snapshot = snapshot.without_candidates()
        route = snapshot.route("ask")
        release, is_candidate = route.assign(conversation)
        bad = self.random.random() < self.rates[is_candidate]
        made = served_request(
            conversation,
            id=f"rec_{len(self.stored)}_{conversation}",
            at_s=self.clock.now_s(),
            environment=ENVIRONMENT,
            release=release,
            is_candidate=is_candidate,
            candidate_weight=route.candidate_weight,
            rollout=snapshot.rollout,
            snapshot_version=snapshot.version,
            latency_ms=10.0,
            events=("unsupported",) if bad else (),
        )
        return replace(made, **changes)

    async def round(self, controller: RolloutController, *, conversations: int = 0, seconds: float = 1.0) -> bool:
        """Let workers obey, serve, let time pass and give the controller one tick."""
        await self.apply()
        await self.serve(conversations)
        self.clock.advance(seconds)
        await self.apply()
        return await controller.tick()

    async def run(self, controller: RolloutController, *, conversations: int = 0, rounds: int = 60) -> Rollout:
        """Give rounds until the rollout has finished."""
        for _ in range(rounds):
            await self.round(controller, conversations=conversations)
            if (await self.row()).finished:
                break
        return await self.row()

    def refolded(self) -> CanaryEvidence:
        """Fold every record of the rollout at once."""
        start = CanaryEvidence.start(harm_ratio=self.plan.harm_ratio, settle_s=settle_s(self.plan))
        return fold(start, self.stored, rollout=self.rollout_id, bad_events=self.plan.events)

    def steps(self) -> list[int]:
        return [event.details["step"] for event in self.events if event.action == "rollout.advanced"]

    def actions(self) -> list[str]:
        return [event.action.removeprefix("rollout.") for event in self.events]

    def weight(self) -> float:
        return self.snapshots.now.route("ask").candidate_weight


def small_plan(**changes: Any) -> Plan:
    plan = Plan(
        steps=(Step(0.1, 20, 2.0), Step(0.5, 20, 2.0), Step(1.0, 10, 2.0)),
        guardrails=Guardrails(min_samples=100),
        drain_s=3.0,
        dead_man_s=30.0,
        watch=WatchPlan(for_s=4.0),
    )
    return replace(plan, **changes)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(name="make_world")
def world_class() -> type[World]:
    return World


@pytest.fixture(name="make_plan")
def plan_fixture() -> Callable[..., Plan]:
    return small_plan


@pytest.fixture(name="make_fault")
def fault_class() -> type[Fault]:
    return Fault


@pytest.fixture(name="crash")
def crash_class() -> type[Crash]:
    return Crash
