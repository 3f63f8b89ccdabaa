"""What the gateway needs from outside.

Above: the application and the snapshot watcher. Below: `adapters/httptools_client` (engines), `adapters/spool`
(records), `adapters/sql` (snapshots), the wiring (releases become runtimes), `telemetry.metrics`.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from shipway.core.errors import UnavailableError
from shipway.core.ids import ReleaseId
from shipway.core.ports import WorkerState
from shipway.core.principal import Principal
from shipway.core.record import ServedRequest
from shipway.core.snapshot import Snapshot
from shipway.gateway.model import AnswerResult, RouteLimits, TokenBudget
from shipway.gateway.route_plan import RoutePlan

if TYPE_CHECKING:
    from shipway.gateway.stream import ChatStream


class EngineConnectError(UnavailableError):
    """No connection was made, so nothing was sent: trying again is always safe."""


class EngineAbsentError(EngineConnectError):
    """The connection was refused at once: nobody listens there now, as while a process starts again."""


class EngineBrokenError(UnavailableError):
    """The connection ended before the reply was whole."""


class EngineLostError(EngineBrokenError):
    """The engine's side ended the connection itself, as when its process dies."""


class EngineFailedError(EngineBrokenError):
    """A stream ended with an error event of the engine; `said` is the beginning of its words, masked."""

    def __init__(self, said: str) -> None:
        super().__init__("the engine ended the stream with an error")
        self.said = said


class EngineGarbledError(EngineBrokenError):
    """A stream holds an event that is no JSON."""

    def __init__(self) -> None:
        super().__init__("the engine sent an event that is no JSON")


@dataclass(slots=True)
class EngineRequest:
    """One HTTP request to an engine or a service; `url` is sent as it is, without requoting.

    `begun` is where it was sent already: the first attempt reads the reply there. `release` is whose request it is:
    what goes wrong with it counts against no other release.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | AsyncIterable[bytes] = b""
    connect_timeout_s: float = 2.0
    begun: "Begun | None" = None
    release: str = ""


class WayOut(Protocol):
    """A client's connection, to which whole chunks of a reply may be written as an engine framed them."""

    def write_now(self, data: bytes) -> None:
        """Send bytes after those that wait."""
        ...


class DirectSink(Protocol):
    """Who can tell by its content that a chunk may be passed on as it came."""

    def knows(self, data: bytes, start: int, end: int) -> bool:
        """Return whether the chunk that holds a piece of `data` may be; it is counted as passed on then."""
        ...

    def way_out(self) -> WayOut | None:
        """Return where they go, None when that is no way for this reply."""
        ...

    def passed(self) -> bool:
        """Take note that what was known has been written; False when the client reads slowly."""
        ...


class EngineResponse(Protocol):
    """A reply whose headers have arrived."""

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        ...

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers in order, names in lower case, repeated ones repeated."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, still encoded as the engine sent it.

        Raises:
            EngineBrokenError: the connection ended before the body was whole.
        """
        ...

    async def pour(self, sink: Callable[[bytes], bool], direct: "DirectSink | None" = None) -> bool:
        """Give each piece of the body to `sink` as it comes, until that returns False or the body ends.

        Returns whether the body has ended. No task is woken for a piece. Chunks that `direct` knows may be passed on
        without `sink`.

        Raises:
            EngineBrokenError: the connection ended before the body was whole; whatever `sink` raised.
        """
        ...

    async def whole(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            EngineBrokenError: the connection ended before.
            RefusedError: 502, the body is larger than the limit.
        """
        ...

    def close(self) -> None:
        """Give the connection back, or cut it when the body was not read to its end."""
        ...


class EngineClient(Protocol):
    """The engine side of the gateway. Sends once: retries, deadlines and breakers are the gateway's."""

    async def send(self, request: EngineRequest) -> EngineResponse:
        """Send a request and return when the reply's headers are there; cancelling closes the connection.

        Raises:
            EngineConnectError: no connection within `connect_timeout_s`.
            EngineBrokenError: the connection ended before the headers.
        """
        ...


class Flow(DirectSink, Protocol):
    """Who gets the pieces of a reply as they come."""

    def take(self, data: bytes) -> bool:
        """Take a piece; False when no more is wanted for now."""
        ...


class ReplyTaker(Protocol):
    """Who gets a reply without waiting for it in a task."""

    def answered(self, raw: bytes) -> bool:
        """Take the body of a whole 200 reply; False leaves it on the connection, to be read as a response."""
        ...

    def unusual(self) -> None:
        """Take note that something else came, or nothing more will; it is to be read as a response."""
        ...

    def flows(self, headers: tuple[tuple[str, str], ...]) -> "Flow | None":
        """Return what takes the pieces of a 200 reply whose head has come; None leaves it on the connection."""
        ...

    def stopped(self) -> None:
        """Take note that pieces are taken no more: the flow wanted no more, or none will come."""
        ...


class ReadyConnection(EngineResponse, Protocol):
    """An open connection to an engine, on which a request is sent at once."""

    def post(self, request: bytes, taker: ReplyTaker, streams: bool) -> None:  # noqa: FBT001 - compiled
        """Send a whole request; its reply goes to `taker`, piece by piece when it `streams`."""
        ...

    def leave(self) -> None:
        """Give the connection back when the rest of its reply has come; that is thrown away."""
        ...

    def detach(self) -> None:
        """Tell the taker nothing more; the reply is to be read as a response."""
        ...

    async def arrived(self) -> None:
        """Return when the reply's headers are there.

        Raises:
            EngineBrokenError: the connection ended before.
        """
        ...

    def abort(self) -> None:
        """Cut the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that is on its way: where, to which engine, and the breaker's generation when it was sent.

    `stream` is what has come of its answer, where that is one.
    """

    connection: ReadyConnection
    engine: str
    generation: int
    stream: "ChatStream | None" = None


@runtime_checkable
class DirectEngines(EngineClient, Protocol):
    """An engine client that has connections ready."""

    def ready(
        self, url: str, headers: tuple[tuple[str, str], ...]
    ) -> tuple[bytes, Callable[[], ReadyConnection | None]]:
        """Return the beginning of every POST to an address, and what gives an idle connection to it, if there is one.

        To the beginning belong more header lines, an empty one and the body.
        """
        ...


class RecordSink(Protocol):
    """Where served requests go before the client sees the final byte."""

    @property
    def has_room(self) -> bool:
        """Return whether another record can be taken at once."""
        ...

    def append(self, record: ServedRequest) -> None:
        """Make the record survive this process.

        Raises:
            StoreError: it cannot be written; the answer must not be acknowledged.
        """
        ...

    def append_all(self, records: Sequence[ServedRequest]) -> None:
        """Make all records survive this process, or none of them.

        Raises:
            StoreError: they cannot be written.
        """
        ...

    async def wait_for_room(self) -> None:
        """Return when another record can be taken (back pressure)."""
        ...


class SnapshotSource(Protocol):
    """The newest data-plane snapshot of this environment."""

    async def read(self) -> Snapshot:
        """Return it; version 0 when control has written none."""
        ...

    async def read_heartbeat(self) -> int | None:
        """Return the leader's beat counter, None without a leader."""
        ...


class WorkerReporter(Protocol):
    """How control learns what this worker obeys."""

    async def report(self, state: WorkerState) -> None:
        """Record what was applied."""
        ...


class RequestMetrics(Protocol):
    """The data plane's metrics."""

    def observe(self, record: ServedRequest) -> None:
        """Count a finished request."""
        ...

    def render(self) -> bytes:
        """Return the Prometheus text exposition."""
        ...


class RequestLogger(Protocol):
    """The log line of a request."""

    def __call__(self, record: ServedRequest, /, *, question: str = "", trace_id: str = "") -> None:
        """Write the line; `question` is the text of what was asked, where the settings keep it."""
        ...


class EventNote(Protocol):
    """One structured log line."""

    def __call__(self, event: str, **fields: object) -> None:
        """Write the line."""
        ...


class Answerer(Protocol):
    """Answers a question from documents the caller may see."""

    async def answer(self, question: str, history: Sequence[Mapping[str, Any]], principal: Principal) -> AnswerResult:
        """Return a checked answer; abstaining is an answer.

        `history` are the messages before the question, oldest first, each with `role` and `content`.
        """
        ...


@dataclass(frozen=True, slots=True)
class ChatRoute:
    """A route that an OpenAI-compatible engine serves.

    `engine_base_url` ends where `/chat/completions` begins (`http://127.0.0.1:8080/v1`). `prefix_messages` go before
    the caller's; `decoding` holds for what the caller did not set. `health_url` None: the engine is not probed.

    `replicas` are the addresses of all engines that serve the model, when there are several; with `affinity_chars` the
    beginning of the prompt decides among them. One that is not `replayable` is asked once. `engine_headers` are sent
    as they are. `plan` holds the models that the route may use instead.

    `url_query` stands after the endpoint, with its question mark; `key_header` is the header that carries the key.
    `budget` is what a prompt may have; None sends what the caller sent.
    """

    engine_base_url: str
    upstream_model: str
    api_key: str | None = field(default=None, repr=False)
    prefix_messages: tuple[Mapping[str, Any], ...] = ()
    decoding: Mapping[str, Any] = field(default_factory=dict)
    limits: RouteLimits = field(default_factory=RouteLimits)
    prompt_version: str = ""
    health_url: str | None = None
    replicas: tuple[str, ...] = ()
    affinity_chars: int = 0
    replayable: bool = True
    engine_headers: tuple[tuple[str, str], ...] = ()
    plan: RoutePlan | None = None
    url_query: str = ""
    key_header: str = "authorization"
    budget: TokenBudget | None = None


@dataclass(frozen=True, slots=True)
class AnswerRoute:
    """A route that answers from documents; `plan` holds the models that it may use instead.

    `model_alias` is the model that phrases; `is_deterministic` says that it would phrase alike again.
    """

    answerer: Answerer
    limits: RouteLimits = field(default_factory=RouteLimits)
    health_url: str | None = None
    plan: RoutePlan | None = None
    model_alias: str = ""
    is_deterministic: bool = False


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """A route served by a process of the user's own; its address is in the snapshot."""

    timeout_s: float = 30.0
    health_path: str = ""


RouteRuntime = ChatRoute | AnswerRoute | HttpRoute


class ReleaseRuntime(Protocol):
    """A release ready to serve."""

    @property
    def routes(self) -> Mapping[str, RouteRuntime]:
        """Return the routes by name."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return parts, digests and the corpus manifest, for `/version`."""
        ...

    async def close(self) -> None:
        """Free what the release holds; called once, after its last request."""
        ...


class ReleaseLoader(Protocol):
    """Makes a release ready, off the request path."""

    async def load(self, release: ReleaseId) -> ReleaseRuntime:
        """Return the runtime; any `ShipwayError` says why it cannot serve here."""
        ...
