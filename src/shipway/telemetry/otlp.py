"""Spans as OTLP: protobuf for receivers over HTTP, JSON lines for files.

Written out here instead of with the OpenTelemetry SDK, because making one of its spans costs about 20 µs and its
exporter brings 13 MB of packages; the tests read what this writes with the official `opentelemetry-proto`.
Source: opentelemetry-proto 1.x, trace/v1/trace.proto; the OTLP specification for JSON.
"""

import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import orjson

Attribute = str | bool | int | float | tuple[str, ...]

INTERNAL, SERVER, CLIENT = 1, 2, 3
_ERROR = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_HAS_REMOTE, _REMOTE, _SAMPLED = 0x100, 0x200, 1
_SCOPE = "shipway.gateway"
_SLICE = 32
_BREATH_S = 0.0001
_TIMES = struct.Struct("<BQBQ").pack
_BYTE = tuple(bytes((value,)) for value in range(0x80))
_NO_ATTRIBUTES: dict[str, Attribute] = {}


class FixedAttributes:
    """Attributes that many spans share, such as route, release and model: written once, not for each span."""

    def __init__(self, attributes: Mapping[str, Attribute]) -> None:
        self.attributes = attributes

    @cached_property
    def protobuf(self) -> bytes:
        """Return them as fields of a span."""
        return b"".join([_message(9, _pair(key, value)) for key, value in self.attributes.items()])


_NOTHING = FixedAttributes(_NO_ATTRIBUTES)


@dataclass(frozen=True, slots=True)
class Span:
    """One finished span; ids are hexadecimal, `error` is empty when it succeeded, `shared` are more attributes."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Attribute]
    error: str = ""
    remote_parent: bool = False
    shared: FixedAttributes = _NOTHING


@dataclass(frozen=True, slots=True)
class Source:
    """Who speaks: the resource's attributes, the version of this package and the schema of the attribute names."""

    resource: Mapping[str, Attribute]
    version: str
    schema_url: str = ""


def breathe() -> None:
    """Let the event loop's thread have the interpreter, which a busy thread keeps for 5 ms otherwise.

    A wait of 0 is over before the other thread has woken up.
    """
    time.sleep(_BREATH_S)


def to_protobuf(source: Source, spans: Sequence[Span], *, pause: Callable[[], None] | None = None) -> bytes:
    """Return an ExportTraceServiceRequest; `pause` is called now and then while many spans are written."""
    parts = [_message(1, _text(1, _SCOPE) + _text(2, source.version))]
    for start in range(0, len(spans), _SLICE):
        parts += [_message(2, _span(span)) for span in spans[start : start + _SLICE]]
        if pause is not None:
            pause()
    scope_spans = b"".join(parts)
    resource = b"".join([_message(1, _pair(key, value)) for key, value in source.resource.items()])
    schema = _text(3, source.schema_url) if source.schema_url else b""
    return _message(1, _message(1, resource) + _message(2, scope_spans + schema) + schema)


def to_json(source: Source, spans: Iterable[Span]) -> bytes:
    """Return one line of OTLP JSON (TracesData), without a newline."""
    scope_spans = {
        "scope": {"name": _SCOPE, "version": source.version},
        "spans": [_json_span(span) for span in spans],
        "schemaUrl": source.schema_url,
    }
    resource = {"attributes": _json_attributes(source.resource)}
    return orjson.dumps(
        {"resourceSpans": [{"resource": resource, "scopeSpans": [scope_spans], "schemaUrl": source.schema_url}]}
    )


def rejected_spans(reply: bytes) -> int:
    """Return how many spans a receiver did not take, by its ExportTraceServiceResponse.

    Raises:
        ValueError: the reply is not that message.
    """
    rejected = 0
    for number, value in _fields(reply):
        if number == 1 and isinstance(value, bytes):
            rejected += sum(item for field, item in _fields(value) if field == 1 and isinstance(item, int))
    return rejected


def _span(span: Span) -> bytes:
    # The keys are (field number << 3 | wire type), the lengths those of the ids.
    parts = [
        b"\x0a\x10", bytes.fromhex(span.trace_id), b"\x12\x08", bytes.fromhex(span.span_id), _name_and_kind(
            span.name, span.kind
        ), _TIMES(0x39, span.start_ns, 0x41, span.end_ns), span.shared.protobuf,
    ]  # fmt: skip
    for key, value in span.attributes.items():
        pair = _pair(key, value)
        parts += (b"\x4a", _varint(len(pair)), pair)
    if span.parent_id:
        parts.append(_message(4, bytes.fromhex(span.parent_id)))
    if span.error:
        parts.append(_message(15, _text(2, span.error) + b"\x18" + _varint(_ERROR)))
    parts.append(_key(16, _FIXED32) + struct.pack("<I", _flags(span)))
    return b"".join(parts)


def _flags(span: Span) -> int:
    return _SAMPLED | _HAS_REMOTE | (_REMOTE if span.remote_parent else 0)


@lru_cache(1024)
def _name_and_kind(name: str, kind: int) -> bytes:
    return _text(5, name) + b"\x30" + _varint(kind)


def _pair(key: str, value: Attribute) -> bytes:
    content = _any(value)
    return _name(key) + b"\x12" + _varint(len(content)) + content


@lru_cache(256)
def _name(key: str) -> bytes:
    return _text(1, key)


def _any(value: Attribute) -> bytes:
    match value:
        case bool():
            return b"\x10" + _varint(int(value))
        case int():
            return b"\x18" + _varint(value & 0xFFFFFFFFFFFFFFFF)
        case float():
            return b"\x21" + struct.pack("<d", value)
        case str():
            return _text(1, value)
        case _:
            return _message(5, b"".join([_message(1, _text(1, item)) for item in value]))


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode(errors="replace"))


def _message(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(content)) + content


@lru_cache(64)
def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    if value < 0x80:  # noqa: PLR2004 - one byte holds seven bits
        return _BYTE[value]
    found = bytearray()
    while value >= 0x80:  # noqa: PLR2004
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _fields(data: bytes) -> Iterable[tuple[int, int | bytes]]:
    """Yield the number and the value of each field of a message."""
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _read_varint(data, position)
            yield number, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(wire, -1)
        if wire == _BYTES:
            size, position = _read_varint(data, position)
        if size < 0 or position + size > len(data):
            raise ValueError("the reply is no protobuf message")
        yield number, data[position : position + size]
        position += size


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 64:  # noqa: PLR2004 - no number has more bits
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return value, position
        shift += 7
    raise ValueError("the reply is no protobuf message")


def _json_span(span: Span) -> dict[str, Any]:
    value: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": span.kind,
        # JSON numbers do not hold 64 bits everywhere, so OTLP writes them as text.
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _json_attributes({**span.shared.attributes, **span.attributes}),
        "flags": _flags(span),
    }
    if span.parent_id:
        value["parentSpanId"] = span.parent_id
    if span.error:
        value["status"] = {"code": _ERROR, "message": span.error}
    return value


def _json_attributes(attributes: Mapping[str, Attribute]) -> Sequence[dict[str, Any]]:
    return [{"key": key, "value": _json_any(value)} for key, value in attributes.items()]


def _json_any(value: Attribute) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case _:
            return {"arrayValue": {"values": [{"stringValue": item} for item in value]}}
