import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from shipway.telemetry.otlp import CLIENT, FixedAttributes, Source, Span, rejected_spans, to_json, to_protobuf

SOURCE = Source({"service.name": "helpdesk"}, "1.2.3", "https://opentelemetry.io/schemas/1.41.0")
TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"

texts = st.text(max_size=200)
values = st.one_of(
    texts,
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(texts, max_size=4).map(tuple),
)
attributes = st.dictionaries(st.text(min_size=1, max_size=40), values, max_size=6)


def decoded(span: Span):
    request = ExportTraceServiceRequest()
    request.ParseFromString(to_protobuf(SOURCE, [span]))
    return request.resource_spans[0]


def plain(value) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(item.string_value for item in value.array_value.values)
    return getattr(value, kind)


spans = st.builds(
    Span,
    name=texts,
    kind=st.integers(0, 5),
    trace_id=st.just(TRACE),
    span_id=st.just(SPAN),
    parent_id=st.sampled_from(["", PARENT]),
    start_ns=st.integers(0, 2**63),
    end_ns=st.integers(0, 2**63),
    attributes=attributes,
    error=texts,
    remote_parent=st.booleans(),
    shared=attributes.map(FixedAttributes),
)


@given(spans)
def test_the_official_protobuf_reads_every_span_as_it_was(span):
    resource = decoded(span)
    found = resource.scope_spans[0].spans[0]
    assert (found.name, found.kind, found.trace_id.hex(), found.span_id.hex()) == (span.name, span.kind, TRACE, SPAN)
    assert found.parent_span_id.hex() == span.parent_id
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (span.start_ns, span.end_ns)
    both = [*span.shared.attributes.items(), *span.attributes.items()]
    assert [(item.key, plain(item.value)) for item in found.attributes] == both
    assert (found.status.code, found.status.message) == ((2, span.error) if span.error else (0, ""))
    assert bool(found.flags & 0x200) == span.remote_parent
    assert found.flags & 0x101 == 0x101


def test_the_resource_and_the_scope_say_who_speaks():
    resource = decoded(Span("a", CLIENT, TRACE, SPAN, "", 1, 2, {}))
    assert [(item.key, plain(item.value)) for item in resource.resource.attributes] == [("service.name", "helpdesk")]
    assert resource.schema_url == resource.scope_spans[0].schema_url == SOURCE.schema_url
    assert (resource.scope_spans[0].scope.name, resource.scope_spans[0].scope.version) == ("shipway.gateway", "1.2.3")


def test_json_has_the_names_and_forms_of_otlp_json():
    own = {"text": "a", "number": 2**60, "yes": True, "share": 0.5, "list": ("x", "y")}
    line = orjson.loads(to_json(SOURCE, [Span("a", CLIENT, TRACE, SPAN, PARENT, 2**60, 2**60 + 1, own, "broken")]))
    span = line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert (span["traceId"], span["spanId"], span["parentSpanId"]) == (TRACE, SPAN, PARENT)
    assert (span["startTimeUnixNano"], span["kind"]) == (str(2**60), 3)
    assert span["status"] == {"code": 2, "message": "broken"}
    assert [item["value"] for item in span["attributes"]] == [
        {"stringValue": "a"},
        {"intValue": str(2**60)},
        {"boolValue": True},
        {"doubleValue": 0.5},
        {"arrayValue": {"values": [{"stringValue": "x"}, {"stringValue": "y"}]}},
    ]


def test_a_receiver_s_partial_success_is_read():
    reply = ExportTraceServiceResponse()
    reply.partial_success.rejected_spans = 300
    reply.partial_success.error_message = "too old"
    assert rejected_spans(reply.SerializeToString()) == 300
    assert rejected_spans(b"") == 0


@given(st.binary(max_size=60))
def test_a_reply_that_is_no_protobuf_is_an_error_of_one_kind(reply):
    with contextlib.suppress(ValueError):
        assert rejected_spans(reply) >= 0


def test_a_cut_reply_is_refused():
    with pytest.raises(ValueError, match="protobuf"):
        rejected_spans(b"\x0a\xff")
