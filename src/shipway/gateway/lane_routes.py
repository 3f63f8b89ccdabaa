"""Which routes have a short way, for whom, and over which engine; `gateway.lane` asks for each request.

A route has none while anything is in force for it that takes more than one engine's answer: a switch, a cache, a
memory, a shadow, replicas, an escalation, a prompt chosen by rule, a breaker that is not closed - or while it is parked
or divides the callers of some segments alone.
"""

import sys
from collections.abc import Mapping
from typing import Any

from shipway.core.ids import ReleaseId
from shipway.gateway.admission import Admission
from shipway.gateway.attempts import EngineCalls
from shipway.gateway.auth import INVOKE, Caller
from shipway.gateway.conversation import Conversation
from shipway.gateway.kept import Kept
from shipway.gateway.lane_route import Arm, LaneRoute, LaneRules
from shipway.gateway.ports import ChatRoute, DirectEngines
from shipway.gateway.quota import Excess, LimitsLostError
from shipway.gateway.quota_book import HostLimits, QuotaBook
from shipway.gateway.relay import engine_address, engine_headers, splice
from shipway.gateway.replies import EVENT_STREAM, JSON_TYPE
from shipway.gateway.routed import MODEL_HEADER, Dispatch, pause_key
from shipway.gateway.routing import Choice, Facts
from shipway.gateway.serving import Applied, LoadedRelease, Serving
from shipway.gateway.validate import ModelCall, last_user_text

_MOST_ROUTES = 20_000
"""Beyond this all are worked out anew."""


class LaneRoutes:
    """The routes of the present snapshot."""

    def __init__(
        self,
        serving: Serving,
        admission: Admission,
        calls: EngineCalls,
        dispatch: Dispatch,
        engines: DirectEngines,
        *,
        kept: Kept,
    ) -> None:
        self._serving = serving
        self._admission = admission
        self._calls = calls
        self._dispatch = dispatch
        self._engines = engines
        self._kept = kept
        self._settings = admission.settings
        self._quotas: QuotaBook | None = admission.quotas
        limits: object = self._quotas.limits if self._quotas is not None else None
        self._reserve = limits.reserve_now if isinstance(limits, HostLimits) else None
        self._state: Applied | None = None
        self.era = object()
        """Another one for each state."""
        self._routes: dict[tuple[str, str, str], LaneRoute | None] = {}

    def state(self) -> Applied | None:
        """Return what is served now, None while operators have switched something."""
        state = self._serving.current
        if state is not self._state:
            self._state = state
            self.era = object()
            self._routes = {}
        return None if state is None or state.board is not None else state

    def of(self, caller: Caller, call: ModelCall) -> LaneRoute | None:
        """Return a route as a key may use it, None when it has no short way."""
        key = (caller.key.key_id, call.route, call.endpoint)
        try:
            return self._routes[key]
        except KeyError:
            pass
        state = self._state
        if state is None or call.route not in state.routes:
            return None
        if len(self._routes) >= _MOST_ROUTES:
            self._routes.clear()
        found = self._routes[key] = self._route(state, caller, call.route)
        return found

    def arm(self, route: LaneRoute, call: ModelCall, conversation: Conversation) -> Arm | None:
        """Return the engine that serves a request, None when the long way has to find it."""
        traffic = route.traffic
        release = traffic.stable if traffic.candidate is None else traffic.assign(conversation.id)[0]
        if release in route.rules:
            rules = route.rules[release]
        else:
            rules = route.rules[release] = self._rules(route, release)
        alias = ""
        if rules is not None:
            alias = rules.sure
            if call.input_chars >= rules.sure_chars:
                found = self._ruled(rules, route, call, conversation)
                if found is None:
                    return None
                alias = found
        key = (release, alias, call.stream)
        if key not in route.arms:
            route.arms[key] = self._arm(route, release, alias, call)
        arm = route.arms[key]
        if arm is None or arm.breaker.state or self._dispatch.is_cooling(arm.pause_key):
            return None
        return arm

    def reserved(self, route: LaneRoute, body: Mapping[str, Any], size_bytes: int) -> Any:
        """Take a request out of its caller's limits; None when it may not pass, which the long way explains."""
        quota, demand, quotas = route.quota, route.demand, self._quotas
        if quota is None or quotas is None or self._reserve is None or quotas.is_stopped(route.key.key_id):
            return None
        tokens, nano_usd = demand.of(body, size_bytes) if demand is not None else (0, 0)
        try:
            found = self._reserve(quota.prepared, tokens, nano_usd)
        except LimitsLostError:
            return None
        return None if found.__class__ is Excess else found

    def _route(self, state: Applied, caller: Caller, name: str) -> LaneRoute | None:
        traffic = state.routes[name]
        if INVOKE not in caller.key.roles or not caller.may_use(traffic.route):
            return None
        if not traffic.is_plain or self._dispatch.may_hedge or self._kept.concerns(name):
            return None
        quotas = self._quotas
        if quotas is None:
            return LaneRoute(traffic, caller.key, None, None)
        if quotas.headers_on_all or self._reserve is None:
            return None
        try:
            quota = quotas.of(caller.key)
        except LimitsLostError:
            return None
        demand = self._admission.demand(quotas, name) if quota.is_metered else None
        return LaneRoute(traffic, caller.key, quota, demand)

    def _loaded(self, route: LaneRoute, release: ReleaseId) -> tuple[LoadedRelease, ChatRoute] | None:
        loaded = self._state.releases.get(release) if self._state is not None else None
        runtime = loaded.runtime.routes.get(route.traffic.route) if loaded is not None else None
        return (loaded, runtime) if loaded is not None and isinstance(runtime, ChatRoute) else None

    def _rules(self, route: LaneRoute, release: ReleaseId) -> LaneRules | None:
        """Return how a release chooses a route's model; None where it serves by its own alone."""
        found = self._loaded(route, release)
        plan = found[1].plan if found is not None else None
        if plan is None or plan.is_fixed:
            return None
        if plan.table is None:
            return LaneRules(sys.maxsize, plan.own, None)
        table = plan.table.for_tenant(route.key.tenant)
        sure_chars, sure = table.sure_default() or (0, "")
        return LaneRules(sure_chars, sure, table)

    def _ruled(self, rules: LaneRules, route: LaneRoute, call: ModelCall, conversation: Conversation) -> str | None:
        """Return the alias that rules choose; None when they look at what a lane does not know, or choose a prompt."""
        table = rules.table
        if table is None or any(rule.headers or rule.flag is not None for rule in table.rules):
            return None
        facts = Facts(
            route=call.route,
            chars=call.input_chars,
            tenant=route.key.tenant,
            conversation=conversation.id,
            header=_unknown,
            text=lambda: last_user_text(call.body),
            flag=_unknown,
        )
        choice = table.choose(facts)
        return choice.alias if choice.prompt is None else None

    def _arm(self, route: LaneRoute, release: ReleaseId, alias: str, call: ModelCall) -> Arm | None:
        found = self._loaded(route, release)
        if found is None:
            return None
        loaded, runtime = found
        target: Any = runtime
        if alias and runtime.plan is not None:
            chain = runtime.plan.chain(Choice(alias), None)
            target = runtime.plan.targets.get(alias)
            if alias in runtime.plan.escalate or chain[:1] != (alias,):
                return None
        if not isinstance(target, ChatRoute) or target.replicas:
            return None
        settings = self._settings
        limits, is_stream = target.limits, call.stream
        whole_s = settings.stream_deadline_s if is_stream else settings.llm_deadline_s
        deadline_s = limits.deadline_s or whole_s
        if alias:
            # All models together have the time that one would have.
            deadline_s = min(deadline_s, whole_s)
        headers = engine_headers(target, release, deadline_s, "text/event-stream" if is_stream else JSON_TYPE[1])
        head, take = self._engines.ready(engine_address(target, call.endpoint), headers)
        stamps = [("x-shipway-release", str(release)), ("x-shipway-route", call.route)]
        if alias:
            stamps.append((MODEL_HEADER, alias))
        kind = EVENT_STREAM if is_stream else (JSON_TYPE,)
        lines = "".join(f"{name}: {value}\r\n" for name, value in (*stamps, *kind))
        return Arm(
            traffic=route.traffic,
            release=release,
            loaded=loaded,
            runtime=runtime,
            route=target,
            engine=target.engine_base_url,
            pause_key=pause_key(target),
            breaker=self._calls.breaker(target.engine_base_url, release),
            price=settings.prices.get(target.upstream_model),
            deadline_s=deadline_s,
            first_s=min(deadline_s, limits.first_token_s or settings.first_token_s) if is_stream else deadline_s,
            idle_s=limits.stream_idle_s or settings.stream_idle_s,
            is_stream=is_stream,
            max_chars=limits.max_input_chars or settings.max_input_chars,
            head=head,
            take=take,
            stamps=tuple(stamps),
            stamped=lines.encode("latin-1", "replace"),
            splice=splice(target, call.endpoint, call.route),
            is_candidate=release == route.traffic.candidate,
        )


def _unknown(*_asked: object) -> None:
    """Know nothing: rules that look at headers or flags are not asked here."""
