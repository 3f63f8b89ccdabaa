"""The account of one request while it runs, and the record it becomes.

`gateway.app` opens one for each request; the handlers fill it and commit it before the final byte is sent.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from shipway.core import record as events
from shipway.core.clock import Clock
from shipway.core.errors import DeadlineError
from shipway.core.ids import ReleaseId
from shipway.core.record import ServedRequest
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.gateway.auth import Caller
from shipway.gateway.conversation import Conversation
from shipway.gateway.model import GatewaySettings, Usage
from shipway.gateway.ports import Begun, RecordSink
from shipway.gateway.quota import Limits, nano_usd
from shipway.gateway.replies import RefusedError
from shipway.telemetry.tracing import RequestTrace

PINNED = "pinned"
"""An operator chose the release by header; the record carries no rollout, so that no analysis counts it."""
USAGE_ESTIMATED = "usage_estimated"

CLIENT_GONE_STATUS = 499
_TIMEOUT_STATUS = 504
_SERVER_ERROR = 500
_ENGINE_IS_FULL = "engine_cooling"
_BLAMELESS = frozenset({"overloaded", "draining", "limits_unavailable", "route_parked"})


@dataclass(slots=True)
class Extras:
    """What few requests have: an answer given again, a shadow copy, a prompt that was cut."""

    cache_hit: str = ""
    tokens_saved: int = 0
    saved_usd: float = 0.0
    shadow_of: str = ""
    dropped_turns: int = 0
    dropped_passages: int = 0


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
    question: str = ""
    """Its text, where `settings.keep_question` says that the log line needs it."""
    trace: RequestTrace | None = None
    onward: tuple[tuple[str, str], ...] = ()
    """The trace headers for engines."""
    asked: Mapping[str, Any] | None = None
    limits: Limits | None = None
    hold: Any = None
    record: ServedRequest | None = None
    ends_s: float = 0.0
    """When the caller stops waiting (monotonic); 0 when it did not say."""
    also_cost_usd: float = 0.0
    """What an answer that was not used has cost."""
    extras: Extras | None = None
    stamp: list[tuple[str, str]] | None = None
    """The headers that the reply will carry, while there are none yet."""
    begun: Begun | None = None
    """Where the request was sent already, on the short way."""
    spent_s: float = 0.0
    """For how long it has been waited for there; part of what its engine has."""
    parked_s: float = 0.0
    """For how long it waited for its route; `started_s` is that much later than it came."""
    input_tokens: int = 0
    """About what the engine that was asked has read, for when it does not tell."""

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
        if self.settings.keep_question:
            self.question = question
        self.question_hash = question_hash(self.settings, question)

    def take_begun(self, engine: str) -> Begun | None:
        """Return where the request was sent already, once; a connection to another engine is cut."""
        begun, self.begun = self.begun, None
        self.spent_s = 0.0
        if begun is not None and begun.engine != engine:
            begun.connection.abort()
            return None
        return begun

    def note(self, event: str) -> None:
        """Add an event once."""
        if event not in self.events:
            self.events.append(event)

    def also_charge(self) -> None:
        """Keep what the answer so far has cost: another model gives the one that is sent."""
        self.also_cost_usd += self.usage.cost_usd(self.settings.prices.get(self.model))
        self.usage = Usage()

    def left_s(self, deadline_s: float) -> float:
        """Return the seconds that an engine has now: at most `deadline_s`, and not longer than the caller waits.

        Raises:
            DeadlineError: the caller does not wait any more.
        """
        if not self.ends_s:
            return deadline_s
        left_s = self.ends_s - self.clock.monotonic_s() + self.spent_s
        if left_s <= 0:
            raise DeadlineError("the caller's own deadline is over")
        return min(deadline_s, left_s)

    def extra(self) -> Extras:
        """Return the place for what few requests have."""
        if self.extras is None:
            self.extras = Extras()
        return self.extras

    def reuse(self, usage: Usage, cost_usd: float, how: str) -> None:
        """Note that the answer is one that was given before: it costs nothing, and what it cost then is saved."""
        extras = self.extra()
        extras.cache_hit, extras.saved_usd = how, cost_usd
        extras.tokens_saved = usage.uncached + usage.cache_read + usage.cache_write + usage.output
        self.usage = Usage()

    def say(self, name: str, value: str) -> None:
        """Send a header with the reply, if its head is still to come; the last word of a name counts."""
        if self.stamp is not None:
            self.stamp[:] = [(known, said) for known, said in self.stamp if known != name]
            self.stamp.append((name, value))

    def calling(self, engine_url: str) -> None:
        """Note that an engine is asked, for the trace if there is one."""
        trace = self.trace
        if trace is not None:
            trace.engine_url = engine_url
            if trace.engine_start_ms is None:
                trace.engine_start_ms = self._elapsed_ms()

    def answered_in(self, timings_ms: Mapping[str, float]) -> None:
        """Note the stages of an answer that has just come, for the trace if there is one."""
        if self.trace is not None:
            self.trace.take_timings(timings_ms, max(0.0, self._elapsed_ms() - timings_ms.get("total", 0.0)))

    def first_token(self) -> None:
        """Take the time to the first token, once."""
        if self.ttft_ms is None:
            self.ttft_ms = self._elapsed_ms()

    def blame(self, refusal: RefusedError) -> None:
        """Note why the request fails; what an analysis counts against the release becomes an event."""
        self.error_type = refusal.code
        if refusal.status == _TIMEOUT_STATUS:
            self.note(events.TIMEOUT)
        elif (refusal.status >= _SERVER_ERROR and refusal.code not in _BLAMELESS) or refusal.code == _ENGINE_IS_FULL:
            self.note(events.ERROR)

    def commit(self, status: int, sink: RecordSink) -> None:
        """Make the record and write it, once; without a release it is made for the log alone.

        Raises:
            StoreError: it cannot be written, so the answer must not be acknowledged.
        """
        if self.record is not None:
            return
        self._charge_input()
        if self.hold is not None:
            self.settle()
        if self.usage.estimated:
            self.note(USAGE_ESTIMATED)
        record = self._finished(status)
        if self.release:
            sink.append(record)
        self.record = record

    def _charge_input(self) -> None:
        """Charge what an engine has read that did not tell, also for a client that left before it could."""
        usage = self.usage
        untold = usage.estimated or (events.CLIENT_GONE in self.events and not usage.output)
        if untold and not (usage.uncached or usage.cache_read or usage.cache_write):
            self.usage = Usage(uncached=self.input_tokens, output=usage.output, estimated=bool(self.input_tokens))

    def settle(self) -> None:
        """Replace what was reserved for the request by what it used, once."""
        hold, self.hold = self.hold, None
        if hold is None or self.limits is None:
            return
        usage = self.usage
        tokens = usage.uncached + usage.cache_read + usage.cache_write + usage.output
        usd = self.also_cost_usd + usage.cost_usd(self.settings.prices.get(self.model))
        self.limits.settle(hold, tokens, nano_usd(usd))

    def give_back(self) -> None:
        """Give back what was reserved: the request is turned away before anything was done for it."""
        hold, self.hold = self.hold, None
        if hold is not None and self.limits is not None:
            self.limits.release(hold)

    def unwritten(self, status: int) -> ServedRequest:
        """Return the record for log and metrics when it could not be written."""
        return self.record or self._finished(status)

    def _elapsed_ms(self) -> float:
        return (self.clock.monotonic_s() - self.started_s) * 1000.0

    def _finished(self, status: int) -> ServedRequest:
        record = self._made(status)
        extras = self.extras
        if extras is not None:
            record.cache_hit, record.shadow_of = extras.cache_hit, extras.shadow_of
            record.tokens_saved, record.saved_usd = extras.tokens_saved, extras.saved_usd
            record.dropped_turns, record.dropped_passages = extras.dropped_turns, extras.dropped_passages
        return record

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
            tokens_in=self.usage.uncached + self.usage.cache_write,
            tokens_cache_read=self.usage.cache_read,
            tokens_out=self.usage.output,
            cost_usd=self.also_cost_usd + self.usage.cost_usd(self.settings.prices.get(self.model)),
            events=tuple(self.events),
            error_type=self.error_type,
            retrieval_count=self.retrieval_count,
            documents=self.documents,
            question_hash=self.question_hash,
            worker=self.settings.worker,
        )


def question_hash(settings: GatewaySettings, question: str) -> str:
    """Return the keyed hash of a question, empty without a key or a question."""
    key = settings.question_hash_key
    if not key or not question:
        return ""
    hashing = _keyed(key).copy()
    hashing.update(question.strip().encode("utf-8", "surrogatepass"))
    return hashing.hexdigest()


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> "hashlib.blake2b":
    """Return a hash that has read its key: a quarter of the work for a question."""
    return hashlib.blake2b(digest_size=16, key=key)
