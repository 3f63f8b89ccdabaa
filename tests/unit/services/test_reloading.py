"""Command and workers over one folder: what each of them does when something goes wrong with another."""

import asyncio
from typing import Any

import pytest

from shipway.adapters.local_process.host import LocalHost
from shipway.config.changes import Changes
from shipway.config.loading import load_project
from shipway.core.clock import SystemClock
from shipway.core.errors import ConfigError, ConflictError, NotFoundError, UnavailableError
from shipway.services.application import Workspace
from shipway.services.config_board import ConfigBoard, Orders
from shipway.services.config_follower import ConfigFollower
from shipway.services.reloading import ReloadCommand

PROJECT = """
app: shop
models: {{ echo: {{ engine: echo, model: echo }} }}
routes: {{ chat: {{ kind: chat, model: echo }} }}
rates: {{ per_key_min: {per_min} }}
"""

pytestmark = pytest.mark.anyio


class Table:
    """What a worker would serve with."""

    changes = Changes(now=("rates.per_key_min",), at_start=("server.port",))

    def __init__(self, worker: "Worker", revision: int) -> None:
        self._worker = worker
        self._revision = revision

    async def adopt(self) -> None:
        self._worker.serves.append(self._revision)

    async def discard(self) -> None:
        self._worker.discarded.append(self._revision)


class Worker:
    """A worker that prepares what it is asked, unless it is told to fail or to wait."""

    def __init__(self, board: ConfigBoard, name: str) -> None:
        self.serves = [board.orders().committed]
        self.discarded: list[int] = []
        self.prepared: list[int] = []
        self.fails = ""
        self.go = asyncio.Event()
        self.go.set()
        self.noted: list[str] = []
        self._follower = ConfigFollower(
            board,
            name,
            self.serves[0],
            self._prepare,
            clock=SystemClock(),
            note=lambda event, **_: self.noted.append(event),
            sleep=lambda _: asyncio.sleep(0.002),
        )
        self._task: asyncio.Task[None] | None = None

    async def _prepare(self, revision: int) -> Table:
        await self.go.wait()
        if self.fails:
            raise UnavailableError(self.fails)
        self.prepared.append(revision)
        return Table(self, revision)

    async def start(self) -> "Worker":
        self._task = asyncio.ensure_future(self._follower.run())
        return self

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class Place:
    """A project's folder with workers and a command."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.workspace = Workspace(root)
        self.board = ConfigBoard(self.workspace, LocalHost())
        self.workers: list[Worker] = []
        self.audited: list[int] = []
        self.write(1)
        self.board.begin(root, "local")

    def write(self, per_min: object) -> None:
        (self.root / "shipway.yaml").write_text(PROJECT.format(per_min=per_min))

    async def worker(self, number: int, pid: int = 7) -> Worker:
        # Its own view of the folder, as a process of its own has it.
        made = Worker(ConfigBoard(self.workspace, LocalHost()), f"gateway-{number}-{pid}")
        self.workers.append(await made.start())
        await self.until(
            lambda: len(self.board.living()) == len(self.workers) and None not in self.board.living().values()
        )
        return made

    def command(self) -> ReloadCommand:
        async def check(files: Any) -> Any:
            return load_project(self.root, {}, files)

        async def note(revision: int, _: object) -> None:
            self.audited.append(revision)

        board = ConfigBoard(self.workspace, LocalHost())
        return ReloadCommand(board, self.root, "local", SystemClock(), check, note)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.002)


@pytest.fixture
async def place(tmp_path):
    made = Place(tmp_path)
    yield made
    for worker in made.workers:
        await worker.stop()


async def test_every_worker_prepares_before_any_of_them_swaps(place):
    first, second = await place.worker(0), await place.worker(1)
    second.go.clear()
    place.write(2)
    reload = asyncio.ensure_future(place.command().reload(within_s=10))
    await place.until(lambda: first.prepared == [2])

    assert (first.serves, second.serves) == ([1], [1])
    second.go.set()
    done = await reload

    assert (first.serves, second.serves) == ([1, 2], [1, 2])
    assert done.workers == ("gateway-0-7", "gateway-1-7")
    assert (done.changed, done.at_start) == (("rates.per_key_min",), ("server.port",))
    assert place.audited == [2]


async def test_one_worker_that_cannot_keeps_all_of_them_on_the_former_revision(place):
    first, second = await place.worker(0), await place.worker(1)
    second.fails = "the engine's key is not there"
    place.write(2)

    with pytest.raises(UnavailableError, match=r"nothing was changed; gateway-1 cannot serve by it: the engine's key"):
        await place.command().reload(within_s=10)

    await place.until(lambda: first.discarded == [2])
    assert (first.serves, second.serves) == ([1], [1])
    assert place.audited == []
    # What it said then is not taken for an answer to the next question.
    second.fails = ""
    assert (await place.command().reload(within_s=10)).revision == 3
    assert (first.serves, second.serves) == ([1, 3], [1, 3])


async def test_a_wrong_file_reaches_no_worker(place):
    worker = await place.worker(0)
    place.write("many")

    with pytest.raises(ConfigError, match=r"shipway\.yaml:5: rates\.per_key_min"):
        await place.command().reload(within_s=10)

    assert (worker.prepared, worker.noted) == ([], [])
    assert place.board.orders().committed == 1
    assert not place.board.files(2).exists()


async def test_a_worker_that_does_not_answer_in_time_holds_the_others_back(place):
    first, second = await place.worker(0), await place.worker(1)
    second.go.clear()
    place.write(2)

    with pytest.raises(UnavailableError, match=r"nothing was changed; gateway-1 did not prepare within 0\.2 s"):
        await place.command().reload(within_s=0.2)

    second.go.set()
    await place.until(lambda: first.discarded == second.discarded == [2])
    assert (first.serves, second.serves) == ([1], [1])


async def test_a_worker_that_dies_while_the_others_prepare_is_not_waited_for(place):
    first, second = await place.worker(0), await place.worker(1)
    second.go.clear()
    place.write(2)
    reload = asyncio.ensure_future(place.command().reload(within_s=10))
    await place.until(lambda: first.prepared == [2])

    await second.stop()

    assert (await reload).workers == ("gateway-0-7",)
    assert first.serves == [1, 2]


async def test_a_worker_that_came_too_late_to_be_asked_catches_up(place):
    await place.worker(0)
    late = Worker(ConfigBoard(place.workspace, LocalHost()), "gateway-1-8")
    place.write(2)
    await place.command().reload(within_s=10)

    await late.start()
    place.workers.append(late)
    await place.until(lambda: late.serves == [1, 2])


async def test_a_worker_that_cannot_catch_up_goes_on_and_tries_again_later(place):
    await place.worker(0)
    late = Worker(ConfigBoard(place.workspace, LocalHost()), "gateway-1-8")
    late.fails = "not yet"
    place.write(2)
    await place.command().reload(within_s=10)
    await late.start()
    place.workers.append(late)
    await place.until(lambda: getattr(place.board.living().get("gateway-1-8"), "problem", "") == "not yet")
    said = place.board.living()["gateway-1-8"]

    assert said is not None
    assert said.revision == 1
    assert late.noted == ["config_refused"]
    assert late.serves == [1]


async def test_what_a_killed_command_had_prepared_is_dropped(place):
    worker = await place.worker(0)
    lock = place.board.lock()
    place.write(2)
    revision = place.board.publish(place.root, "local")
    place.board.give(Orders(1, revision, revision))
    await place.until(lambda: worker.prepared == [revision])
    assert worker.discarded == []

    place.board.unlock(lock)  # what the system does for a process that is killed

    await place.until(lambda: worker.discarded == [revision])
    assert worker.serves == [1]
    assert (await place.command().reload(within_s=10)).revision == revision + 1


async def test_two_commands_are_obeyed_one_after_the_other(place):
    worker = await place.worker(0)

    done = await asyncio.gather(*(place.command().reload(within_s=10) for _ in range(4)))

    assert sorted(each.revision for each in done) == [2, 3, 4, 5]
    assert worker.serves == [1, 2, 3, 4, 5]


async def test_a_command_waits_for_another_one_only_so_long(place):
    await place.worker(0)
    lock = place.board.lock()

    with pytest.raises(ConflictError, match="another `shipway reload` goes on"):
        await place.command().reload(within_s=0.05)
    place.board.unlock(lock)


async def test_where_no_gateway_runs_there_is_nothing_to_reload(place):
    with pytest.raises(NotFoundError, match="no gateway runs here"):
        await place.command().reload(within_s=10)


async def test_a_folder_that_cannot_be_read_is_said_once_and_does_not_end_the_worker(place, monkeypatch):
    worker = await place.worker(0)

    def denied(_: object) -> bool:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as context:
        context.setattr(ConfigBoard, "orders", denied)
        await place.until(lambda: worker.noted == ["config_not_followed"])
        await asyncio.sleep(0.02)
        assert worker.noted == ["config_not_followed"]
    place.write(2)
    await place.command().reload(within_s=10)
    assert worker.serves == [1, 2]


async def test_a_worker_whose_lock_file_was_taken_away_while_it_joined_joins_again(place, monkeypatch):
    locked = LocalHost.lock

    def lock_and_lose(host: LocalHost, path: Any) -> int | None:
        found = locked(host, path)
        if path.name.startswith("gateway-"):
            monkeypatch.setattr(LocalHost, "lock", locked)
            path.unlink()
        return found

    monkeypatch.setattr(LocalHost, "lock", lock_and_lose)
    await place.worker(0)
    assert list(place.board.living()) == ["gateway-0-7"]


async def test_a_successor_beside_its_predecessor_is_a_worker_of_its_own(place):
    old, new = await place.worker(0, pid=7), await place.worker(0, pid=8)

    done = await place.command().reload(within_s=10)

    assert done.workers == ("gateway-0-7", "gateway-0-8")
    assert (old.serves, new.serves) == ([1, 2], [1, 2])
