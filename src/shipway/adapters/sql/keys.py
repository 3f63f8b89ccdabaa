"""API keys by hash in the `api_keys` table."""

import sqlite3
from typing import Any

import orjson

from shipway.adapters.sql.engine import Database
from shipway.core.clock import Clock
from shipway.core.errors import ConflictError
from shipway.core.snapshot import KeyEntry

_COLUMNS = """sha256, tenant, "groups", roles, routes, expires_at_s, previous_sha256, previous_until_s, rotated_at_s,
key_id"""
_LIST = f"SELECT {_COLUMNS} FROM api_keys WHERE revoked_at_s IS NULL ORDER BY created_at_s, key_id"  # noqa: S608 - no values
_TAKEN = "SELECT 1 FROM api_keys WHERE key_id = ?"
_INSERT = f"INSERT INTO api_keys ({_COLUMNS}, created_at_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_REVOKE = "UPDATE api_keys SET revoked_at_s = ? WHERE key_id = ? AND revoked_at_s IS NULL"
_ROTATE = """UPDATE api_keys SET sha256 = ?, tenant = ?, "groups" = ?, roles = ?, routes = ?, expires_at_s = ?,
previous_sha256 = ?, previous_until_s = ?, rotated_at_s = ?
WHERE key_id = ? AND sha256 = ? AND revoked_at_s IS NULL"""


class SqlKeys:
    """Implements `KeyStore`; a revoked key's row stays as evidence."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, entry: KeyEntry, *, created_at_s: float) -> None:
        """Store a key; an id is never used twice, not even after it was revoked.

        Raises:
            ConflictError: the id is taken.
        """

        def add(connection: sqlite3.Connection) -> None:
            if connection.execute(_TAKEN, (entry.key_id,)).fetchone() is not None:
                raise ConflictError(f"key {entry.key_id!r} exists already")
            connection.execute(_INSERT, (*_values(entry), created_at_s))

        await self._database.write(add)

    async def list(self) -> list[KeyEntry]:
        """Return the keys in force, oldest first."""
        rows = await self._database.read(lambda connection: connection.execute(_LIST).fetchall())
        return [_entry(row) for row in rows]

    async def revoke(self, key_id: str) -> bool:
        """Revoke a key; False when there is no such key in force."""
        values = (self._clock.now_s(), key_id)
        return await self._database.write(lambda connection: connection.execute(_REVOKE, values).rowcount > 0)

    async def rotate(self, entry: KeyEntry, *, replaced_sha256: str) -> bool:
        """Store a key's new secret, if nobody rotated or revoked it meanwhile."""
        values = (*_values(entry), replaced_sha256)
        return await self._database.write(lambda connection: connection.execute(_ROTATE, values).rowcount > 0)


def _values(entry: KeyEntry) -> tuple[Any, ...]:
    lists = (orjson.dumps(list(names)).decode() for names in (entry.groups, entry.roles, entry.routes))
    before = (entry.previous_sha256, entry.previous_until_s, entry.rotated_at_s)
    return (entry.sha256, entry.tenant, *lists, entry.expires_at_s, *before, entry.key_id)


def _entry(row: tuple[Any, ...]) -> KeyEntry:
    sha256, tenant, groups, roles, routes, expires_at_s, previous_sha256, previous_until_s, rotated_at_s, key_id = row
    return KeyEntry(
        key_id=key_id,
        sha256=sha256,
        tenant=tenant,
        groups=tuple(orjson.loads(groups)),
        roles=tuple(orjson.loads(roles)),
        routes=tuple(orjson.loads(routes)),
        expires_at_s=expires_at_s,
        previous_sha256=previous_sha256,
        previous_until_s=previous_until_s,
        rotated_at_s=rotated_at_s,
    )
