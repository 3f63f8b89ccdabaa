"""What runs when, what is repeated and what a failure stops; with stages that are functions."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from shipway.core.clock import ManualClock
from shipway.core.errors import GateRefusedError, StoreError, UsageError
from shipway.core.verdicts import Verdict
from shipway.pipeline.graph import build_graph
from shipway.pipeline.model import RunReport, StageEvent, StageOutcome, StageResult, StageState
from shipway.pipeline.ports import StageContext
from shipway.pipeline.runner import PipelineRunner
from shipway.pipeline.spec import Limit, Resources, StageSpec

pytestmark = pytest.mark.anyio

Act = Callable[[StageContext], Awaitable[StageOutcome]]
PASS = StageOutcome(Verdict.PASS)
FAIL = StageOutcome(Verdict.FAIL, 1, problem="exit code 1")


class FakeStages:
    """Runs stages as functions by name; a stage without one passes."""

    def __init__(self, **acts: Act) -> None:
        self.acts = acts
        self.calls: list[str] = []

    async def run(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        self.calls.append(stage.name)
        act = self.acts.get(stage.name)
        return await act(context) if act else PASS

    async def builtin(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        return await self.run(stage, context)


def returning(*outcomes: StageOutcome) -> Act:
    """Return an act whose n-th attempt has the n-th outcome."""

    async def act(context: StageContext) -> StageOutcome:
        return outcomes[context.attempt - 1]

    return act


def stage(name: str, *needs: str, **settings: object) -> StageSpec:
    return StageSpec(name, run=("x",), needs=needs, **settings)  # type: ignore[arg-type]


def gate(name: str, **settings: object) -> StageSpec:
    return StageSpec(name, uses="evaluate", **settings)  # type: ignore[arg-type]


async def run(
    fake: FakeStages, *stages: StageSpec, events: list[StageEvent] | None = None, **settings: object
) -> RunReport:
    runner = PipelineRunner(
        fake,
        {"evaluate": fake.builtin},
        ManualClock(),
        progress=(events if events is not None else []).append,
        **settings,  # type: ignore[arg-type]
    )
    with anyio.fail_after(20):
        return await runner.run(build_graph(stages))


def states(report: RunReport) -> dict[str, str]:
    return {result.name: result.state.value for result in report.results}


async def test_a_stage_runs_after_all_it_needs() -> None:
    fake = FakeStages()
    report = await run(fake, stage("c", "a", "b"), stage("b", "a"), stage("a"))
    assert fake.calls == ["a", "b", "c"]
    assert (report.verdict, set(states(report).values())) == (Verdict.PASS, {"passed"})


async def test_independent_stages_run_at_the_same_time() -> None:
    met = {"a": anyio.Event(), "b": anyio.Event()}

    async def meet(mine: str, other: str) -> StageOutcome:
        met[mine].set()
        await met[other].wait()
        return PASS

    fake = FakeStages(a=lambda _: meet("a", "b"), b=lambda _: meet("b", "a"))
    assert (await run(fake, stage("a"), stage("b"))).verdict is Verdict.PASS


async def test_never_more_stages_run_at_the_same_time_than_allowed() -> None:
    running, most = 0, 0

    async def act(_context: StageContext) -> StageOutcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.wait_all_tasks_blocked()
        running -= 1
        return PASS

    names = "abcde"
    report = await run(FakeStages(**dict.fromkeys(names, act)), *(stage(name) for name in names), max_parallel=2)
    assert (most, report.verdict) == (2, Verdict.PASS)


async def test_after_a_failure_nothing_is_started_and_what_runs_is_finished() -> None:
    failed, finished = anyio.Event(), []

    async def fail(_context: StageContext) -> StageOutcome:
        failed.set()
        return FAIL

    async def slow(_context: StageContext) -> StageOutcome:
        await failed.wait()
        await anyio.wait_all_tasks_blocked()
        finished.append("slow")
        return PASS

    fake = FakeStages(bad=fail, slow=slow)
    stages = (stage("bad"), stage("slow"), stage("after", "bad"), stage("later", "after"), stage("next", "slow"))
    report = await run(fake, *stages)
    assert finished == ["slow"]
    assert states(report) == {
        "bad": "failed",
        "slow": "passed",
        "after": "skipped",
        "later": "skipped",
        "next": "skipped",
    }
    problems = {result.name: result.problem for result in report.results}
    assert problems["after"] == "needs bad, which failed"
    assert problems["later"] == "needs after, which was skipped"
    assert problems["next"] == "not started, because bad failed"
    assert report.verdict is Verdict.FAIL


async def test_on_request_a_failure_cancels_what_runs() -> None:
    started, ended = anyio.Event(), []

    async def fail(_context: StageContext) -> StageOutcome:
        await started.wait()
        return FAIL

    async def endless(_context: StageContext) -> StageOutcome:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("endless")
        return PASS

    report = await run(FakeStages(bad=fail, endless=endless), stage("bad"), stage("endless"), on_failure="cancel")
    assert (ended, states(report)) == (["endless"], {"bad": "failed", "endless": "cancelled"})
    assert report.verdict is Verdict.FAIL


async def test_an_allowed_failure_stops_nothing_and_is_marked() -> None:
    report = await run(FakeStages(lint=returning(FAIL)), stage("lint", allow_failure=True), stage("after", "lint"))
    assert states(report) == {"lint": "failed", "after": "passed"}
    assert (report.verdict, report.results[0].allowed) == (Verdict.PASS, True)


async def test_a_flaky_command_is_repeated_until_it_passes() -> None:
    fake = FakeStages(flaky=returning(FAIL, StageOutcome(Verdict.ERROR), PASS))
    report = await run(fake, stage("flaky", retries=3))
    assert (report.results[0].attempts, report.verdict) == (3, Verdict.PASS)


async def test_a_command_is_repeated_no_more_often_than_allowed() -> None:
    report = await run(FakeStages(bad=returning(FAIL, FAIL, FAIL)), stage("bad", retries=2))
    assert (report.results[0].attempts, report.results[0].problem) == (3, "exit code 1")


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
async def test_the_verdict_of_a_gate_is_not_repeated_until_it_suits(verdict: Verdict) -> None:
    report = await run(FakeStages(gate=returning(StageOutcome(verdict), PASS)), gate("gate", retries=5))
    assert (report.results[0].attempts, report.verdict) == (1, verdict)


async def test_a_gate_that_could_not_measure_is_repeated() -> None:
    report = await run(FakeStages(gate=returning(StageOutcome(Verdict.ERROR), PASS)), gate("gate", retries=1))
    assert (report.results[0].attempts, report.verdict) == (2, Verdict.PASS)


@pytest.mark.parametrize(
    ("error", "verdict", "said"),
    [
        (GateRefusedError(Verdict.INCONCLUSIVE, "too few cases"), Verdict.INCONCLUSIVE, "too few cases"),
        (StoreError("the store is locked"), Verdict.ERROR, "the store is locked"),
        (KeyError("row"), Verdict.ERROR, "unexpected KeyError: 'row'"),
    ],
)
async def test_what_a_stage_raises_is_its_verdict_and_not_the_end_of_the_run(
    error: Exception, verdict: Verdict, said: str
) -> None:
    async def act(_context: StageContext) -> StageOutcome:
        raise error

    report = await run(FakeStages(gate=act), gate("gate"), stage("other"))
    assert (report.results[0].verdict, report.results[0].problem) == (verdict, said)
    assert states(report)["other"] == "passed"


async def test_a_stage_over_its_time_is_an_error_that_keeps_what_was_printed() -> None:
    async def act(context: StageContext) -> StageOutcome:
        context.output.feed(b"still here\n")
        await anyio.sleep_forever()
        return PASS

    report = await run(FakeStages(slow=act), stage("slow", timeout_s=0.01))
    slow = report.results[0]
    assert (slow.state, slow.verdict) == (StageState.FAILED, Verdict.ERROR)
    assert (slow.problem, slow.output_tail) == ("timed out after 0.01 s", "still here\n")


async def test_a_stage_sees_the_results_of_all_it_depends_on_and_of_nothing_else() -> None:
    seen: dict[str, object] = {}

    async def look(context: StageContext) -> StageOutcome:
        seen.update({name: result.outputs for name, result in context.results.items()})
        return PASS

    fake = FakeStages(a=returning(StageOutcome(Verdict.PASS, outputs={"release": "rel_1"})), c=look)
    await run(fake, stage("a"), stage("other"), stage("b", "a"), stage("c", "b"), max_parallel=1)
    assert seen == {"a": {"release": "rel_1"}, "b": {}}


async def test_every_change_of_state_is_told_as_it_happens() -> None:
    events: list[StageEvent] = []
    fake = FakeStages(a=returning(FAIL, PASS), b=returning(FAIL))
    await run(fake, stage("a", retries=1), stage("b", "a"), stage("c", "b"), events=events)
    assert [(event.stage, event.state.value, event.attempt) for event in events] == [
        ("a", "running", 1),
        ("a", "running", 2),
        ("a", "passed", 2),
        ("b", "running", 1),
        ("b", "failed", 1),
        ("c", "skipped", 0),
    ]
    assert events[1].problem == "exit code 1"


async def test_cancelling_the_run_ends_its_stages_tells_it_and_comes_back() -> None:
    started, ended, events = anyio.Event(), [], []

    async def endless(_context: StageContext) -> StageOutcome:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("endless")
        return PASS

    fake = FakeStages(endless=endless)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run(fake, stage("endless"), stage("after", "endless"), events=events))
        await started.wait()
        group.cancel_scope.cancel()
    assert (fake.calls, ended) == (["endless"], ["endless"])
    assert (events[-1].stage, events[-1].state) == ("endless", StageState.CANCELLED)


async def test_a_built_in_stage_that_is_not_there_is_refused_before_anything_runs() -> None:
    fake = FakeStages()
    with pytest.raises(UsageError, match=r"pipeline\.b\.uses: 'deploy' is not built in \(there are: evaluate\)"):
        await run(fake, stage("a"), StageSpec("b", uses="deploy", needs=("a",)))
    assert fake.calls == []


async def test_no_parallelism_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="max_parallel is 0"):
        await run(FakeStages(), stage("a"), max_parallel=0)


async def test_stages_run_together_only_as_far_as_the_machine_has_room() -> None:
    running: list[str] = []
    most: list[tuple[str, ...]] = []

    def act(name: str) -> Act:
        async def run(_context: StageContext) -> StageOutcome:
            running.append(name)
            most.append(tuple(sorted(running)))
            await anyio.wait_all_tasks_blocked()
            running.remove(name)
            return PASS

        return run

    sizes = {"big": 3.0, "one": 1.0, "two": 1.0}
    fake = FakeStages(**{name: act(name) for name in sizes})
    stages = (stage(name, resources=Resources(cpus=cpus)) for name, cpus in sizes.items())
    report = await run(fake, *stages, capacity=Resources(cpus=2.0))
    assert report.verdict is Verdict.PASS
    assert max(most, key=len) == ("one", "two")


async def test_each_stage_has_graphics_processors_of_its_own() -> None:
    given: dict[str, tuple[int, ...]] = {}
    met = anyio.Event()

    def act(name: str) -> Act:
        async def run(context: StageContext) -> StageOutcome:
            given[name] = context.gpus
            if len(given) == 2:
                met.set()
            await met.wait()
            return PASS

        return run

    stages = (stage(name, resources=Resources(gpus=1)) for name in "ab")
    await run(FakeStages(a=act("a"), b=act("b")), *stages, capacity=Resources(cpus=4, gpus=2))
    assert sorted(given.values()) == [(0,), (1,)]


async def test_what_the_machine_does_not_have_is_refused_before_anything_runs() -> None:
    fake = FakeStages()
    with pytest.raises(UsageError, match=r"pipeline\.b\.resources: needs 1 GPUs, and there are none"):
        await run(fake, stage("a"), stage("b", "a", resources=Resources(gpus=1)))
    assert fake.calls == []


@pytest.mark.parametrize(
    ("retry_on", "outcome", "attempts"),
    [
        (("timeout",), StageOutcome(Verdict.ERROR, timed_out=True), 2),
        (("timeout",), StageOutcome(Verdict.ERROR), 1),
        (("signal",), StageOutcome(Verdict.ERROR, -9), 2),
        (("signal",), StageOutcome(Verdict.ERROR, 9), 1),
        ((75,), StageOutcome(Verdict.ERROR, 75), 2),
        ((75,), StageOutcome(Verdict.ERROR, 74), 1),
        (("fail",), StageOutcome(Verdict.FAIL, 1), 2),
        (("error",), StageOutcome(Verdict.FAIL, 1), 1),
        (("error", "fail"), StageOutcome(Verdict.INCONCLUSIVE, 4), 1),
    ],
)
async def test_only_the_named_failures_are_repeated(
    retry_on: tuple[str | int, ...], outcome: StageOutcome, attempts: int
) -> None:
    fake = FakeStages(a=returning(outcome, PASS))
    report = await run(fake, stage("a", retries=1, retry_on=retry_on))
    assert report.results[0].attempts == attempts


async def test_why_attempts_were_repeated_is_in_the_result() -> None:
    fake = FakeStages(a=returning(FAIL, StageOutcome(Verdict.ERROR, problem="ended by SIGKILL"), PASS))
    report = await run(fake, stage("a", retries=2))
    assert report.results[0].retried == ("exit code 1", "ended by SIGKILL")


async def test_a_gate_on_numbers_is_not_repeated_until_it_passes() -> None:
    low, high = (StageOutcome(Verdict.PASS, outputs={"f1": value}) for value in (0.1, 0.9))
    report = await run(FakeStages(a=returning(low, high)), stage("a", retries=3, gate=(Limit("f1", min=0.5),)))
    assert (report.results[0].attempts, report.verdict) == (1, Verdict.FAIL)


async def test_a_stage_that_is_left_out_holds_nobody_back_and_is_not_judged() -> None:
    fake = FakeStages()
    runner = PipelineRunner(fake, {}, ManualClock())
    left_out = StageResult("image", StageState.SKIPPED, allowed=True, problem="runs when code changed")
    report = await runner.run(build_graph([stage("image"), stage("eval", "image")]), {"image": left_out})
    assert (fake.calls, states(report), report.verdict) == (
        ["eval"],
        {"image": "skipped", "eval": "passed"},
        Verdict.PASS,
    )


async def test_a_thousand_stages_in_a_wide_graph_are_run_each_once() -> None:
    names = [f"s{number}" for number in range(1000)]
    stages = [stage(name, *names[max(0, index - 3) : index : 2]) for index, name in enumerate(names)]
    fake = FakeStages()
    report = await run(fake, *stages, max_parallel=8)
    assert (sorted(fake.calls), report.verdict) == (sorted(names), Verdict.PASS)


def test_a_result_is_read_back_from_its_json_form_and_newer_keys_are_passed_over() -> None:
    result = StageResult(
        "a", StageState.FAILED, Verdict.FAIL, 1, 1.5, 2, allowed=True, outputs={"x": 1}, retried=("why",), known="cache"
    )
    assert StageResult.from_dict({**result.to_dict(), "newer": 1}) == result
