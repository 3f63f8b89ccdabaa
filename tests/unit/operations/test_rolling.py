import anyio
import pytest
from tests.unit.operations.house import House, house, spec

from shipway.core.errors import UnavailableError
from shipway.operations.rolling import Rolled, roll


class Roll:
    """A roll under way."""

    def __init__(self, the: House, *names: str) -> None:
        self._the = the
        self._names = names
        self.told: list[str] = []
        self.done: Rolled | None = None
        self.failure = ""

    async def __call__(self) -> None:
        try:
            self.done = await roll(
                self._the.supervisor, self._names, self._the.group, within_s=60, tell=self.told.append
            )
        except UnavailableError as error:
            self.failure = error.message


@pytest.mark.anyio
async def test_each_is_replaced_when_the_successor_before_serves_without_waiting_for_those_that_leave():
    async with house() as the:
        the.spawner.disobedient |= {"a", "b"}
        await the.want(spec("a"), spec("b"))
        under_way = Roll(the, "a", "b")
        the.group.start_soon(under_way)
        await anyio.wait_all_tasks_blocked()
        assert sorted(the.journal[:2]) == ["start a", "start b"]
        assert the.journal[2:] == ["succeed a"]

        the.spawner.made[2].serve()
        await anyio.wait_all_tasks_blocked()
        assert the.journal[3:] in (["leave a", "succeed b"], ["succeed b", "leave a"])

        the.spawner.made[3].serve()
        await anyio.wait_all_tasks_blocked()
        assert under_way.done is None
        for former in the.spawner.made[:2]:
            former.end(0)
        await anyio.wait_all_tasks_blocked()

        assert under_way.done == Rolled(("a", "b"), ())
        assert [line.split()[0] for line in under_way.told] == ["a", "b"]
        for successor in the.spawner.made[2:]:
            successor.end(0)


@pytest.mark.anyio
async def test_a_successor_that_fails_ends_the_roll_and_what_was_not_reached_stays():
    async with house() as the:
        await the.want(spec("a"), spec("b"), spec("c"))
        under_way = Roll(the, "a", "b", "c")
        the.group.start_soon(under_way)
        await anyio.wait_all_tasks_blocked()
        the.spawner.made[3].serve()
        await anyio.wait_all_tasks_blocked()
        the.spawner.made[4].end(2)
        await anyio.wait_all_tasks_blocked()

        assert under_way.failure == (
            "the successor of b failed: it ended with 2 before it served; b goes on; replaced before: a"
        )
        assert "succeed c" not in the.journal
        assert the.state("b").restarts == 0
        assert the.state("a").pid == 4


@pytest.mark.anyio
async def test_those_that_had_to_be_killed_are_named():
    async with house() as the:
        the.spawner.disobedient.add("a")
        await the.want(spec("a", grace_s=0), spec("b"))
        the.spawner.serve_at_once = True

        done = await roll(the.supervisor, ["a", "b"], the.group, within_s=60, tell=lambda _line: None)

        assert done == Rolled(("a", "b"), ("a",))
