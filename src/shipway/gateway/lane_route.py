"""What is the same for all plain requests of a key on a route: worked out once, kept until the snapshot changes."""

from collections.abc import Callable
from dataclasses import dataclass, field

from shipway.core.clock import Clock
from shipway.core.ids import ReleaseId
from shipway.core.record import ServedRequest
from shipway.core.snapshot import KeyEntry, RouteTraffic
from shipway.gateway.accounting import Account
from shipway.gateway.attempts import EngineCalls
from shipway.gateway.breaker import CircuitBreaker
from shipway.gateway.demand import RouteDemand
from shipway.gateway.model import GatewaySettings, ModelPrice
from shipway.gateway.patience import Watch
from shipway.gateway.places import Places
from shipway.gateway.ports import ChatRoute, ReadyConnection, RecordSink
from shipway.gateway.quota import Limits
from shipway.gateway.quota_book import CallerQuota
from shipway.gateway.record_desk import RecordDesk
from shipway.gateway.relay import Splice
from shipway.gateway.routing import RoutingTable
from shipway.gateway.serving import LoadedRelease
from shipway.telemetry.tracing import RequestTrace


@dataclass(frozen=True, slots=True)
class LaneTools:
    """The gateway's own parts, as flights use them.

    `publish` counts and logs a request that is served; `ended` does so for one that was cut short; `count_request`
    tells a release's retry budget of a request.
    """

    clock: Clock
    settings: GatewaySettings
    records: RecordSink
    desk: RecordDesk
    places: Places
    watch: Watch
    limits: Limits | None
    new_id: Callable[[], str]
    count_request: Callable[[str], None]
    calls: EngineCalls
    publish: Callable[[ServedRequest, str, RequestTrace | None], None]
    ended: Callable[[Account, bool], None]

    def leave(self, loaded: LoadedRelease) -> None:
        """Give release and place at work back."""
        loaded.leave()
        self.places.leave()


@dataclass(slots=True, eq=False)
class Arm:
    """An engine that serves a route for one release.

    `runtime` is the release's side of the route, `route` the model that is asked: another one when a rule says so.
    `head` is the beginning of what the engine is sent, `take` gives a connection that is open already, `deadline_s` is
    what the engine has for its answer, `first_s` for its first token and `idle_s` for each pause where it `is_stream`.
    `stamps` are the reply's headers, `stamped`
    the same as lines with the content's type behind them.
    """

    traffic: RouteTraffic
    release: ReleaseId
    loaded: LoadedRelease
    runtime: ChatRoute
    route: ChatRoute
    engine: str
    pause_key: str
    breaker: CircuitBreaker
    price: ModelPrice | None
    deadline_s: float
    first_s: float
    idle_s: float
    is_stream: bool
    max_chars: int
    head: bytes
    take: Callable[[], ReadyConnection | None]
    stamps: tuple[tuple[str, str], ...]
    stamped: bytes
    splice: Splice
    is_candidate: bool

    def stamp(self, request_id: str) -> bytes:
        """Return the header lines of a reply."""
        return b"x-request-id: %b\r\n%b" % (request_id.encode(), self.stamped)


@dataclass(slots=True, eq=False)
class LaneRules:
    """The rules of a release for one tenant: below `sure_chars` characters `sure` serves, else the table decides."""

    sure_chars: int
    sure: str
    table: RoutingTable | None


@dataclass(slots=True, eq=False)
class LaneRoute:
    """A route as one key may use it.

    `arms` by release, alias and whether they stream, None where the long way has to be gone.
    """

    traffic: RouteTraffic
    key: KeyEntry
    quota: CallerQuota | None
    demand: RouteDemand | None
    rules: dict[ReleaseId, LaneRules | None] = field(default_factory=dict)
    arms: dict[tuple[ReleaseId, str, bool], Arm | None] = field(default_factory=dict)
