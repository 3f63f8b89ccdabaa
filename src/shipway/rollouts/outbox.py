"""Moves a rollout's entries from its row to the audit log, each exactly once whatever crashes in between.

The row names what is to be audited in the same write that made it true; what the log already holds is found by its
action id. `audit_seq` remembers how far the log was searched.
"""

from dataclasses import replace

from shipway.core.ports import AuditEvent, AuditLog
from shipway.rollouts.model import Entry, Rollout

_PAGE = 1000


async def flushed(rollout: Rollout, audit: AuditLog) -> Rollout:
    """Append what is missing and return the row with an empty outbox, for the caller to save."""
    known, seq = await _known(rollout, audit)
    for entry in rollout.outbox:
        if entry.action_id not in known:
            seq = (await audit.append(_event(rollout, entry))).seq
    return replace(rollout, outbox=(), audit_seq=seq)


async def _known(rollout: Rollout, audit: AuditLog) -> tuple[set[str], int]:
    known: set[str] = set()
    seq = rollout.audit_seq
    while True:
        page = await audit.entries(after=seq, limit=_PAGE)
        known.update(event.details["action_id"] for event in page if "action_id" in event.details)
        if not page:
            return known, seq
        seq = page[-1].seq


def _event(rollout: Rollout, entry: Entry) -> AuditEvent:
    details = {**entry.details, "action_id": entry.action_id, "environment": rollout.environment}
    return AuditEvent(at_s=entry.at_s, actor=entry.actor, action=entry.action, subject=rollout.id, details=details)
