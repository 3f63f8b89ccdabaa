"""Results of stages by key, with the content of their files by digest; implements `pipeline.ports.StageCache`.

    cache/entries/KEY.json      parts of the key, result, digests of its files; a second line with the digest of this
    cache/blobs/ab/cdef…        content of files, by digest
    cache/latest/STAGE          the key that a stage made or used last
    cache/left/STAGE            the files of a stage whose result was not kept when it last ran
    cache/blobs/staged/         files on their way back into the project: nobody who looks there meets half of one

What is read is checked: an entry that is no entry is none, and content that has another digest is never handed out.
"""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio.to_thread

from shipway.adapters.pipeline_store.stat_cache import StatCache
from shipway.adapters.pipeline_store.writing import STAGED_PREFIX, write_whole
from shipway.core.errors import IntegrityError
from shipway.pipeline.keys import stage_key
from shipway.pipeline.model import StageResult
from shipway.pipeline.ports import CacheEntry, Left

_COPY_BYTES = 1 << 20
_SCHEMA = 2


class FileStageCache:
    """A cache in a folder of this machine, for the project in `root`."""

    def __init__(self, folder: Path, root: Path, digests: StatCache) -> None:
        self._folder = folder
        self._root = root
        self._digests = digests

    async def find(self, key: str) -> CacheEntry | None:
        """Return the entry of a key."""
        return await anyio.to_thread.run_sync(self._find, key)

    async def latest(self, stage: str) -> CacheEntry | None:
        """Return the entry that a stage made or used last."""
        return await anyio.to_thread.run_sync(self._latest, stage)

    async def left(self, stage: str) -> Left:
        """Return what a stage left when it last ran or was given its result."""
        return await anyio.to_thread.run_sync(self._left, stage)

    async def leave(self, stage: str, left: Left) -> None:
        """Note what a stage left whose result is not kept."""
        with suppress(OSError):
            await anyio.to_thread.run_sync(self._leave, stage, left)

    async def entries(self) -> list[CacheEntry]:
        """Return all entries that can be read, of all stages."""
        return await anyio.to_thread.run_sync(self._entries)

    async def keep(self, entry: CacheEntry) -> None:
        """Store an entry and the content of its files; what cannot be stored is run again next time."""
        with suppress(OSError, IntegrityError):
            await anyio.to_thread.run_sync(self._keep, entry)

    async def use(self, entry: CacheEntry) -> None:
        """Put the files of an entry into the project's folder."""
        await anyio.to_thread.run_sync(self._use, entry)

    def _entries(self) -> list[CacheEntry]:
        keys = sorted(path.stem for path in (self._folder / "entries").glob("*.json"))
        return [entry for key in keys if (entry := self._find(f"sha256:{key}")) is not None]

    def _find(self, key: str) -> CacheEntry | None:
        try:
            data, _, digest = self._entry_file(key).read_bytes().rpartition(b"\n")
            # The key says nothing of the result.
            if digest != _digest(data):
                return None
            document = json.loads(data)
        except (OSError, ValueError):
            return None
        entry = _entry(document)
        # The key is what the parts say: an entry that was moved or changed by hand answers nothing.
        return entry if entry is not None and entry.key == key == stage_key(entry.parts) else None

    def _latest(self, stage: str) -> CacheEntry | None:
        try:
            key = (self._folder / "latest" / stage).read_text()
        except (OSError, UnicodeDecodeError):
            return None
        return self._find(key)

    def _left(self, stage: str) -> Left:
        entry = self._latest(stage)
        created: dict[str, str] = {}
        changed: dict[str, str] = {}
        if entry is not None:
            for path in entry.made:
                where = changed if path in entry.replaced else created
                where[path] = entry.result.files[path]
        try:
            document = json.loads((self._folder / "left" / stage).read_bytes())
            created |= dict(document["created"])
            changed |= dict(document["changed"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return Left(created, changed)

    def _leave(self, stage: str, left: Left) -> None:
        document = {"created": dict(left.created), "changed": dict(left.changed)}
        write_whole(self._folder / "left" / stage, json.dumps(document).encode())

    def _keep(self, entry: CacheEntry) -> None:
        for path in entry.made:
            self._take(self._root / path, entry.result.files[path])
        document = {
            "schema": _SCHEMA,
            "key": entry.key,
            "parts": dict(entry.parts),
            "result": entry.result.to_dict(),
            "made_at_s": entry.made_at_s,
            "made": list(entry.made),
            "replaced": dict(entry.replaced),
        }
        data = json.dumps(document).encode()
        write_whole(self._entry_file(entry.key), data + b"\n" + _digest(data))
        self._note(entry)

    def _use(self, entry: CacheEntry) -> None:
        try:
            for path in entry.made:
                digest = entry.result.files[path]
                if self._digests.digest(self._root / path) != digest:
                    self._put(path, digest)
        except IntegrityError:
            with suppress(OSError):
                self._entry_file(entry.key).unlink()
            raise
        self._note(entry)

    def _note(self, entry: CacheEntry) -> None:
        with suppress(OSError):
            os.utime(self._entry_file(entry.key))
            write_whole(self._folder / "latest" / entry.result.name, entry.key.encode())
            (self._folder / "left" / entry.result.name).unlink()

    def _take(self, path: Path, digest: str) -> None:
        blob = self._blob(digest)
        if not blob.exists():
            blob.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, blob, digest, staged_in=blob.parent)

    def _put(self, path: str, digest: str) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(self._root.resolve()):
            raise IntegrityError(f"{path} would be written outside the project's folder, through a link")
        staged_in = self._folder / "blobs" / "staged"
        staged_in.mkdir(parents=True, exist_ok=True)
        if staged_in.stat().st_dev != target.parent.stat().st_dev:
            staged_in = target.parent  # nothing can be moved from one file system to another
        _copy(self._blob(digest), target, digest, staged_in=staged_in, mode=0o755 if digest.endswith("+x") else 0o644)

    def _entry_file(self, key: str) -> Path:
        return self._folder / "entries" / f"{key.removeprefix('sha256:')}.json"

    def _blob(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:").removesuffix("+x")
        return self._folder / "blobs" / name[:2] / name[2:]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _copy(source: Path, target: Path, digest: str, *, staged_in: Path, mode: int = 0o644) -> None:
    """Copy a file that must have a digest; the target is there whole or not at all.

    Raises:
        IntegrityError: the source is gone or has other content.
    """
    wanted = digest.removesuffix("+x")
    descriptor, name = tempfile.mkstemp(prefix=STAGED_PREFIX, dir=staged_in)
    hashed = hashlib.sha256()
    try:
        with os.fdopen(descriptor, "wb") as writing, source.open("rb") as reading:
            while data := reading.read(_COPY_BYTES):
                hashed.update(data)
                writing.write(data)
        if f"sha256:{hashed.hexdigest()}" != wanted:
            raise IntegrityError(f"{source} does not hold {wanted}")
        Path(name).chmod(mode)
        Path(name).replace(target)
    except OSError as error:
        raise IntegrityError(f"{source} cannot be copied to {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            Path(name).unlink()


def _entry(document: Any) -> CacheEntry | None:
    try:
        if document["schema"] != _SCHEMA:
            return None
        result = StageResult.from_dict(document["result"])
        made = tuple(path for path in document["made"] if path in result.files)
        replaced = {str(path): str(digest) for path, digest in document["replaced"].items()}
        return CacheEntry(document["key"], document["parts"], result, document["made_at_s"], made, replaced)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
