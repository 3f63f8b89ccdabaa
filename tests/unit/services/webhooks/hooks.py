"""A receiver over a store in memory, requests as GitHub and GitLab sign them, and a world that does what it is told."""

import base64
import hashlib
import hmac
import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
from tests.unit.pipeline.webhooks.payloads import github_push

from shipway.adapters.memory.store import MemoryDocuments
from shipway.config.sections.webhooks import Webhooks
from shipway.core.clock import ManualClock
from shipway.core.errors import UnavailableError
from shipway.pipeline.webhooks.deliveries import JSON
from shipway.pipeline.webhooks.model import Entry, EntryState
from shipway.pipeline.webhooks.ports import CheckedOut, Ended, NotTheTip
from shipway.pipeline.webhooks.signatures import signing_key
from shipway.services.webhooks.queue import RunQueue
from shipway.services.webhooks.receiving import Answer, HookSecrets, Receiver
from shipway.services.webhooks.telling import Teller
from shipway.services.webhooks.working import Worker, WorkParts

SECRET, TOKEN = "It's a Secret to Everybody", "a token"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DAY_S = 86_400.0


def settings(**more: Any) -> Webhooks:
    hooks = {"github": {"secret": {"env": "HOOK"}}, "gitlab": {"signing_token": {"env": "LAB"}}}
    return Webhooks.model_validate({"repository": "https://github.com/acme/assistant.git", **hooks, **more})


class Documents(MemoryDocuments):
    """Documents of a store that takes its time: others run before and after each call."""

    async def put(self, kind: str, key: str, body: dict[str, Any], **more: Any) -> int:
        await anyio.sleep(0)
        version = await super().put(kind, key, body, **more)
        await anyio.sleep(0)
        return version

    async def delete(self, kind: str, key: str) -> bool:
        await anyio.sleep(0)
        return await super().delete(kind, key)


@dataclass
class Hook:
    """A receiver and its queue; `reopened` is the next process on the same store."""

    documents: MemoryDocuments = field(default_factory=Documents)
    clock: ManualClock = field(default_factory=ManualClock)
    settings: Webhooks = field(default_factory=settings)
    secrets: HookSecrets = field(default_factory=lambda: HookSecrets((SECRET,), signing_key(SIGNING)))
    notes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    queue: RunQueue = field(init=False)
    ids: Any = field(default_factory=itertools.count)

    def note(self, event: str, **fields: Any) -> None:
        self.notes.append((event, fields))

    async def opened(self) -> "Hook":
        self.queue = await RunQueue.open(
            self.documents, self.clock, max_queued=self.settings.max_queued, remember_s=30 * DAY_S
        )
        return self

    async def reopened(self) -> "Hook":
        return await replace(self).opened()

    @property
    def receiver(self) -> Receiver:
        return Receiver(self.settings, self.secrets, self.queue, self.clock, self.note)

    async def github(self, payload: Mapping[str, Any] | bytes, **more: str) -> Answer:
        """Send a request that GitHub signed; `more` replaces headers."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.clock.advance(0.01)
        headers = {
            "x-github-event": "push",
            "x-github-delivery": f"delivery-{next(self.ids)}",
            "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
        }
        return await self.receiver.receive("github", headers | more, body, JSON)

    async def gitlab(self, payload: Mapping[str, Any], message_id: str = "", **more: str) -> Answer:
        """Send a request that GitLab signed; `more` replaces headers."""
        body, at_s = json.dumps(payload).encode(), str(int(self.clock.now_s()))
        message_id = message_id or f"msg_{next(self.ids)}"
        content = f"{message_id}.{at_s}.".encode() + body
        digest = base64.b64encode(hmac.new(signing_key(SIGNING), content, hashlib.sha256).digest()).decode()
        headers = {"webhook-id": message_id, "webhook-timestamp": at_s, "webhook-signature": f"v1,{digest}"}
        return await self.receiver.receive("gitlab", headers | more, body, JSON)

    async def pushed(self, commit: str, branch: str = "main") -> str:
        """Have a push queued and return the id of its run."""
        answer = await self.github(github_push(f"refs/heads/{branch}", after=commit))
        assert answer.status == 202, answer
        return str(answer.document["run"])

    def states(self) -> list[str]:
        return [entry.state.value for entry in self.queue.entries()]


@dataclass
class World:
    """A repository, processes that end when they are told to, and a provider that takes statuses."""

    tips: dict[str, str]
    codes: dict[str, int] = field(default_factory=dict)
    """By commit; what is not there goes on until it is cut off."""
    unreachable: int = 0
    changed: tuple[str, ...] | None = None
    began: list[str] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    kept: set[str] = field(default_factory=set)
    compared: list[str] = field(default_factory=list)
    sent: list[tuple[str, EntryState]] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    async def tip(self, entry: Entry) -> str:
        return self.tips.get(entry.ref, "")

    async def make(self, entry: Entry, compared_with: str) -> CheckedOut | NotTheTip:
        if self.unreachable:
            self.unreachable -= 1
            raise UnavailableError("no route to the repository")
        self.compared.append(compared_with)
        tip = await self.tip(entry)
        return CheckedOut(Path("/checkout"), self.changed) if tip == entry.commit else NotTheTip(tip)

    async def remove_all_but(self, kept: Collection[str]) -> None:
        self.kept = set(kept)

    async def run(self, entry: Entry, arguments: Sequence[str]) -> Ended:
        self.began.append(entry.commit)
        self.commands.append(list(arguments))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            while entry.commit not in self.codes:
                await anyio.sleep(0.001)
            return Ended(self.codes[entry.commit], f"exit code {self.codes[entry.commit]}")
        finally:
            self.at_once -= 1

    async def send(self, entry: Entry, text: str) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.sent.append((entry.commit, entry.state))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await anyio.sleep(0)

    def teller(self, hook: Hook) -> Teller:
        return Teller(hook.queue, {"github": self}, hook.note, self.sleep)

    def worker(self, hook: Hook, *, parallel: int = 1, **more: Any) -> Worker:
        parts = WorkParts(self, self, self.teller(hook), hook.note, sleep=self.sleep, **more)
        return Worker(hook.queue, parts, parallel=parallel)


async def until(condition: Any) -> None:
    """Wait for what other tasks do; a test that waits in vain is ended by its time limit."""
    while not condition():
        await anyio.sleep(0.001)
