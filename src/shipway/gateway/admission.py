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
from shipway.gateway.auth import INVOKE, OPERATE, Caller
from shipway.gateway.conversation import Conversation
from shipway.gateway.exchange import Exchange
from shipway.gateway.limits import RateLimit
from shipway.gateway.model import GatewaySettings
from shipway.gateway.places import Places
from shipway.gateway.ports import RecordSink, RouteRuntime
from shipway.gateway.replies import RefusedError, retry_after
from shipway.gateway.serving import Applied, LoadedRelease, Serving

RELEASE_HEADER = "x-shipway-release"
# A person has to deploy first; asking each second would tell nobody anything new.
_RETRY_UNDEPLOYED = "10"


@dataclass(slots=True)
class Admitted:
    """A request that has its release and a place at work, until the block is left.

    `runtime` is the release's side of the route.
    """

    caller: Caller
    traffic: RouteTraffic
    release: ReleaseId
    runtime: RouteRuntime
    places: Places
    loaded: LoadedRelease

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loaded.leave()
        self.places.leave()


class Admission:
    """The checks of one worker."""

    def __init__(self, serving: Serving, records: RecordSink, settings: GatewaySettings, clock: Clock) -> None:
        self._serving = serving
        self._records = records
        self._settings = settings
        self._clock = clock
        self._rate = RateLimit(clock, per_min=settings.requests_per_min, burst=settings.rate_burst)
        self._strangers = RateLimit(clock, per_min=settings.stranger_requests_per_min, burst=settings.stranger_burst)
        self.places = Places(active=settings.max_active, queued=settings.max_queued)

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
        if not self.places.take():
            await self.places.wait(self._settings.deadline_s)
        try:
            if not self._records.has_room:
                async with asyncio.timeout(self._settings.deadline_s):
                    await self._records.wait_for_room()
            # Chosen after the wait: who queued through a rollback must not meet the old candidate.
            return self._assigned(exchange, account, caller, pinned)
        except BaseException:
            self.places.leave()
            raise

    def _assigned(self, exchange: Exchange, account: Account, caller: Caller, pinned: str | None) -> Admitted:
        state = self.state()
        traffic = known_route(state, account.route)
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
        return Admitted(caller, traffic, release, runtime, self.places, loaded)

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
