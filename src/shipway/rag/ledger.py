"""The ledger: parsed documents, vectors and tombstones, in one SQLite file; the truth that indexes are built from.

`build` alone writes it, from one worker thread. Documents are keyed by path, vectors by what was embedded and by which
model, so an interrupted build loses at most one batch and an unchanged text is never embedded twice.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shipway.core.errors import StoreError
from shipway.core.ids import Digest
from shipway.rag.disk import ledger_failure
from shipway.rag.model import Document, DocumentSection, Unit

_SCHEMA_VERSION = 1
_SCHEMA = """
create table documents (
  path text primary key, digest text not null, reader text not null, title text not null, text text not null,
  sections text not null, effective text, supersedes text not null
) strict;
create table vectors (
  text_digest text not null, model text not null, vector blob not null, primary key (text_digest, model)
) strict, without rowid;
create table tombstones (path text not null, digest text not null, removed_at_s real not null) strict;
"""


class Ledger:
    """An open ledger; every method is one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create a ledger.

        Raises:
            StoreError: not a ledger, one of another version, or no room or right to write it.
        """
        try:
            connection = sqlite3.connect(path, check_same_thread=False, timeout=10)
        except sqlite3.Error as error:
            raise ledger_failure(path, error) from error
        try:
            version = _prepared(connection)
        except sqlite3.Error as error:
            connection.close()
            raise ledger_failure(path, error) from error
        if version != _SCHEMA_VERSION:
            connection.close()
            hint = "use the Shipway version that wrote it, or move it away"
            raise StoreError(f"{path}: ledger version {version}, this Shipway knows {_SCHEMA_VERSION}", hint=hint)
        return cls(connection)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def digests(self) -> dict[str, Digest]:
        """Return the digest of each document by path."""
        return {path: Digest(digest) for path, digest in self._connection.execute("select path, digest from documents")}

    def documents(self) -> list[Document]:
        """Return all documents in path order."""
        rows = self._connection.execute(
            "select path, digest, reader, title, text, sections, effective, supersedes from documents order by path"
        )
        return [
            Document(
                path=path,
                digest=Digest(digest),
                reader=reader,
                title=title,
                text=text,
                sections=_sections(sections),
                effective=effective,
                supersedes=tuple(json.loads(supersedes)),
            )
            for path, digest, reader, title, text, sections, effective, supersedes in rows
        ]

    def put_document(self, document: Document) -> None:
        """Add or replace a document."""
        row = (
            document.path,
            document.digest,
            document.reader,
            document.title,
            document.text,
            json.dumps([asdict(section) for section in document.sections], ensure_ascii=False),
            document.effective,
            json.dumps(document.supersedes, ensure_ascii=False),
        )
        with self._connection:
            self._connection.execute("insert or replace into documents values (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def remove_documents(self, paths: Iterable[str], removed_at_s: float) -> None:
        """Delete documents with their text; only path, digest and time stay."""
        with self._connection:
            for path in paths:
                self._connection.execute(
                    "insert into tombstones select path, digest, ? from documents where path = ?", (removed_at_s, path)
                )
                self._connection.execute("delete from documents where path = ?", (path,))

    def tombstones(self) -> list[tuple[str, Digest, float]]:
        """Return (path, digest, time of removal in Unix seconds), oldest first."""
        rows = self._connection.execute("select path, digest, removed_at_s from tombstones order by rowid")
        return [(path, Digest(digest), removed_at_s) for path, digest, removed_at_s in rows]

    def vectors(self, model: Digest) -> dict[Digest, npt.NDArray[np.float32]]:
        """Return a model's vectors by text digest."""
        rows = self._connection.execute("select text_digest, vector from vectors where model = ?", (model,))
        return {Digest(digest): np.frombuffer(blob, np.float32) for digest, blob in rows}

    def put_vectors(self, model: Digest, vectors: Mapping[Digest, npt.NDArray[np.float32]]) -> None:
        """Add vectors."""
        rows = [(digest, model, vector.astype("<f4").tobytes()) for digest, vector in vectors.items()]
        with self._connection:
            self._connection.executemany("insert or replace into vectors values (?, ?, ?)", rows)

    def keep_vectors(self, model: Digest, digests: Iterable[Digest]) -> None:
        """Delete a model's vectors of all other texts: a deleted document must not live on in them."""
        with self._connection, closing(self._connection.cursor()) as cursor:
            cursor.execute("create temp table kept (text_digest text primary key)")
            cursor.executemany("insert or ignore into kept values (?)", [(digest,) for digest in digests])
            cursor.execute(
                "delete from vectors where model = ? and text_digest not in (select text_digest from kept)", (model,)
            )
            cursor.execute("drop table kept")


def _prepared(connection: sqlite3.Connection) -> int:
    """Return the schema's version, after making the tables of a new file."""
    version = int(connection.execute("pragma user_version").fetchone()[0])
    if version:
        return version
    connection.execute("pragma journal_mode=wal")
    connection.executescript(f"begin immediate; {_SCHEMA} pragma user_version={_SCHEMA_VERSION}; commit;")
    return _SCHEMA_VERSION


def _sections(data: str) -> tuple[DocumentSection, ...]:
    return tuple(
        DocumentSection(tuple(section["heading"]), tuple(Unit(**unit) for unit in section["units"]))
        for section in json.loads(data)
    )
