"""Keeps the cache of stages within a size: what was not used for longest goes first. `pipeline clean` calls it."""

import json
from contextlib import suppress
from pathlib import Path


def clean_cache(folder: Path, limit_bytes: int) -> int:
    """Remove entries until what is left fits; returns how many bytes were freed."""
    entries = sorted((folder / "entries").glob("*.json"), key=_used_at, reverse=True)
    kept: set[str] = set()
    size_bytes, full = 0, False
    for entry in entries:
        blobs = _blobs(entry)
        more = _size(entry) + sum(_size(_blob(folder, name)) for name in blobs - kept)
        full = full or size_bytes + more > limit_bytes
        if full:
            with suppress(OSError):
                entry.unlink()
            continue
        size_bytes += more
        kept |= blobs
    freed = 0
    for blob in (folder / "blobs").glob("*/*"):
        if blob.parent.name + blob.name not in kept:
            freed += _size(blob)
            with suppress(OSError):
                blob.unlink()
    return freed


def _blobs(entry: Path) -> set[str]:
    try:
        files = json.loads(entry.read_bytes().partition(b"\n")[0])["result"]["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {str(digest).removeprefix("sha256:").removesuffix("+x") for digest in files.values()}


def _blob(folder: Path, name: str) -> Path:
    return folder / "blobs" / name[:2] / name[2:]


def _used_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
