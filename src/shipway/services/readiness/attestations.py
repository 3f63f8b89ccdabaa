"""Statements on what no program can see: kept in the audit log, whose chain shows when one was altered.

The chain is the signature: each statement is bound to everything before it, and every later event to it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shipway.core.errors import UsageError
from shipway.core.ports import AuditEvent
from shipway.readiness.catalogue import check_named, wording
from shipway.readiness.facts import Attestation
from shipway.services.application import Installation

ACTION = "readiness.attested"
MOST_DAYS = 366
_DAY_S = 86_400.0
_LEAST_WORDS = 3


@dataclass(frozen=True, slots=True)
class Statement:
    """What somebody wants to state about a check."""

    check: str
    text: str
    by: str
    days: int


async def attest(app: Installation, wanted: Statement) -> Attestation:
    """Store a statement; it replaces the one before on the same check.

    Raises:
        NotFoundError: there is no such check.
        UsageError: the check is not one for statements, or the statement says nothing.
    """
    check = check_named(wanted.check)
    if not check.attest:
        raise UsageError(
            f"{check.id} ({check.title}) is looked at, not stated", hint="`shipway readiness` says what to mend"
        )
    text, by = " ".join(wanted.text.split()), " ".join(wanted.by.split())
    if len(text.split()) < _LEAST_WORDS:
        raise UsageError(f"--statement {wanted.text!r} says nothing", hint=f"say {check.attest}")
    if not by:
        raise UsageError("--by names nobody", hint="name who answers for the statement")
    expires_at_s = app.clock.now_s() + wanted.days * _DAY_S
    details = {"statement": text, "by": by, "expires_at_s": expires_at_s, "wording": wording(check)}
    event = await app.audit(ACTION, check.id, **details)
    return _attestation(event)


def attestations(events: Iterable[AuditEvent]) -> Iterator[Attestation]:
    """Yield the statements of an audit log; an event that is none is left out."""
    for event in events:
        if event.action == ACTION:
            try:
                yield _attestation(event)
            except (KeyError, TypeError, ValueError):
                continue


def _attestation(event: AuditEvent) -> Attestation:
    said = event.details
    return Attestation(
        check=event.subject,
        statement=str(said["statement"]),
        by=str(said["by"]),
        entered_by=event.actor,
        at_s=event.at_s,
        expires_at_s=float(said["expires_at_s"]),
        seq=event.seq,
        digest=event.digest,
        wording=str(said["wording"]),
    )
