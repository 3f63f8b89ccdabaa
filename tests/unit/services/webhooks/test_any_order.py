"""Pushes, deliveries and deaths of the receiver in any order: each branch's newest commit runs, and no old one does."""

import random

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.pipeline.webhooks.payloads import github_push
from tests.unit.services.webhooks.hooks import Hook, World, settings, until

from shipway.pipeline.webhooks.model import LIVE, Entry

pytestmark = pytest.mark.anyio
BRANCHES = ("main", "feature/a")
PUSH = st.tuples(st.just("push"), st.sampled_from(BRANCHES), st.sampled_from("abc"))
DELIVER = st.tuples(st.just("deliver"), st.integers(0, 20), st.none())
OTHER = st.tuples(st.sampled_from(["die", "work", "later"]), st.none(), st.none())


class Watched(World):
    """A repository that writes down what ran where, and whether it was the newest."""

    def __init__(self) -> None:
        super().__init__({}, {letter * 40: 0 for letter in "abc"})
        self.last: dict[str, str] = {}
        self.old: list[str] = []

    async def run(self, entry: Entry, arguments: object) -> object:
        self.last[entry.ref] = entry.commit
        if self.tips[entry.ref] != entry.commit:
            self.old.append(entry.commit)
        return await super().run(entry, arguments)


async def worked(hook: Hook, world: World, parallel: int) -> None:
    """Work until nothing waits."""
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(world.worker(hook, parallel=parallel).run, stop)
        await until(lambda: not any(entry.state in LIVE for entry in hook.queue.entries()))
        stop.set()


@given(
    steps=st.lists(PUSH | DELIVER | OTHER, max_size=14),
    seed=st.integers(0, 1000),
    parallel=st.integers(1, 2),
    running=st.sampled_from(["finish", "cancel"]),
)
async def test_the_newest_commit_of_every_branch_is_the_last_that_ran(steps, seed, parallel, running):
    hook = await Hook(settings=settings(rules=[{"branch": "*", "running": running}])).opened()
    world = Watched()
    sent: list[dict[str, object]] = []
    for step, what, letter in steps:
        if step == "push":
            ref = f"refs/heads/{what}"
            world.tips[ref] = letter * 40
            sent.append(github_push(ref, after=letter * 40, pushed_at=len(sent)))
        elif step == "deliver" and sent:
            assert (await hook.github(sent[what % len(sent)])).status in {200, 202}
        elif step == "die":
            hook = await hook.reopened()
        elif step == "later":
            # Whatever was taken is forgotten, so that everything can be sent again.
            hook.clock.advance(40 * 86_400)
        elif step == "work":
            await worked(hook, world, parallel)
    # In the end every push is delivered, in an order of its own.
    random.Random(seed).shuffle(sent)
    for payload in sent:
        await hook.github(payload)
    await worked(await hook.reopened(), world, parallel)

    assert world.last == world.tips
    assert world.old == []
