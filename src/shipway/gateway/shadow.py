"""Shadow copies: some requests are asked of another release too, and nobody who waits for an answer ever notices.

`shadow_desk` offers a copy when the user's own answer is out; the workers of `ShadowQueue.run` take it from there. The
queue is bounded: what does not fit is dropped and counted. A shadow has its own breakers, no tenant, no rollout and no
place at work, so it fails, charges and delays nobody, and no canary analysis counts it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from shipway.core.clock import Clock
from shipway.core.ids import ReleaseId
from shipway.core.ports import DocumentStore
from shipway.core.snapshot import position
from shipway.gateway.auth import Caller
from shipway.gateway.conversation import Conversation
from shipway.gateway.ports import EventNote
from shipway.gateway.validate import ModelCall
from shipway.telemetry.masking import mask_text

SHADOW = "shadow"
"""The event of a shadow's record; its `shadow_of` is the id of the user's request."""
PAIR_KIND = "shadow_pair"

_LONGEST_TEXT = 8_000


@dataclass(frozen=True, slots=True)
class ShadowCopy:
    """A request to be asked again; `answer` is what the user got (None when it is not kept)."""

    request_id: str
    release: ReleaseId
    stable: ReleaseId
    conversation: Conversation
    call: ModelCall
    caller: Caller
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class ShadowPair:
    """Two releases' answers to one request, masked, for whoever compares them later."""

    request_id: str
    at_s: float
    route: str
    stable: str
    shadow: str
    question: str
    stable_answer: str
    shadow_answer: str


class PairSink(Protocol):
    """Where pairs go."""

    async def add(self, pair: ShadowPair) -> None:
        """Keep a pair."""
        ...


class ShadowQueue:
    """The copies of one worker.

    `counts` are `offered`, `done`, `failed` and `dropped_<reason>`; at the end the first is the sum of the others.
    """

    def __init__(
        self,
        serve: Callable[[ShadowCopy], Awaitable[None]],
        note: EventNote,
        *,
        max_queued: int = 64,
        max_active: int = 2,
        max_copy_s: float = 120.0,
    ) -> None:
        self._serve = serve
        self._note = note
        self._copies: asyncio.Queue[ShadowCopy] = asyncio.Queue(max_queued)
        self._max_active = max_active
        self._max_copy_s = max_copy_s
        self._active = 0
        self.counts: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        """Return how many copies wait or run."""
        return self._copies.qsize() + self._active

    def offer(self, copy: ShadowCopy) -> bool:
        """Take a copy, or drop it; never waits."""
        self.counts["offered"] += 1
        reason = unfit_because(copy.call)
        if not reason and self._copies.full():
            reason = "full"
        if reason:
            self.counts[f"dropped_{reason}"] += 1
            return False
        self._copies.put_nowait(copy)
        return True

    async def drained(self) -> None:
        """Wait until every copy that was taken is served."""
        await self._copies.join()

    async def run(self) -> None:
        """Serve copies until cancelled; what still waits then is dropped and counted."""
        workers = [asyncio.ensure_future(self._work()) for _ in range(self._max_active)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self.counts["dropped_stopped"] += self._copies.qsize()

    async def _work(self) -> None:
        while True:
            copy = await self._copies.get()
            self._active += 1
            try:
                async with asyncio.timeout(self._max_copy_s):
                    await self._serve(copy)
                self.counts["done"] += 1
            except asyncio.CancelledError:
                self.counts["dropped_stopped"] += 1
                raise
            except Exception as error:  # noqa: BLE001 - whatever a candidate does, it does it to nobody
                self.counts["failed"] += 1
                self._note("shadow_failed", request_id=copy.request_id, release=copy.release, error=repr(error))
            finally:
                self._active -= 1
                self._copies.task_done()


class DocumentPairs:
    """Keeps the newest `max_pairs` pairs of a worker in the state's documents, masked."""

    def __init__(self, documents: DocumentStore, *, worker: str, max_pairs: int = 500) -> None:
        self._documents = documents
        self._worker = worker
        self._max_pairs = max_pairs
        self._next = 0

    async def add(self, pair: ShadowPair) -> None:
        """Keep a pair in the place of the oldest."""
        place = f"{self._worker}/{self._next % self._max_pairs:06d}"
        self._next += 1
        body: dict[str, Any] = asdict(pair)
        for name in ("question", "stable_answer", "shadow_answer"):
            body[name] = mask_text(body[name][:_LONGEST_TEXT])
        await self._documents.put(PAIR_KIND, place, body)


def is_shadowed(release: ReleaseId | None, share: float, request_id: str) -> bool:
    """Tell whether a request gets a copy; which ones do is by chance but the same everywhere."""
    return release is not None and share > 0.0 and position(f"shadow/{release}", request_id) < share


def unfit_because(call: ModelCall) -> str:
    """Return why a request must not be asked twice; "" when it may be.

    Function tools run at the client, which sees the user's answer alone; any other tool would run at the engine.
    """
    tools = call.body.get("tools") or ()
    hosted = [tool for tool in tools if not isinstance(tool, Mapping) or tool.get("type") != "function"]
    if hosted or call.body.get("web_search_options"):
        return "tools"
    return "store" if call.body.get("store") else ""


def pair_of(copy: ShadowCopy, clock: Clock, *, question: str, shadow_answer: str) -> ShadowPair | None:
    """Return the pair of a copy that has come back, None when the user's answer was not kept."""
    if copy.answer is None:
        return None
    return ShadowPair(
        request_id=copy.request_id,
        at_s=clock.now_s(),
        route=copy.call.route,
        stable=copy.stable,
        shadow=copy.release,
        question=question,
        stable_answer=copy.answer,
        shadow_answer=shadow_answer,
    )
