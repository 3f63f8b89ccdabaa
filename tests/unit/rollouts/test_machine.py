"""Any order of events, with two controllers that take turns at every single write, keeps what a rollout promises.

The real controller over the real stores in memory. SHIPWAY_MACHINE multiplies the number of examples.
"""

import contextlib
import os
import random
from collections.abc import Callable, Coroutine, Generator
from dataclasses import replace
from types import coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as draw
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.rollouts.conftest import CANDIDATE, ENVIRONMENT, STABLE, WRITES, World, small_plan

from shipway.core.errors import ConflictError, ShipwayError
from shipway.core.ids import RolloutId
from shipway.core.verdicts import Verdict
from shipway.rollouts import desk
from shipway.rollouts.checks import CheckResult
from shipway.rollouts.model import Code, CommandKind, RolloutState
from shipway.rollouts.plan import STRATEGIES
from shipway.rollouts.strategies import StrategyOptions, with_strategy

STRANGE = 0.3
LEASE_S = 10.0
TIMES = 1 + 9 * (os.environ.get("SHIPWAY_MACHINE") == "all")
WORKERS = draw.sampled_from(["w1", "w2"])
SELDOM = draw.sampled_from([False, False, True])
KINDS = [kind for kind in CommandKind if kind is not CommandKind.ABORT]
PLACES = draw.sampled_from([0, 1])


@coroutine
def pause() -> Generator[None, None, None]:
    """Let somebody else go on."""
    yield


class Turns:
    """A fault of `World.controller` that does not fail: before every write it waits for its turn."""

    def __init__(self, looked: Callable[[], None]) -> None:
        self._looked = looked

    def wrap(self, port: Any) -> Any:
        looked = self._looked

        class Waiting:
            def __getattr__(self, name: str) -> Any:
                method = getattr(port, name)
                if name == "healthy":
                    looked()
                if name not in WRITES:
                    return method

                async def call(*args: Any, **kwargs: Any) -> Any:
                    await pause()
                    return await method(*args, **kwargs)

                return call

        return Waiting()


def now(work: Coroutine[Any, Any, Any]) -> Any:
    """Run what waits for nobody."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


class RolloutMachine(RuleBasedStateMachine):
    """Two controllers, two workers, two releases, users and the passing of time."""

    @initialize(
        strategy=draw.sampled_from(STRATEGIES),
        smoke=SELDOM,
        approval=SELDOM,
        freeze=SELDOM,
        bad=SELDOM,
        rounds=draw.sampled_from([0, 5, 10, 20]),
    )
    def begin(self, strategy: str, *, smoke: bool, approval: bool, freeze: bool, bad: bool, rounds: int) -> None:
        options = StrategyOptions(bake_s=2.0, keep_s=5.0, smoke=smoke, approval=approval, sample=0.5, min_pairs=1)
        limits = {"start_timeout_s": 15.0, "unhealthy_s": 5.0, "on_harm": "freeze" if freeze else "rollback"}
        plan = with_strategy(small_plan(**limits), strategy, options)
        self.world = World(plan, seed=3, rates=(0.1, 0.95 if bad else 0.1))
        self.count, self.seen = 0, 0
        self.looks: list[list[set[str]]] = [[], []]
        self.controllers = [self.controller(0, "a"), self.controller(1, "b")]
        self.ticks: list[Coroutine[Any, Any, bool] | None] = [None, None]
        self.rollouts: list[RolloutId] = []
        now(self.world.apply())
        self.deploy()
        self.calm(0, rounds, 40)

    @property
    def row(self):
        return now(self.world.row())

    @property
    def route(self):
        return self.world.snapshots.now.route("ask")

    def healthy(self) -> set[str]:
        return self.world.target.running & self.world.target.healthy_releases

    # Controllers

    @rule(place=PLACES, writes=draw.integers(1, 30))
    def go_on(self, place: int, writes: int) -> None:
        """Let a controller make some of its writes."""
        for _ in range(writes):
            tick = self.ticks[place]
            if tick is None:
                tick = self.ticks[place] = self.controllers[place].tick()
            try:
                tick.send(None)
            except (StopIteration, ShipwayError):
                self.ticks[place] = None
                break
            finally:
                self.check_writes(place)

    @rule(place=PLACES)
    def crash(self, place: int) -> None:
        self.end_tick(place)
        self.count += 1
        self.controllers[place] = self.controller(place, f"h{self.count}")

    @rule(place=PLACES, writes=draw.sampled_from(range(8, 25)), turned=draw.sampled_from([CANDIDATE, STABLE, None]))
    def stumble(self, place: int, writes: int, turned: str | None) -> None:
        """Let the only controller die after some writes; when the next one leads, a release may be ill."""
        self.end_tick(1 - place)
        self.wait(LEASE_S + 1.0)
        self.go_on(place, writes)
        self.crash(place)
        if turned is not None:
            self.turn(turned)
        self.wait(LEASE_S + 1.0)
        self.go_on(place, 40)

    def controller(self, place: int, holder: str):
        """Return a controller; what is healthy is noted whenever it looks at a release's health."""

        def looked() -> None:
            # The look that led to a write is the one before the last when the write is checked.
            self.looks[place] = [*self.looks[place][-1:], self.healthy()]

        return self.world.controller(holder, Turns(looked))

    def end_tick(self, place: int) -> None:
        tick = self.ticks[place]
        if tick is not None:
            tick.close()
        self.ticks[place] = None

    @rule(place=PLACES, rounds=draw.sampled_from([2, 6, 12]), conversations=draw.sampled_from([40, 0]))
    def calm(self, place: int, rounds: int, conversations: int) -> None:
        """Let nothing happen for a while but what should."""
        for _ in range(rounds):
            self.everybody_obeys()
            if conversations:
                self.serve(conversations)
            self.wait(1.0)
            self.go_on(place, 40)

    # The world

    @rule(seconds=draw.sampled_from([0.5, 3.0, 11.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule()
    def everybody_obeys(self) -> None:
        for worker in ("w1", "w2"):
            self.obey(worker)

    @rule(worker=WORKERS)
    def obey(self, worker: str) -> None:
        self.world.worker_views[worker] = self.world.snapshots.now
        self.world.tripped.discard(worker)
        now(self.world.report(worker))

    @rule(worker=WORKERS)
    def dead_man(self, worker: str) -> None:
        view = self.world.worker_views[worker]
        if view.route("ask").candidate_weight and view.dead_man_s < 1e6:
            self.world.tripped.add(worker)
            now(self.world.report(worker))

    @rule(count=draw.sampled_from([5, 40, 120]))
    def serve(self, count: int) -> None:
        if not any(view.route("ask").parked for view in self.world.worker_views.values()):
            now(self.world.serve(count))

    @rule(release=draw.sampled_from([STABLE, CANDIDATE]))
    def turn(self, release: str) -> None:
        """Make a release ill or well."""
        self.world.target.healthy_releases = self.world.target.healthy_releases ^ {release}

    @rule(verdict=draw.sampled_from([Verdict.PASS, Verdict.PASS, Verdict.FAIL, Verdict.ERROR]))
    def smoke_result(self, verdict: Verdict) -> None:
        self.world.checks.results["smoke"] = CheckResult(verdict, "said so")

    @precondition(lambda self: self.route.candidate)
    @rule()
    def foreign(self) -> None:
        snapshot = self.world.snapshots.now
        routes = (replace(self.route, candidate_weight=STRANGE), *snapshot.routes[1:])
        now(self.world.snapshots.write(replace(snapshot, routes=routes), expected_version=snapshot.version))
        self.seen = len(self.world.snapshots.writes)

    # Users

    @rule(kind=draw.sampled_from([*KINDS, CommandKind.RESUME, *KINDS, CommandKind.ABORT]))
    def command(self, kind: CommandKind) -> None:
        with contextlib.suppress(ConflictError):
            now(self.world.command(kind))

    @rule()
    def deploy(self) -> None:
        """Deploy the release that is not stable: refused unless the rollout before has finished."""
        finished = not self.rollouts or self.row.finished
        stable = self.world.labels.stable
        candidate = CANDIDATE if stable == STABLE else STABLE
        name = RolloutId(f"ro_{len(self.rollouts) + 1}")
        rollout = desk.new_rollout(
            name,
            ENVIRONMENT,
            ("ask",),
            releases=(stable, candidate),
            plan=self.world.plan,
            now_s=self.world.clock.now_s(),
        )
        try:
            now(desk.start(self.world.documents, rollout, actor="ada"))
        except ConflictError:
            assert not finished
            return
        assert finished
        self.rollouts.append(name)
        self.world.rollout_id = name

    # What always holds

    def check_writes(self, place: int) -> None:
        """Check that what was written sends nobody to a release that was not healthy since the controller looked."""
        writes = self.world.snapshots.writes
        for number in range(self.seen, len(writes)):
            route = writes[number].route("ask")
            before = writes[number - 1].route("ask") if number else None
            new = assigned(route) - (assigned(before) if before else {STABLE})
            was = before.candidate_weight if before else 0.0
            if route.candidate_weight > was != STRANGE:
                new.add(route.candidate)
            healthy = set().union(*self.looks[place])
            assert new <= healthy or self.given_up(), (new, healthy, before, route)
            assert 0.0 <= route.candidate_weight <= 1.0
        self.seen = len(writes)

    def given_up(self) -> bool:
        restored_s = self.row.times.restored_s
        return restored_s is not None and self.world.clock.now_s() - restored_s >= self.world.plan.start_timeout_s

    @invariant()
    def epochs_never_fall(self) -> None:
        epochs = [snapshot.epoch for snapshot in self.world.snapshots.writes]
        assert epochs == sorted(epochs)

    @invariant()
    def audit_ids_are_dense(self) -> None:
        for name in self.rollouts:
            ids = [event.details["action_id"] for event in self.world.events if event.subject == name]
            assert ids == [f"{name}/{number}" for number in range(1, len(ids) + 1)]

    @invariant()
    def what_has_users_runs(self) -> None:
        row = self.row
        if STRANGE in {view.route("ask").candidate_weight for view in self.world.worker_views.values()}:
            return
        for worker, view in self.world.worker_views.items():
            if view.version == self.world.snapshots.now.version and worker not in self.world.tripped:
                route = view.route("ask")
                assert assigned(route) <= self.world.target.running, (route, self.world.target.running, row.state)

    def teardown(self) -> None:
        """Whatever has happened: an abort, wellness and time lead to an end."""
        world = self.world
        for place in (0, 1):
            self.end_tick(place)
        world.target.healthy_releases = {STABLE, CANDIDATE}
        with contextlib.suppress(ConflictError):
            now(world.command(CommandKind.ABORT))
        world.clock.advance(LEASE_S + 1.0)
        last = world.controller("last")
        for _ in range(40):
            self.everybody_obeys()
            world.clock.advance(4.0)
            now(last.tick())
        row = self.row
        assert row.settled, row.state
        winner = row.candidate if row.state is RolloutState.COMPLETED else row.stable
        assert (self.route.stable, self.route.candidate, self.route.parked) == (winner, None, False)
        assert world.target.running == {winner}
        assert world.labels.stable == winner
        assert row.code is not Code.FOREIGN
        assert now(desk.unsettled(world.documents, ENVIRONMENT)) == []


def assigned(route) -> set[str]:
    """Return the releases that a route sends users to."""
    if route.parked:
        return set()
    found = {route.stable} if route.candidate_weight < 1.0 else set()
    return found | ({route.candidate} if route.candidate_weight else set())


def walk(chance: random.Random) -> None:
    """Let events happen in any order; every draw is independent, which Hypothesis's are not."""
    pick = chance.choice
    machine = RolloutMachine()
    seldom = {name: chance.random() < 0.25 for name in ("smoke", "approval", "freeze", "bad")}
    machine.begin(pick(STRATEGIES), **seldom, rounds=pick([0, 3, 6, 12]))
    releases, workers = [STABLE, CANDIDATE], ["w1", "w2"]
    happens = [
        lambda: machine.calm(pick([0, 1]), pick([2, 6, 12]), pick([0, 40])),
        lambda: machine.go_on(pick([0, 1]), chance.randint(1, 30)),
        lambda: machine.stumble(pick([0, 1]), chance.randint(2, 30), pick([None, *releases])),
        lambda: machine.wait(pick([0.5, 3.0, 11.0, 40.0])),
        lambda: machine.obey(pick(workers)),
        lambda: machine.dead_man(pick(workers)),
        lambda: machine.turn(pick(releases)),
        lambda: machine.smoke_result(pick([Verdict.PASS, Verdict.FAIL, Verdict.ERROR])),
        lambda: machine.command(pick([*KINDS, CommandKind.RESUME, *KINDS, CommandKind.ABORT])),
        machine.deploy,
        lambda: machine.foreign() if machine.route.candidate and chance.random() < 0.3 else None,
    ]
    for _ in range(25):
        pick(happens)()
        machine.epochs_never_fall()
        machine.audit_ids_are_dense()
        machine.what_has_users_runs()
    machine.teardown()


@pytest.mark.parametrize("seed", range(12 * TIMES))
def test_no_order_of_events_breaks_a_promise(seed):
    for number in range(12):
        walk(random.Random(12 * seed + number))


RolloutMachine.TestCase.settings = settings(max_examples=40 * TIMES, stateful_step_count=30)
TestRolloutMachine = RolloutMachine.TestCase
