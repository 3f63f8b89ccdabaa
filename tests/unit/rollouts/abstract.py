"""A rollout's world as a value: the row, the snapshot, one data-plane worker and two releases' processes.

`test_search` walks all of them. The controller is the real one; its stores and its clock are this module's, and what
the evidence says is chosen by whoever asks. Everything that no decision reads is taken out of a state (`canonical`),
so that there are finitely many: an age is 0 or 1, with every time limit of the plan at 1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from shipway.core.clock import ManualClock
from shipway.core.errors import ConflictError
from shipway.core.ids import ReleaseId, RolloutId, RouteName
from shipway.core.ports import Lease, WorkerState
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.core.verdicts import Verdict
from shipway.rollouts import controller, desk, transitions, watching
from shipway.rollouts.analysis import Judgement
from shipway.rollouts.checks import CheckResult
from shipway.rollouts.controller import RolloutController, Timing
from shipway.rollouts.model import Code, Command, CommandKind, Phase, Rollout, RolloutState, Times
from shipway.rollouts.plan import Plan
from shipway.rollouts.ports import Ports
from shipway.rollouts.watch import Watch
from shipway.stats.cusum import CusumState

ENVIRONMENT, ROUTE = "production", RouteName("ask")
STABLE, CANDIDATE = ReleaseId("old"), ReleaseId("new")
ROLLOUT = RolloutId("ro")
NOW_S = 1000.0
WATCH = Watch(0, NOW_S, CusumState.start(0.01, (2.0,)))
STRANGE = 0.3
_AGES = ("services_s", "dead_man_s", "confirmed_s", "restored_s", "unhealthy_s")
_VERSION, _EPOCH, _TTL_S = 10, 1, 10.0
_ACKNOWLEDGED = frozenset({Code.HARM, Code.SMOKE})


class Crash(BaseException):
    """The controller's process ends here."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One data-plane worker: the traffic it obeys, whether that is the newest, whether its dead man has tripped.

    A silent one has not been heard of for longer than the dead man's time.
    """

    route: RouteTraffic
    current: bool = True
    tripped: bool = False
    silent: bool = False

    @property
    def exposed(self) -> bool:
        return self.route.candidate_weight > 0.0

    def assigned(self) -> frozenset[ReleaseId]:
        """Return the releases that this worker sends users to."""
        route = self.route
        if route.parked:
            return frozenset()
        if self.tripped:
            return frozenset({route.stable})
        stable = {route.stable} if route.candidate_weight < 1.0 else set()
        return frozenset(stable | ({route.candidate} if route.candidate and self.exposed else set()))


@dataclass(frozen=True, slots=True)
class State:
    """One state of the world; `ill` are the releases that are not healthy whether they run or not."""

    row: Rollout
    snapshot: Snapshot
    worker: Worker
    running: frozenset[ReleaseId] = frozenset({STABLE})
    ill: frozenset[ReleaseId] = frozenset()
    label: ReleaseId = STABLE

    def healthy(self, release: ReleaseId) -> bool:
        return release in self.running - self.ill

    @property
    def route(self) -> RouteTraffic:
        found = self.snapshot.route(ROUTE)
        assert found is not None
        return found

    def key(self) -> tuple[Any, ...]:
        """Return what tells a state from another; call it on canonical states."""
        row, times = self.row, self.row.times
        return (
            (row.command and row.command.kind, row.stopped, row.watch is None),
            (row.state, row.resume_to, row.step, row.phase, row.epoch, row.code),
            (row.acknowledged, row.approved, row.overwrite, row.min_version, row.settled, row.applied, row.intent),
            tuple(getattr(times, name) for name in Times.__slots__),
            (self.route, self.snapshot.rollout, self.snapshot.epoch, self.snapshot.dead_man_s),
            (self.worker, self.running, self.ill, self.label),
        )


@dataclass
class Choice:
    """What the environment answers when it is asked; `asked` is what was asked, and the rest did not matter."""

    verdict: Verdict = Verdict.INCONCLUSIVE
    smoke: Verdict | None = None
    problem: str = ""
    watch: str = "ended"

    def __post_init__(self) -> None:
        self.asked: set[str] = set()

    def watched(self, what: str) -> str:
        """Return something if this is what the watch over the promoted release says."""
        self.asked.add("watch")
        return what if self.watch == what else ""

    def __str__(self) -> str:
        return f"step {self.verdict} {self.smoke or ''} {self.problem} {self.watch}"


class Told:
    """A judgement that knows whether anybody looked at it."""

    _REST = Judgement(Verdict.INCONCLUSIVE, Code.WAITING, ("said so",))
    _CODES: ClassVar = {Verdict.PASS: Code.ENOUGH, Verdict.FAIL: Code.HARM, Verdict.INCONCLUSIVE: Code.WAITING}

    def __init__(self, choice: Choice) -> None:
        self._choice = choice

    @property
    def verdict(self) -> Verdict:
        self._choice.asked.add("verdict")
        return Verdict.INCONCLUSIVE if self._choice.verdict is Verdict.ERROR else self._choice.verdict

    @property
    def code(self) -> Code:
        self._choice.asked.add("verdict")
        return self._CODES.get(self._choice.verdict, Code.SAMPLE_RATIO)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._REST, name)


class Stores:
    """The ports of one step of the controller; `crash_at` ends it before that write (from 1)."""

    def __init__(self, state: State, choice: Choice, crash_at: int = 0) -> None:
        self.state, self.choice, self.crash_at = state, choice, crash_at
        self.writes = 0

    def wrote(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)

    def count(self) -> None:
        self.writes += 1
        if self.writes == self.crash_at:
            raise Crash

    # documents
    async def load(self) -> tuple[Rollout, int]:
        return self.state.row, 1

    async def get(self, kind: str, key: str) -> None:
        return None

    # traffic, and leases: who led before is not known
    async def read(self, name: str) -> Snapshot | None:
        return self.state.snapshot if name == ENVIRONMENT else None

    async def write(self, snapshot: Snapshot, *, expected_version: int) -> Snapshot:
        self.count()
        newer = replace(snapshot, version=expected_version + 1)
        self.wrote(snapshot=newer, worker=replace(self.state.worker, current=False))
        return newer

    async def workers(self, environment: str, *, seen_after_s: float) -> list[WorkerState]:
        worker, version = self.state.worker, self.state.snapshot.version
        if worker.silent:
            return []
        return [WorkerState("w", ENVIRONMENT, version - (not worker.current), _EPOCH, NOW_S, worker.tripped)]

    async def after(self, position: int, **_: object) -> list[Any]:
        return []

    # target
    async def start(self, release: ReleaseId, **_: object) -> None:
        self.count()
        self.wrote(running=self.state.running | {release})

    async def stop(self, release: ReleaseId, **_: object) -> None:
        self.count()
        self.wrote(running=self.state.running - {release})

    async def healthy(self, release: ReleaseId) -> bool:
        return self.state.healthy(release)

    async def problem(self, release: ReleaseId, *, since_s: float) -> str:
        self.choice.asked.add("problem")
        return self.choice.problem

    async def endpoints(self, release: ReleaseId) -> dict[str, str]:
        return {}

    # labels
    async def set(self, environment: str, release: ReleaseId, **_: object) -> None:
        self.count()
        self.wrote(label=release)

    # leases
    async def acquire(self, name: str, holder: str, **_: object) -> Lease:
        return Lease(name=name, holder=holder, epoch=_EPOCH, renewed_at_s=NOW_S, ttl_s=_TTL_S)

    # checks
    async def result(self, kind: str, rollout: Rollout) -> CheckResult | None:
        self.choice.asked.add("smoke")
        return None if self.choice.smoke is None else CheckResult(self.choice.smoke, "said so")


class Silence:
    """A log that nobody reads."""

    def info(self, *_: object, **__: object) -> None:
        """Say nothing."""


class OneStep(RolloutController):
    """The real controller with one action a step, whose rows are values and not JSON."""

    choice = Choice()

    def __init__(self, stores: Any) -> None:
        ports = Ports(**{port.name: stores for port in fields(Ports)})
        timing = Timing(lease_ttl_s=_TTL_S)
        super().__init__(ports, ManualClock(NOW_S), environment=ENVIRONMENT, holder="a", timing=timing)
        self._stores = stores
        self._log = Silence()

    async def _save(self, rollout: Rollout, version: int) -> int:
        self._epoch()
        self._stores.count()
        self._stores.wrote(row=rollout)
        return version + 1

    async def step(self) -> None:
        await self._lead()
        await self.reconcile(ROLLOUT)


def replaced(setattr_: Callable[[object, str, object], None]) -> None:
    """Put this world in the place of what the controller imports; call it with `monkeypatch.setattr`."""
    setattr_(desk, "load", lambda stores, _: stores.load())
    setattr_(controller, "_ACTIONS_PER_TICK", 1)
    setattr_(controller, "judge", lambda *_, **__: Told(OneStep.choice))
    setattr_(transitions, "start_watch", lambda *_, **__: WATCH)
    setattr_(watching, "watch_alarm", lambda *_: OneStep.choice.watched("alarm"))
    setattr_(watching, "watch_ended", lambda *_, **__: OneStep.choice.watched("ended"))


def begin(plan: Plan) -> State:
    """Return the world in which a rollout was just started."""
    route = RouteTraffic(ROUTE, STABLE)
    snapshot = Snapshot(ENVIRONMENT, version=_VERSION, epoch=_EPOCH, routes=(route,), dead_man_s=plan.dead_man_s)
    row = desk.new_rollout(ROLLOUT, ENVIRONMENT, (ROUTE,), releases=(STABLE, CANDIDATE), plan=plan, now_s=0.0)
    return canonical(State(row, snapshot, Worker(route)))


def stepped(state: State, choice: Choice, crash_at: int = 0) -> tuple[State, int]:
    """Return the state after one action of the controller, or after those of its writes before a crash, and its writes.

    That state is not canonical.
    """
    stores = Stores(state, choice, crash_at)
    OneStep.choice = choice
    try:
        OneStep(stores).step().send(None)
    except (StopIteration, Crash):
        return stores.state, stores.writes
    raise AssertionError("the controller waited for something")


def canonical(state: State) -> State:
    """Return the state without what no decision reads."""
    row, version = state.row, state.snapshot.version
    paused = row.state is RolloutState.PAUSED
    lean = replace(
        row,
        resume_to=row.resume_to if paused else RolloutState.PENDING,
        command=row.command and replace(row.command, reason="", at_s=0.0),
        epoch=min(row.epoch, _EPOCH),
        verdict=None,
        code=row.code if paused else Code.NONE,
        reason="",
        acknowledged=tuple(sorted(_ACKNOWLEDGED & set(row.acknowledged))),
        approved=tuple(sorted(set(row.approved))),
        smoke_again=0,
        watch=row.watch and WATCH,
        overwrite=row.overwrite if row.phase is Phase.INTENT else "",
        min_version=_VERSION + 1 if row.phase is Phase.INTENT and version < row.min_version else 0,
        actions=0,
        audit_seq=0,
        history=(),
        outbox=(),
        times=_canonical_times(row, row.times),
    )
    route = replace(state.route, salt="", endpoints=())
    snapshot = replace(state.snapshot, version=_VERSION, routes=(route,))
    seen = route if state.worker.current else replace(state.worker.route, salt="", endpoints=())
    worker = replace(state.worker, route=seen)
    return replace(
        state, row=lean, snapshot=snapshot, worker=replace(worker, tripped=worker.tripped and worker.exposed)
    )


def _canonical_times(row: Rollout, times: Times) -> Times:
    age = _age
    waits = row.step < 0 and not row.finished
    rolling_back = row.state is RolloutState.ROLLING_BACK
    # A release that is watched may still be rolled back.
    over = row.finished and row.watch is None
    return Times(
        created_s=0.0,
        services_s=age(times.services_s) if waits else times.services_s and NOW_S,
        dead_man_s=age(times.dead_man_s) if row.applied.has_users and not row.finished else None,
        promoting_s=None if over else times.promoting_s and NOW_S,
        confirmed_s=age(times.confirmed_s) if row.finished and not row.stopped else None,
        displaced_s=None if over else times.displaced_s and NOW_S,
        restored_s=age(times.restored_s) if rolling_back else None,
        unhealthy_s=None if row.finished else age(times.unhealthy_s),
    )


def _age(at_s: float | None) -> float | None:
    return None if at_s is None else NOW_S - min(NOW_S - at_s, 1.0)


def elapsed(state: State) -> State:
    """Return the state one unit of time later: every limit of the plan has passed since what was now."""
    times = state.row.times
    later = {name: NOW_S - 1.0 for name in _AGES if getattr(times, name) is not None}
    return replace(state, row=replace(state.row, times=_canonical_times(state.row, replace(times, **later))))


def taken_over(state: State) -> State:
    """Return the state in which another controller has the lease."""
    older = replace(state.snapshot, epoch=_EPOCH - 1)
    return replace(state, row=replace(state.row, epoch=_EPOCH - 1), snapshot=older)


def obeyed(state: State) -> State:
    """Return the state in which the worker has applied and reported the newest snapshot."""
    return replace(state, worker=Worker(state.route))


def commanded(state: State, kind: CommandKind) -> State | None:
    """Return the state with a user's command waiting; None when it is refused or changes nothing."""
    try:
        row = desk.with_command(state.row, Command(kind, "ada", "", 0.0))
    except ConflictError:
        return None
    return None if row is state.row or row.command == state.row.command else replace(state, row=row)


def foreign(state: State) -> State | None:
    """Return the state in which somebody else has given the candidate another weight."""
    route = state.route
    if route.candidate is None or route.candidate_weight == STRANGE:
        return None
    changed = replace(state.snapshot, routes=(replace(route, candidate_weight=STRANGE),))
    return replace(state, snapshot=changed, worker=replace(state.worker, current=False))


def environment(state: State, kinds: frozenset[str]) -> Iterator[tuple[str, State]]:
    """Yield what may happen to a state but for the controller's steps; `kinds` beside abort, time, health and obeying.

    They are `commands`, `leases`, `silence` of control or of the worker, and `foreign` changes.
    """
    worker = state.worker
    found: list[tuple[str, State | None]] = [("time", elapsed(state)), ("obey", obeyed(state))]
    found += [(f"health of {name}", replace(state, ill=state.ill ^ {name})) for name in (STABLE, CANDIDATE)]
    if not state.row.finished:
        wanted = list(CommandKind) if "commands" in kinds else [CommandKind.ABORT]
        found += [(kind.value, commanded(state, kind)) for kind in wanted]
    if "leases" in kinds:
        found.append(("lease lost", taken_over(state)))
    if "silence" in kinds and not worker.silent:
        if worker.exposed and state.snapshot.dead_man_s <= 1.0:
            found.append(("dead man", replace(state, worker=replace(worker, tripped=not worker.tripped))))
        found.append(("silent", replace(state, worker=replace(worker, silent=True))))
    if "foreign" in kinds:
        found.append(("foreign", foreign(state)))
    yield from ((event, after) for event, after in found if after is not None)
