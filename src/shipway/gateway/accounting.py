"""The account of one request while it runs, and the record it becomes.

`gateway.app` opens one for each request; the handlers fill it and commit it before the final byte is sent.
"""

import hashlib
from dataclasses import dataclass, field

from shipway.core import record as events
from shipway.core.clock import Clock
from shipway.core.ids import ReleaseId
from shipway.core.record import ServedRequest
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.gateway.auth import Caller
from shipway.gateway.conversation import Conversation
from shipway.gateway.model import GatewaySettings, Usage
from shipway.gateway.ports import RecordSink
from shipway.gateway.replies import RefusedError

PINNED = "pinned"
"""An operator chose the release by header; the record carries no rollout, so that no analysis counts it."""
USAGE_ESTIMATED = "usage_estimated"

CLIENT_GONE_STATUS = 499
_TIMEOUT_STATUS = 504
_SERVER_ERROR = 500
_BLAMELESS = frozenset({"overloaded", "draining"})


@dataclass(slots=True)
class Account:
    """What is known of a request so far."""

    id: str
    clock: Clock
    settings: GatewaySettings
    at_s: float
    started_s: float
    environment: str = ""
    snapshot_version: int = 0
    rollout: str | None = None
    caller: Caller | None = None
    route: str = ""
    release: str = ""
    is_candidate: bool = False
    candidate_weight: float = 0.0
    conversation: Conversation | None = None
    stream: bool = False
    model: str = ""
    prompt_version: str = ""
    usage: Usage = field(default_factory=Usage)
    ttft_ms: float | None = None
    events: list[str] = field(default_factory=list)
    error_type: str = ""
    retrieval_count: int = 0
    documents: tuple[str, ...] = ()
    question_hash: str = ""
    record: ServedRequest | None = None

    @classmethod
    def opened(cls, request_id: str, clock: Clock, settings: GatewaySettings) -> "Account":
        """Return the account of a request that has just come."""
        return cls(request_id, clock, settings, at_s=clock.now_s(), started_s=clock.monotonic_s())

    def obey(self, snapshot: Snapshot) -> None:
        """Note the snapshot that decides about this request."""
        self.environment = snapshot.environment
        self.snapshot_version = snapshot.version
        self.rollout = snapshot.rollout

    def assign(self, traffic: RouteTraffic, release: ReleaseId, *, pinned: bool) -> None:
        """Note the release that serves it, with the weight that was in force; from now on this is its time."""
        self.at_s = self.clock.now_s()
        self.release = release
        self.is_candidate = release == traffic.candidate
        self.candidate_weight = traffic.candidate_weight
        if pinned:
            self.rollout = None
            self.note(PINNED)

    def ask(self, question: str) -> None:
        """Keep a keyed hash of what was asked, so that equal questions can be found without their text."""
        key = self.settings.question_hash_key
        if key and question:
            asked = question.strip().encode("utf-8", "surrogatepass")
            self.question_hash = hashlib.blake2b(asked, digest_size=16, key=key).hexdigest()

    def note(self, event: str) -> None:
        """Add an event once."""
        if event not in self.events:
            self.events.append(event)

    def first_token(self) -> None:
        """Take the time to the first token, once."""
        if self.ttft_ms is None:
            self.ttft_ms = self._elapsed_ms()

    def blame(self, refusal: RefusedError) -> None:
        """Note why the request fails; what an analysis counts against the release becomes an event."""
        self.error_type = refusal.code
        if refusal.status == _TIMEOUT_STATUS:
            self.note(events.TIMEOUT)
        elif refusal.status >= _SERVER_ERROR and refusal.code not in _BLAMELESS:
            self.note(events.ERROR)

    def commit(self, status: int, sink: RecordSink) -> None:
        """Make the record and write it, once; without a release it is made for the log alone.

        Raises:
            StoreError: it cannot be written, so the answer must not be acknowledged.
        """
        if self.record is not None:
            return
        if self.usage.estimated:
            self.note(USAGE_ESTIMATED)
        record = self._made(status)
        if self.release:
            sink.append(record)
        self.record = record

    def unwritten(self, status: int) -> ServedRequest:
        """Return the record for log and metrics when it could not be written."""
        return self.record or self._made(status)

    def _elapsed_ms(self) -> float:
        return (self.clock.monotonic_s() - self.started_s) * 1000.0

    def _made(self, status: int) -> ServedRequest:
        key = self.caller.key if self.caller else None
        return ServedRequest(
            id=self.id,
            at_s=self.at_s,
            environment=self.environment,
            route=self.route,
            release=self.release,
            is_candidate=self.is_candidate,
            candidate_weight=self.candidate_weight,
            rollout=self.rollout,
            snapshot_version=self.snapshot_version,
            conversation=self.conversation.id if self.conversation else "",
            conversation_source=self.conversation.source if self.conversation else "",
            tenant=key.tenant if key else "",
            key_id=key.key_id if key else "",
            status=status,
            latency_ms=self._elapsed_ms(),
            ttft_ms=self.ttft_ms,
            stream=self.stream,
            model=self.model,
            prompt_version=self.prompt_version,
            tokens_in=self.usage.uncached,
            tokens_cache_read=self.usage.cache_read,
            tokens_out=self.usage.output,
            cost_usd=self.usage.cost_usd(self.settings.prices.get(self.model)),
            events=tuple(self.events),
            error_type=self.error_type,
            retrieval_count=self.retrieval_count,
            documents=self.documents,
            question_hash=self.question_hash,
            worker=self.settings.worker,
        )
