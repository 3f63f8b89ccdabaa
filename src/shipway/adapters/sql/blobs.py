"""Content by digest in the `blobs` table."""

from shipway.adapters.sql.engine import Database
from shipway.core.canonical import digest_bytes
from shipway.core.errors import IntegrityError, NotFoundError
from shipway.core.ids import Digest

_INSERT = "INSERT INTO blobs (digest, data) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING"
_SELECT = "SELECT data FROM blobs WHERE digest = ?"


class SqlBlobs:
    """Implements `BlobStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, data: bytes) -> Digest:
        """Store bytes; the same bytes twice are one blob."""
        digest = digest_bytes(data)
        await self._database.write(lambda connection: connection.execute(_INSERT, (digest, data)))
        return digest

    async def get(self, digest: Digest) -> bytes:
        """Return a blob, checked against its digest."""
        row = await self._database.read(lambda connection: connection.execute(_SELECT, (digest,)).fetchone())
        if row is None:
            raise NotFoundError(f"no blob {digest}")
        data: bytes = row[0]
        if digest_bytes(data) != digest:
            raise IntegrityError(
                f"blob {digest}: the stored bytes no longer have this digest", hint="run `shipway db check`"
            )
        return data
