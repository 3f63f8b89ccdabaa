"""Content by digest in the `blobs` table."""

from sqlalchemy import insert, select

from shipway.adapters.sql.engine import Database
from shipway.adapters.sql.tables import blobs
from shipway.core.canonical import digest_bytes
from shipway.core.errors import IntegrityError, NotFoundError
from shipway.core.ids import Digest


class SqlBlobs:
    """Implements `BlobStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, data: bytes) -> Digest:
        """Store bytes; the same bytes twice are one blob."""
        digest = digest_bytes(data)
        async with self._database.writing() as connection:
            known = await connection.scalar(select(blobs.c.digest).where(blobs.c.digest == digest))
            if known is None:
                await connection.execute(insert(blobs).values(digest=digest, data=data))
        return digest

    async def get(self, digest: Digest) -> bytes:
        """Return a blob, checked against its digest."""
        async with self._database.reading() as connection:
            data: bytes | None = await connection.scalar(select(blobs.c.data).where(blobs.c.digest == digest))
        if data is None:
            raise NotFoundError(f"no blob {digest}")
        if digest_bytes(data) != digest:
            raise IntegrityError(
                f"blob {digest}: the stored bytes no longer have this digest", hint="run `shipway db check`"
            )
        return data
