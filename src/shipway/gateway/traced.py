"""A request's place in its caller's trace: read from W3C headers, passed on to engines. `gateway.app` calls it.

Source: W3C Trace Context, section 3.
"""

from collections.abc import Container

from shipway.gateway.accounting import Account
from shipway.gateway.exchange import Exchange
from shipway.gateway.http_route import PREFIX
from shipway.telemetry.tracing import Tracer

TRACEPARENT = b"traceparent"
_TRACESTATE = b"tracestate"
_LONGEST = 512


def join_trace(tracer: Tracer | None, exchange: Exchange, account: Account, known: Container[str]) -> None:
    """Note how the request is traced, and what engines are told of it.

    A request that is not traced here hands its caller's headers on as they are; one that is, names its own span. Spans
    name paths among `known` alone: of what clients make up there is no end.
    """
    parent = exchange.headers.raw(TRACEPARENT)
    state = exchange.headers.raw(_TRACESTATE)
    trace = tracer.begin(parent) if tracer is not None else None
    if trace is not None:
        path = exchange.path if exchange.path in known else "unknown"
        if exchange.path.startswith(PREFIX):
            path = f"{PREFIX}{{path}}"
        trace.method, trace.path, trace.at_s = exchange.method, path, account.at_s
        account.trace = trace
        account.onward = trace.headers()
        if not trace.parent_id:
            return
    elif parent is not None and len(parent) <= _LONGEST:
        account.onward = (("traceparent", parent.decode("latin-1")),)
    else:
        return
    if state is not None and len(state) <= _LONGEST:
        account.onward = (*account.onward, ("tracestate", state.decode("latin-1")))
