"""API keys by hash in the `api_keys` table."""

from typing import Any

from sqlalchemy import RowMapping, insert, select, update

from shipway.adapters.sql.engine import Database
from shipway.adapters.sql.tables import api_keys
from shipway.core.clock import Clock
from shipway.core.errors import ConflictError
from shipway.core.snapshot import KeyEntry


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
        async with self._database.writing() as connection:
            taken = await connection.scalar(select(api_keys.c.key_id).where(api_keys.c.key_id == entry.key_id))
            if taken is not None:
                raise ConflictError(f"key {entry.key_id!r} exists already")
            await connection.execute(insert(api_keys).values({**_values(entry), "created_at_s": created_at_s}))

    async def list(self) -> list[KeyEntry]:
        """Return the keys in force, oldest first."""
        query = (
            select(api_keys)
            .where(api_keys.c.revoked_at_s.is_(None))
            .order_by(api_keys.c.created_at_s, api_keys.c.key_id)
        )
        async with self._database.reading() as connection:
            return [_entry(row) for row in (await connection.execute(query)).mappings()]

    async def revoke(self, key_id: str) -> bool:
        """Revoke a key; False when there is no such key in force."""
        async with self._database.writing() as connection:
            done = await connection.execute(
                update(api_keys)
                .where(api_keys.c.key_id == key_id, api_keys.c.revoked_at_s.is_(None))
                .values(revoked_at_s=self._clock.now_s())
            )
            return bool(done.rowcount)

    async def rotate(self, entry: KeyEntry, *, replaced_sha256: str) -> bool:
        """Store a key's new secret, if nobody rotated or revoked it meanwhile."""
        async with self._database.writing() as connection:
            done = await connection.execute(
                update(api_keys)
                .where(
                    api_keys.c.key_id == entry.key_id,
                    api_keys.c.sha256 == replaced_sha256,
                    api_keys.c.revoked_at_s.is_(None),
                )
                .values(_values(entry))
            )
            return bool(done.rowcount)


def _values(entry: KeyEntry) -> dict[str, Any]:
    return {
        "key_id": entry.key_id,
        "sha256": entry.sha256,
        "tenant": entry.tenant,
        "groups": list(entry.groups),
        "roles": list(entry.roles),
        "routes": list(entry.routes),
        "expires_at_s": entry.expires_at_s,
        "previous_sha256": entry.previous_sha256,
        "previous_until_s": entry.previous_until_s,
        "rotated_at_s": entry.rotated_at_s,
    }


def _entry(row: RowMapping) -> KeyEntry:
    return KeyEntry(
        key_id=row["key_id"],
        sha256=row["sha256"],
        tenant=row["tenant"],
        groups=tuple(row["groups"]),
        roles=tuple(row["roles"]),
        routes=tuple(row["routes"]),
        expires_at_s=row["expires_at_s"],
        previous_sha256=row["previous_sha256"],
        previous_until_s=row["previous_until_s"],
        rotated_at_s=row["rotated_at_s"],
    )
