"""Working through the queue: what runs, what is superseded, and what becomes of runs that are cut off."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from tests.unit.pipeline.webhooks.payloads import A, B
from tests.unit.services.webhooks.hooks import Hook, World, settings, until

from shipway.core.errors import StoreError
from shipway.pipeline.webhooks.model import Entry, EntryState
from shipway.services.webhooks.queue import ask_to_cancel
from shipway.services.webhooks.working import Worker

pytestmark = pytest.mark.anyio
C, MAIN = "c" * 40, "refs/heads/main"


@pytest.fixture
async def hook() -> Hook:
    return await Hook(settings=settings(rules=[{"branch": "*", "tier": "pr"}])).opened()


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[anyio.Event]:
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run, stop)
        yield stop
        stop.set()


@pytest.mark.parametrize(
    ("code", "state"), [(0, "passed"), (1, "failed"), (4, "undecided"), (3, "error"), (-9, "error")]
)
async def test_a_run_ends_as_its_command_does(hook, code, state):
    await hook.pushed(A)
    world = World({MAIN: A}, {A: code})
    async with working(world.worker(hook)):
        await until(lambda: hook.states() == [state])

    (entry,) = (await hook.reopened()).queue.entries()
    assert (entry.state, entry.exit_code, entry.attempts) == (state, code, 1)
    assert world.commands == [["--project=/checkout", "--event=push", "--branch=main", "--tier=pr"]]


async def test_runs_follow_one_another_in_the_order_of_their_pushes(hook):
    for branch in ("a", "b", "c"):
        await hook.pushed(A if branch == "a" else B if branch == "b" else C, branch)
    world = World({"refs/heads/a": A, "refs/heads/b": B, "refs/heads/c": C}, {A: 0, B: 1, C: 0})
    async with working(world.worker(hook)):
        await until(lambda: hook.states() == ["passed", "failed", "passed"])

    assert (world.began, world.most_at_once) == ([A, B, C], 1)


async def test_as_many_run_at_once_as_may_and_never_two_of_one_branch(hook):
    await hook.pushed(A, "a")
    world = World({"refs/heads/a": A, "refs/heads/b": B, "refs/heads/d": C})
    async with working(world.worker(hook, parallel=2)):
        await until(lambda: world.began == [A])
        world.tips["refs/heads/a"] = B
        await hook.pushed(B, "a")
        await hook.pushed(C, "d")
        await until(lambda: world.began == [A, C])
        assert hook.states() == ["running", "queued", "running"]
        world.codes |= {A: 0, B: 0, C: 0}
        await until(lambda: hook.states() == ["passed"] * 3)

    assert world.most_at_once == 2


async def test_of_two_pushes_to_a_branch_the_older_that_waits_is_superseded(hook):
    older = await hook.pushed(A)
    newer = await hook.pushed(B)

    entry = hook.queue.get(older)
    assert (entry.state, entry.reason) == ("superseded", f"a newer commit: {newer}")


async def test_an_old_push_sent_again_neither_runs_nor_takes_the_place_of_the_newest(hook):
    await hook.pushed(B)
    replayed = await hook.pushed(A)
    world = World({MAIN: B}, {A: 0, B: 0})
    async with working(world.worker(hook)):
        await until(lambda: hook.states() == ["passed", "superseded"])

    assert world.began == [B]
    assert hook.queue.get(replayed).reason == f"the ref points to {B[:12]} now"


async def test_a_branch_that_is_gone_or_was_forced_elsewhere_runs_nothing(hook):
    await hook.pushed(A, "gone")
    await hook.pushed(A, "forced")
    world = World({"refs/heads/forced": C}, {A: 0})
    async with working(world.worker(hook)):
        await until(lambda: hook.states() == ["superseded"] * 2)

    assert world.began == []
    assert [entry.reason for entry in hook.queue.entries()] == ["the ref is gone", f"the ref points to {C[:12]} now"]


@pytest.mark.parametrize(("rule", "began"), [("finish", [A, B]), ("cancel", [A, B])])
async def test_a_running_older_commit_goes_on_or_is_cancelled_by_rule(rule, began):
    hook = await Hook(settings=settings(rules=[{"branch": "*", "running": rule}])).opened()
    older = await hook.pushed(A)
    world = World({MAIN: A}, {B: 0})
    async with working(world.worker(hook)):
        await until(lambda: world.began == [A])
        world.tips[MAIN] = B
        newer = await hook.pushed(B)
        if rule == "finish":
            assert hook.queue.get(older).state == "running"
            world.codes[A] = 0
        await until(lambda: hook.queue.get(newer).state == "passed")

    assert world.began == began
    assert hook.queue.get(older).state == ("passed" if rule == "finish" else "superseded")


async def test_a_run_does_not_take_itself_for_an_older_one():
    hook = await Hook(settings=settings(rules=[{"branch": "*", "running": "cancel"}])).opened()
    await hook.pushed(A, "a")
    await hook.pushed(B, "b")
    world = World({"refs/heads/a": A, "refs/heads/b": B}, {A: 0, B: 0})
    async with working(world.worker(hook, parallel=2)):
        await until(lambda: hook.states() == ["passed", "passed"])


async def test_an_old_push_sent_again_does_not_cancel_the_run_of_the_newest():
    hook = await Hook(settings=settings(rules=[{"branch": "*", "running": "cancel"}])).opened()
    newest = await hook.pushed(B)
    world = World({MAIN: B})
    async with working(world.worker(hook)):
        await until(lambda: world.began == [B])
        replayed = await hook.pushed(A)
        world.codes[B] = 0
        await until(lambda: hook.queue.get(replayed).state == "superseded")

    assert hook.queue.get(newest).state == "passed"


async def test_a_receiver_that_is_stopped_marks_what_ran_and_the_next_runs_it_again_once(hook):
    await hook.pushed(A)
    world = World({MAIN: A})
    async with working(world.worker(hook)):
        await until(lambda: world.began == [A])
    assert (hook.states(), world.at_once) == (["interrupted"], 0)

    second = await hook.reopened()
    async with working(world.worker(second)):
        await until(lambda: world.began == [A, A])
    assert second.states() == ["error"]
    assert "ended 2 times" in second.queue.entries()[0].reason


async def test_a_receiver_that_was_killed_left_its_run_running_and_the_next_runs_it_again(hook):
    run = await hook.pushed(A)
    await hook.queue.update(run, state=EntryState.RUNNING, attempts=1)

    later, world = await hook.reopened(), World({MAIN: A}, {A: 0})
    async with working(world.worker(later)):
        await until(lambda: later.states() == ["passed"])
    assert later.queue.get(run).attempts == 2


async def test_a_run_is_cancelled_by_hand_while_it_waits_or_runs(hook):
    running, waiting = await hook.pushed(A, "a"), await hook.pushed(B, "b")
    world = World({"refs/heads/a": A, "refs/heads/b": B})
    async with working(world.worker(hook)):
        await until(lambda: world.began == [A])
        await ask_to_cancel(hook.documents, waiting)
        await until(lambda: hook.queue.get(waiting).state == "cancelled")
        await ask_to_cancel(hook.documents, running[-8:].lower())
        await until(lambda: hook.queue.get(running).state == "cancelled")

    assert (world.began, world.at_once) == ([A], 0)
    assert await hook.documents.list("pipeline_cancel") == []


async def test_a_repository_that_cannot_be_reached_is_tried_again_before_it_is_an_error(hook):
    run = await hook.pushed(A)
    world = World({MAIN: A}, {A: 0}, unreachable=3)
    async with working(world.worker(hook)):
        await until(lambda: hook.queue.get(run).state == "passed")
    assert [delay for delay in world.slept if delay > 1] == [2.0, 10.0, 60.0]

    again = await hook.pushed(B)
    world.tips[MAIN], world.unreachable = B, 4
    async with working(world.worker(hook)):
        await until(lambda: hook.queue.get(again).state == "error")
    assert hook.queue.get(again).reason == "no route to the repository"


async def test_what_changed_is_told_since_the_last_commit_that_passed(hook):
    world = World({MAIN: A}, {A: 0, B: 1, C: 0}, changed=("app/prompts/a.yaml", "other/x.py"))
    given: list[tuple[str, ...]] = []

    def parts(_root: object, files: tuple[str, ...]) -> tuple[str, ...]:
        given.append(files)
        return ("prompt",)

    for commit in (A, B, C):
        world.tips[MAIN] = commit
        run = await hook.pushed(commit)
        async with working(world.worker(hook, folder="app", changed_parts=parts)):
            await until(lambda run=run: hook.queue.get(run).state in {"passed", "failed"})

    assert world.compared == ["", A, A]
    assert set(given) == {("prompts/a.yaml",)}
    assert "--changed=prompt" in world.commands[-1]
    assert "--project=/checkout/app" in world.commands[-1]


async def test_the_folders_of_the_last_runs_are_kept(hook):
    runs = []
    world = World({MAIN: A}, {A: 0, B: 0, C: 0})
    for commit in (A, B, C):
        world.tips[MAIN] = commit
        runs.append(await hook.pushed(commit))
        async with working(world.worker(hook, kept_checkouts=2)):
            await until(lambda: hook.states()[-1] == "passed")

    assert world.kept == set(runs[1:])


async def test_a_store_that_fails_for_a_while_does_not_end_the_receiver(hook, monkeypatch):
    async def locked(*_: object, **__: object) -> list[object]:
        raise StoreError("the store is locked")

    world = World({MAIN: A}, {A: 0})
    async with working(world.worker(hook)):
        with monkeypatch.context() as patched:
            patched.setattr(hook.documents, "list", locked)
            await until(lambda: len(world.slept) > 2)
        await hook.pushed(A)
        await until(lambda: hook.states() == ["passed"])


async def test_a_state_that_cannot_be_stored_is_noted_and_the_next_run_goes_on(hook, monkeypatch):
    run = await hook.pushed(A, "a")
    world = World({"refs/heads/a": A, "refs/heads/b": B}, {B: 0})
    whole = hook.documents.put

    async def full(kind: str, key: str, *rest: object, **more: object) -> int:
        if key == run:
            raise StoreError("the disk is full")
        return await whole(kind, key, *rest, **more)

    async with working(world.worker(hook)):
        await until(lambda: world.began == [A])
        monkeypatch.setattr(hook.documents, "put", full)
        world.codes[A] = 0
        await hook.pushed(B, "b")
        await until(lambda: hook.states()[1] == "passed")

    assert ("webhook_run_not_stored", {"run": run, "error": "the disk is full"}) in hook.notes
    assert (await hook.reopened()).queue.get(run).state == "running"


async def test_what_earlier_runs_left_is_lent_before_a_run_and_tidied_after_it(hook):
    said: list[object] = []

    async def lend(entry: Entry, root: Path) -> None:
        said.append((entry.commit, str(root)))

    async def tidy(entries: Collection[str]) -> None:
        said.append(set(entries))

    run = await hook.pushed(A)
    world = World({MAIN: A}, {A: 0})
    async with working(world.worker(hook, folder="app", lend=lend, tidy=tidy)):
        await until(lambda: len(said) == 2)

    assert said == [(A, "/checkout/app"), {run}]
