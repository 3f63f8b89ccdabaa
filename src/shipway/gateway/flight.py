"""One request on the short way, from the moment it was written to the engine; `gateway.lane` makes one for each.

It ends in `answered`, in the callback that brought the whole reply, or in `stopped`, in the one that brought a stream's
last event - or it hands itself over to the long way, with what was reserved, chosen, sent and passed on for it. Nothing
in between is a task, so nothing has to be woken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from shipway.core.record import ServedRequest
from shipway.gateway.accounting import USAGE_ESTIMATED, Account
from shipway.gateway.admission import Admitted
from shipway.gateway.auth import Caller
from shipway.gateway.conversation import Conversation
from shipway.gateway.exchange import Wire
from shipway.gateway.lane_route import Arm, LaneTools
from shipway.gateway.model import Usage
from shipway.gateway.passing import Passing
from shipway.gateway.patience import Patience
from shipway.gateway.ports import Begun, ReadyConnection
from shipway.gateway.quota import nano_usd
from shipway.gateway.relay import estimated_tokens, is_no_answer, usage_or_estimate
from shipway.gateway.serving import Applied
from shipway.gateway.stream import ChatStream
from shipway.gateway.validate import ModelCall
from shipway.telemetry.tracing import RequestTrace

_OK = 200
_EVENTS = "text/event-stream"
_ESTIMATED = (USAGE_ESTIMATED,)


class StreamWire(Wire, Protocol):
    """The client's side of a stream."""

    @property
    def has_begun(self) -> bool:
        """Return whether the head has been sent."""
        ...


class LaneClient(Protocol):
    """The client's connection."""

    def before_sending(self, work: Callable[[], None]) -> None:
        """Do some work at the end of this turn of the loop, before anything is sent."""
        ...

    def answer(self, headers: bytes, body: bytes) -> None:
        """Send a whole 200 reply; `headers` are whole lines."""
        ...

    def open(self, headers: bytes) -> StreamWire:
        """Return what a 200 stream is written to; `headers` are whole lines."""
        ...

    def close(self) -> None:
        """Take note that what was written to it is whole."""
        ...

    def resume(self, flight: "Flight") -> None:
        """Give the request to the long way, which begins with `flight`."""
        ...


@dataclass(slots=True, eq=False)
class Flight:
    """A request that an engine is answering, and what was decided about it before.

    `wake_s` is the loop's time at which its deadline is over, `generation` the breaker's when it was sent; `connection`
    is None once its reply has been taken, `failure` what went wrong after that. A flight `is_landing` while its record
    waits to be written.

    A reply that is a stream has a `stream` which `passing` passes on to `wire`, minded by `patience`.
    """

    tools: LaneTools
    arm: Arm
    client: LaneClient
    connection: ReadyConnection | None
    id: str
    at_s: float
    started_s: float
    wake_s: float
    state: Applied
    caller: Caller
    call: ModelCall
    conversation: Conversation
    question: str
    question_hash: str
    hold: Any
    trace: RequestTrace | None
    generation: int
    failure: Exception | None = None
    usage: Usage | None = None
    is_handed_over: bool = False
    is_landing: bool = False
    stream: ChatStream | None = None
    passing: Passing | None = None
    patience: Patience | None = None
    wire: StreamWire | None = None
    ttft_ms: float | None = None

    # What the engine's connection tells.

    def answered(self, raw: bytes) -> bool:
        """Take a whole 200 reply, which ends the request; False when the reply has to be read the long way."""
        if len(raw) > self.tools.settings.max_reply_bytes or self.arm.is_stream:
            return False
        try:
            reply = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return False
        if reply.__class__ is not dict or is_no_answer(reply):
            return False
        tools, arm = self.tools, self.arm
        tools.watch.discard(self)
        self.connection = None
        arm.breaker.succeeded(self.generation)
        self._land(usage_or_estimate(reply, self.call), raw)
        return True

    def flows(self, headers: tuple[tuple[str, str], ...]) -> Passing | None:
        """Begin to pass a 200 reply on; None when it is no stream of events."""
        kind = dict(headers).get("content-type", "")
        if not kind.lower().startswith(_EVENTS):
            return None
        tools, arm = self.tools, self.arm
        spent_s = tools.clock.monotonic_s() - self.started_s
        tools.watch.discard(self)
        self.patience = Patience(
            tools.watch, deadline_s=arm.deadline_s - spent_s, first_s=arm.first_s - spent_s, idle_s=arm.idle_s
        )
        self.patience.begin_without_task(self.expire)
        self.stream = ChatStream(keep_usage=self.call.wants_usage)
        self.wire = self.client.open(arm.stamp(self.id))
        self.passing = Passing(self.wire, self.stream, self.patience, tools.settings.max_reply_bytes, self._first_token)
        tools.calls.streams_open += 1
        return self.passing

    def stopped(self) -> None:
        """End the request when its stream is whole; whatever else stopped it is for the long way."""
        connection, stream = self.connection, self.stream
        if connection is None or stream is None or not stream.done:
            self.unusual()
            return
        self._unwatch()
        self.connection = None
        connection.leave()
        self.arm.breaker.succeeded(self.generation)
        self._land(self._streamed(stream), stream.last_words)

    def acknowledged(self, record: ServedRequest, reply: bytes) -> None:
        """Answer: the record is written."""
        tools, arm = self.tools, self.arm
        tools.leave(arm.loaded)
        if self.wire is None:
            self.client.answer(arm.stamp(self.id), reply)
        else:
            self.wire.finish(reply)
            self.client.close()
        tools.publish(record, self.question, self.trace)

    def unrecorded(self, error: Exception) -> None:
        """Let the long way say that the record cannot be written."""
        self.is_landing = False
        self.failure = error
        self.client.resume(self)

    def unusual(self) -> None:
        """Go the long way: the reply is no whole 200, or the connection broke."""
        self._unwatch()
        self.client.resume(self)

    def slow(self) -> None:
        """Go the long way, which waits for the client: it does not read what its stream brings."""
        if self.passing is not None and self.connection is not None:
            self.connection.detach()
            self.unusual()

    def expire(self) -> None:
        """Go the long way, which says that the time is over; the watch calls it."""
        if self.connection is not None:
            self.connection.detach()
            if self.patience is not None:
                # What the stream waited for is known here; the long way would wait for it anew.
                self.failure = self.patience.over()
                self._unwatch()
                self.connection.abort()
                self.connection = None
                self.arm.breaker.failed(self.generation)
        self.client.resume(self)

    # What the client's connection tells.

    def end(self, *, gone: bool) -> None:
        """End the engine's work: the client left, or the worker stops."""
        if self.is_landing:
            # It is served and about to be recorded as that.
            return
        self._unwatch()
        account = self.account()
        if self.connection is not None:
            self.connection.detach()
            self.connection.abort()
            if self.stream is None:
                self.arm.breaker.abandoned(self.generation)
            else:
                self.arm.breaker.succeeded(self.generation)
        self.tools.leave(self.arm.loaded)
        self.tools.ended(account, gone)

    # What the long way takes over.

    def account(self) -> Account:
        """Return the account of the request so far."""
        tools, arm = self.tools, self.arm
        account = Account(self.id, tools.clock, tools.settings, self.at_s, self.started_s)
        account.obey(self.state.served)
        account.caller, account.route, account.conversation = self.caller, self.call.route, self.conversation
        account.asked = self.call.body
        account.hold, account.limits = self.hold, tools.limits
        account.assign(arm.traffic, arm.release, pinned=False)
        account.model, account.prompt_version = arm.route.upstream_model, arm.route.prompt_version
        account.input_tokens = estimated_tokens(self.call.input_chars)
        account.question, account.question_hash = self.question, self.question_hash
        account.at_s, account.spent_s = self.at_s, tools.clock.monotonic_s() - self.started_s
        account.trace = self.trace
        if self.trace is not None:
            account.onward = self.trace.headers()
        if self.connection is not None:
            account.begun = Begun(self.connection, arm.engine, self.generation, self.stream)
        account.stream, account.ttft_ms = arm.is_stream, self.ttft_ms
        if self.stream is not None and self.usage is None:
            account.usage = self.stream.usage
        account.usage = self.usage or account.usage
        return account

    def admitted(self) -> Admitted:
        """Return its release and its place at work; from now on the long way gives them back."""
        self.is_handed_over = True
        arm = self.arm
        return Admitted(
            self.caller, arm.traffic, arm.release, arm.runtime, self.tools.places, arm.loaded, self.state.flags
        )

    def _first_token(self) -> None:
        self.ttft_ms = (self.tools.clock.monotonic_s() - self.started_s) * 1000.0

    def _streamed(self, stream: ChatStream) -> Usage:
        """Return what a stream has used; what the engine has read is estimated where it does not tell."""
        usage = stream.usage
        if not usage.estimated or usage.uncached or usage.cache_read or usage.cache_write:
            return usage
        asked = estimated_tokens(self.call.input_chars)
        return Usage(uncached=asked, output=usage.output, estimated=bool(asked))

    def _unwatch(self) -> None:
        """Stop to mind its time, and to pass on what its engine says."""
        self.tools.watch.discard(self)
        if self.patience is not None and self.passing is not None:
            self.patience.leave()
            self.passing.pass_over()
            self.patience = self.passing = None
            self.tools.calls.streams_open -= 1

    def _land(self, usage: Usage, reply: bytes) -> None:
        """Record the request, and answer when that is written."""
        tools = self.tools
        try:
            record = self._recorded(usage)
        except Exception as error:  # noqa: BLE001 - nobody stands above a callback; the long way says what failed
            self.unrecorded(error)
            return
        self.is_landing = True
        if tools.desk.put(self, record, reply):
            self.client.before_sending(tools.desk.commit)

    def _recorded(self, usage: Usage) -> ServedRequest:
        """Settle, and return the record; the reply must not leave before it is written."""
        tools, arm, key = self.tools, self.arm, self.caller.key
        self.usage = usage
        tokens_in = usage.uncached + usage.cache_write
        cost_usd = 0.0 if arm.price is None else usage.cost_usd(arm.price)
        hold, self.hold = self.hold, None
        if hold is not None and tools.limits is not None:
            tools.limits.settle(hold, tokens_in + usage.cache_read + usage.output, nano_usd(cost_usd))
        served = self.state.served
        return ServedRequest(
            self.id,
            self.at_s,
            served.environment,
            self.call.route,
            arm.release,
            arm.is_candidate,
            arm.traffic.candidate_weight,
            served.rollout,
            served.version,
            self.conversation.id,
            self.conversation.source,
            key.tenant,
            key.key_id,
            _OK,
            (tools.clock.monotonic_s() - self.started_s) * 1000.0,
            self.ttft_ms,
            arm.is_stream,
            arm.route.upstream_model,
            arm.route.prompt_version,
            tokens_in,
            usage.cache_read,
            usage.output,
            cost_usd,
            _ESTIMATED if usage.estimated else (),
            "",
            0,
            (),
            self.question_hash,
            tools.settings.worker,
        )  # fmt: skip
