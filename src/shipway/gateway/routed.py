"""Who serves a model request: the route's rules, what operators switched, and who is asked next when an engine fails.

`gateway.model_api` hands every request of kind chat or rag over after it was admitted. Where a route has one model and
no switch is in force, this is one comparison and the relay. Else the chain of models is asked in turn, each only before
the first byte was sent; an engine that asked for a pause gets it, and a pause is never shortened.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import orjson

from shipway.core.clock import Clock
from shipway.core.errors import UnavailableError
from shipway.gateway.accounting import Account
from shipway.gateway.admission import Admitted
from shipway.gateway.exchange import Exchange
from shipway.gateway.hedging import Hedge, can_be_hedged
from shipway.gateway.model import GatewaySettings
from shipway.gateway.patience import TIMEOUT_HEADER, asked_timeout_s
from shipway.gateway.pauses import Pauses
from shipway.gateway.ports import AnswerRoute, ChatRoute, RecordSink
from shipway.gateway.relay import ChatRelay
from shipway.gateway.replay import streamed, with_logprobs, without_logprobs
from shipway.gateway.replicas import Replica, ReplicaSet, prefix_key
from shipway.gateway.replies import EVENT_STREAM, JSON_TYPE, RefusedError, retry_after
from shipway.gateway.route_plan import LOCK, Escalated, RoutePlan
from shipway.gateway.routing import Choice, Facts
from shipway.gateway.stream import DONE_EVENT
from shipway.gateway.switchboard import Orders, without_tools
from shipway.gateway.uncertainty import uncertainty
from shipway.gateway.validate import Endpoint, ModelCall, last_user_text

MODEL_FALLBACK = "model_fallback"
"""Another model than the chosen one was asked, because the chosen one could not answer."""
ESCALATED = "escalated"
"""The small model's answer was too uncertain; a larger one gave the answer instead."""
MODEL_HEADER = "x-shipway-model"

_OK = 200
_TOO_MANY = 429
_BUSY = "upstream_503"
_SERVER_ERROR = 500
_CHARS_PER_TOKEN = 4
_REPLICAS_ASKED = 3
_COOL_WITHOUT_WORD_S = 1.0
_COOL_AT_MOST_S = 300.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Leg:
    """One try: who is asked, under which alias, on which replica."""

    alias: str
    route: Any
    engine: str
    replica: Replica | None = None


class Dispatch:
    """Finds who serves a request and asks them in turn."""

    def __init__(self, relay: ChatRelay, records: RecordSink, settings: GatewaySettings) -> None:
        self._calls = relay.calls
        self._relay = relay
        self._records = records
        self._clock: Clock = relay.calls.clock
        self._deadline_s = settings.llm_deadline_s
        self._stream_deadline_s = settings.stream_deadline_s
        self._hedge = Hedge(self._clock, settings.hedge_share, self._calls.hedges) if settings.hedge_share else None
        self._hedge_tokens = settings.hedge_max_tokens
        self._sets: dict[tuple[str, ...], ReplicaSet] = {}
        self._pauses = Pauses(self._clock)

    def inherit(self, before: "Dispatch") -> None:
        """Go on with the replicas' load, the engines' pauses and the answer times that another dispatch knows."""
        self._sets, self._pauses = before._sets, before._pauses  # noqa: SLF001 - of its own kind
        if self._hedge is not None and before._hedge is not None:  # noqa: SLF001
            self._hedge.inherit(before._hedge)  # noqa: SLF001

    @property
    def may_hedge(self) -> bool:
        """Return whether short calls are made twice when they take long."""
        return self._hedge is not None

    def is_cooling(self, engine: str) -> bool:
        """Return whether some release leaves an engine alone now; whoever serves without asking here must not then."""
        return self._pauses.concerns(engine)

    async def chat(self, exchange: Exchange, account: Account, call: ModelCall, admitted: Admitted) -> None:
        """Serve a chat, completion or embedding request."""
        route = admitted.runtime
        assert isinstance(route, ChatRoute)  # noqa: S101 - the caller has looked
        account.stream = call.stream
        self._bound(exchange, account)
        if admitted.orders is None and (route.plan is None or route.plan.is_fixed) and self._hedge is None:
            await self._alone(route, lambda: self._relay.serve(exchange, account, call, route))
            return
        call, choice = self._decided(exchange, account, call, admitted, route.plan)
        escalated = self._escalation(call, choice, route.plan)
        if escalated is not None and await self._answered_small(exchange, account, call, admitted, choice):
            return
        if escalated is not None:
            choice = Choice(escalated.to, choice.prompt, choice.rule)
        legs = self._legs(call, admitted, choice, route)

        async def serve(target: ChatRoute) -> None:
            if self._hedge is None or not can_be_hedged(call, target, self._hedge_tokens):
                await self._relay.serve(exchange, account, call, target)
                return
            raw, _ = await self._hedge.first(lambda: self._relay.ask(account, call, target))
            account.commit(_OK, self._records)
            exchange.reply(_OK, (JSON_TYPE,), raw)

        await self._through(exchange, account, legs, serve)

    async def go_on(self, exchange: Exchange, account: Account, call: ModelCall, route: ChatRoute) -> None:
        """Go on with a stream of which the client has the beginning: nobody else is asked any more."""
        await self._relay.serve(exchange, account, call, route)

    async def ask(
        self, exchange: Exchange, account: Account, call: ModelCall, admitted: Admitted
    ) -> tuple[bytes, dict[str, Any]]:
        """Return a whole reply of a chat route, for `/generate`."""
        route = admitted.runtime
        assert isinstance(route, ChatRoute)  # noqa: S101 - the caller has looked
        self._bound(exchange, account)
        if admitted.orders is None and (route.plan is None or route.plan.is_fixed):
            return await self._alone(route, lambda: self._relay.ask(account, call, route))
        call, choice = self._decided(exchange, account, call, admitted, route.plan)
        escalated = self._escalation(call, choice, route.plan)
        if escalated is not None:
            reply = await self._small(exchange, account, call, admitted, choice)
            if reply is not None:
                return orjson.dumps(reply), reply
            choice = Choice(escalated.to, choice.prompt, choice.rule)
        legs = self._legs(call, admitted, choice, route)
        return await self._through(exchange, account, legs, lambda target: self._relay.ask(account, call, target))

    async def answer(
        self,
        exchange: Exchange,
        account: Account,
        call: ModelCall,
        admitted: Admitted,
        act: Callable[[AnswerRoute], Awaitable[Result]],
    ) -> Result:
        """Serve a request of a route that answers from documents: `act` asks one of its models."""
        route = admitted.runtime
        assert isinstance(route, AnswerRoute)  # noqa: S101 - the caller has looked
        self._bound(exchange, account)
        if admitted.orders is None and (route.plan is None or route.plan.is_fixed):
            return await act(route)
        _, choice = self._decided(exchange, account, call, admitted, route.plan)
        return await self._through(exchange, account, self._legs(call, admitted, choice, route), act)

    # Deciding.

    def _bound(self, exchange: Exchange, account: Account) -> None:
        """Take the caller's own deadline, when it sent one."""
        asked_s = asked_timeout_s(exchange.headers.get(TIMEOUT_HEADER))
        if asked_s is not None:
            account.ends_s = account.started_s - account.parked_s + asked_s

    def _decided(
        self, exchange: Exchange, account: Account, call: ModelCall, admitted: Admitted, plan: RoutePlan | None
    ) -> tuple[ModelCall, Choice]:
        orders = admitted.orders
        if orders is not None:
            call = _obeying(call, orders)
        if plan is None:
            return call, Choice("")
        now_s = self._clock.now_s()
        facts = Facts(
            route=call.route,
            chars=call.input_chars,
            tenant=admitted.caller.key.tenant,
            conversation=account.conversation.id if account.conversation else account.id,
            header=exchange.headers.get,
            text=lambda: last_user_text(call.body),
            flag=lambda name, context: admitted.flags.value(name, context, now_s=now_s),
        )
        return call, plan.choose(facts, orders)

    def _legs(
        self, call: ModelCall, admitted: Admitted, choice: Choice, route: ChatRoute | AnswerRoute
    ) -> Iterator[Leg]:
        """Yield who is asked in turn; a model with replicas is asked on several."""
        plan, orders = route.plan, admitted.orders
        if plan is None:
            yield Leg("", _adapted(route, None, choice, orders), _engine(route))
            return
        chain = plan.chain(choice, orders)
        if not chain:
            message = f"no model may serve {call.route!r} now: switched off, or not in this release; try again later"
            raise RefusedError(503, message, code="model_switched_off", retry_after=retry_after(5.0))
        for alias in chain:
            target = _adapted(plan.targets[alias], plan, choice, orders)
            if isinstance(target, ChatRoute) and target.replicas:
                yield from self._replica_legs(call, admitted.release, alias, target)
            else:
                yield Leg(alias, target, _engine(target))

    def _replica_legs(self, call: ModelCall, release: str, alias: str, target: ChatRoute) -> Iterator[Leg]:
        found = self._sets.get(target.replicas)
        if found is None:
            affinity = target.affinity_chars > 0
            found = self._sets[target.replicas] = ReplicaSet(target.replicas, self._calls.uniform, affinity=affinity)
        key = prefix_key(call.body, target.prefix_messages, target.affinity_chars) if target.affinity_chars else b""
        tried: list[str] = []
        for number in range(min(_REPLICAS_ASKED, len(found.replicas))):
            # Asking a replica after another one is a retry: it goes against the same budget.
            if number and not self._calls.may_retry(release):
                return
            replica = found.pick(partial(self._is_usable, release, target), key=key, tried=tried)
            if replica is None or replica.url in tried:
                return
            tried.append(replica.url)
            asked = replace(target, engine_base_url=replica.url, replayable=False)
            yield Leg(alias, asked, pause_key(asked), replica)

    def _is_usable(self, release: str, target: ChatRoute, replica: Replica) -> bool:
        resting = self._calls.breaker(replica.url, release).is_resting
        key = pause_key(replace(target, engine_base_url=replica.url))
        return not resting and not self._pauses.left_s(key, release)

    # Asking.

    async def _through(
        self,
        exchange: Exchange,
        account: Account,
        legs: Iterator[Leg],
        act: Callable[[Any], Awaitable[Result]],
    ) -> Result:
        if not account.ends_s:
            # All models together have the time that one would have.
            whole_s = self._stream_deadline_s if account.stream else self._deadline_s
            account.ends_s = self._clock.monotonic_s() + whole_s - account.spent_s
        failure: Exception | None = None
        for leg in legs:
            pause_s = self._pauses.left_s(leg.engine, account.release)
            if pause_s and account.begun is None:
                failure = failure or _cooling(pause_s)
                continue
            if failure is not None:
                account.note(MODEL_FALLBACK)
            if leg.alias:
                _stamp(exchange, leg.alias)
            try:
                return await self._on(leg, act)
            except (UnavailableError, RefusedError) as error:
                self._cool(leg.engine, account.release, error)
                if exchange.started or account.record is not None or not passes_on(error):
                    raise
                failure = error
        raise failure or _resting()

    async def _alone(self, route: ChatRoute, act: Callable[[], Awaitable[Result]]) -> Result:
        """Ask the only engine of a route, unless it asked to be left alone."""
        engine = pause_key(route)
        pause_s = self._pauses.told_left_s(engine)
        if pause_s:
            raise _cooling(pause_s)
        try:
            return await act()
        except RefusedError as error:
            # Without a time there is nobody to ask instead, and nothing to wait for.
            if error.retry_after:
                self._cool(engine, "", error)
            raise

    @staticmethod
    async def _on(leg: Leg, act: Callable[[Any], Awaitable[Result]]) -> Result:
        if leg.replica is None:
            return await act(leg.route)
        leg.replica.in_flight += 1
        try:
            return await act(leg.route)
        finally:
            leg.replica.in_flight -= 1

    def _cool(self, engine: str, release: str, error: Exception) -> None:
        """Leave an engine alone that said so: everybody for a time that it named, else the release that it refused."""
        if not isinstance(error, RefusedError):
            return
        asked = error.retry_after or ""
        if error.status != _TOO_MANY and not (error.code == _BUSY and asked.isdigit()):
            return
        if asked:
            pause_s = min(float(asked), _COOL_AT_MOST_S) if asked.isdigit() else _COOL_WITHOUT_WORD_S
            self._pauses.told(engine, pause_s)
        else:
            self._pauses.guessed(engine, release, _COOL_WITHOUT_WORD_S)

    # Escalating.

    @staticmethod
    def _escalation(call: ModelCall, choice: Choice, plan: RoutePlan | None) -> Escalated | None:
        """Return who a request may escalate to; several answers at once have no uncertainty of their own."""
        if plan is None or call.endpoint is not Endpoint.CHAT or choice.rule == LOCK or (call.body.get("n") or 1) != 1:
            return None
        return plan.escalate.get(choice.alias)

    async def _answered_small(
        self, exchange: Exchange, account: Account, call: ModelCall, admitted: Admitted, choice: Choice
    ) -> bool:
        """Return whether the small model answered well enough; its answer has been sent then."""
        reply = await self._small(exchange, account, call, admitted, choice)
        if reply is None:
            return False
        if not call.stream:
            account.commit(_OK, self._records)
            exchange.reply(_OK, (JSON_TYPE,), orjson.dumps(reply))
            return True
        account.stream = True
        account.first_token()
        exchange.start(_OK, EVENT_STREAM)
        await exchange.write(streamed(reply, wants_usage=call.wants_usage))
        account.commit(_OK, self._records)
        exchange.finish(DONE_EVENT)
        return True

    async def _small(
        self, exchange: Exchange, account: Account, call: ModelCall, admitted: Admitted, choice: Choice
    ) -> dict[str, Any] | None:
        """Return the small model's reply, None when it is too uncertain or there is none; both are charged."""
        route = admitted.runtime
        plan = route.plan if isinstance(route, ChatRoute) else None
        if plan is None or choice.alias not in plan.escalate or choice.alias not in plan.chain(choice, admitted.orders):
            return None
        rule = plan.escalate[choice.alias]
        asked = with_logprobs(call) if rule.logprobs else replace(call, stream=False, wants_usage=False)
        target = _adapted(plan.targets[choice.alias], plan, choice, admitted.orders)
        legs = (
            self._replica_legs(call, admitted.release, choice.alias, target)
            if target.replicas
            else iter((Leg(choice.alias, target, pause_key(target)),))
        )
        try:
            _, reply = await self._through(exchange, account, legs, lambda each: self._relay.ask(account, asked, each))
        except (UnavailableError, RefusedError) as error:
            if not passes_on(error):
                raise
            account.note(MODEL_FALLBACK)
            return None
        if uncertainty(reply) <= rule.above:
            return reply if call.body.get("logprobs") else without_logprobs(reply)
        account.note(ESCALATED)
        account.also_charge()
        return None


def pause_key(route: ChatRoute) -> str:
    """Return what a pause is for: one model of an engine for one account, because providers limit each by itself.

    Of the account's key there is the hash alone, another one in each process.
    """
    return f"{route.engine_base_url} {route.upstream_model} {hash(route.api_key)}"


def passes_on(error: Exception) -> bool:
    """Return whether another engine may do better: an outage, a timeout, a 429 or 5xx, but never a bad request."""
    if isinstance(error, RefusedError):
        return error.status == _TOO_MANY or error.status >= _SERVER_ERROR
    return isinstance(error, UnavailableError)


def _obeying(call: ModelCall, orders: Orders) -> ModelCall:
    """Return a call as the switches allow it.

    Raises:
        RefusedError: 503, its prompt is too long at the moment, or it forces a tool that is switched off.
    """
    tokens = -(-call.input_chars // _CHARS_PER_TOKEN)
    if orders.drain_tokens is not None and tokens > orders.drain_tokens:
        message = (
            f"prompts of more than {orders.drain_tokens} tokens are not taken at the moment, this has about {tokens};"
            " send less or try again later"
        )
        raise RefusedError(503, message, code="long_prompts_drained", retry_after=retry_after(30.0))
    if not orders.touches_tools:
        return call
    body, forced = without_tools(call.body, orders)
    if forced is not None:
        message = f"the tool {forced[:100]!r} is switched off by the operator"
        raise RefusedError(503, message, code="tool_switched_off", param="tool_choice", retry_after=retry_after(30.0))
    return replace(call, body=body)


def _adapted(target: Any, plan: RoutePlan | None, choice: Choice, orders: Orders | None) -> Any:
    """Return a target with the chosen prompt and within what operators allow."""
    if not isinstance(target, ChatRoute):
        return target
    if plan is not None and choice.prompt is not None and choice.prompt in plan.prompts:
        prompt = plan.prompts[choice.prompt]
        target = replace(target, prefix_messages=prompt.messages, prompt_version=prompt.version)
    if orders is None:
        return target
    if orders.max_new is not None:
        own = target.limits.max_output_tokens
        least = orders.max_new if own is None else min(own, orders.max_new)
        target = replace(target, limits=replace(target.limits, max_output_tokens=least))
    if orders.batch_window_ms is not None:
        hint = ("x-batch-window-ms", str(orders.batch_window_ms))
        target = replace(target, engine_headers=(*target.engine_headers, hint))
    return target


def _engine(target: ChatRoute | AnswerRoute) -> str:
    return pause_key(target) if isinstance(target, ChatRoute) else f"answerer:{id(target.answerer)}"


def _stamp(exchange: Exchange, alias: str) -> None:
    exchange.stamp[:] = [pair for pair in exchange.stamp if pair[0] != MODEL_HEADER]
    exchange.stamp.append((MODEL_HEADER, alias))


def _resting() -> RefusedError:
    message = "every engine of this model is left alone for a moment; try again"
    return RefusedError(503, message, code="engine_resting", retry_after=retry_after(1.0))


def _cooling(pause_s: float) -> RefusedError:
    message = "the engine asked to be left alone for a while; try again then"
    return RefusedError(_TOO_MANY, message, code="engine_cooling", retry_after=retry_after(pause_s))
