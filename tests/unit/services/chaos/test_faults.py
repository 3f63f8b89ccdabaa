"""Faults: what they do, what they leave written down, and that mending needs nothing of what broke."""

import pytest
from tests.unit.services.chaos.machine import FakeLock, FakeProcesses, FakeProxy

from shipway.chaos.journal import Undo
from shipway.core.errors import ConflictError
from shipway.services.chaos.faults import EngineFault, FullDisk, KilledProcess, LockedStore, StoppedProcesses

pytestmark = pytest.mark.anyio

ENGINES = {"small": "http://127.0.0.1:1/v1", "large": "http://127.0.0.1:2/v1"}


def engine(said, proxy, **fields):
    async def redirect(engines):
        said.append(dict(engines))

    return EngineFault("engine-errors", "small", ENGINES, proxy, redirect, **fields)


async def walk(fault):
    for step in (fault.prepare, fault.inject, fault.remove, fault.clean):
        await step()


async def test_an_engine_is_asked_through_the_proxy_and_then_itself_again():
    redirected, proxy = [], FakeProxy()

    await walk(engine(redirected, proxy, fails=True, share=0.5))

    assert redirected == [{**ENGINES, "small": "http://127.0.0.1:9/v1"}, ENGINES]
    assert proxy.said == ["start", "break True 0.0 0.5", "mend", "stop"]


async def test_the_engines_that_gateways_ask_are_written_down():
    assert engine([], FakeProxy()).undo == Undo("engine-errors", engines=ENGINES)


async def test_the_proxy_stays_until_gateways_ask_the_engine_again():
    proxy = FakeProxy()

    async def fails(engines):
        proxy.said.append("redirect")
        raise ConflictError("no")

    with pytest.raises(ConflictError):
        await EngineFault("e", "small", ENGINES, proxy, fails).clean()

    assert proxy.said == ["redirect", "stop"]


async def test_stopped_processes_go_on():
    processes = FakeProcesses({7: 70, 8: 80})
    fault = StoppedProcesses("engine-stuck", processes, [(7, 70), (8, 80)])

    await walk(fault)

    assert processes.said == ["stop 7", "stop 8", "resume 7", "resume 8"]
    assert fault.undo.resume == ((7, 70), (8, 80))


async def test_a_process_that_is_another_one_by_now_is_not_touched():
    processes = FakeProcesses({7: 71})
    for fault in (StoppedProcesses("s", processes, [(7, 70)]), KilledProcess("k", processes, (7, 70))):
        with pytest.raises(ConflictError):
            await fault.inject()
        await fault.remove()

    assert processes.said == []


async def test_a_killed_process_leaves_nothing_to_undo():
    processes = FakeProcesses({7: 70})
    fault = KilledProcess("worker-killed", processes, (7, 70))

    await walk(fault)

    assert processes.said == ["kill 7"]
    assert not fault.undo.is_needed


async def test_a_full_disk_sets_back_the_limits_that_were_in_force():
    processes = FakeProcesses({7: 70, 8: 80}, limits={7: 4096})
    fault = FullDisk("disk-full", processes, [(7, 70), (8, 80)])

    await fault.inject()
    assert processes.limits == {7: 0, 8: 0}
    await fault.remove()

    assert processes.limits == {7: 4096, 8: -1}
    assert fault.undo.file_sizes == ((7, 70, 4096), (8, 80, -1))


async def test_a_disk_that_fills_for_a_part_of_the_workers_only_is_no_experiment():
    processes = FakeProcesses({7: 70})
    fault = FullDisk("disk-full", processes, [(7, 70), (8, 80)])

    with pytest.raises(ConflictError):
        await fault.inject()
    await fault.remove()

    assert processes.limits == {7: -1}


async def test_a_locked_store_is_released():
    lock = FakeLock()

    await walk(LockedStore("store-locked", lock))

    assert lock.said == ["take", "release"]
