"""What stands between a request and its release: key, rate, concurrency, choice of release.

Called by every handler that serves traffic. A request that is refused here has consumed nothing.
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from shipway.core.clock import Clock
from shipway.core.ids import ReleaseId
from shipway.core.snapshot import RouteTraffic
from shipway.gateway.accounting import Account
from shipway.gateway.auth import INVOKE, OPERATE, Caller, bearer_token
from shipway.gateway.conversation import Conversation
from shipway.gateway.demand import RouteDemand, route_demand
from shipway.gateway.exchange import Exchange
from shipway.gateway.flags import FlagSet
from shipway.gateway.model import GatewaySettings
from shipway.gateway.parking import PARKED
from shipway.gateway.patience import TIMEOUT_HEADER, asked_timeout_s
from shipway.gateway.places import Places
from shipway.gateway.ports import RecordSink, RouteRuntime
from shipway.gateway.quota import Excess, LimitsLostError
from shipway.gateway.quota_book import QuotaBook, refusal
from shipway.gateway.replies import RefusedError, retry_after
from shipway.gateway.serving import Applied, LoadedRelease, Serving
from shipway.gateway.switchboard import Orders, SwitchBoard
from shipway.gateway.tokens import TokenDesk

RELEASE_HEADER = "x-shipway-release"
# A person has to deploy first; asking each second would tell nobody anything new.
_RETRY_UNDEPLOYED = "10"
_RETRY_SWITCHED_OFF_S = 30.0
_CALLERS_FAULT = frozenset(range(400, 500)) - {429}


@dataclass(slots=True)
class Admitted:
    """A request that has its release and a place at work, until the block is left.

    `runtime` is the release's side of the route, `orders` what operators switched for it, None without a switch.
    """

    caller: Caller
    traffic: RouteTraffic
    release: ReleaseId
    runtime: RouteRuntime
    places: Places
    loaded: LoadedRelease
    flags: FlagSet
    orders: Orders | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loaded.leave()
        self.places.leave()


class Admission:
    """The checks of one worker; without `quotas` nobody is limited, without `tokens` keys alone open."""

    def __init__(
        self,
        serving: Serving,
        records: RecordSink,
        settings: GatewaySettings,
        clock: Clock,
        quotas: QuotaBook | None = None,
        tokens: TokenDesk | None = None,
    ) -> None:
        self._serving = serving
        self._records = records
        self.settings = settings
        self._clock = clock
        self.quotas = quotas
        self._tokens = tokens
        self._demands: dict[str, RouteDemand] = {}
        self._demands_of: Applied | None = None
        self.places = Places(active=settings.max_active, queued=settings.max_queued)

    def inherit(self, before: "Admission") -> None:
        """Go on with the places of the admission that this one replaces."""
        self.places = before.places
        self.places.resize(active=self.settings.max_active, queued=self.settings.max_queued)

    def caller(self, exchange: Exchange, account: Account) -> Caller:
        """Return who calls."""
        state = self.state()
        account.obey(state.served)
        try:
            authorization = exchange.headers.get("authorization")
            token = bearer_token(authorization) if self._tokens is not None else None
            if self._tokens is not None and token is not None:
                account.caller = self._tokens.caller(token, now_s=self._clock.now_s())
            else:
                account.caller = state.keys.caller(authorization, now_s=self._clock.now_s())
        except RefusedError:
            # Guessing keys is the one thing that callers without one can do; it is slowed down by address.
            excess = self.quotas.stranger(exchange.client_host) if self.quotas is not None else None
            if excess is not None:
                raise refusal(excess) from None
            raise
        excess = self.quotas.stopped(account.caller.key) if self.quotas is not None else None
        if excess is not None:
            raise refusal(excess)
        return account.caller

    def turned_away(self, exchange: Exchange, account: Account, because: RefusedError) -> RefusedError:
        """Count a request that is refused before it has a release; it consumed nothing, but many of them are a 429."""
        if self.quotas is None or account.caller is None or account.release or because.status not in _CALLERS_FAULT:
            return because
        excess = self.quotas.refused(account.caller.key, exchange.client_host)
        return because if excess is None else refusal(excess)

    def invoker(self, exchange: Exchange, account: Account) -> Caller:
        """Return who calls, with the right to use models."""
        caller = self.caller(exchange, account)
        caller.require(INVOKE)
        if not self.state().served.routes:
            raise nothing_deployed()
        return caller

    async def admit(
        self, exchange: Exchange, account: Account, caller: Caller, route: str, conversation: Conversation
    ) -> Admitted:
        """Return the request with a place at work and the release that its conversation belongs to."""
        account.route = route
        account.conversation = conversation
        caller.require_route(known_route(self.state(), route).route)
        pinned = exchange.headers.get(RELEASE_HEADER)
        if pinned:
            caller.require(OPERATE)
        if self.quotas is None:
            return await self._placed(exchange, account, caller, pinned)
        await self._reserve(self.quotas, exchange, account, caller)
        try:
            return await self._placed(exchange, account, caller, pinned)
        except BaseException:
            # Nothing was done for it: a request that is refused has consumed nothing.
            account.give_back()
            raise

    async def _placed(self, exchange: Exchange, account: Account, caller: Caller, pinned: str | None) -> Admitted:
        has_parked = False
        while True:
            if not self.places.take():
                await self.places.wait(self.settings.deadline_s, has_waited=has_parked)
            try:
                if not self._records.has_room:
                    async with asyncio.timeout(self.settings.deadline_s):
                        await self._records.wait_for_room()
                # Chosen after the wait: who queued through a rollback must not meet the old candidate.
                admitted = self._assigned(exchange, account, caller, pinned)
            except BaseException:
                self.places.leave()
                raise
            if admitted is not None:
                return admitted
            self.places.leave()
            await self._park(exchange, account, has_parked=has_parked)
            has_parked = True

    async def _park(self, exchange: Exchange, account: Account, *, has_parked: bool) -> None:
        """Wait until something has changed; what the request does then is timed as if it had just come.

        Raises:
            RefusedError: 503, it has waited for as long as it may.
        """
        account.note(PARKED)
        asked_s = asked_timeout_s(exchange.headers.get(TIMEOUT_HEADER))
        most_s = self.settings.park_s if asked_s is None else min(asked_s, self.settings.park_s)
        since_s = self._clock.monotonic_s()
        lot = self._serving.parking
        await lot.wait(account.route, self.places, most_s - account.parked_s, has_waited=has_parked)
        waited_s = self._clock.monotonic_s() - since_s
        account.parked_s += waited_s
        account.started_s += waited_s

    async def _reserve(self, quotas: QuotaBook, exchange: Exchange, account: Account, caller: Caller) -> None:
        """Take the request out of all its caller's limits or none.

        Raises:
            RefusedError: 429, over a limit; 503, nobody can count now.
        """
        try:
            quota = quotas.of(caller.key)
            tokens = nano_usd = 0
            if quota.is_metered:
                tokens, nano_usd = self.demand(quotas, account.route).of(account.asked, exchange.body_bytes)
            found = await quotas.limits.reserve(quota.prepared, tokens, nano_usd)
        except LimitsLostError:
            message = "the limits cannot be counted now, so nothing is let in; try again"
            raise RefusedError(503, message, code="limits_unavailable", retry_after="1") from None
        if isinstance(found, Excess):
            exchange.stamp += await quotas.headers(quota)
            raise refusal(found)
        account.hold, account.limits = found, quotas.limits
        if quotas.headers_on_all:
            exchange.stamp += await quotas.headers(quota)

    def demand(self, quotas: QuotaBook, route: str) -> RouteDemand:
        """Return what a request on a route may use at most, by all releases that may serve it."""
        state = self.state()
        if self._demands_of is not state:
            self._demands, self._demands_of = {}, state
        demand = self._demands.get(route)
        if demand is None:
            loaded = (release.runtime.routes.get(route) for release in state.releases.values())
            demand = self._demands[route] = route_demand(
                [runtime for runtime in loaded if runtime is not None],
                self.settings.prices,
                max_prompt_tokens=quotas.rules.budgets.max_prompt,
            )
        return demand

    def _assigned(self, exchange: Exchange, account: Account, caller: Caller, pinned: str | None) -> Admitted | None:
        """Return the request with its release, None when its route is parked."""
        state = self.state()
        traffic = known_route(state, account.route)
        orders = None if state.board is None else self._orders(state.board, account.route)
        if traffic.parked:
            return None
        if traffic.segments:
            traffic = traffic.for_caller(caller.key)
        if pinned:
            release = _pinned(traffic, pinned)
        else:
            release = traffic.assign(account.conversation.id)[0] if account.conversation else traffic.stable
        account.obey(state.served)
        account.assign(traffic, release, pinned=bool(pinned))
        exchange.stamp += [("x-shipway-release", release), ("x-shipway-route", account.route)]
        loaded = state.releases[release]
        runtime = loaded.runtime.routes.get(account.route)
        if runtime is None:
            message = f"the release in force does not serve {account.route!r}"
            raise RefusedError(503, message, code="route_not_in_release")
        loaded.enter()
        return Admitted(caller, traffic, release, runtime, self.places, loaded, state.flags, orders)

    def _orders(self, board: SwitchBoard, route: str) -> Orders | None:
        """Return what operators switched for a route.

        Raises:
            RefusedError: 503, they switched it off.
        """
        now_s = self._clock.now_s()
        orders = board.orders(route, now_s)
        if orders is None or not orders.killed:
            return orders
        because = f": {orders.reason}" if orders.reason else ""
        wait_s = _RETRY_SWITCHED_OFF_S if orders.back_at_s is None else orders.back_at_s - now_s
        message = f"the route {route!r} is switched off by the operator{because}"
        raise RefusedError(503, message, code="route_switched_off", retry_after=retry_after(wait_s))

    def state(self) -> Applied:
        """Return what is served now.

        Raises:
            RefusedError: 503, no snapshot has been applied yet.
        """
        if self._serving.current is None and self._serving.unwritten:
            raise nothing_deployed()
        if self._serving.current is None:
            raise RefusedError(503, "the gateway is starting; try again", code="starting", retry_after="1")
        return self._serving.current


def nothing_deployed() -> RefusedError:
    """Return what a caller is told before the first deploy."""
    message = "nothing is deployed yet: run `shipway deploy RELEASE`, then try again"
    return RefusedError(503, message, code="nothing_deployed", retry_after=_RETRY_UNDEPLOYED)


def known_route(state: Applied, name: str) -> RouteTraffic:
    """Return a deployed route.

    Raises:
        RefusedError: 404 in the words of the OpenAI API, because clients look for its code; 503 before any deploy.
    """
    traffic = state.routes.get(name)
    if traffic is not None:
        return traffic
    if not state.served.routes:
        raise nothing_deployed()
    raise unknown_model(name)


def unknown_model(name: str) -> RefusedError:
    """Return the refusal of a model that is no route, or none that the key may see."""
    message = f"the model {name[:100]!r} does not exist; GET /v1/models lists the routes"
    return RefusedError(404, message, code="model_not_found", param="model")


def _pinned(traffic: RouteTraffic, release: str) -> ReleaseId:
    for known in (traffic.stable, traffic.candidate):
        if known is not None and known == release:
            return known
    message = f"the route {traffic.route!r} has no release {release[:100]!r} in force; GET /version lists them"
    raise RefusedError(404, message, code="release_not_found", param=RELEASE_HEADER)
