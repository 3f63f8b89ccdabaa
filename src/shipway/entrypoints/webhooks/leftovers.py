"""What runs of the receiver leave for later ones: the cache of a branch, and what they printed.

Each branch has a cache of its own. Whoever may push to a branch can put anything into its cache, so what another branch
gets from the cache must not be theirs. A fork gets none.
"""

import hashlib
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import anyio.to_thread

from shipway.adapters.pipeline_store.cleaning import clean_cache
from shipway.pipeline.webhooks.model import Entry

_PARTS = ("entries", "blobs", "latest")
_KEPT_CACHES = 20
_LARGEST_CACHE_BYTES = 2_000_000_000


class Leftovers:
    """Caches in `caches`, and what runs printed in `logs`."""

    def __init__(self, caches: Path, logs: Path) -> None:
        self._caches = caches
        self._logs = logs

    async def lend(self, entry: Entry, root: Path) -> None:
        """Give the project in `root` the cache of its branch; without one a run only takes longer."""
        if not entry.fork:
            with suppress(OSError):
                await anyio.to_thread.run_sync(self._lend, entry, root)

    async def tidy(self, entries: Collection[str]) -> None:
        """Remove what belongs to none of these entries, and caches that were not used for longest."""
        await anyio.to_thread.run_sync(self._tidy, entries)

    def log(self, entry_id: str) -> Path:
        """Return the file of what a run printed."""
        return self._logs / f"{entry_id}.log"

    def _lend(self, entry: Entry, root: Path) -> None:
        cache = self._caches / hashlib.sha256(entry.ref.encode()).hexdigest()[:24]
        used = root / ".shipway" / "pipeline" / "cache"
        used.mkdir(parents=True, exist_ok=True)
        for part in _PARTS:
            (cache / part).mkdir(parents=True, exist_ok=True)
            # The digests of files by path stay behind: another checkout has other paths.
            (used / part).symlink_to(cache / part, target_is_directory=True)
        cache.touch()

    def _tidy(self, entries: Collection[str]) -> None:
        for log in self._logs.glob("*.log"):
            if log.stem not in entries:
                with suppress(OSError):
                    log.unlink()
        with suppress(OSError):
            newest_first = sorted(self._caches.iterdir(), key=lambda cache: cache.stat().st_mtime_ns, reverse=True)
            for cache in newest_first[_KEPT_CACHES:]:
                shutil.rmtree(cache, ignore_errors=True)
            for cache in newest_first[:1]:
                clean_cache(cache, _LARGEST_CACHE_BYTES)
