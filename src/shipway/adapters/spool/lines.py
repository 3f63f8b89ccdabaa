"""The words of a segment file: a header that names a record's fields, then a JSON array of their values a record.

`RecordSpool` writes them, `SpoolCollector` reads them. An array is half as long as an object and is written and read
twice as fast; the header says which names the values have, so that another version of Shipway can read them. A file
without a header holds JSON objects: an earlier version wrote it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import orjson

from shipway.core.record import ServedRequest

_NAMES = tuple(field.name for field in fields(ServedRequest))
_values = attrgetter(*_NAMES)

HEADER = orjson.dumps({"fields": _NAMES}, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Header:
    """What the values of a segment's lines are called, none when its lines are objects; and where the lines begin."""

    names: tuple[str, ...] = ()
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """The records of some lines, and how many lines nobody can read."""

    records: list[ServedRequest]
    torn: int


def encoded(record: ServedRequest) -> bytes:
    """Return a record's line."""
    return orjson.dumps(_values(record), option=orjson.OPT_APPEND_NEWLINE)


def header_of(start: bytes) -> Header:
    """Return the header at a file's start."""
    first, newline, _ = start.partition(b"\n")
    try:
        found = orjson.loads(first) if newline else None
    except ValueError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("fields"), list):
        return Header(tuple(found["fields"]), len(first) + 1)
    return Header()


def decoded(data: bytes, header: Header) -> Decoded:
    """Return the records of lines; what follows the last newline was cut by a crash before it was acknowledged."""
    lines = data.split(b"\n")
    cut = lines.pop()
    found = [_record(line, header.names) for line in lines]
    records = [record for record in found if record is not None]
    return Decoded(records, len(found) - len(records) + bool(cut))


def _record(line: bytes, names: tuple[str, ...]) -> ServedRequest | None:
    try:
        value = orjson.loads(line)
        record = _positional(value, names) if isinstance(value, list) else ServedRequest.from_dict(value)
    except (ValueError, TypeError, AttributeError):
        return None
    return record if isinstance(record.id, str) else None


def _positional(values: Sequence[Any], names: tuple[str, ...]) -> ServedRequest:
    if names != _NAMES or len(values) != len(_NAMES):
        return ServedRequest.from_dict(dict(zip(names, values, strict=True)))
    record = ServedRequest(*values)
    record.events = tuple(record.events)
    record.documents = tuple(record.documents)
    return record
