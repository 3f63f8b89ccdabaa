"""Accepting and leaving: over real sockets, with an application of a few lines."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from shipway.adapters.httptools_server.connection import Patience
from shipway.adapters.httptools_server.server import HttpServer
from shipway.adapters.httptools_server.succession import Succession
from shipway.adapters.local_process.inheritance import reserved
from shipway.gateway.exchange import Exchange
from shipway.gateway.replies import RefusedError, Reply

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
CLOSES = b"connection: close"
LONG_S = 60.0


class App:
    """Answers with its name, when it may."""

    max_message_bytes = 1024
    lane = None

    def __init__(self, name: bytes) -> None:
        self._name = name
        self.may = asyncio.Event()
        self.may.set()
        self.asked = asyncio.Event()

    async def serve(self, exchange: Exchange) -> None:
        self.asked.set()
        await self.may.wait()
        exchange.wire.start(200, [("content-length", str(len(self._name)))])
        exchange.wire.finish(self._name)
        exchange.complete = True

    def refused(self, refusal: RefusedError) -> Reply:
        raise AssertionError(refusal)


class Worker:
    """A server with its application."""

    def __init__(self, name: bytes, *, idle_grace_s: float = LONG_S) -> None:
        self.app = App(name)
        self.server = HttpServer(self.app, max_connections=100, patience=Patience(), idle_grace_s=idle_grace_s)


class Client:
    """A connection that asks one thing after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self) -> bytes:
        self.writer.write(REQUEST)
        return await self.reply()

    async def reply(self) -> bytes:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head.lower() + await asyncio.wait_for(self.reader.readexactly(int(length[15:])), 10)

    async def at_end(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 10) == b""


@contextlib.asynccontextmanager
async def connected(listener: socket.socket) -> AsyncIterator[Client]:
    reader, writer = await asyncio.wait_for(asyncio.open_connection(*listener.getsockname()), 10)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
def listener():
    with reserved("127.0.0.1", 0, shared=True) as made:
        yield made


@pytest.fixture
def other(listener):
    with reserved("127.0.0.1", listener.getsockname()[1], shared=True) as made:
        yield made


async def test_who_waits_for_a_worker_that_does_not_come_is_taken_by_another(listener, other):
    other.listen(8)
    async with connected(other) as client:  # before this worker listens, so that the kernel gives it to the other
        worker = Worker(b"survivor")
        await worker.server.start(listener.dup(), [other.dup()])

        assert (await client.ask()).endswith(b"survivor")

        await worker.server.stop(0, 0)


async def test_a_worker_whose_neighbour_does_not_listen_yet_serves_alone(listener, other):
    worker = Worker(b"first")
    await worker.server.start(listener.dup(), [other.dup()])
    async with connected(listener) as client:
        assert (await client.ask()).endswith(b"first")
        await asyncio.sleep(0.06)  # the look at the neighbour's
        assert (await client.ask()).endswith(b"first")
    await worker.server.stop(0, 0)


async def test_a_successor_on_the_same_socket_takes_whom_its_predecessor_left(listener):
    former, successor = Worker(b"former"), Worker(b"successor")
    await former.server.start(listener.dup())
    former.app.may.clear()
    async with connected(listener) as running:
        running.writer.write(REQUEST)
        await former.app.asked.wait()
        await successor.server.start(listener.dup())
        leaving = asyncio.ensure_future(former.server.stop(LONG_S, 0))
        await asyncio.sleep(0)
        async with connected(listener) as fresh:
            assert (await fresh.ask()).endswith(b"successor")
        former.app.may.set()
        assert (await running.reply()).endswith(b"former")
    await asyncio.wait_for(leaving, 10)
    await successor.server.stop(0, 0)


async def test_a_connection_that_waits_for_a_request_gets_one_more_answer_that_says_it_is_the_last(listener):
    worker = Worker(b"here")
    await worker.server.start(listener.dup())
    async with connected(listener) as client:
        assert CLOSES not in await client.ask()
        leaving = asyncio.ensure_future(worker.server.stop(LONG_S, 0))
        await asyncio.sleep(0)

        assert CLOSES in await client.ask()

        assert await client.at_end()
    await asyncio.wait_for(leaving, 10)


async def test_a_client_that_had_connected_and_not_asked_yet_is_answered(listener):
    worker = Worker(b"here")
    await worker.server.start(listener.dup())
    async with connected(listener) as client:
        leaving = asyncio.ensure_future(worker.server.stop(LONG_S, 0))
        await asyncio.sleep(0.06)

        reply = await client.ask()

        assert reply.endswith(b"here")
        assert CLOSES in reply
    await asyncio.wait_for(leaving, 10)


async def test_a_reply_under_way_that_did_not_say_it_was_the_last_leaves_the_connection_open(listener):
    worker = Worker(b"here")
    await worker.server.start(listener.dup())
    worker.app.may.clear()
    async with connected(listener) as client:
        client.writer.write(REQUEST)
        await worker.app.asked.wait()
        leaving = asyncio.ensure_future(worker.server.stop(LONG_S, 0))
        await asyncio.sleep(0)
        worker.app.may.set()
        assert CLOSES not in await client.reply()

        assert CLOSES in await client.ask()
    await asyncio.wait_for(leaving, 10)


async def test_who_asks_nothing_is_closed_after_the_grace_and_does_not_hold_the_stop_up(listener):
    worker = Worker(b"here", idle_grace_s=0.0)
    await worker.server.start(listener.dup())
    async with connected(listener) as client:
        await client.ask()

        await asyncio.wait_for(worker.server.stop(LONG_S, 0), 10)

        assert await client.at_end()


async def test_a_stop_without_time_ends_everything(listener):
    worker = Worker(b"here")
    await worker.server.start(listener.dup())
    async with connected(listener) as client:
        await client.ask()

        await asyncio.wait_for(worker.server.stop(0, 0.1), 10)

        assert await client.at_end()


async def test_the_socket_outlives_the_worker_and_keeps_whom_nobody_took(listener):
    worker = Worker(b"former")
    await worker.server.start(listener.dup())
    await worker.server.stop(0, 0)
    async with connected(listener) as client:
        client.writer.write(REQUEST)
        successor = Worker(b"successor")
        await successor.server.start(listener.dup())

        assert (await client.reply()).endswith(b"successor")

        await successor.server.stop(0, 0)


@pytest.fixture
def succession():
    """Makes a worker's own descriptors of the pair."""
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(end) for end in socket.socketpair()]

        def inherited() -> Succession:
            gives, takes = (stack.enter_context(end.dup()) for end in pair)
            for end in (gives, takes):
                end.settimeout(0)
            return Succession(gives, takes)

        yield inherited


async def test_a_connection_that_waits_goes_over_to_the_successor_and_stays_open(listener, succession):
    former, successor = Worker(b"former"), Worker(b"successor")
    await former.server.start(listener.dup(), (), succession())
    async with connected(listener) as client:
        assert (await client.ask()).endswith(b"former")
        await successor.server.start(listener.dup(), (), succession())

        await asyncio.wait_for(former.server.stop(LONG_S, 0, succeeded=True), 10)

        reply = await client.ask()
        assert reply.endswith(b"successor")
        assert CLOSES not in reply
    await successor.server.stop(0, 0)


async def test_a_connection_goes_over_when_its_reply_has_been_sent(listener, succession):
    former, successor = Worker(b"former"), Worker(b"successor")
    await former.server.start(listener.dup(), (), succession())
    former.app.may.clear()
    async with connected(listener) as client:
        client.writer.write(REQUEST)
        await former.app.asked.wait()
        await successor.server.start(listener.dup(), (), succession())
        leaving = asyncio.ensure_future(former.server.stop(LONG_S, 0, succeeded=True))
        await asyncio.sleep(0)
        former.app.may.set()
        assert (await client.reply()).endswith(b"former")
        await asyncio.wait_for(leaving, 10)

        assert (await client.ask()).endswith(b"successor")
    await successor.server.stop(0, 0)


async def test_connections_that_were_given_wait_for_a_successor_that_comes_later(listener, succession):
    former = Worker(b"former")
    await former.server.start(listener.dup(), (), succession())
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(listener)) for _ in range(100)]
        for client in clients:
            await client.ask()
        await asyncio.wait_for(former.server.stop(LONG_S, 0, succeeded=True), 10)
        for client in clients:
            client.writer.write(REQUEST)
        successor = Worker(b"successor")
        await successor.server.start(listener.dup(), (), succession())

        assert {(await client.reply())[-9:] for client in clients} == {b"successor"}

        await successor.server.stop(0, 0)
