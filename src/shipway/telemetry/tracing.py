"""Which requests are traced, and what is kept of them until their reply is sent.

The gateway asks `Tracer.begin` for each request and gets None for nearly all of them. Nothing of OpenTelemetry is made
on the way: `finish` queues the finished record, and `spans` makes spans of it in `export`'s thread.
"""

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from shipway.core.record import ServedRequest

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
"""Source: W3C Trace Context, section 3.2: version ff and ids of zeros alone are invalid."""
_LONGEST = 512
_SAMPLED = 1
_SPAN_BITS = 64
_TRACE_BITS = 128

TRACE_HEADERS: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("trace_headers", default=())
"""The trace headers of the request that the running task serves, for engine calls that are made far from it: the
gateway sets it before it asks an answerer, `adapters/openai_http` sends it along."""

# How an answer's timings map onto the stages of a request.
_STAGE_OF = {
    "embed": "embedding",
    "dense": "search",
    "sparse": "search",
    "fuse": "search",
    "rerank": "rerank",
    "focus": "assembly",
    "generate": "generation",
    "check": "guard",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a request; both times are milliseconds, the first since the request began."""

    name: str
    start_ms: float
    duration_ms: float


@dataclass(slots=True)
class RequestTrace:
    """What is known of a traced request beside its record; `parent_id` is empty for a trace that begins here.

    `engine_id` is the span of the call of an engine, under which the engine's own spans belong.
    """

    trace_id: str
    span_id: str
    engine_id: str
    parent_id: str = ""
    method: str = ""
    path: str = ""
    at_s: float = 0.0
    engine_url: str = ""
    engine_start_ms: float | None = None
    engine_end_ms: float | None = None
    stages: list[Stage] = field(default_factory=list)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return what tells an engine to go on with this trace."""
        return (("traceparent", f"00-{self.trace_id}-{self.engine_id}-01"),)

    def take_timings(self, timings_ms: Mapping[str, float], start_ms: float) -> None:
        """Note the stages of an answer from documents, one after the other from `start_ms` on."""
        spent: dict[str, float] = {}
        for name, duration_ms in timings_ms.items():
            stage = _STAGE_OF.get(name)
            if stage is not None:
                spent[stage] = spent.get(stage, 0.0) + duration_ms
        for stage in dict.fromkeys(_STAGE_OF.values()):
            if stage in spent:
                self.stages.append(Stage(stage, start_ms, spent[stage]))
                start_ms += spent[stage]


class Tracer:
    """Decides at a request's beginning (head sampling) and hands the finished ones on.

    `take` gets record and trace; `random_bits` gives ids and, with `uniform` in [0, 1), the draw.
    """

    def __init__(
        self,
        take: Callable[[ServedRequest, RequestTrace], None],
        *,
        ratio: float,
        uniform: Callable[[], float],
        random_bits: Callable[[int], int],
        trust_caller: bool = True,
    ) -> None:
        self.finish = take
        self._ratio = ratio
        self._uniform = uniform
        self._bits = random_bits
        self._trust_caller = trust_caller

    def begin(self, traceparent: bytes | None) -> RequestTrace | None:
        """Return the trace of a request that is traced; a header that nobody can read counts as none."""
        if traceparent is None:
            return self._new("", "") if self._uniform() < self._ratio else None
        found = _TRACEPARENT.fullmatch(traceparent[:_LONGEST].decode("latin-1"))
        if found is None or (found[4] and traceparent.startswith(b"00")):
            return self._new("", "") if self._uniform() < self._ratio else None
        trace_id, parent_id, flags = found[1], found[2], found[3]
        sampled = bool(int(flags, 16) & _SAMPLED) if self._trust_caller else self._uniform() < self._ratio
        return self._new(trace_id, parent_id) if sampled else None

    def _new(self, trace_id: str, parent_id: str) -> RequestTrace:
        # An id of zeros alone is invalid, and as likely as any other.
        return RequestTrace(
            trace_id or f"{self._bits(_TRACE_BITS) or 1:032x}",
            f"{self._bits(_SPAN_BITS) or 1:016x}",
            f"{self._bits(_SPAN_BITS) or 1:016x}",
            parent_id,
        )
