"""Leadership in the `leases` table."""

from dataclasses import asdict

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shipway.adapters.sql.engine import Database
from shipway.adapters.sql.tables import leases
from shipway.adapters.state import NOBODY, next_lease
from shipway.core.ports import Lease


class SqlLeases:
    """Implements `LeaseStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, name: str, holder: str, *, ttl_s: float, now_s: float) -> Lease | None:
        """Take or renew a lease; None while another holder's has not expired."""
        wanted = Lease(name=name, holder=holder, epoch=0, renewed_at_s=now_s, ttl_s=ttl_s)
        async with self._database.writing() as connection:
            stored = await _stored(connection, name)
            lease = next_lease(stored, wanted)
            if lease is None:
                return None
            if stored is None:
                await connection.execute(insert(leases).values(asdict(lease)))
            else:
                await connection.execute(update(leases).where(leases.c.name == name).values(asdict(lease)))
        return lease

    async def release(self, name: str, holder: str) -> None:
        """Give the lease up; its epoch stays."""
        async with self._database.writing() as connection:
            await connection.execute(
                update(leases).where(leases.c.name == name, leases.c.holder == holder).values(holder=NOBODY)
            )

    async def read(self, name: str) -> Lease | None:
        """Return the lease as stored."""
        async with self._database.reading() as connection:
            return await _stored(connection, name)


async def _stored(connection: AsyncConnection, name: str) -> Lease | None:
    row = (await connection.execute(select(leases).where(leases.c.name == name))).mappings().first()
    return None if row is None else Lease(**row)
