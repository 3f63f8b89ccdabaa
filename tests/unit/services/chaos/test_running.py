"""A run of several experiments: what cannot be done is told, and records and rollouts are looked at afterwards."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from tests.unit.services.chaos.machine import FakeLock, FakeProcesses, FakeProxy
from tests.virtual_time import in_virtual_time

from shipway.chaos.plan import ChaosPlan, Experiment, Kind, Setting, default_experiments, promised
from shipway.core.errors import StoreError
from shipway.evals.ports import HttpReply
from shipway.services.chaos.choosing import Grounds, Machine
from shipway.services.chaos.experiment import Asked, ChaosParts
from shipway.services.chaos.running import ChaosRun, RolloutEye, missing_records, run_chaos
from shipway.services.chaos.undoing import Journal

pytestmark = pytest.mark.anyio


class Gateway:
    async def call(self, _request):
        await anyio.sleep(0.01)
        return HttpReply(200, {"x-request-id": "req"}, b"{}", 1.0, 1.0)


def ran(tmp_path, experiments, **fields):
    processes = FakeProcesses({10: 100, 13: 130})
    running = [{"name": "gateway", "pid": 10}, {"name": "engine-small", "pid": 13}]

    async def none(_ids):
        return ()

    async def nothing(*_):
        return ""

    async def act(clock):
        parts = ChaosParts(Gateway(), Asked("u", ()), Journal(tmp_path / "undo.json"), clock, none, nothing)
        machine = Machine(processes, lambda _: FakeProxy(), lambda _: FakeLock(), nothing)
        grounds = Grounds("small", {"small": "http://127.0.0.1:1/v1"}, running, Path("state.db"), **fields)
        plan = ChaosPlan(tuple(experiments), "chat", steady_s=1.0)
        return await run_chaos(ChaosRun(plan, parts, machine, lambda: grounds))

    return in_virtual_time(act), processes


def test_everything_that_can_be_done_is_done_and_the_rest_has_its_reason(tmp_path):
    results, processes = ran(tmp_path, default_experiments(Setting(llm_timeout_s=2.0)))

    assert [result.kind for result in results] == list(Kind)
    assert {result.kind for result in results if result.reason} == {Kind.REDIS_LOST, Kind.POSTGRES_LOST}
    assert processes.said == ["stop 13", "resume 13", "kill 10", "limit 10 to 0", "limit 10 to -1"]


def test_a_named_process_that_is_a_stranger_is_a_reason_and_not_touched(tmp_path):
    experiment = Experiment(Kind.REDIS_LOST, promised(Kind.REDIS_LOST, Setting()))

    (result,), processes = ran(tmp_path, [experiment], redis_url="redis://127.0.0.1:6379", named={"redis": 10})

    assert "does not listen on port 6379" in result.reason
    assert processes.said == []


@dataclass
class Records:
    """Knows a record from its `at_s` on."""

    clock: object
    at_s: dict = field(default_factory=dict)

    async def find(self, name):
        if name == "broken":
            raise StoreError("locked")
        return object() if self.at_s.get(name, 1e9) <= self.clock.monotonic_s() else None


def missing(at_s, ids):
    async def act(clock):
        return await missing_records(Records(clock, at_s), clock, ids)

    return in_virtual_time(act)


def test_records_are_waited_for_and_those_that_never_come_are_missing():
    assert missing({"a": 0.0, "b": 12.0}, ["a", "b", ""]) == ()
    assert missing({"a": 0.0}, ["a", "c"]) == ("c",)


def test_records_that_cannot_be_read_are_not_checked():
    assert missing({}, ["broken"]) is None


class Documents:
    """Rollouts by name."""

    def __init__(self, **rollouts):
        self.rollouts = rollouts

    async def list(self, kind):
        assert kind == "rollout"
        return [(name, body, 1) for name, body in self.rollouts.items()]

    async def get(self, kind, key):
        return (self.rollouts[key], 1) if kind == "rollout" else None


async def test_a_rollout_is_followed_until_after_its_end():
    now = {"environment": "local", "state": "progressing"}
    documents = Documents(
        old={"environment": "local", "state": "completed"}, now=now, far={"environment": "far", "state": "progressing"}
    )
    eye = RolloutEye(SimpleNamespace(environment="local", state=SimpleNamespace(documents=documents)))

    assert await eye.state() == "progressing"
    now["state"] = "rolled_back"
    assert await eye.state() == "rolled_back"
    # Its end is told once: the next experiment has none under way.
    assert await eye.state() == ""


async def test_without_a_rollout_under_way_there_is_no_state_until_one_begins():
    documents = Documents(old={"environment": "local", "state": "rolled_back"})
    eye = RolloutEye(SimpleNamespace(environment="local", state=SimpleNamespace(documents=documents)))

    assert await eye.state() == ""
    documents.rollouts["now"] = {"environment": "local", "state": "pending"}
    assert await eye.state() == "pending"
