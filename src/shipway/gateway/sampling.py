"""Answers kept for a judge: those of a share of conversations, masked, when the user's own answer is out.

`model_api` puts it around a request; `lane_routes` sends what is sampled the long way; `run` masks and writes beside
the server. What does not fit is dropped and counted: no user waits for it and nothing of a request fails by it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Protocol

import orjson

from shipway.core.observation import GOLDEN_CONVERSATION
from shipway.core.ports import DocumentStore
from shipway.core.snapshot import position
from shipway.gateway.accounting import Account
from shipway.gateway.admission import Admitted
from shipway.gateway.cache_content import stream_text
from shipway.gateway.exchange import Exchange
from shipway.gateway.ports import EventNote
from shipway.gateway.recording import RecordingWire
from shipway.gateway.relay import reply_text
from shipway.gateway.responses import response_stream_text
from shipway.gateway.validate import Endpoint, ModelCall, last_user_text
from shipway.telemetry.masking import mask_text

SAMPLE_KIND = "answer_sample"

_ENDPOINTS = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES})
# Where `/generate` and `/rag_answer` put it; they are asked as chats.
_PLAIN = ("text", "answer")
_SALT = "quality"
_OK = 200
_LONGEST_ANSWER_BYTES = 128 << 10
_LONGEST_TEXT = 8_000
_MOST_WAITING = 64

ServeCall = Callable[[Exchange, Account, ModelCall, Admitted], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class AnswerSample:
    """A question and its answer, masked; what else is known of the request is in its record."""

    request_id: str
    at_s: float
    environment: str
    route: str
    release: str
    question: str
    answer: str


class SampleSink(Protocol):
    """Where samples go."""

    async def add(self, sample: AnswerSample) -> None:
        """Keep a sample."""
        ...


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """Which conversations: a `share` of those on `routes` (empty: on every route)."""

    share: float
    routes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Taken:
    request_id: str
    at_s: float
    release: str
    call: ModelCall
    body: bytes


class AnswerSampler:
    """The samples of one worker; at the end `counts["taken"]` is the sum of `kept`, `empty` and those dropped."""

    def __init__(self, settings: SamplingSettings, sink: SampleSink, note: EventNote, *, environment: str) -> None:
        self.settings = settings
        self.sink = sink
        self._note = note
        self._environment = environment
        self._waiting: asyncio.Queue[_Taken] = asyncio.Queue(_MOST_WAITING)
        self.counts: Counter[str] = Counter()

    def takes(self, route: str, endpoint: Endpoint, conversation: str) -> bool:
        """Tell whether a conversation is sampled; every worker says the same, and its arm has no part in it."""
        settings = self.settings
        if endpoint not in _ENDPOINTS or (settings.routes and route not in settings.routes):
            return False
        if conversation.startswith(GOLDEN_CONVERSATION):
            return False
        return position(_SALT, conversation) < settings.share

    def around(self, serve: ServeCall) -> ServeCall:
        """Return what serves a request and then keeps its answer."""

        async def served(exchange: Exchange, account: Account, call: ModelCall, admitted: Admitted) -> None:
            wire = RecordingWire(exchange.wire, limit_bytes=_LONGEST_ANSWER_BYTES)
            exchange.wire = wire
            try:
                await serve(exchange, account, call, admitted)
            finally:
                exchange.wire = wire.wire
            if wire.status == _OK and wire.body is not None:
                self._offer(_Taken(account.id, account.at_s, account.release, call, wire.body))

        return served

    async def run(self) -> None:
        """Mask and write samples until cancelled; what still waits then is dropped and counted."""
        try:
            while True:
                taken = await self._waiting.get()
                try:
                    await self._keep(taken)
                except Exception as error:  # noqa: BLE001 - a store that does not answer costs a sample, no more
                    self.counts["failed"] += 1
                    self._note("answer_sample_failed", request_id=taken.request_id, error=type(error).__name__)
                finally:
                    self._waiting.task_done()
        finally:
            self.counts["dropped"] += self._waiting.qsize()

    async def drained(self) -> None:
        """Wait until everything that was taken is written."""
        await self._waiting.join()

    def _offer(self, taken: _Taken) -> None:
        self.counts["taken"] += 1
        if self._waiting.full():
            self.counts["dropped"] += 1
        else:
            self._waiting.put_nowait(taken)

    async def _keep(self, taken: _Taken) -> None:
        # Regular expressions over some thousand characters must not hold up the loop that serves.
        question, answer = await asyncio.to_thread(_masked, taken.call, taken.body)
        if not question or not answer:
            self.counts["empty"] += 1
            return
        await self.sink.add(
            AnswerSample(
                request_id=taken.request_id,
                at_s=taken.at_s,
                environment=self._environment,
                route=taken.call.route,
                release=taken.release,
                question=question,
                answer=answer,
            )
        )
        self.counts["kept"] += 1


class DocumentSamples:
    """Keeps the newest `keep` samples of a worker in the state's documents."""

    def __init__(self, documents: DocumentStore, *, worker: str, keep: int) -> None:
        self._documents = documents
        self._worker = worker
        self.keep = keep
        self._next = 0

    async def add(self, sample: AnswerSample) -> None:
        """Keep a sample in the place of the oldest."""
        place = f"{self._worker}/{self._next % self.keep:06d}"
        self._next += 1
        await self._documents.put(SAMPLE_KIND, place, asdict(sample))


def _masked(call: ModelCall, body: bytes) -> tuple[str, str]:
    return mask_text(last_user_text(call.body)[:_LONGEST_TEXT]), mask_text(_answer(call, body)[:_LONGEST_TEXT])


def _answer(call: ModelCall, body: bytes) -> str:
    if call.stream:
        return response_stream_text(body) if call.endpoint is Endpoint.RESPONSES else stream_text(body)
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(reply, dict):
        return ""
    plain = next((reply[name] for name in _PLAIN if isinstance(reply.get(name), str)), "")
    return plain or reply_text(reply)
