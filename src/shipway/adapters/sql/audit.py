"""The hash-chained audit log in the `audit` table."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Row, insert, select

from shipway.adapters.sql.engine import Database
from shipway.adapters.sql.tables import audit
from shipway.adapters.state import action_id, chain_faults, chained, plain
from shipway.core.ports import AuditEvent

_VERIFY_ROWS = 1000


class SqlAudit:
    """Implements `AuditLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, event: AuditEvent) -> AuditEvent:
        """Store an event at the end of the chain; it is on the disk when this returns.

        One whose action is there already is returned as it stands.
        """
        own = replace(event, details=plain(event.details, "audit details"))
        action = action_id(own)
        async with self._database.writing() as connection:
            if action is not None:
                known = (await connection.execute(select(audit).where(audit.c.action_id == action))).first()
                if known is not None:
                    return _event(known)
            row = (await connection.execute(select(audit).order_by(audit.c.seq.desc()).limit(1))).first()
            previous = _event(row) if row else None
            stored = chained(own, previous)
            await connection.execute(
                insert(audit).values(
                    seq=stored.seq,
                    at_s=stored.at_s,
                    actor=stored.actor,
                    action=stored.action,
                    subject=stored.subject,
                    details=stored.details,
                    prev=previous.digest if previous else "",
                    digest=stored.digest,
                    action_id=action,
                )
            )
        return stored

    async def entries(self, *, after: int = 0, limit: int = 1000) -> list[AuditEvent]:
        """Return events with `seq` > `after`, oldest first."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(limit))
            return [_event(row) for row in rows]

    async def verify(self) -> list[str]:
        """Return what is wrong with the chain, one line a fault."""
        faults: list[str] = []
        previous: AuditEvent | None = None
        while events := await self.entries(after=previous.seq if previous else 0, limit=_VERIFY_ROWS):
            faults.extend(chain_faults(events, previous))
            previous = events[-1]
        return faults


def _event(row: Row[Any]) -> AuditEvent:
    return AuditEvent(
        at_s=row.at_s,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        details=row.details,
        seq=row.seq,
        digest=row.digest,
    )
