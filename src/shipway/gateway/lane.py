"""The short way of a plain request: from its bytes to the engine and back without a task.

Most requests are alike: a key, a JSON body, one engine that answers with one JSON object or a stream. A `Lane` takes
such a request in the callback that brought its last byte, applies every policy that the long way applies, with the same
code, and writes it to a connection that is open already; its `Flight` ends it in the callback that brought the reply's
last byte, and passes a stream on in those that bring its pieces. Whatever is
not plain goes the long way: before anything was counted `take` says so with None, and afterwards a flight hands the
request over with all that was reserved for it.

The server (`adapters/httptools_server`) asks; `app` makes one for each of its configurations. See decision 17.
"""

from typing import Any

from shipway.gateway.accounting import question_hash
from shipway.gateway.auth import Caller
from shipway.gateway.budgeter import surely_fits
from shipway.gateway.conversation import HEADER, Conversation, identify
from shipway.gateway.exchange import Headers
from shipway.gateway.flight import Flight, LaneClient
from shipway.gateway.lane_route import Arm, LaneRoute, LaneTools
from shipway.gateway.lane_routes import LaneRoutes
from shipway.gateway.relay import asking_usage, engine_body
from shipway.gateway.replies import RefusedError
from shipway.gateway.serving import Applied
from shipway.gateway.strict_json import strict_body
from shipway.gateway.validate import Endpoint, ModelCall, encoded, last_user_text, model_call, require_json
from shipway.telemetry.tracing import RequestTrace, Tracer

_PATHS = {
    **{f"/v1/{name}".encode(): name for name in (Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS)},
    **dict.fromkeys((b"/v1/rerank", b"/v2/rerank", b"/rerank"), Endpoint.RERANK),
}
_LONG_WAY = (
    b"expect", b"upgrade", b"te", b"trailer", b"transfer-encoding", b"traceparent", b"tracestate",
    b"x-shipway-release", b"x-request-timeout-ms",
)  # fmt: skip
"""Headers that make a request another than a plain one."""


class LaneHead:
    """What a request's head says; one head serves all requests that have it, whatever the length of their bodies."""

    __slots__ = ("authorization", "caller", "conversation", "endpoint", "era", "path")

    def __init__(self, path: str, endpoint: Endpoint, authorization: str | None, conversation: str | None) -> None:
        self.path = path
        self.endpoint = endpoint
        self.authorization = authorization
        self.conversation = conversation
        self.era: object = None
        """When `caller` was found. No state: heads are kept for long, and would keep its releases."""
        self.caller: Caller | None = None


def lane_head(target: bytes, headers: Headers) -> LaneHead | None:
    """Return what the head of a POST says, None when it is not a plain request's."""
    endpoint = _PATHS.get(target)
    if endpoint is None or headers.has_repeated or any(headers.raw(name) is not None for name in _LONG_WAY):
        return None
    try:
        require_json(headers)
    except RefusedError:
        return None
    return LaneHead(target.decode(), endpoint, headers.get("authorization"), headers.get(HEADER))


class Lane:
    """The short way of one worker by one configuration; without a tracer nothing is traced."""

    def __init__(self, tools: LaneTools, routes: LaneRoutes, tracer: Tracer | None) -> None:
        self._tools = tools
        self._routes = routes
        self._tracer = tracer
        self._settings = tools.settings

    def take(self, head: LaneHead, raw: bytes, client: LaneClient) -> Flight | None:
        """Begin a request whose body is whole; None, and nothing has happened, when it has to go the long way."""
        tools = self._tools
        state = self._routes.state()
        if state is None or not tools.records.has_room or not tools.places.is_free:
            return None
        at_s = tools.clock.now_s()
        caller = head.caller if head.era is self._routes.era else self._caller(head, state, at_s)
        if caller is None or (caller.key.expires_at_s is not None and at_s >= caller.key.expires_at_s):
            return None
        try:
            planned = self._planned(head, raw, caller)
        except Exception:  # noqa: BLE001 - nobody stands above a callback; the long way says what is wrong
            return None
        connection = None if planned is None else planned[1].take()
        if planned is None or connection is None:
            return None
        route, arm, call, conversation, body = planned
        hold = None
        if route.quota is not None:
            hold = self._routes.reserved(route, call.body, len(raw))
            if hold is None:
                connection.close()
                return None
        started_s = tools.clock.monotonic_s()
        question = last_user_text(call.body)
        settings = self._settings
        flight = Flight(
            tools, arm, client, connection, tools.new_id(), at_s, started_s,
            started_s + arm.first_s, state, caller, call, conversation,
            question if settings.keep_question else "", question_hash(settings, question),
            hold, None, arm.breaker.generation,
        )  # fmt: skip
        self._begin(flight, connection, body, head.path)
        return flight

    def _caller(self, head: LaneHead, state: Applied, at_s: float) -> Caller | None:
        """Return whose key a head brings; who has none hears so on the long way."""
        try:
            head.caller = state.keys.caller(head.authorization, now_s=at_s)
        except RefusedError:
            return None
        head.era = self._routes.era
        return head.caller

    def _planned(
        self, head: LaneHead, raw: bytes, caller: Caller
    ) -> tuple[LaneRoute, Arm, ModelCall, Conversation, bytes] | None:
        """Return what is to be done for a request.

        Raises:
            RefusedError: nothing, because the request is wrong.
        """
        if len(raw) > self._settings.max_body_bytes:
            return None
        given, canonical = strict_body(raw)
        call = model_call(head.endpoint, given)
        route = self._routes.of(caller, call)
        if route is None:
            return None
        conversation = identify(head.conversation, call.body, key_id=caller.key.key_id)
        arm = self._routes.arm(route, call, conversation)
        if arm is None or call.input_chars > arm.max_chars:
            return None
        body = arm.splice.of(raw, given) if canonical else None
        if body is not None and arm.is_stream:
            body = asking_usage(body, given)
        if body is None:
            body = encoded(engine_body(call, arm.route))
        if arm.route.budget is not None and not surely_fits(body, arm.route.budget):
            return None
        return route, arm, call, conversation, body

    def _begin(self, flight: Flight, connection: Any, body: bytes, path: str) -> None:
        """Send the request: from here on it counts."""
        tools, arm = self._tools, flight.arm
        onward = b""
        if self._tracer is not None:
            flight.trace = self._trace(self._tracer, flight, path)
            if flight.trace is not None:
                onward = "".join([f"{name}: {value}\r\n" for name, value in flight.trace.headers()]).encode()
        tools.places.take()
        arm.loaded.enter()
        tools.count_request(arm.release)
        tools.watch.add(flight)
        tail = b"x-request-id: %b\r\n%bcontent-length: %d\r\n\r\n" % (flight.id.encode(), onward, len(body))
        connection.post(b"".join((arm.head, tail, body)), flight, arm.is_stream)

    @staticmethod
    def _trace(tracer: Tracer, flight: Flight, path: str) -> RequestTrace | None:
        trace = tracer.begin(None)
        if trace is not None:
            trace.method, trace.path, trace.at_s = "POST", path, flight.at_s
            trace.engine_url, trace.engine_start_ms = flight.arm.engine, 0.0
        return trace
