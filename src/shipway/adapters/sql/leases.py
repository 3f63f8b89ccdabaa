"""Leadership in the `leases` table."""

import sqlite3
from dataclasses import astuple

from shipway.adapters.sql.engine import Database
from shipway.adapters.state import NOBODY, next_lease
from shipway.core.ports import Lease

# In the order of `Lease`.
_SELECT = "SELECT name, holder, epoch, renewed_at_s, ttl_s, beat FROM leases WHERE name = ?"
_WRITE = """INSERT INTO leases (name, holder, epoch, renewed_at_s, ttl_s, beat) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = excluded.epoch,
renewed_at_s = excluded.renewed_at_s, ttl_s = excluded.ttl_s, beat = excluded.beat"""
_RELEASE = "UPDATE leases SET holder = ? WHERE name = ? AND holder = ?"


class SqlLeases:
    """Implements `LeaseStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, name: str, holder: str, *, ttl_s: float, now_s: float) -> Lease | None:
        """Take or renew a lease; None while another holder's has not expired."""
        wanted = Lease(name=name, holder=holder, epoch=0, renewed_at_s=now_s, ttl_s=ttl_s)

        def acquire(connection: sqlite3.Connection) -> Lease | None:
            lease = next_lease(stored_lease(connection, name), wanted)
            if lease is not None:
                connection.execute(_WRITE, astuple(lease))
            return lease

        return await self._database.write(acquire)

    async def release(self, name: str, holder: str) -> None:
        """Give the lease up; its epoch stays."""
        await self._database.write(lambda connection: connection.execute(_RELEASE, (NOBODY, name, holder)))

    async def read(self, name: str) -> Lease | None:
        """Return the lease as stored."""
        return await self._database.read(lambda connection: stored_lease(connection, name))


def stored_lease(connection: sqlite3.Connection, name: str) -> Lease | None:
    """Return a lease as the transaction of `connection` sees it."""
    row = connection.execute(_SELECT, (name,)).fetchone()
    return None if row is None else Lease(*row)
