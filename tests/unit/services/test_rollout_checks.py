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
from shipway.services.rollout_checks import CommandChecks, SmokeSettings

pytestmark = pytest.mark.anyio
ROLLOUT = new_rollout("ro_1", "production", ("ask",), releases=("rel_old", "rel_new"), plan=Plan(), now_s=0.0)


@dataclass
class Target:
    urls: dict[str, str] = field(default_factory=dict)

    async def endpoints(self, release):
        return self.urls


@dataclass
class Program:
    """Answers commands; each waits until `go_on` is set."""

    answers: list[tuple[int | None, str]]
    go_on: anyio.Event = field(default_factory=anyio.Event)
    asked: list[list[str]] = field(default_factory=list)

    async def __call__(self, arguments):
        self.asked.append(list(arguments))
        await self.go_on.wait()
        return self.answers[len(self.asked) - 1]


async def settled(checks, kind, rollout=ROLLOUT):
    with anyio.fail_after(30):
        while (found := await checks.result(kind, rollout)) is None:
            await anyio.sleep(0.001)
    return found


def checks_of(group, program, *, store=None, urls=None, file=""):
    documents = (store or MemoryStore()).documents
    return CommandChecks(documents, ManualClock(), Target(urls or {}), program, group, SmokeSettings(file))


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
        found = await settled(checks_of(group, program, file="evals/smoke.yaml"), SMOKE)
    assert found.verdict is Verdict(verdict)
    assert "knows Paris" in found.text
    assert found.verdict is Verdict.PASS or "`shipway eval smoke evals/smoke.yaml --release rel_new`" in found.text


async def test_services_are_asked_where_they_listen_and_only_what_a_file_says():
    urls = {"classify": "http://127.0.0.1:7001", "sort": "http://127.0.0.1:7002"}
    program = Program([(0, "ok"), (1, "no label")])
    program.go_on.set()
    async with anyio.create_task_group() as group:
        found = await settled(checks_of(group, program, urls=urls, file="s.yaml"), SMOKE)
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
