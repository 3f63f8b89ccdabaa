"""What stands between a request and its release: key, rate, concurrency, choice of release.

Called by every handler that serves traffic. A request that is refused here has consumed nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shipway.core.clock import Clock
from shipway.core.ids import ReleaseId
from shipway.core.snapshot import RouteTraffic
from shipway.gateway.accounting import Account
from shipway.gateway.auth import INVOKE, OPERATE, Caller
from shipway.gateway.conversation import Conversation
from shipway.gateway.exchange import Exchange
from shipway.gateway.limits import ConcurrencyLimit, RateLimit
from shipway.gateway.model import GatewaySettings
from shipway.gateway.ports import RecordSink, RouteRuntime
from shipway.gateway.replies import RefusedError, retry_after
from shipway.gateway.serving import Applied, Serving

RELEASE_HEADER = "x-shipway-release"
# A person has to deploy first; asking each second would tell nobody anything new.
_RETRY_UNDEPLOYED = "10"


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that has its release; `runtime` is the release's side of the route."""

    caller: Caller
    traffic: RouteTraffic
    release: ReleaseId
    runtime: RouteRuntime


class Admission:
    """The checks of one worker."""

    def __init__(self, serving: Serving, records: RecordSink, settings: GatewaySettings, clock: Clock) -> None:
        self._serving = serving
        self._records = records
        self._settings = settings
        self._clock = clock
        self._rate = RateLimit(clock, per_min=settings.requests_per_min, burst=settings.rate_burst)
        self._strangers = RateLimit(clock, per_min=settings.stranger_requests_per_min, burst=settings.stranger_burst)
        self.slots = ConcurrencyLimit(active=settings.max_active, queued=settings.max_queued)

    def caller(self, exchange: Exchange, account: Account) -> Caller:
        """Return who calls."""
        state = self.state()
        account.obey(state.served)
        try:
            account.caller = state.keys.caller(exchange.headers.get("authorization"), now_s=self._clock.now_s())
        except RefusedError:
            # Guessing keys is the one thing that callers without one can do; it is slowed down by address.
            self._within(self._strangers, exchange.client_host, "this address is over its requests without a valid key")
            raise
        return account.caller

    def invoker(self, exchange: Exchange, account: Account) -> Caller:
        """Return who calls, with the right to use models and within the key's rate."""
        caller = self.caller(exchange, account)
        caller.require(INVOKE)
        self._within(self._rate, caller.key.key_id, "this key is over its requests per minute")
        if not self.state().served.routes:
            raise nothing_deployed()
        return caller

    @staticmethod
    def _within(limit: RateLimit, key: str, over: str) -> None:
        wait_s = limit.wait_s(key)
        if wait_s:
            raise RefusedError(429, f"{over}; wait and try again", retry_after=retry_after(wait_s))

    @asynccontextmanager
    async def admitted(
        self, exchange: Exchange, account: Account, caller: Caller, route: str, conversation: Conversation
    ) -> AsyncIterator[Admitted]:
        """Hold a place at work and the release that the conversation belongs to."""
        account.route = route
        account.conversation = conversation
        caller.require_route(known_route(self.state(), route).route)
        pinned = exchange.headers.get(RELEASE_HEADER)
        if pinned:
            caller.require(OPERATE)
        async with self.slots.slot(self._settings.deadline_s):
            async with asyncio.timeout(self._settings.deadline_s):
                await self._records.wait_for_room()
            # Chosen after the wait: who queued through a rollback must not meet the old candidate.
            state = self.state()
            traffic = known_route(state, route)
            release = _pinned(traffic, pinned) if pinned else traffic.assign(conversation.id)[0]
            account.obey(state.served)
            account.assign(traffic, release, pinned=bool(pinned))
            exchange.stamp += [("x-shipway-release", release), ("x-shipway-route", route)]
            with state.releases[release].used() as runtime:
                if route not in runtime.routes:
                    raise RefusedError(
                        503, f"the release in force does not serve {route!r}", code="route_not_in_release"
                    )
                yield Admitted(caller, traffic, release, runtime.routes[route])

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
    traffic = state.served.route(name)
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
