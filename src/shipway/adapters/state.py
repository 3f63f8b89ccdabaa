"""The rules that every state store follows, as pure functions; `adapters/memory` and `adapters/sql` call them."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import orjson

from shipway.core.canonical import digest_json
from shipway.core.errors import ConflictError, FencedError
from shipway.core.ports import AuditEvent, Fence, Lease
from shipway.core.snapshot import Snapshot

NOBODY = ""
"""The holder of a lease that was given up; its epoch stays."""


def chained(event: AuditEvent, previous: AuditEvent | None) -> AuditEvent:
    """Return the event with its place in the chain.

    Raises:
        TypeError: `details` hold something that JSON cannot.
    """
    seq = previous.seq + 1 if previous else 1
    return replace(event, seq=seq, digest=chain_digest(event, seq, previous.digest if previous else ""))


def chain_digest(event: AuditEvent, seq: int, previous_digest: str) -> str:
    """Return the digest that binds an event to everything before it."""
    return digest_json([seq, event.at_s, event.actor, event.action, event.subject, event.details, previous_digest])


def action_id(event: AuditEvent) -> str | None:
    """Return the id under which an event may stand in the log once; None for events that may repeat."""
    found = event.details.get("action_id")
    return found if isinstance(found, str) else None


def chain_faults(events: Iterable[AuditEvent], previous: AuditEvent | None) -> Iterator[str]:
    """Yield what is wrong with a run of events that should follow `previous`."""
    seq, digest = (previous.seq, previous.digest) if previous else (0, "")
    for event in events:
        if event.seq != seq + 1:
            missing = f"{seq + 1}" if event.seq == seq + 2 else f"{seq + 1} to {event.seq - 1}"
            yield f"audit seq {event.seq}: entry {missing} before it is missing"
        elif event.digest != chain_digest(event, event.seq, digest):
            yield f"audit seq {event.seq}: content or order was changed after it was written (digest does not match)"
        seq, digest = event.seq, event.digest


def next_lease(stored: Lease | None, wanted: Lease) -> Lease | None:
    """Return the lease that `wanted.holder` gets at `wanted.renewed_at_s`; None while another's is in force.

    The epoch never goes down, not even after a release: it fences writes of whoever still believes to lead.
    """
    if stored is None:
        return replace(wanted, epoch=1, beat=0)
    if stored.holder == wanted.holder:
        return replace(wanted, epoch=stored.epoch, beat=stored.beat + 1)
    if stored.holder != NOBODY and stored.renewed_at_s + stored.ttl_s >= wanted.renewed_at_s:
        return None
    return replace(wanted, epoch=stored.epoch + 1, beat=stored.beat + 1)


def refuse_snapshot(stored: Snapshot, wanted: Snapshot, expected_version: int) -> None:
    """Raise why a snapshot may not be replaced; return when it may.

    Raises:
        FencedError: the stored epoch is higher.
        ConflictError: the stored version is another one.
    """
    where = f"environment {wanted.environment!r}"
    if stored.epoch > wanted.epoch:
        raise FencedError(
            f"{where}: a leader of epoch {stored.epoch} has written; epoch {wanted.epoch} may not write any more",
            hint="stop this controller; the newer one goes on",
        )
    if stored.version != expected_version:
        raise ConflictError(
            f"{where}: the snapshot has version {stored.version}, not the expected {expected_version}",
            hint="read it again and repeat the change on what is there now",
        )


def refuse_fenced(where: str, lease: Lease | None, fence: Fence) -> None:
    """Raise when somebody else has led since the writer did.

    Raises:
        FencedError: the stored lease has a higher epoch.
    """
    if lease is not None and lease.epoch > fence.epoch:
        raise FencedError(
            f"{where}: the lease {fence.lease} has epoch {lease.epoch}; epoch {fence.epoch} may not write any more",
            hint="stop this controller; the newer one goes on",
        )


def refuse_document(where: str, stored_version: int, expected_version: int | None) -> None:
    """Raise when a document is not at the expected version.

    Raises:
        ConflictError: the stored version is another one.
    """
    if expected_version is None or stored_version == expected_version:
        return
    if expected_version == 0:
        raise ConflictError(f"{where} exists already, with version {stored_version}")
    found = f"has version {stored_version}" if stored_version else "does not exist"
    raise ConflictError(
        f"{where} {found}, expected was version {expected_version}",
        hint="read it again and repeat the change on what is there now",
    )


def plain(value: Any, where: str) -> Any:
    """Return a copy of `value` as reading it back from JSON would give it.

    Raises:
        TypeError: something in it has no exact JSON form (NaN, infinity, a non-string key, another type).
    """
    _require_finite(value, where)
    try:
        return orjson.loads(orjson.dumps(value))
    except orjson.JSONEncodeError as error:
        raise TypeError(f"{where}: {error}; use JSON values") from error


def _require_finite(value: Any, where: str) -> None:
    # orjson would write NaN as null, which reads back as a missing figure.
    match value:
        case float() if not math.isfinite(value):
            raise TypeError(f"{where}: {value!r} has no JSON form; leave the key out or use a finite number")
        case dict():
            for key, item in value.items():
                _require_finite(item, f"{where}.{key}")
        case list() | tuple():
            for index, item in enumerate(value):
                _require_finite(item, f"{where}[{index}]")
        case _:
            pass
