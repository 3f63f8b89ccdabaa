"""The hash-chained audit log in the `audit` table."""

import sqlite3
from dataclasses import replace
from typing import Any

import orjson

from shipway.adapters.sql.engine import Database
from shipway.adapters.state import action_id, chain_faults, chained, plain
from shipway.core.ports import AuditEvent

_VERIFY_ROWS = 1000

_SELECT = "SELECT seq, at_s, actor, action, subject, details, digest FROM audit"
_KNOWN = f"{_SELECT} WHERE action_id = ?"
_LAST = f"{_SELECT} ORDER BY seq DESC LIMIT 1"
_AFTER = f"{_SELECT} WHERE seq > ? ORDER BY seq LIMIT ?"
_INSERT = """INSERT INTO audit (seq, at_s, actor, action, subject, details, prev, digest, action_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class SqlAudit:
    """Implements `AuditLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, event: AuditEvent) -> AuditEvent:
        """Store an event at the end of the chain; it is on the disk when this returns.

        One whose action is there already is returned as it stands.
        """
        own = replace(event, details=plain(event.details, "audit details"))
        return await self._database.write(lambda connection: _append(connection, own))

    async def entries(self, *, after: int = 0, limit: int = 1000) -> list[AuditEvent]:
        """Return events with `seq` > `after`, oldest first."""
        rows = await self._database.read(lambda connection: connection.execute(_AFTER, (after, limit)).fetchall())
        return [_event(row) for row in rows]

    async def verify(self) -> list[str]:
        """Return what is wrong with the chain, one line a fault."""
        faults: list[str] = []
        previous: AuditEvent | None = None
        while events := await self.entries(after=previous.seq if previous else 0, limit=_VERIFY_ROWS):
            faults.extend(chain_faults(events, previous))
            previous = events[-1]
        return faults


def _append(connection: sqlite3.Connection, event: AuditEvent) -> AuditEvent:
    action = action_id(event)
    if action is not None:
        known = connection.execute(_KNOWN, (action,)).fetchone()
        if known is not None:
            return _event(known)
    row = connection.execute(_LAST).fetchone()
    previous = _event(row) if row else None
    stored = chained(event, previous)
    details, before = orjson.dumps(stored.details).decode(), previous.digest if previous else ""
    what = (stored.actor, stored.action, stored.subject, details)
    connection.execute(_INSERT, (stored.seq, stored.at_s, *what, before, stored.digest, action))
    return stored


def _event(row: tuple[Any, ...]) -> AuditEvent:
    seq, at_s, actor, action, subject, details, digest = row
    return AuditEvent(at_s, actor, action, subject, orjson.loads(details), seq, digest)
