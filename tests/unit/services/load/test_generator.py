"""The generator in virtual time: what is due is sent, and a stall shows in what users met, not in what was sent."""

import random

import anyio
import pytest
from tests.virtual_time import in_virtual_time

from shipway.load.plan import Arrivals, Kind, LoadPlan, Stage
from shipway.load.sample import Outcome
from shipway.services.load.asking import Prepared
from shipway.services.load.generator import GeneratorParts, generate
from shipway.stats.order_statistics import quantile_with_interval

REQUEST = Prepared("question", "http://127.0.0.1:1/", b"{}")
SERVICE_S, STALL_AT_S, STALL_S = 0.01, 30.0, 1.0


class Server:
    """Answers one request after another in 10 ms; at second 30 it stands still for one second."""

    def __init__(self, clock, *, stall_s=STALL_S, service_s=SERVICE_S):
        self.clock = clock
        self.stall_s = stall_s
        self.service_s = service_s
        self.free_s = 0.0
        self.flying = 0
        self.most = 0

    async def ask(self, request):
        self.flying += 1
        self.most = max(self.most, self.flying)
        start_s = max(self.clock.monotonic_s(), self.free_s)
        if STALL_AT_S <= start_s < STALL_AT_S + self.stall_s:
            start_s = STALL_AT_S + self.stall_s
        self.free_s = start_s + self.service_s
        await anyio.sleep(self.free_s - self.clock.monotonic_s())
        self.flying -= 1
        return Outcome(self.clock.monotonic_s())


def run(plan, make=Server):
    async def act(clock):
        server = make(clock)
        found = await generate(plan, GeneratorParts(server.ask, lambda _: REQUEST, clock))
        return found, server

    return in_virtual_time(act)


def rate(per_s, seconds, **fields):
    fields = {"arrivals": Arrivals.CONSTANT, "warmup_s": 0.0, **fields}
    return LoadPlan(Kind.RATE, (Stage(seconds, per_s, per_s),), **fields)


def p(q, latencies):
    return quantile_with_interval(sorted(latencies), q / 100).value


def closed_loop(seconds):
    """Return the latencies that one client measures who asks again when it has its answer, in time steps of 50 ms."""

    async def act(clock):
        server, latencies = Server(clock), []
        while clock.monotonic_s() < seconds:
            sent_s = clock.monotonic_s()
            await server.ask(REQUEST)
            latencies.append((clock.monotonic_s() - sent_s) * 1000)
            await anyio.sleep(max(0.05 - (clock.monotonic_s() - sent_s), 0))
        return latencies

    return in_virtual_time(act)


def test_a_stall_shows_in_the_percentiles_as_long_as_users_met_it():
    found, _ = run(rate(20, 60))
    latencies = [sample.latency_ms for sample in found.samples]

    # Of 1,200 requests 20 were due in the second that was lost; the server then makes up for it in 0.2 s.
    assert p(50, latencies) == pytest.approx(10, abs=0.1)
    assert p(99, latencies) > 350
    assert max(latencies) == pytest.approx(1010, abs=60)
    assert sum(latency > 50 for latency in latencies) >= 20


def test_a_closed_loop_would_have_hidden_the_stall():
    latencies = closed_loop(60)

    assert len(latencies) > 1000
    assert p(99, latencies) == pytest.approx(10, abs=0.1)
    assert sum(latency > 50 for latency in latencies) == 1


def test_without_a_stall_every_request_takes_what_the_server_takes():
    found, _ = run(rate(20, 60), lambda clock: Server(clock, stall_s=0.0))

    assert {round(sample.latency_ms) for sample in found.samples} == {10}
    assert {round(sample.lag_ms) for sample in found.samples} == {0}


def test_requests_are_sent_when_they_are_due_whatever_the_server_does():
    found, server = run(rate(20, 60))

    assert [sample.sent_s for sample in found.samples] == pytest.approx([sample.due_s for sample in found.samples])
    assert server.most >= 20
    assert found.most_in_flight == server.most


def test_a_server_that_is_too_slow_for_the_rate_has_ever_longer_latencies():
    found, _ = run(rate(20, 60), lambda clock: Server(clock, stall_s=0.0, service_s=0.1))

    latencies = [sample.latency_ms for sample in found.samples]
    assert latencies == sorted(latencies)
    assert latencies[-1] > 50_000


def test_what_is_due_while_too_many_are_unanswered_is_counted_and_not_sent():
    found, server = run(rate(20, 60, max_in_flight=5), lambda clock: Server(clock, stall_s=0.0, service_s=1.0))

    assert server.most == 5
    assert found.unsent > 0
    assert len(found.samples) + found.unsent == 1199


def test_a_generator_that_is_late_says_so_and_latency_counts_from_when_it_was_due():
    class Busy(Server):
        async def ask(self, request):
            # The generator's own machine stands still: the loop does not turn.
            self.clock._virtual.now_s += 0.5
            return Outcome(self.clock.monotonic_s())

    found, _ = run(rate(20, 5), Busy)

    assert found.samples[-1].lag_ms > 1000
    assert found.samples[-1].latency_ms > found.samples[-1].service_ms + 1000


def test_users_read_an_answer_before_they_ask_again():
    plan = LoadPlan(Kind.USERS, (Stage(60, 3, 3),), warmup_s=0.0, think_s=(1.0, 1.0))

    found, server = run(plan, lambda clock: Server(clock, stall_s=0.0))

    assert server.most <= 3
    # Three users, each about once a second.
    assert len(found.samples) == pytest.approx(3 * 59, abs=6)


def test_the_ramp_of_users_asks_ever_more():
    plan = LoadPlan(Kind.USERS, (Stage(30, 10, 100), Stage(30, 100, 100)), warmup_s=0.0)

    found, _ = run(plan, lambda clock: Server(clock, stall_s=0.0, service_s=0.001))

    early = sum(sample.due_s < 10 for sample in found.samples)
    late = sum(sample.due_s >= 50 for sample in found.samples)
    assert late > 3 * early
    assert {sample.stage for sample in found.samples} == {0, 1}


def test_users_ask_no_more_than_the_most():
    plan = LoadPlan(Kind.USERS, (Stage(600, 10, 10),), warmup_s=0.0, think_s=(0.0, 0.0), max_requests=50)

    found, _ = run(plan)

    assert len(found.samples) == 50
    assert found.unsent == 10


def test_the_same_seed_asks_the_same_at_the_same_times():
    def drawn(seed):
        asked = []

        async def act(clock):
            def prepare(rng: random.Random):
                asked.append(rng.random())
                return REQUEST

            plan = rate(20, 5, arrivals=Arrivals.POISSON, seed=seed)
            return await generate(plan, GeneratorParts(Server(clock).ask, prepare, clock))

        return asked, [sample.due_s for sample in in_virtual_time(act).samples]

    assert drawn(4) == drawn(4)
    assert drawn(4) != drawn(5)


def test_progress_is_told_every_second():
    told = []

    async def act(clock):
        parts = GeneratorParts(Server(clock).ask, lambda _: REQUEST, clock, progress=lambda *said: told.append(said))
        return await generate(rate(20, 5), parts)

    in_virtual_time(act)

    assert [round(passed) for passed, _ in told] == [1, 2, 3, 4, 5]
    assert {whole for _, whole in told} == {5.0}
