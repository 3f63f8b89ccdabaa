"""A whole load test in virtual time: first contact, warm-up, stages, verdict."""

import anyio
import pytest
from tests.virtual_time import in_virtual_time

from shipway.core.errors import UnavailableError
from shipway.core.verdicts import Verdict
from shipway.load.plan import Arrivals, Kind, Limits, LoadPlan, Stage
from shipway.load.sample import Outcome
from shipway.services.load.asking import Prepared
from shipway.services.load.running import LoadParts, level, run_load

TARGET = "http://127.0.0.1:1"
MINUTE = (Stage(60, 20, 20),)


class Server:
    """Answers in 10 ms; slowly while it warms up, with errors after `fails_after_s`, not at all when `stuck`."""

    def __init__(self, clock, *, cold_s=0.0, fails_after_s=1e9, freezes=False):
        self.clock, self.cold_s, self.fails_after_s, self.freezes = clock, cold_s, fails_after_s, freezes
        self.asked = 0

    async def ask(self, request):
        self.asked += 1
        at_s = self.clock.monotonic_s()
        if self.freezes and self.asked > 1:
            self.clock._virtual.now_s += 0.3
        await anyio.sleep(2.0 if at_s < self.cold_s else 0.01)
        return Outcome(self.clock.monotonic_s(), error="status 500" if at_s > self.fails_after_s else "")


def report(limits, stages=MINUTE, make=Server, **fields):
    plan = LoadPlan(Kind.RATE, stages, Limits(limits), Arrivals.CONSTANT, **fields)

    async def act(clock):
        server = make(clock)
        return await run_load(TARGET, plan, LoadParts(server.ask, lambda _: Prepared("q", TARGET, b""), clock))

    return in_virtual_time(act)


def test_a_server_that_keeps_its_limits_passes():
    found = report({"p99_ms": 50, "error_rate": 0.01})

    assert found.verdict is Verdict.PASS
    assert found.whole.requests == pytest.approx(1200, abs=2)


def test_a_server_that_nobody_reaches_is_not_loaded():
    with pytest.raises(UnavailableError, match="status 500; nothing was loaded"):
        report({"p99_ms": 50}, make=lambda clock: Server(clock, fails_after_s=-1))


def test_the_warm_up_decides_nothing():
    found = report({"p99_ms": 50}, warmup_s=10.0, make=lambda clock: Server(clock, cold_s=8.0))

    assert found.verdict is Verdict.PASS
    assert found.whole.longest_ms == pytest.approx(10, abs=0.1)


def test_a_stage_that_is_not_measured_decides_nothing():
    stages = (Stage(10, 1, 20, measured=False), Stage(60, 20, 20))

    found = report({"p99_ms": 50}, stages, warmup_s=0.0, make=lambda clock: Server(clock, cold_s=9.0))

    assert found.verdict is Verdict.PASS
    assert [part.name for part in found.stages] == ["20/s, 60 s"]


def test_errors_under_load_fail():
    found = report({"error_rate": 0.01}, make=lambda clock: Server(clock, fails_after_s=40.0))

    assert found.verdict is Verdict.FAIL
    assert dict(found.whole.reasons) == {"status 500": found.whole.errors}


def test_a_generator_that_cannot_keep_up_is_an_error_and_no_pass():
    found = report({"p99_ms": 1e9}, make=lambda clock: Server(clock, freezes=True))

    assert found.verdict is Verdict.ERROR
    assert "the generator could not keep up" in found.problems[0]


def test_requests_that_were_not_sent_are_an_error_and_no_pass():
    found = report({"p99_ms": 1e9}, max_in_flight=1, make=lambda clock: Server(clock, cold_s=1e9))

    assert found.verdict is Verdict.ERROR
    assert "requests were not sent" in found.problems[0]


def test_a_test_that_is_too_short_for_its_limits_is_inconclusive():
    assert report({"p99_ms": 50}, (Stage(5, 20, 20),)).verdict is Verdict.INCONCLUSIVE


def test_levels_read_as_people_say_them():
    assert level(Kind.USERS, Stage(30, 10, 100)) == "10 to 100 users, 30 s"
    assert level(Kind.RATE, Stage(60, 2.5, 2.5)) == "2.5/s, 60 s"
