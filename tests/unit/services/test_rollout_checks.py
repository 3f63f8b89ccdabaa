"""Checks of a rollout: started by the first question, asked once, kept for whoever asks next."""

from dataclasses import dataclass, field, replace

import anyio
import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import ManualClock
from shipway.core.errors import UnavailableError
from shipway.core.verdicts import Verdict
from shipway.rollouts.checks import REPLAY, SMOKE, CheckResult
from shipway.rollouts.desk import new_rollout
from shipway.rollouts.plan import Plan
from shipway.services.rollout_checks import CommandChecks, Ran, kept_checks, printed_by

pytestmark = pytest.mark.anyio
ROLLOUT = new_rollout("ro_1", "production", ("ask",), releases=("rel_old", "rel_new"), plan=Plan(), now_s=0.0)


def asking(file):
    return replace(ROLLOUT, plan=Plan(smoke_file=file))


@dataclass
class Target:
    urls: dict[str, str] = field(default_factory=dict)

    async def endpoints(self, release):
        return self.urls


@dataclass
class Program:
    """Answers commands; each waits until `go_on` is set."""

    answers: list[tuple[int | None, str] | tuple[int | None, str, str]]
    go_on: anyio.Event = field(default_factory=anyio.Event)
    asked: list[list[str]] = field(default_factory=list)

    async def __call__(self, arguments):
        self.asked.append(list(arguments))
        await self.go_on.wait()
        return Ran(*self.answers[len(self.asked) - 1])


async def settled(checks, kind, rollout=ROLLOUT):
    with anyio.fail_after(30):
        while (found := await checks.result(kind, rollout)) is None:
            await anyio.sleep(0.001)
    return found


def checks_of(group, program, *, store=None, urls=None):
    return CommandChecks(store or MemoryStore(), ManualClock(), Target(urls or {}), program, group)


async def test_a_check_is_started_once_however_often_it_is_asked_for():
    program = Program([(0, "9 of 9 checks passed")])
    async with anyio.create_task_group() as group:
        checks = checks_of(group, program)
        for _ in range(5):
            assert await checks.result(SMOKE, ROLLOUT) is None
            await anyio.sleep(0)
        program.go_on.set()
        assert await settled(checks, SMOKE) == CheckResult(Verdict.PASS, "9 of 9 checks passed")
    assert program.asked == [["eval", "smoke", "--release", "rel_new"]]


@pytest.mark.parametrize(
    ("code", "verdict"), [(0, "PASS"), (1, "FAIL"), (2, "ERROR"), (3, "ERROR"), (4, "ERROR"), (None, "ERROR")]
)
async def test_only_a_plain_no_is_a_fail_and_the_text_names_the_command(code, verdict):
    program = Program([(code, "knows Paris: 'Lyon'")])
    program.go_on.set()
    async with anyio.create_task_group() as group:
        found = await settled(checks_of(group, program), SMOKE, asking("evals/smoke.yaml"))
    assert found.verdict is Verdict(verdict)
    assert "knows Paris" in found.text
    assert found.verdict is Verdict.PASS or "`shipway eval smoke evals/smoke.yaml --release rel_new`" in found.text


async def said_of(code, printed, file="evals/smoke.yaml"):
    program = Program([(code, printed)])
    program.go_on.set()
    async with anyio.create_task_group() as group:
        return (await settled(checks_of(group, program), SMOKE, asking(file))).text


async def test_the_failing_checks_and_the_summary_are_told_on_one_line_however_much_else_is_printed():
    others = "\n".join(f"evals/smoke.yaml:{n}: open smoke/contains 'c{n}': not  yet {'x' * 60}" for n in range(20, 40))
    printed = (
        "evals/smoke.yaml:9: ERROR smoke/contains 'opening hours': nobody answers\n"
        "evals/smoke.yaml:3: FAIL smoke/contains 'knows  Paris': 'Lyon\n  is the capital'\n"
        f"{others}\nnote: a FAIL is no note\n\nERROR: 7 of 29 checks passed, 20 open: expected to fail for now\n"
    )

    assert await said_of(3, printed) == (
        "`shipway eval smoke evals/smoke.yaml --release rel_new`: "
        "evals/smoke.yaml:9: ERROR smoke/contains 'opening hours': nobody answers; "
        "evals/smoke.yaml:3: FAIL smoke/contains 'knows Paris': 'Lyon; "
        "ERROR: 7 of 29 checks passed, 20 open: expected to fail for now"
    )


async def test_of_many_failing_checks_the_first_and_the_summary_stay_within_600_characters():
    failed = [f"smoke: FAIL smoke/contains 'c{n}': {'answer ' * 10}" for n in range(30)]

    told = await said_of(1, "\n".join([*failed, "FAIL: 0 of 30 checks passed"]))

    assert len(told) == 600
    assert "rel_new`: smoke: FAIL smoke/contains 'c0': answer" in told
    assert told.endswith(" ...; FAIL: 0 of 30 checks passed")


@pytest.mark.parametrize("last", ["x" * 599, "y" * 2000])
async def test_a_summary_that_leaves_no_room_does_not_push_the_failures_out(last):
    told = await said_of(1, f"smoke: FAIL smoke/contains 'c0': no\n{last}")

    assert told.endswith("rel_new`: smoke: FAIL smoke/contains 'c0': no")


async def test_where_no_line_tells_of_a_failure_the_end_of_what_was_printed_is_told_on_one_line():
    assert (await said_of(2, "one\n\n  two\tthree \n")).endswith("rel_new`: one; two three")
    long = await said_of(2, "first\n" + "word " * 1000 + "last")
    assert (len(long), long[-9:]) == (600, "word last")
    assert await said_of(0, "note: a\nPASS: 2 of 2 checks passed\n") == "note: a; PASS: 2 of 2 checks passed"


async def test_of_an_evaluation_the_verdict_is_told_and_not_its_tables():
    table = "ev_1: rel_new against rel_old\n gate  value\n a     0.2"

    told = await said_of(1, f"{table}\nverdict: FAIL (correct min 0.6)\n\nall  0.2 (n=20)\n")

    assert told == "`shipway eval smoke evals/smoke.yaml --release rel_new`: verdict: FAIL (correct min 0.6)"


async def test_a_program_that_says_nothing_is_told_by_its_name():
    assert (await said_of(1, " \n")).startswith("`shipway eval smoke evals/smoke.yaml")


async def test_services_are_asked_where_they_listen_and_only_what_a_file_says():
    urls = {"classify": "http://127.0.0.1:7001", "sort": "http://127.0.0.1:7002"}
    program = Program([(0, "ok"), (1, "no label")])
    program.go_on.set()
    async with anyio.create_task_group() as group:
        found = await settled(checks_of(group, program, urls=urls), SMOKE, asking("s.yaml"))
        healthy = await settled(checks_of(group, program, urls=urls), SMOKE)
    assert [command[-1] for command in program.asked] == list(urls.values())
    assert (found.verdict, healthy) == (Verdict.FAIL, CheckResult(Verdict.PASS, "its processes are healthy"))


async def test_the_next_controller_finds_the_result_and_asks_nobody():
    store, program = MemoryStore(), Program([(1, "3 of 80 newly wrong")])
    program.go_on.set()
    async with anyio.create_task_group() as group:
        first = await settled(checks_of(group, program, store=store), REPLAY)
        assert await checks_of(group, program, store=store).result(REPLAY, ROLLOUT) == first
        other = replace(ROLLOUT, id="ro_2")
        assert await checks_of(group, Program([(0, "")]), store=store).result(REPLAY, other) is None
        group.cancel_scope.cancel()
    assert program.asked == [["eval", "run", "rel_new"]]


async def test_a_check_that_dies_with_its_controller_is_started_again():
    store, program = MemoryStore(), Program([(0, "ok")])
    async with anyio.create_task_group() as group:
        assert await checks_of(group, program, store=store).result(SMOKE, ROLLOUT) is None
        await anyio.sleep(0)
        group.cancel_scope.cancel()
    again = Program([(0, "ok")])
    again.go_on.set()
    async with anyio.create_task_group() as group:
        assert (await settled(checks_of(group, again, store=store), SMOKE)).verdict is Verdict.PASS
    assert len(again.asked) == 1


async def test_a_store_that_is_away_ends_nothing_and_the_check_is_done_again():
    store, program = MemoryStore(), Program([(0, "ok"), (0, "ok")])
    program.go_on.set()
    put, failures = store.documents.put, [UnavailableError("the store is away")]

    async def fragile(*args, **kwargs):
        if failures:
            raise failures.pop()
        return await put(*args, **kwargs)

    store.documents.put = fragile
    async with anyio.create_task_group() as group:
        assert (await settled(checks_of(group, program, store=store), SMOKE)).verdict is Verdict.PASS
    assert len(program.asked) == 2


async def test_a_program_that_cannot_be_started_is_an_error_with_its_name():
    async def missing(arguments):
        raise FileNotFoundError(2, "No such file or directory", "python")

    async with anyio.create_task_group() as group:
        found = await settled(checks_of(group, missing), SMOKE)
    assert found.verdict is Verdict.ERROR
    assert "cannot run `shipway eval smoke --release rel_new`" in found.text


async def test_smoke_checks_that_a_user_wants_again_are_done_again_and_the_first_result_stays():
    store, program = MemoryStore(), Program([(2, "no such file"), (0, "9 of 9 checks passed")])
    program.go_on.set()
    again = replace(ROLLOUT, smoke_again=1)
    async with anyio.create_task_group() as group:
        checks = checks_of(group, program, store=store)
        first = await settled(checks, SMOKE)
        assert (await settled(checks, SMOKE, again)) == CheckResult(Verdict.PASS, "9 of 9 checks passed")
        assert (await settled(checks, SMOKE, again)).verdict is Verdict.PASS
    assert first.verdict is Verdict.ERROR
    assert len(program.asked) == 2
    assert [key for key, _, _ in await store.documents.list("rollout_check")] == ["ro_1/smoke", "ro_1/smoke/1"]


async def test_all_that_the_commands_printed_is_kept_masked_and_named():
    urls = {"classify": "http://127.0.0.1:7001", "sort": "http://127.0.0.1:7002"}
    lines = [f"{number} of 500: asked for ann@example.org" for number in range(500)]
    store = MemoryStore()
    program = Program([(0, "ok", "all of the first"), (1, "\n".join(lines[-25:]), "\n".join(lines))])
    program.go_on.set()
    async with anyio.create_task_group() as group:
        await settled(checks_of(group, program, store=store, urls=urls), SMOKE, asking("s.yaml"))

    [check] = await kept_checks(store.documents, ROLLOUT)
    printed = await printed_by(store.blobs, check)

    assert (check["check"], check["verdict"]) == ("smoke", "FAIL")
    assert printed[:3] == ["$ shipway eval smoke s.yaml --url http://127.0.0.1:7001", "all of the first", ""]
    assert printed[4:] == [f"{number} of 500: asked for [email]" for number in range(500)]


async def test_checks_of_a_version_before_kept_no_output():
    store = MemoryStore()
    await store.documents.put("rollout_check", "ro_1/smoke", {"verdict": "PASS", "text": "ok", "at_s": 1.0})
    await store.documents.put("rollout_check", "ro_10/smoke", {"verdict": "FAIL", "text": "no", "at_s": 1.0})

    [check] = await kept_checks(store.documents, ROLLOUT)

    assert (check["text"], check["output"]) == ("ok", None)
    assert await printed_by(store.blobs, check) == ["nothing that it printed is kept"]
    gone = check | {"output": "sha256:" + "0" * 64}
    assert "no blob" in (await printed_by(store.blobs, gone))[0]
