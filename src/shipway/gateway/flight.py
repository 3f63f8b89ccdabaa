"""One request on the short way, from the moment it was written to the engine; `gateway.lane` makes one for each.

It ends in `answered`, in the callback that brought the whole reply, or it hands itself over to the long way with what
was reserved, chosen and sent for it. Nothing in between is a task, so nothing has to be woken.
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
from shipway.gateway.lane_route import Arm, LaneTools
from shipway.gateway.model import Usage
from shipway.gateway.ports import Begun, ReadyConnection
from shipway.gateway.quota import nano_usd
from shipway.gateway.relay import estimated_tokens, is_no_answer, usage_or_estimate
from shipway.gateway.serving import Applied
from shipway.gateway.validate import ModelCall
from shipway.telemetry.tracing import RequestTrace

_OK = 200
_ESTIMATED = (USAGE_ESTIMATED,)


class LaneClient(Protocol):
    """The client's connection."""

    def before_sending(self, work: Callable[[], None]) -> None:
        """Do some work at the end of this turn of the loop, before anything is sent."""
        ...

    def answer(self, headers: bytes, body: bytes) -> None:
        """Send a whole 200 reply; `headers` are whole lines."""
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

    # What the engine's connection tells.

    def answered(self, raw: bytes) -> bool:
        """Take a whole 200 reply, which ends the request; False when the reply has to be read the long way."""
        if len(raw) > self.tools.settings.max_reply_bytes:
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
        try:
            record = self._recorded(usage_or_estimate(reply, self.call))
        except Exception as error:  # noqa: BLE001 - nobody stands above a callback; the long way says what failed
            self.unrecorded(error)
            return True
        self.is_landing = True
        if tools.desk.put(self, record, raw):
            self.client.before_sending(tools.desk.commit)
        return True

    def acknowledged(self, record: ServedRequest, reply: bytes) -> None:
        """Answer: the record is written."""
        tools, arm = self.tools, self.arm
        tools.leave(arm.loaded)
        self.client.answer(arm.stamp(self.id), reply)
        tools.publish(record, self.question, self.trace)

    def unrecorded(self, error: Exception) -> None:
        """Let the long way say that the record cannot be written."""
        self.is_landing = False
        self.failure = error
        self.client.resume(self)

    def unusual(self) -> None:
        """Go the long way: the reply is no whole 200, or the connection broke."""
        self.tools.watch.discard(self)
        self.client.resume(self)

    def expire(self) -> None:
        """Go the long way, which says that the time is over; the watch calls it."""
        if self.connection is not None:
            self.connection.detach()
        self.client.resume(self)

    # What the client's connection tells.

    def end(self, *, gone: bool) -> None:
        """End the engine's work: the client left, or the worker stops."""
        if self.is_landing:
            # It is served and about to be recorded as that.
            return
        self.tools.watch.discard(self)
        account = self.account()
        if self.connection is not None:
            self.connection.detach()
            self.connection.abort()
            self.arm.breaker.abandoned(self.generation)
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
            account.begun = Begun(self.connection, arm.engine, self.generation)
        account.usage = self.usage or account.usage
        return account

    def admitted(self) -> Admitted:
        """Return its release and its place at work; from now on the long way gives them back."""
        self.is_handed_over = True
        arm = self.arm
        return Admitted(
            self.caller, arm.traffic, arm.release, arm.runtime, self.tools.places, arm.loaded, self.state.flags
        )

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
            None,
            False,  # noqa: FBT003 - by place, which takes half the time of names
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
