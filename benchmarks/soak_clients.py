"""Constant load for the soak, and for each reply who gave it: clients in a thread of their own."""

import asyncio
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from soak_project import Project

_PATIENCE_S = 90.0
"""Longer than a parked request waits."""
_KEPT = 50


@dataclass(slots=True)
class Tally:
    """What clients saw since somebody last looked; `failed` are (release, status, words)."""

    answered: int = 0
    failed: list[tuple[str, int, str]] = field(default_factory=list)


@dataclass(slots=True)
class Clients:
    """Clients that ask one thing after another, each a conversation of its own."""

    project: Project
    count: int = 6
    pause_s: float = 0.05
    acknowledged: set[str] = field(default_factory=set)
    slowest_s: float = 0.0
    _tally: Tally = field(default_factory=Tally)
    _last: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S + 10.0)

    def taken(self) -> Tally:
        """Return what was seen since the last call."""
        seen, self._tally = self._tally, Tally()
        return seen

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for number in range(self.count):
                group.create_task(self._client(session, number))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = 0
        url, body = self._request()
        while not self._stop.is_set():
            turn += 1
            conversation = f"{id(self)}-{number}-{turn}"
            headers = {"Authorization": f"Bearer {self.project.key}", "X-Shipway-Conversation": conversation}
            began_s = time.monotonic()
            await self._ask(session, url, body, headers)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
            await asyncio.sleep(self.pause_s)

    async def _ask(self, session: aiohttp.ClientSession, url: str, body: Any, headers: dict[str, str]) -> None:
        try:
            async with session.post(url, json=body, headers=headers) as response:
                text = await response.text()
                release = response.headers.get("X-Shipway-Release", "")
                if response.status == 200 and _is_whole(text):
                    self._tally.answered += 1
                    self.acknowledged.add(response.headers.get("X-Request-Id", ""))
                else:
                    self._tally.failed.append((release, response.status, text[:200]))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._tally.failed.append(("", 0, repr(error)))
            await asyncio.sleep(0.1)

    def _request(self) -> tuple[str, dict[str, Any]]:
        gateway = self.project.endpoints["gateway"]
        if not self.project.on_engine:
            return f"{gateway}/svc/chat/", {"text": "order"}
        messages = [{"role": "user", "content": "Where is my order?"}]
        return f"{gateway}/v1/chat/completions", {"model": "chat", "messages": messages, "max_tokens": 8}


def _is_whole(text: str) -> bool:
    try:
        return bool(json.loads(text))
    except ValueError:
        return False
