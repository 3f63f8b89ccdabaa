"""One experiment in virtual time, against a gateway that breaks and mends as the fault says."""

import asyncio
import json

import anyio
import pytest
from tests.virtual_time import in_virtual_time

from shipway.chaos.journal import Undo
from shipway.chaos.plan import ChaosPlan, Experiment, Kind, Promises
from shipway.core.errors import DeadlineError, StoreError, UnavailableError, UpstreamError
from shipway.core.verdicts import Verdict
from shipway.evals.ports import HttpReply
from shipway.services.chaos.experiment import Asked, ChaosParts, not_done, run_experiment
from shipway.services.chaos.undoing import Journal

PROMISES = Promises((200, 503), answered_within_s=5.0, recovers_within_s=10.0)
PLAN = ChaosPlan((), "chat", rate=5.0, steady_s=2.0)
GOOD = {"error": {"message": "try again", "type": "unavailable_error", "code": "not_recorded", "param": None}}


class World:
    """A gateway and the fault of a test; `steps` is what happened in order."""

    def __init__(self, clock, path, **how):
        self.clock = clock
        self.journal = Journal(path / "undo.json")
        self.steps = []
        self.broken = how.get("broken_before", False)
        self.heals_after_s = how.get("heals_after_s", 0.0)
        self.mended_s = None
        self.how = how
        self.asked = []
        self.forgotten = how.get("forgotten", 0)

    # The fault.
    @property
    def undo(self):
        return Undo("x", resume=((1, 2),))

    async def prepare(self):
        self.steps.append(f"prepare, journal {self.journal.path.exists()}")

    async def inject(self):
        self.steps.append("inject")
        if "inject" in self.how:
            raise self.how["inject"]
        self.broken = True

    async def remove(self):
        self.steps.append("remove")
        self.mended_s = self.clock.monotonic_s()

    async def clean(self):
        self.steps.append(f"clean, journal {self.journal.path.exists()}")
        if "clean" in self.how:
            raise self.how["clean"]

    # The gateway.
    @property
    def is_broken(self):
        if self.mended_s is not None and "relapse" in self.how:
            from_s, until_s = self.how["relapse"]
            return from_s <= self.clock.monotonic_s() - self.mended_s < until_s
        if self.broken and self.mended_s is not None:
            return self.clock.monotonic_s() < self.mended_s + self.heals_after_s
        return self.broken

    async def call(self, request):
        question = json.loads(request.body)
        self.asked.append(question)
        await anyio.sleep(0.01)
        # A route that does not need what is broken is served.
        if self.is_broken and question["model"] == "chat":
            return await self.how.get("answer", self.refuse)(request)
        return HttpReply(200, {"x-request-id": f"req_{len(self.asked)}"}, b"{}", 10.0, 10.0)

    async def refuse(self, _request):
        return HttpReply(503, {"retry-after": "1"}, json.dumps(GOOD).encode(), 10.0, 10.0)

    async def unrecorded(self, ids):
        return tuple(ids[: self.forgotten])

    async def rollout(self):
        return ""


def ran(tmp_path, others=(), promises=PROMISES, **how):
    worlds = []

    async def act(clock):
        world = World(clock, tmp_path, **how)
        worlds.append(world)
        headers = (("authorization", "Bearer hush"),)
        parts = ChaosParts(
            world, Asked("http://h/v1", headers), world.journal, clock, world.unrecorded, world.rollout, others
        )
        return await run_experiment(Experiment(Kind.DISK_FULL, promises, fault_s=3.0), world, PLAN, parts)

    return in_virtual_time(act), worlds[0]


def failed(result):
    return {check.name for check in result.checks if check.verdict is Verdict.FAIL}


def test_the_fault_is_written_down_made_and_taken_away_in_this_order(tmp_path):
    result, world = ran(tmp_path)

    assert world.steps == ["prepare, journal True", "inject", "remove", "clean, journal True"]
    assert not world.journal.path.exists()
    assert result.verdict is Verdict.PASS
    assert result.statuses == {"before": {200: 10}, "during": {503: 15}, "after": {200: 10}}


def test_every_question_is_another_one_so_that_no_cache_answers(tmp_path):
    _, world = ran(tmp_path)

    questions = [item["messages"][0]["content"] for item in world.asked]
    assert len(set(questions)) == len(questions)


def test_nothing_is_broken_where_the_usual_state_is_broken_already(tmp_path):
    result, world = ran(tmp_path, broken_before=True)

    assert result.verdict is Verdict.ERROR
    assert "0% were served; the first said 503 not_recorded" in result.problem
    assert "inject" not in world.steps
    assert world.steps[-1].startswith("clean")


def test_a_fault_that_cannot_be_made_is_taken_away_and_an_error(tmp_path):
    result, world = ran(tmp_path, inject=UnavailableError("cannot be locked"))

    assert (result.verdict, result.problem) == (Verdict.ERROR, "cannot be locked")
    assert world.steps[1:] == ["inject", "remove", "clean, journal True"]
    assert not world.journal.path.exists()


def test_what_cannot_be_cleaned_up_stays_written_down(tmp_path):
    result, world = ran(tmp_path, clean=StoreError("no room"))

    assert (result.verdict, result.problem) == (Verdict.ERROR, "no room")
    assert world.journal.path.exists()


def test_recovery_is_the_time_until_requests_are_served_again(tmp_path):
    result, _ = ran(tmp_path, heals_after_s=4.0)

    assert result.recovered_after_s == pytest.approx(4.0, abs=0.3)
    assert result.verdict is Verdict.PASS


def test_a_relapse_is_no_recovery(tmp_path):
    result, _ = ran(tmp_path, relapse=(2.5, 5.0))

    assert result.recovered_after_s == pytest.approx(5.0, abs=0.5)
    assert result.verdict is Verdict.PASS


def test_a_gateway_that_relapses_after_its_time_has_not_recovered(tmp_path):
    result, _ = ran(tmp_path, relapse=(2.5, 100.0))

    assert "recovers" in failed(result)


def test_a_gateway_that_does_not_recover_in_time_broke_its_promise(tmp_path):
    result, _ = ran(tmp_path, heals_after_s=60.0)

    assert "recovers" in failed(result)


def test_a_request_that_gets_no_reply_is_one_and_says_why(tmp_path):
    async def cut(_request):
        raise UpstreamError("http://h/v1: the answer was cut off after 3 bytes", status=200)

    result, _ = ran(tmp_path, answer=cut)

    assert failed(result) == {"statuses"}
    assert "no reply (the answer was cut off after 3 bytes)" in next(
        check.message for check in result.checks if check.name == "statuses"
    )


def test_a_request_that_hangs_is_counted_with_the_time_it_took(tmp_path):
    async def hang(request):
        await anyio.sleep(request.timeout_s)
        raise DeadlineError("late")

    result, _ = ran(tmp_path, answer=hang)

    assert failed(result) == {"statuses", "ends within 5 s"}


def test_an_error_in_another_shape_is_told(tmp_path):
    async def ugly(_request):
        return HttpReply(503, {"retry-after": "1"}, b"<html>", 1.0, 1.0)

    result, _ = ran(tmp_path, answer=ugly)

    assert failed(result) == {"errors like OpenAI's"}


def test_an_answer_without_a_record_is_told(tmp_path):
    result, _ = ran(tmp_path, forgotten=1)

    assert failed(result) == {"no answer without a record"}


def test_other_routes_are_asked_meanwhile(tmp_path):
    result, _ = ran(tmp_path, others=("other",))

    assert any(check.name == "other routes" and check.verdict is Verdict.PASS for check in result.checks)


def test_a_run_that_is_cancelled_mends_what_it_broke(tmp_path):
    worlds = []

    async def act(clock):
        world = World(clock, tmp_path)
        worlds.append(world)
        parts = ChaosParts(world, Asked("u", ()), world.journal, clock, world.unrecorded, world.rollout)
        run = asyncio.ensure_future(run_experiment(Experiment(Kind.DISK_FULL, PROMISES, 60.0), world, PLAN, parts))
        await anyio.sleep(10)
        assert world.broken
        run.cancel()
        await asyncio.wait([run])
        return run.cancelled()

    assert in_virtual_time(act)
    assert worlds[0].steps == ["prepare, journal True", "inject", "remove", "clean, journal True"]
    assert not worlds[0].journal.path.exists()


def test_what_is_not_done_has_its_reason_and_no_check():
    result = not_done(Experiment(Kind.REDIS_LOST, PROMISES), "the project has no redis")

    assert (result.verdict, result.reason, result.checks) == (Verdict.NO_DATA, "the project has no redis", ())
