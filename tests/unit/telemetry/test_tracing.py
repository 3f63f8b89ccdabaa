import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.telemetry.tracing import RequestTrace, Stage, Tracer

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01".encode()
UNSAMPLED = f"00-{TRACE}-{SPAN}-00".encode()


def tracer(*, ratio: float = 0.0, draw: float = 0.5, trust_caller: bool = True) -> Tracer:
    return Tracer(
        lambda _record, _trace: None,
        ratio=ratio,
        uniform=lambda: draw,
        random_bits=lambda bits: (1 << bits) - 2,
        trust_caller=trust_caller,
    )


@pytest.mark.parametrize(
    ("ratio", "draw", "traced"), [(0.0, 0.0, False), (0.5, 0.49, True), (0.5, 0.5, False), (1.0, 0.999, True)]
)
def test_without_a_caller_s_decision_the_ratio_decides(ratio, draw, traced):
    assert (tracer(ratio=ratio, draw=draw).begin(None) is not None) == traced


def test_a_caller_that_traces_is_followed_whatever_the_ratio_says():
    trace = tracer(ratio=0.0).begin(SAMPLED)
    assert trace is not None
    assert (trace.trace_id, trace.parent_id) == (TRACE, SPAN)
    assert tracer(ratio=1.0).begin(UNSAMPLED) is None


def test_a_caller_that_is_not_trusted_keeps_its_ids_but_does_not_decide():
    assert tracer(ratio=0.0, trust_caller=False).begin(SAMPLED) is None
    trace = tracer(ratio=1.0, trust_caller=False).begin(UNSAMPLED)
    assert trace is not None
    assert (trace.trace_id, trace.parent_id) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        b"", b"00", b"ff-" + SAMPLED[3:], SAMPLED.upper(), SAMPLED + b"-more", SAMPLED[:-1], b" " + SAMPLED,
        f"00-{'0' * 32}-{SPAN}-01".encode(), f"00-{TRACE}-{'0' * 16}-01".encode(), b"\xff" * 55,
    ],
)  # fmt: skip
def test_a_header_that_is_not_valid_counts_as_none(header):
    assert tracer(ratio=0.0).begin(header) is None
    trace = tracer(ratio=1.0).begin(header)
    assert trace is not None
    assert trace.parent_id == ""
    assert trace.trace_id != TRACE


def test_a_later_version_with_more_fields_is_read():
    trace = tracer().begin(b"01" + SAMPLED[2:] + b"-what-comes")
    assert trace is not None
    assert trace.trace_id == TRACE


@given(st.binary(max_size=80))
def test_no_header_is_an_error(header):
    tracer(ratio=1.0).begin(header)


def test_an_engine_is_told_the_span_under_which_its_own_belong():
    trace = tracer(ratio=1.0).begin(SAMPLED)
    assert trace is not None
    assert trace.headers() == (("traceparent", f"00-{TRACE}-{trace.engine_id}-01"),)
    assert len(trace.engine_id) == len(trace.span_id) == 16


def test_ids_are_never_zero():
    zero = Tracer(lambda _record, _trace: None, ratio=1.0, uniform=lambda: 0.0, random_bits=lambda _bits: 0)
    trace = zero.begin(None)
    assert trace is not None
    assert int(trace.trace_id, 16)
    assert int(trace.span_id, 16)


def test_the_timings_of_an_answer_become_stages_one_after_the_other():
    trace = RequestTrace("t", "s", "e")
    trace.take_timings(
        {"embed": 1, "dense": 2, "sparse": 3, "rerank": 4, "total": 99, "generate": 50, "check": 5, "focus": 6}, 10
    )
    assert trace.stages == [
        Stage("embedding", 10, 1),
        Stage("search", 11, 5),
        Stage("rerank", 16, 4),
        Stage("assembly", 20, 6),
        Stage("generation", 26, 50),
        Stage("guard", 76, 5),
    ]
