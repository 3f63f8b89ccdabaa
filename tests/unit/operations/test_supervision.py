import anyio
import pytest
from tests.unit.operations.house import house, spec

from shipway.core.errors import UnavailableError
from shipway.operations.supervision import FIRST_RESTART_DELAY_S, LONGEST_RESTART_DELAY_S, STABLE_AFTER_S


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


@pytest.mark.anyio
async def test_a_process_is_told_to_end_when_its_successor_serves_and_not_before():
    async with house() as the:
        await the.want(spec("a"))
        the.group.start_soon(the.replace, "a")
        await anyio.wait_all_tasks_blocked()
        assert the.journal == ["start a", "succeed a"]
        assert the.state("a").pid == 1

        the.spawner.made[1].serve()
        await anyio.wait_all_tasks_blocked()

        assert the.journal == ["start a", "succeed a", "leave a"]
        assert (the.state("a").pid, the.state("a").leaving) == (2, ())


@pytest.mark.anyio
async def test_who_was_replaced_finishes_its_work_beside_its_successor_and_is_shown():
    async with house() as the:
        the.spawner.disobedient.add("a")
        await the.want(spec("a"))
        departure = await the.replaced("a")
        assert (the.state("a").pid, the.state("a").leaving) == (2, (1,))

        the.spawner.made[0].end(0)

        assert await departure.wait() is True
        await anyio.wait_all_tasks_blocked()
        assert (the.state("a").pid, the.state("a").leaving) == (2, ())
        the.spawner.made[1].end(0)


@pytest.mark.anyio
async def test_who_was_replaced_and_does_not_end_is_killed_after_its_grace():
    async with house() as the:
        the.spawner.disobedient.add("a")
        await the.want(spec("a", grace_s=0))
        departure = await the.replaced("a")

        assert await departure.wait() is False
        assert the.journal[-1] == "kill a"


@pytest.mark.anyio
async def test_a_successor_is_kept_running_like_its_predecessor():
    async with house() as the:
        await the.want(spec("a"))
        await the.replaced("a")
        the.spawner.made[1].end(3)
        await anyio.wait_all_tasks_blocked()

        assert the.journal[-1] == "start a"
        assert (the.state("a").pid, the.state("a").restarts, the.state("a").last_exit) == (3, 1, 3)


@pytest.mark.anyio
async def test_a_successor_that_ends_before_it_serves_changes_nothing():
    async with house() as the:
        await the.want(spec("a"))
        failures: list[str] = []
        the.group.start_soon(the.replace, "a", failures)
        await anyio.wait_all_tasks_blocked()
        the.spawner.made[1].end(3)
        await anyio.wait_all_tasks_blocked()

        assert failures == ["it ended with 3 before it served"]
        assert (the.state("a").pid, the.state("a").leaving) == (1, ())


@pytest.mark.anyio
async def test_a_successor_that_does_not_serve_in_time_is_ended_again():
    async with house() as the:
        await the.want(spec("a"))

        with pytest.raises(UnavailableError, match="it did not serve within 0 s"):
            await the.supervisor.replace("a", the.group, within_s=0)

        assert the.journal == ["start a", "succeed a", "terminate a"]
        assert the.state("a").pid == 1


@pytest.mark.anyio
async def test_a_successor_whose_predecessor_is_dropped_meanwhile_does_not_stay():
    async with house() as the:
        await the.want(spec("a"), spec("b"))
        failures: list[str] = []
        the.group.start_soon(the.replace, "a", failures)
        await anyio.wait_all_tasks_blocked()
        await the.want(spec("b"))
        the.spawner.made[2].serve()
        await anyio.wait_all_tasks_blocked()

        assert failures == ["it is no longer wanted"]
        assert the.journal[-2:] == ["terminate a", "terminate a"]


@pytest.mark.anyio
async def test_a_program_that_cannot_be_started_again_leaves_the_one_that_runs():
    async with house() as the:
        await the.want(spec("a"))
        the.spawner.missing.add("program")

        with pytest.raises(UnavailableError, match="cannot start 'program': No such file"):
            await the.supervisor.replace("a", the.group, within_s=1)

        assert the.state("a").pid == 1


@pytest.mark.anyio
async def test_a_process_in_its_pause_between_two_starts_is_replaced_by_one_that_serves():
    async with house() as the:
        the.sleep_forever = True
        await the.want(spec("a"))
        the.spawner.made[0].end(1)
        await anyio.wait_all_tasks_blocked()
        await the.replaced("a")
        await anyio.wait_all_tasks_blocked()

        assert the.journal == ["start a", "succeed a"]
        assert (the.state("a").pid, the.state("a").problem) == (2, "")


@pytest.mark.anyio
async def test_a_stop_waits_for_those_that_were_replaced_too():
    async with house() as the:
        the.spawner.disobedient.add("a")
        await the.want(spec("a"))
        await the.replaced("a")
        async with anyio.create_task_group() as group:
            group.start_soon(the.supervisor.stop_all)
            await anyio.wait_all_tasks_blocked()
            the.spawner.made[1].end(0)
            await anyio.wait_all_tasks_blocked()
            assert the.seen[-1] != []
            the.spawner.made[0].end(0)

        assert the.seen[-1] == []
