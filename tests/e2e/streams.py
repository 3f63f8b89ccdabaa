"""Slow streams through a gateway: an engine that takes seconds for an answer, and clients that see every flaw.

The engine and the clients each run in a thread of their own, beside the gateway's real processes.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import orjson

GAP_S = 0.25
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Loop:
    """Coroutines in a thread of their own."""

    loop: asyncio.AbstractEventLoop
    _stop: asyncio.Event

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def opened(self) -> None:
        """Begin, in the thread."""

    async def closed(self) -> None:
        """End, in the thread."""

    async def _main(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await self.opened()
        self._ready.set()
        await self._stop.wait()
        await self.closed()

    def call(self, work: Coroutine[Any, Any, Any], timeout_s: float = 60.0) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)


class SlowEngine(Loop):
    """Answers chats: the question is how many words to stream, one each quarter of a second; others at once."""

    port: int
    _server: asyncio.Server

    async def opened(self) -> None:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def closed(self) -> None:
        self._server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
                )
                body = orjson.loads(await reader.readexactly(length))
                await self._answer(writer, body)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the gateway has left, or the test ends
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        count = int(body["messages"][-1]["content"])
        if not body.get("stream"):
            message = {"role": "assistant", "content": str(count)}
            reply = orjson.dumps(
                {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE}
            )
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(reply)
            writer.write(head + reply)
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(count):
            _event(writer, {"choices": [{"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}]})
            await writer.drain()
            await asyncio.sleep(GAP_S)
        _event(writer, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE})
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


def _event(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
    line = b"data: " + orjson.dumps({"object": "chat.completion.chunk", "model": "slow", **event}) + b"\n\n"
    writer.write(b"%x\r\n%b\r\n" % (len(line), line))


@dataclass
class Seen:
    """One request as its client saw it; `flaw` says what was wrong with it."""

    kind: str
    request_id: str = ""
    flaw: str = ""


@dataclass
class Clients(Loop):
    """Streams, requests on kept connections, and requests on connections of their own, until told to stop."""

    url: Callable[[], str]
    key: str
    begun: int = 0
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._stopped = False
        self._tasks: list[asyncio.Future[None]] = []
        self._words: Iterator[int] = itertools.cycle(range(12, 25))
        self._session: aiohttp.ClientSession

    async def opened(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=40))

    async def closed(self) -> None:
        await self._session.close()

    @property
    def flaws(self) -> list[Seen]:
        return [one for one in list(self.seen) if one.flaw]

    def count(self, kind: str) -> int:
        return sum(one.kind == kind for one in list(self.seen))

    def start(self, *, streams: int, kept: int = 0, fresh: int = 0) -> None:
        self._stopped = False

        async def begin() -> None:
            for repeat, number in ((self._stream, streams), (self._kept, kept), (self._fresh, fresh)):
                self._tasks += [asyncio.ensure_future(self._repeat(repeat)) for _ in range(number)]

        self.call(begin())

    def last(self) -> None:
        """Begin nothing more."""
        self._stopped = True

    def finish(self) -> None:
        """Begin nothing more and wait for what runs."""
        self.last()

        async def rest() -> None:
            await asyncio.gather(*self._tasks)

        self.call(rest())
        self._tasks.clear()

    async def _repeat(self, once: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while not self._stopped:
            await once()

    async def _stream(self) -> None:
        words = next(self._words)
        seen = Seen("stream")
        self.begun += 1
        try:
            async with self._ask(self._session, words, stream=True) as reply:
                seen.request_id = reply.headers.get("x-request-id", "")
                text = (await reply.read()).decode()
            expected = "".join(f"{number} " for number in range(words))
            if reply.status != 200:
                seen.flaw = f"status {reply.status}: {text}"
            elif not text.endswith("data: [DONE]\n\n") or _words(text) != expected:
                seen.flaw = f"cut: {text[-300:]!r}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            seen.flaw = repr(error)
        self.seen.append(seen)

    async def _kept(self) -> None:
        await self._short("kept", self._session)
        await asyncio.sleep(0.05)

    async def _fresh(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            await self._short("fresh", session)
        await asyncio.sleep(0.02)

    async def _short(self, kind: str, session: aiohttp.ClientSession) -> None:
        seen = Seen(kind)
        try:
            async with self._ask(session, 1, stream=False) as reply:
                seen.request_id = reply.headers.get("x-request-id", "")
                text = await reply.text()
                if reply.status != 200:
                    seen.flaw = f"status {reply.status}: {text}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            seen.flaw = repr(error)
        self.seen.append(seen)

    def _ask(self, session: aiohttp.ClientSession, words: int, *, stream: bool) -> Any:
        body = {"model": "chat", "stream": stream, "messages": [{"role": "user", "content": str(words)}]}
        headers = {"authorization": f"Bearer {self.key}"}
        return session.post(self.url() + "/v1/chat/completions", json=body, headers=headers)


def _words(text: str) -> str:
    events = [orjson.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event.get("choices", ()))
