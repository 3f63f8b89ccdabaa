"""Which processes are broken: the project's own, as the supervisor wrote them down, and nobody else's."""

from pathlib import Path

import pytest
from tests.unit.services.chaos.machine import FakeLock, FakeProcesses, FakeProxy

from shipway.chaos.plan import Experiment, Kind, Setting, promised
from shipway.core.errors import ForbiddenError
from shipway.services.chaos.choosing import Grounds, Machine, chosen
from shipway.services.chaos.faults import EngineFault, FullDisk, KilledProcess, LockedStore, StoppedProcesses

RUNNING = [
    {"name": "gateway-0", "pid": 10},
    {"name": "gateway-1", "pid": 11},
    {"name": "gateway-2", "pid": None},
    {"name": "control", "pid": 12},
    {"name": "engine-small", "pid": 13},
    {"name": "engine-large", "pid": 14},
]
ENGINES = {"small": "http://127.0.0.1:1/v1"}


def choose(kind, processes=None, **fields):
    usual = {"alias": "small", "engines": ENGINES, "running": RUNNING, "state_file": Path("state.db")}
    processes = processes or FakeProcesses({pid: pid * 10 for pid in range(10, 15)})

    async def redirect(_engines):
        raise AssertionError("nothing is done while choosing")

    machine = Machine(processes, lambda _url: FakeProxy(), lambda _path: FakeLock(), redirect)
    experiment = Experiment(kind, promised(kind, Setting()), delay_s=3.0, share=0.5)
    return chosen(experiment, Grounds(**{**usual, **fields}), machine)


def test_engine_errors_and_a_slow_engine_are_made_before_the_routes_engine():
    errors, slow = choose(Kind.ENGINE_ERRORS), choose(Kind.ENGINE_SLOW)

    assert isinstance(errors, EngineFault)
    assert (errors.alias, errors.fails, errors.delay_s, errors.share) == ("small", True, 0.0, 0.5)
    assert (slow.fails, slow.delay_s) == (False, 3.0)


def test_a_stuck_engine_is_the_routes_engine():
    fault = choose(Kind.ENGINE_STUCK)

    assert isinstance(fault, StoppedProcesses)
    assert fault.targets == [(13, 130)]


def test_one_worker_is_killed_and_the_disk_fills_for_all_that_run():
    killed, full = choose(Kind.WORKER_KILLED), choose(Kind.DISK_FULL)

    assert isinstance(killed, KilledProcess)
    assert killed.target == (10, 100)
    assert isinstance(full, FullDisk)
    assert full.targets == [(10, 100), (11, 110)]


def test_a_single_worker_has_no_number():
    fault = choose(Kind.WORKER_KILLED, running=[{"name": "control", "pid": 12}, {"name": "gateway", "pid": 10}])

    assert fault.target == (10, 100)


def test_a_process_that_is_gone_is_not_chosen():
    assert choose(Kind.WORKER_KILLED, FakeProcesses({11: 110})).target == (11, 110)
    assert choose(Kind.DISK_FULL, FakeProcesses()) == "no gateway worker runs"


@pytest.mark.parametrize("kind", [Kind.ENGINE_ERRORS, Kind.ENGINE_SLOW, Kind.ENGINE_STUCK])
def test_an_engine_that_up_does_not_run_is_not_touched(kind):
    assert "what it does not run is not touched" in choose(kind, alias="far")


def test_the_store_is_locked():
    assert isinstance(choose(Kind.STORE_LOCKED), LockedStore)


def test_there_is_no_postgres_to_lose():
    assert "SQLite" in choose(Kind.POSTGRES_LOST)


def test_a_redis_must_be_named_and_must_listen_where_the_project_asks():
    processes = FakeProcesses({99: 990}, listening={99: 6380})
    url = "redis://:hush@127.0.0.1:6380/0"

    fault = choose(Kind.REDIS_LOST, processes, redis_url=url, named={"redis": 99})

    assert fault.targets == [(99, 990)]
    assert "no redis" in choose(Kind.REDIS_LOST)
    assert "name its process" in choose(Kind.REDIS_LOST, redis_url=url)
    with pytest.raises(ForbiddenError):
        choose(Kind.REDIS_LOST, FakeProcesses({98: 980}), redis_url=url, named={"redis": 98})


def test_a_redis_of_another_machine_is_not_touched_and_its_password_not_told():
    reason = choose(Kind.REDIS_LOST, redis_url="redis://:hush@10.0.0.1:6379", named={"redis": 10})

    assert "only processes of this machine" in reason
    assert "hush" not in reason
