"""Live load from a process of its own: conversations with the official `openai` client, until told to stop.

Run as `python -m shipway.entrypoints.demo.load`; the key comes in SHIPWAY_DEMO_KEY, the report is printed as JSON at
the end. Every fifth conversation asks twice, so that stickiness can be seen; every tenth one streams a plain chat, so
that a switch of releases meets streams in flight.
"""

import argparse
import asyncio
import json
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from openai import AsyncOpenAI, OpenAIError

_STREAM_EVERY = 10
_RELEASE_HEADER = "x-shipway-release"


@dataclass(slots=True)
class Tally:
    """What the clients saw."""

    requests: int = 0
    failed: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    streams: int = 0
    broken_streams: int = 0
    conversations: Counter[str] = field(default_factory=Counter)
    moved_back: int = 0
    """Conversations whose second answer came from another release than the first."""


@dataclass(slots=True)
class Load:
    """A number of clients that ask questions one after another."""

    client: AsyncOpenAI
    questions: list[str]
    prefix: str
    random: random.Random
    tally: Tally = field(default_factory=Tally)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _next: int = 0

    async def run(self, clients: int) -> None:
        """Ask until `stop` is set; requests in flight are finished."""
        await asyncio.gather(*(self._client() for _ in range(clients)))

    async def _client(self) -> None:
        while not self.stop.is_set():
            self._next += 1
            conversation = f"{self.prefix}-{self._next}"
            if self._next % _STREAM_EVERY == 0:
                await self._stream(conversation)
                continue
            first = await self._question(conversation)
            if first:
                self.tally.conversations[first] += 1
            if first and self._next % 5 == 0:
                second = await self._question(conversation)
                self.tally.moved_back += bool(second) and second != first

    async def _question(self, conversation: str) -> str:
        self.tally.requests += 1
        try:
            raw = await self.client.chat.completions.with_raw_response.create(
                model="helpdesk",
                messages=[{"role": "user", "content": self.random.choice(self.questions)}],
                extra_headers={"X-Shipway-Conversation": conversation},
            )
            if not raw.parse().choices[0].message.content:
                self._failed("empty answer")
        except OpenAIError as error:
            self._failed(f"{type(error).__name__}: {error}")
            return ""
        return str(raw.headers.get(_RELEASE_HEADER, ""))

    async def _stream(self, conversation: str) -> None:
        self.tally.requests += 1
        self.tally.streams += 1
        finished = False
        try:
            stream = await self.client.chat.completions.create(
                model="chat",
                messages=[{"role": "user", "content": "Name three things a kettle is used for."}],
                max_tokens=24,
                stream=True,
                extra_headers={"X-Shipway-Conversation": conversation},
            )
            async for chunk in stream:
                finished = finished or any(choice.finish_reason for choice in chunk.choices)
        except OpenAIError as error:
            self._failed(f"stream {type(error).__name__}: {error}")
        if not finished:
            self.tally.broken_streams += 1

    def _failed(self, problem: str) -> None:
        self.tally.failed += 1
        self.tally.problems[problem[:200]] += 1


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--longest-s", type=float, default=900.0)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    lines = options.cases.read_text(encoding="utf-8").splitlines()
    # What the gate judged is asked: calibration cases are harder on purpose, and no release was evaluated on them.
    rows = [row for line in lines if line.strip() and (row := json.loads(line)).get("split", "test") == "test"]
    questions = [row["question"] for row in rows if row["tenant"] == options.tenant and row["groups"] == ["public"]]
    client = AsyncOpenAI(base_url=options.base_url, api_key=os.environ["SHIPWAY_DEMO_KEY"], max_retries=0, timeout=60.0)
    load = Load(client, questions, options.prefix, random.Random(options.seed))  # noqa: S311 - a repeatable choice of questions
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, load.stop.set)
    loop.call_later(options.longest_s, load.stop.set)
    await load.run(options.clients)
    await client.close()
    tally = load.tally
    report = {
        "requests": tally.requests,
        "failed": tally.failed,
        "problems": dict(tally.problems),
        "streams": tally.streams,
        "broken_streams": tally.broken_streams,
        "conversations": dict(tally.conversations),
        "moved": tally.moved_back,
    }
    print(json.dumps(report), flush=True)  # noqa: T201 - this process's one output


if __name__ == "__main__":
    asyncio.run(_main())
