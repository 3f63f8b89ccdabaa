from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup

from shipway.core.clock import ManualClock
from shipway.operations.supervision import (
    FIRST_RESTART_DELAY_S,
    LONGEST_RESTART_DELAY_S,
    STABLE_AFTER_S,
    ProcessSpec,
    ProcessState,
    Supervisor,
)


class FakeProcess:
    """A process that ends when the test or a signal says so."""

    def __init__(self, pid: int, spec: ProcessSpec, journal: list[str], *, obeys: bool) -> None:
        self.pid = pid
        self.spec = spec
        self._journal = journal
        self._obeys = obeys
        self._ended = anyio.Event()
        self._code = 0

    async def wait(self) -> int:
        await self._ended.wait()
        return self._code

    def end(self, code: int) -> None:
        self._code = code
        self._ended.set()

    def terminate(self) -> None:
        self._journal.append(f"terminate {self.spec.name}")
        if self._obeys:
            self.end(-15)

    def kill(self) -> None:
        self._journal.append(f"kill {self.spec.name}")
        self.end(-9)


class FakeSpawner:
    def __init__(self) -> None:
        self.journal: list[str] = []
        self.running: dict[str, FakeProcess] = {}
        self.disobedient: set[str] = set()
        self.missing: set[str] = set()
        self.end_at_once = 0
        self._pids = 0

    async def start(self, spec: ProcessSpec) -> FakeProcess:
        self.journal.append(f"start {spec.name}")
        if spec.argv[0] in self.missing:
            raise FileNotFoundError(2, "No such file or directory")
        self._pids += 1
        process = self.running[spec.name] = FakeProcess(
            self._pids, spec, self.journal, obeys=spec.name not in self.disobedient
        )
        if self.end_at_once:
            self.end_at_once -= 1
            process.end(1)
        return process


class House:
    """A supervisor with a fake spawner, in virtual time."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.spawner = FakeSpawner()
        self.seen: list[list[ProcessState]] = []
        self.delays: list[float] = []
        self.asleep = anyio.Event()
        self.sleep_forever = False
        self.supervisor = Supervisor(self.spawner, self.clock, self.seen.append, sleep=self.sleep)
        self.group: TaskGroup

    async def sleep(self, delay_s: float) -> None:
        self.delays.append(delay_s)
        if self.sleep_forever:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()

    async def want(self, *specs: ProcessSpec) -> None:
        await self.supervisor.set_wanted(specs, self.group)
        await anyio.wait_all_tasks_blocked()

    def state(self, name: str) -> ProcessState:
        return next(state for state in self.supervisor.states() if state.name == name)

    @property
    def journal(self) -> list[str]:
        return self.spawner.journal


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    made = House()
    async with anyio.create_task_group() as group:
        made.group = group
        try:
            yield made
        finally:
            with anyio.CancelScope(shield=True):
                await made.supervisor.stop_all()


def spec(name: str, *, order: int = 0, grace_s: float = 60.0, program: str = "program") -> ProcessSpec:
    return ProcessSpec(name, (program, name), Path(f"{name}.log"), stop_order=order, stop_grace_s=grace_s)


@pytest.mark.anyio
async def test_what_is_wanted_is_started_once():
    async with house() as the:
        await the.want(spec("a"), spec("b"))
        await the.want(spec("a"), spec("b"))

        assert sorted(the.journal) == ["start a", "start b"]
        assert [(state.name, state.pid is None) for state in the.supervisor.states()] == [("a", False), ("b", False)]
        assert the.state("a").started_at_s == the.clock.now_s()


@pytest.mark.anyio
async def test_a_process_that_ends_is_started_again_and_its_end_is_told():
    async with house() as the:
        the.sleep_forever = True
        await the.want(spec("a"))
        the.spawner.running["a"].end(3)
        await anyio.wait_all_tasks_blocked()

        assert the.state("a").problem == "ended with 3; see a.log"
        assert (the.state("a").restarts, the.state("a").last_exit, the.state("a").pid) == (1, 3, None)
        assert the.delays == [FIRST_RESTART_DELAY_S]


@pytest.mark.anyio
async def test_the_delay_doubles_up_to_its_limit_while_a_process_keeps_ending():
    async with house() as the:
        the.spawner.end_at_once = 8
        await the.want(spec("a"))
        while the.spawner.end_at_once:
            await anyio.wait_all_tasks_blocked()

        assert the.delays == pytest.approx(
            [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST_RESTART_DELAY_S, LONGEST_RESTART_DELAY_S]
        )
        assert the.state("a").pid is not None
        assert the.state("a").problem == ""


@pytest.mark.anyio
async def test_a_process_that_lived_long_enough_starts_again_after_the_shortest_delay():
    async with house() as the:
        the.spawner.end_at_once = 4
        await the.want(spec("a"))
        the.clock.advance(STABLE_AFTER_S)
        the.spawner.running["a"].end(1)
        await anyio.wait_all_tasks_blocked()

        assert the.delays == pytest.approx([0.2, 0.4, 0.8, 1.6, FIRST_RESTART_DELAY_S])


@pytest.mark.anyio
async def test_a_program_that_is_missing_is_named_and_tried_again():
    async with house() as the:
        the.sleep_forever = True
        the.spawner.missing.add("nothing")
        await the.want(spec("a", program="nothing"))

        assert the.state("a").problem == "cannot start 'nothing': No such file or directory"
        assert the.state("a").restarts == 1


@pytest.mark.anyio
async def test_what_is_no_longer_wanted_is_stopped_and_the_rest_left_alone():
    async with house() as the:
        await the.want(spec("a"), spec("b"))
        kept = the.state("b").pid
        await the.want(spec("b"))

        assert the.journal[-1] == "terminate a"
        assert [state.name for state in the.supervisor.states()] == ["b"]
        assert the.state("b").pid == kept


@pytest.mark.anyio
async def test_a_process_whose_spec_changed_is_stopped_before_it_is_started_anew():
    async with house() as the:
        await the.want(spec("a"))
        await the.want(spec("a", program="other"))

        assert the.journal == ["start a", "terminate a", "start a"]
        assert the.spawner.running["a"].spec.argv == ("other", "a")
        assert the.state("a").restarts == 0


@pytest.mark.anyio
async def test_stopping_follows_the_order_and_waits_for_each_before_the_next():
    async with house() as the:
        the.spawner.disobedient.add("control")
        await the.want(spec("engine", order=2), spec("gateway", order=1), spec("control", order=0))
        the.journal.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(the.supervisor.stop_all)
            await anyio.wait_all_tasks_blocked()
            assert the.journal == ["terminate control"]
            the.spawner.running["control"].end(0)

        assert the.journal == ["terminate control", "terminate gateway", "terminate engine"]
        assert the.seen[-1] == []


@pytest.mark.anyio
async def test_a_process_that_ignores_the_request_is_killed_after_its_grace():
    async with house() as the:
        the.spawner.disobedient.add("a")
        await the.want(spec("a", grace_s=0), spec("b"))

        await the.supervisor.stop_all()

        assert the.journal[2:] in (["terminate a", "terminate b", "kill a"], ["terminate b", "terminate a", "kill a"])


@pytest.mark.anyio
async def test_a_process_between_two_starts_is_stopped_without_being_started_again():
    async with house() as the:
        the.sleep_forever = True
        the.spawner.end_at_once = 1
        await the.want(spec("a"))

        await the.supervisor.stop_all()

        assert the.journal == ["start a"]
        assert the.supervisor.states() == []


@pytest.mark.anyio
async def test_a_process_that_was_wanted_a_moment_ago_does_not_stay():
    async with house() as the:
        await the.supervisor.set_wanted([spec("a")], the.group)
        await the.supervisor.stop_all()

        assert the.journal in ([], ["start a", "terminate a"])


@pytest.mark.anyio
async def test_a_group_that_is_cancelled_still_stops_everything_in_order():
    with anyio.CancelScope() as scope:
        async with house() as the:
            the.spawner.disobedient.add("a")
            await the.want(spec("b", order=1), spec("a", order=0, grace_s=0))
            the.journal.clear()
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    assert scope.cancelled_caught
    assert the.journal == ["terminate a", "kill a", "terminate b"]
