"""When a worker begins to accept, and when it says so."""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

import pytest

from shipway.adapters.local_process.inheritance import reserved, variables
from shipway.entrypoints.dataplane import place as module
from shipway.entrypoints.dataplane.place import Place
from shipway.operations.supervision import ProcessSpec


@dataclass
class FakeServer:
    """Notes on which sockets it accepts."""

    started: list[tuple[socket, ...]] = field(default_factory=list)

    async def start(self, listener: socket, others: Sequence[socket] = (), succession: object = None) -> None:
        self.started.append((listener, *others))


class Worker:
    """A worker that two sockets were given to, and what its supervisor hears."""

    def __init__(self, *, succeeds: bool) -> None:
        self.heard, told = os.pipe()
        os.set_blocking(self.heard, False)
        given = tuple(reserved("127.0.0.1", 0).detach() for _ in range(2))
        spec = ProcessSpec("gateway-0", (), Path("gateway-0.log"), sockets=given)
        self.loaded = False
        self.server = FakeServer()
        self.stop = asyncio.Event()
        place = Place.of(variables(spec, told, succeeds=succeeds), lambda: self.loaded)
        assert place is not None
        self.place = place
        self.said = False

    async def take(self) -> None:
        await self.place.take(self.server, self.stop)

    def says_ready(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            self.said = os.read(self.heard, 100) == b"serves\n"
        return self.said

    def close(self) -> None:
        os.close(self.heard)
        if not self.said:
            self.place.inherited.tell_ready()
        for one in self.place.inherited.sockets:
            one.close()


@pytest.fixture
def worker_that():
    made: list[Worker] = []

    def make(*, succeeds: bool) -> Worker:
        made.append(Worker(succeeds=succeeds))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_process_that_nobody_gave_a_socket_has_no_place():
    assert Place.of({"PATH": "/bin"}, lambda: True) is None


async def test_a_successor_accepts_nothing_before_what_is_deployed_is_loaded(worker_that, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_S", 0.0)
    monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
    worker = worker_that(succeeds=True)
    taking = asyncio.ensure_future(worker.take())
    for _ in range(20):
        await asyncio.sleep(0)
    assert (worker.server.started, worker.says_ready()) == ([], False)

    worker.loaded = True
    await asyncio.wait_for(taking, 10)

    assert worker.server.started == [worker.place.inherited.sockets]
    assert worker.says_ready()


async def test_a_successor_that_is_stopped_before_it_could_serve_takes_nobody(worker_that, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_S", 0.0)
    worker = worker_that(succeeds=True)
    taking = asyncio.ensure_future(worker.take())
    await asyncio.sleep(0)
    worker.stop.set()
    await asyncio.wait_for(taking, 10)

    assert (worker.server.started, worker.says_ready()) == ([], False)


async def test_the_first_worker_accepts_after_a_while_even_so_and_says_ready_when_it_is(worker_that, monkeypatch):
    monkeypatch.setattr(module, "_LOOK_S", 0.0)
    monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
    worker = worker_that(succeeds=False)
    await asyncio.wait_for(worker.take(), 10)
    assert (len(worker.server.started), worker.says_ready()) == (1, False)

    worker.loaded = True
    async with asyncio.timeout(10):
        while not worker.says_ready():
            await asyncio.sleep(0)
