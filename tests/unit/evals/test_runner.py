import re

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.adapters.memory.run_sink import MemoryRun
from shipway.config.credentials import NOT_REPEATED
from shipway.core.clock import ManualClock
from shipway.core.errors import DeadlineError, StoreError, UnavailableError, UpstreamError, UsageError
from shipway.evals.budget import Caps, Charge, Meter
from shipway.evals.model import Attempt, Case, Dataset, Output
from shipway.evals.runner import Around, RunPlan, schedule
from shipway.evals.runner import run as run_into

DATASET = Dataset("d", tuple(Case(id=f"c{i}", question="?") for i in range(6)))


async def run(targets, dataset, plan, *, clock, progress=None):
    """Run into memory, in virtual time; return the attempts of each target in order of repeat and case."""
    sink = MemoryRun()

    async def sleep(seconds):
        clock.advance(seconds)
        await anyio.lowlevel.checkpoint()

    await run_into(targets, dataset.cases, plan, sink, Around(clock, progress=progress, sleep=sleep))
    return {name: sink.attempts(name, dataset.cases, plan.repeats) for name in targets}


class FakeTarget:
    """Answers with its name; `behave` may raise, wait or return another output."""

    def __init__(self, name, log, behave=None):
        self.name = name
        self.digest = f"sha256:{name}"
        self.log = log
        self.behave = behave

    async def ask(self, case, *, repeat):
        self.log.append((self.name, case.id, repeat))
        if self.behave is not None:
            return await self.behave(case)
        return Output(answer=self.name, latency_ms=1.0)


def two_targets(behave=None):
    log = []
    return {"new": FakeTarget("new", log, behave), "old": FakeTarget("old", log)}, log


async def test_both_targets_answer_a_case_before_the_next_case_begins():
    targets, log = two_targets()
    await run(targets, DATASET, RunPlan(repeats=2), clock=ManualClock())
    pairs = [(log[i], log[i + 1]) for i in range(0, len(log), 2)]
    assert len(pairs) == 12
    assert all(one[1:] == other[1:] and one[0] != other[0] for one, other in pairs)


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99))
def test_targets_take_turns_in_going_first(n_targets, n_cases, repeats, seed):
    names = [f"t{i}" for i in range(n_targets)]
    cases = [Case(id=f"c{i}", question="?") for i in range(n_cases)]
    jobs = schedule(names, cases, RunPlan(repeats=repeats, seed=seed))
    assert jobs == schedule(names, cases, RunPlan(repeats=repeats, seed=seed))
    assert all(sorted(order) == names for _, _, order in jobs)
    for repeat in range(repeats):
        first = [order[0] for _, done, order in jobs if done == repeat]
        counts = [first.count(name) for name in names]
        assert max(counts) - min(counts) <= 1


def test_sequential_order_finishes_one_target_before_the_next():
    jobs = schedule(["new", "old"], DATASET.cases, RunPlan(repeats=2, order="sequential"))
    assert [names for _, _, names in jobs] == [("new",)] * 12 + [("old",)] * 12


@pytest.mark.parametrize("concurrency", [1, 4, 50])
async def test_attempts_come_back_in_order_whatever_the_concurrency(concurrency):
    targets, _ = two_targets()
    attempts = await run(targets, DATASET, RunPlan(repeats=2, concurrency=concurrency), clock=ManualClock())
    wanted = [(f"c{i}", repeat) for repeat in range(2) for i in range(6)]
    assert {name: [(a.case_id, a.repeat) for a in done] for name, done in attempts.items()} == {
        "new": wanted,
        "old": wanted,
    }
    assert {a.output.answer for a in attempts["new"]} == {"new"}


async def test_a_call_that_raises_is_an_error_on_its_own_output_only():
    async def behave(case):
        if case.id == "c2":
            raise ConnectionError("engine is gone")
        return Output(answer="fine")

    targets, _ = two_targets(behave)
    attempts = await run(targets, DATASET, RunPlan(), clock=ManualClock())
    assert [a.output.error for a in attempts["new"]] == [
        None,
        None,
        "ConnectionError: engine is gone",
        None,
        None,
        None,
    ]
    assert all(a.output.error is None for a in attempts["old"])


async def test_a_call_that_hangs_is_given_up():
    async def behave(case):
        if case.id == "c0":
            await anyio.sleep_forever()
        return Output(answer="fine")

    targets, _ = two_targets(behave)
    attempts = await run(targets, DATASET, RunPlan(timeout_s=0.01), clock=ManualClock())
    assert attempts["new"][0].output.error == "timeout: no answer within 0.01 s"
    assert attempts["new"][1].output.answer == "fine"


async def test_a_timeout_of_the_targets_own_is_its_error_and_not_ours():
    async def behave(_case):
        raise TimeoutError("upstream")

    targets, _ = two_targets(behave)
    attempts = await run(targets, DATASET, RunPlan(), clock=ManualClock())
    assert attempts["new"][0].output.error == "TimeoutError: upstream"


async def test_latency_is_measured_where_the_target_did_not():
    clock = ManualClock()

    async def behave(_case):
        clock.advance(0.25)
        return Output(answer="slow")

    targets, _ = two_targets(behave)
    attempts = await run(targets, DATASET, RunPlan(), clock=clock)
    assert attempts["new"][0].output.latency_ms == 250.0
    assert attempts["old"][0].output.latency_ms == 1.0


async def test_no_more_cases_are_in_flight_than_allowed():
    in_flight, most = 0, 0

    async def behave(_case):
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await anyio.lowlevel.checkpoint()
        in_flight -= 1
        return Output()

    targets, _ = two_targets(behave)
    await run(targets, DATASET, RunPlan(concurrency=3, repeats=3), clock=ManualClock())
    assert most == 3


async def test_cancelling_the_run_cancels_the_calls_and_starts_no_more():
    cancelled = []
    started = anyio.Event()

    async def behave(case):
        started.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled.append(case.id)
            raise

    targets = {"new": FakeTarget("new", [], behave)}
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run(targets, DATASET, RunPlan(), clock=ManualClock()))
        await started.wait()
        group.cancel_scope.cancel()
    assert cancelled == ["c0"]
    assert targets["new"].log == [("new", "c0", 0)]


async def test_progress_counts_every_call_and_names_errors():
    async def behave(_case):
        raise ValueError("bad")

    targets, _ = two_targets(behave)
    seen = []
    await run(targets, DATASET, RunPlan(), clock=ManualClock(), progress=seen.append)
    assert [item.done for item in seen] == list(range(1, 13))
    assert {item.total for item in seen} == {12}
    assert {(item.target, item.error) for item in seen} == {("new", "ValueError: bad"), ("old", None)}


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"concurrency": 0}, {"timeout_s": 0}, {"timeout_s": float("nan")}])
def test_a_plan_that_cannot_work_is_refused(wrong):
    with pytest.raises(UsageError, match=f"run plan: {next(iter(wrong))}"):
        RunPlan(**wrong)


async def test_nothing_to_run_is_refused():
    with pytest.raises(UsageError, match="0 targets, 6 cases"):
        await run({}, DATASET, RunPlan(), clock=ManualClock())
    with pytest.raises(UsageError, match="1 targets, 0 cases"):
        await run({"t": FakeTarget("t", [])}, Dataset("none", ()), RunPlan(), clock=ManualClock())


def nobody_home(error):
    async def behave(case):
        raise error

    return behave


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_target_that_nobody_can_reach_is_given_up_after_its_first_calls(concurrency):
    targets, log = two_targets(nobody_home(UnavailableError("http://127.0.0.1:9/v1: connection refused")))
    many = Dataset("d", tuple(Case(id=f"c{i}", question="?") for i in range(100)))
    with pytest.raises(UnavailableError) as caught:
        await run(targets, many, RunPlan(concurrency=concurrency), clock=ManualClock())
    assert re.fullmatch(
        r"verdict ERROR: the first [5-8] calls of new all failed: http://127.0.0.1:9/v1: connection refused",
        caught.value.message,
    )
    assert "`shipway up`" in caught.value.hint
    assert "`shipway logs engine-ALIAS`" in caught.value.hint
    assert len([name for name, *_ in log if name == "new"]) <= 5 + concurrency


async def test_refusals_that_need_no_engine_do_not_hide_that_it_is_away():
    async def behave(case):
        if case.id in {"c0", "c2"}:
            return Output(answer="I do not know.", events=("abstained",))
        raise UnavailableError("refused")

    targets, _ = two_targets(behave)
    with pytest.raises(UnavailableError, match="the first 3 calls"):
        await run(targets, DATASET, RunPlan(give_up_after=3), clock=ManualClock())


async def test_a_dataset_smaller_than_the_patience_is_given_up_too():
    targets, _ = two_targets(nobody_home(UnavailableError("refused")))
    with pytest.raises(UnavailableError, match="the first 6 calls"):
        await run(targets, DATASET, RunPlan(give_up_after=50), clock=ManualClock())


@pytest.mark.parametrize(
    "error", [UpstreamError("503", status=503), DeadlineError("slow"), ValueError("the release's own fault")]
)
async def test_a_target_that_answers_badly_is_asked_to_the_end(error):
    targets, _ = two_targets(nobody_home(error))
    attempts = await run(targets, DATASET, RunPlan(), clock=ManualClock())
    assert all(attempt.output.error for attempt in attempts["new"])


async def test_an_engine_that_dies_later_leaves_errors_on_the_cases_it_missed():
    async def behave(case):
        if case.id != "c0":
            raise UnavailableError("refused")
        return Output(answer="fine")

    targets, _ = two_targets(behave)
    attempts = await run(targets, DATASET, RunPlan(repeats=3), clock=ManualClock())
    assert sum(attempt.output.error is None for attempt in attempts["new"]) == 3


class Scripted:
    """A world whose sleep moves its clock; `slept` are the pauses."""

    def __init__(self, **around):
        self.clock, self.sink, self.slept = ManualClock(), MemoryRun(), []
        self.around = Around(self.clock, sleep=self.sleep, **around)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.clock.advance(seconds)
        await anyio.lowlevel.checkpoint()

    async def run(self, targets, plan, cases=DATASET.cases):
        return await run_into(targets, cases, plan, self.sink, self.around)


async def test_what_the_sink_has_is_not_asked_again_but_errors_are():
    world, (targets, log) = Scripted(), two_targets()
    world.sink.write("new", Attempt("c0", 0, Output(answer="kept")))
    world.sink.write("new", Attempt("c1", 0, Output(error="503")))
    outcome = await world.run(targets, RunPlan())
    assert (outcome.asked, outcome.reused, outcome.errors) == (11, 1, 0)
    assert ("new", "c0", 0) not in log
    assert ("new", "c1", 0) in log
    assert world.sink.attempts("new", DATASET.cases, 1)[0].output.answer == "kept"


async def test_later_repeats_carry_on_with_the_numbers():
    world, (targets, log) = Scripted(), two_targets()
    await world.run(targets, RunPlan(repeats=2, first_repeat=3))
    assert {repeat for _, _, repeat in log} == {3, 4}


def failing_first(times, error):
    left = {}

    async def behave(case):
        left[case.id] = left.get(case.id, times) - 1
        if left[case.id] >= 0:
            raise error
        return Output(answer="fine")

    return behave


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_call_that_was_turned_away_is_made_again_and_that_is_kept(status):
    world = Scripted()
    targets = {"new": FakeTarget("new", [], failing_first(1, UpstreamError("busy", status=status)))}
    outcome = await world.run(targets, RunPlan())
    assert outcome.errors == 0
    assert [attempt.retries for attempt in world.sink.attempts("new", DATASET.cases, 1)] == [1] * 6
    assert all(0.25 <= pause <= 0.5 for pause in world.slept)


@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_a_refusal_that_asking_again_does_not_change_is_an_error_at_once(status):
    world = Scripted()
    targets = {"new": FakeTarget("new", [], failing_first(9, UpstreamError("no", status=status)))}
    outcome = await world.run(targets, RunPlan())
    assert (outcome.errors, world.slept) == (6, [])


async def test_retries_end():
    world = Scripted()
    target = FakeTarget("new", [], failing_first(99, UpstreamError("busy", status=503)))
    outcome = await world.run({"new": target}, RunPlan(retries=2))
    assert outcome.errors == 6
    assert len(target.log) == 6 * 3


async def test_everybody_waits_as_long_as_the_endpoint_asks_for():
    world = Scripted()
    asked_at = []

    async def behave(case):
        asked_at.append(world.clock.monotonic_s())
        if len(asked_at) == 1:
            raise UpstreamError("busy", status=429, retry_after="30")
        return Output(answer="fine")

    await world.run({"new": FakeTarget("new", [], behave)}, RunPlan(concurrency=1))
    assert asked_at[0] == 0.0
    assert min(asked_at[1:]) >= 30.0


async def test_a_busy_endpoint_is_asked_less_at_a_time():
    world, in_flight, most = Scripted(), 0, []

    async def behave(case):
        nonlocal in_flight
        in_flight += 1
        most.append(in_flight)
        await anyio.lowlevel.checkpoint()
        in_flight -= 1
        if len(most) <= 8:
            raise UpstreamError("busy", status=429)
        return Output(answer="fine")

    many = [Case(id=f"c{i}", question="?") for i in range(20)]
    outcome = await world.run({"new": FakeTarget("new", [], behave)}, RunPlan(concurrency=8), many)
    assert outcome.errors == 0
    assert max(most[:8]) == 8
    assert most[-1] < 8


async def test_concurrency_grows_to_its_ceiling_while_nobody_objects():
    seen = []
    world = Scripted(progress=lambda call: seen.append(call.concurrency))
    many = [Case(id=f"c{i}", question="?") for i in range(60)]

    async def behave(case):
        await anyio.lowlevel.checkpoint()
        return Output(answer="fine")

    await world.run({"new": FakeTarget("new", [], behave)}, RunPlan(concurrency=1, max_concurrency=4), many)
    assert max(seen) == 4


async def test_a_connection_that_breaks_is_tried_again_once_somebody_has_answered():
    world = Scripted()
    asked = []

    async def behave(case):
        asked.append(case.id)
        if asked.count(case.id) == 1 and case.id != "c0":
            raise UnavailableError("connection reset")
        return Output(answer="fine")

    outcome = await world.run({"new": FakeTarget("new", [], behave)}, RunPlan())
    assert outcome.errors == 0
    assert len(asked) == 11


async def test_fail_fast_ends_the_run_after_so_many_failed_cases():
    world = Scripted(failed=lambda target, attempt: attempt.output.answer == "wrong")

    async def behave(case):
        return Output(answer="wrong" if case.id in {"c1", "c3"} else "right")

    target = FakeTarget("new", [], behave)
    outcome = await world.run({"new": target}, RunPlan(fail_fast=2))
    assert (outcome.stopped, outcome.asked) == ("fail_fast", 4)
    assert len(target.log) == 4


async def test_a_budget_ends_the_run_before_the_call_that_would_exceed_it():
    async def behave(case):
        return Output(answer="a", tokens_in=50, tokens_out=50)

    meter = Meter({"new": Charge(1.0, 1.0, 50, 50, whole=True)}, Caps(tokens=350))
    world = Scripted(meter=meter)
    outcome = await world.run({"new": FakeTarget("new", [], behave)}, RunPlan())
    assert (outcome.stopped, outcome.asked) == ("budget", 3)
    assert meter.spent.tokens == 300
    assert world.sink.attempts("new", DATASET.cases, 1)[0].output.cost_usd == pytest.approx(0.0001)


async def test_half_of_the_cases_failing_is_errors_and_the_rest_is_answered():
    async def behave(case):
        if int(case.id[1:]) % 2:
            raise UpstreamError("down", status=500)
        return Output(answer="fine")

    world = Scripted()
    outcome = await world.run({"new": FakeTarget("new", [], behave)}, RunPlan())
    assert (outcome.asked, outcome.errors) == (6, 3)


async def test_a_sink_that_takes_nothing_ends_the_run_with_its_own_error():
    class Full(MemoryRun):
        def write(self, target, attempt):
            raise StoreError("the disk is full")

    targets, log = two_targets()
    with pytest.raises(StoreError, match="the disk is full"):
        await run_into(targets, DATASET.cases, RunPlan(), Full(), Around(ManualClock()))
    assert len(log) == 1


async def test_progress_tells_what_is_left_and_what_it_cost():
    seen = []
    meter = Meter({"new": Charge(1.0, 1.0)})
    world = Scripted(meter=meter, progress=seen.append)

    async def behave(_case):
        world.clock.advance(2.0)
        return Output(answer="a", tokens_in=500_000, tokens_out=500_000)

    await world.run({"new": FakeTarget("new", [], behave)}, RunPlan())
    assert [call.eta_s for call in seen] == [10.0, 8.0, 6.0, 4.0, 2.0, 0.0]
    assert [call.cost_usd for call in seen] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


@pytest.mark.parametrize("concurrency", [1, 8, 32])
async def test_a_budget_is_used_up_to_its_end_however_many_calls_are_in_flight(concurrency):
    async def behave(case):
        await anyio.lowlevel.checkpoint()
        return Output(answer="a", tokens_in=10, tokens_out=10)

    # Answers may be fifty times as long as they are: reserved at that, ten in flight take the whole budget.
    meter = Meter({"new": Charge(1.0, 1.0, 10, 500, whole=True)}, Caps(tokens=5000))
    many = [Case(id=f"c{i}", question="?") for i in range(1000)]
    world = Scripted(meter=meter)
    outcome = await world.run({"new": FakeTarget("new", [], behave)}, RunPlan(concurrency=concurrency), many)
    assert (outcome.stopped, outcome.asked) == ("budget", 250)
    assert meter.spent.tokens == 5000


async def test_who_waits_for_room_in_the_budget_ends_with_a_run_that_fails_fast():
    async def behave(case):
        await anyio.lowlevel.checkpoint()
        return Output(error="no")

    meter = Meter({"new": Charge(1.0, 1.0, 10, 10, whole=True)}, Caps(tokens=20))
    world = Scripted(meter=meter)
    outcome = await world.run({"new": FakeTarget("new", [], behave)}, RunPlan(concurrency=4, fail_fast=1))
    assert (outcome.stopped, outcome.asked) == ("fail_fast", 1)


async def test_a_credential_in_what_a_target_raises_is_not_repeated():
    async def behave(_case):
        raise ConnectionError("refused sk-abcdefghijklmnop1234")

    attempts = await run(two_targets(behave)[0], DATASET, RunPlan(), clock=ManualClock())
    assert {attempt.output.error for attempt in attempts["new"]} == {f"ConnectionError: {NOT_REPEATED}"}


@pytest.mark.parametrize(("name", "hint"), [("http://127.0.0.1:9/v1#x", "the address right"), ("rel_1", "shipway up")])
async def test_who_finds_nobody_is_told_to_start_what_is_his(name, hint):
    async def behave(_case):
        raise UnavailableError("nobody listens")

    with pytest.raises(UnavailableError) as caught:
        await run({name: FakeTarget(name, [], behave)}, DATASET, RunPlan(), clock=ManualClock())
    assert hint in caught.value.hint
