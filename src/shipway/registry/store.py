"""Releases, labels and evaluations as rows of the document store."""

from dataclasses import dataclass, replace
from typing import Any

from shipway.core.canonical import digest_json
from shipway.core.errors import IntegrityError, NotFoundError, UsageError
from shipway.core.ids import ReleaseId
from shipway.core.ports import DocumentStore, Fence
from shipway.registry.model import Release, release_id

_LEAST_PREFIX = 4
_MOST_RELEASES = 1_000_000


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """One release that was stable in an environment: since when, and who made it so."""

    release: ReleaseId
    at_s: float
    actor: str


@dataclass(frozen=True, slots=True)
class ReleaseRegistry:
    """Where releases are kept; the same content is one release however often it is added."""

    documents: DocumentStore

    async def add(self, release: Release) -> tuple[Release, bool]:
        """Store a release; return what is stored and whether it is new.

        Raises:
            IntegrityError: the id does not belong to the manifest, or another manifest has the same id.
        """
        if release_id(release.manifest) != release.id:
            raise IntegrityError(f"release {release.id}: the id does not belong to its manifest")
        found = await self.documents.get("release", release.id)
        if found is not None:
            known = Release.from_dict(found[0])
            if digest_json(known.manifest) != digest_json(release.manifest):
                raise IntegrityError(f"release {release.id}: another manifest already has this id")
            return known, False
        await self.documents.put("release", release.id, release.to_dict(), expected_version=0)
        return release, True

    async def get(self, name: str) -> Release:
        """Return a release by its id or by an unambiguous beginning of it.

        Raises:
            NotFoundError: no release begins like that.
            UsageError: several do, or the beginning is too short.
        """
        exact = await self.documents.get("release", name)
        if exact is not None:
            return _verified(Release.from_dict(exact[0]))
        wanted = name if name.startswith("rel_") else f"rel_{name}"
        found = await self.documents.list("release", prefix=wanted)
        written = len(wanted) - len("rel_")
        if found and 0 < written < _LEAST_PREFIX:
            raise NotFoundError(
                f"release {name!r}: of an id, at least {_LEAST_PREFIX} characters after rel_ are needed",
                hint="write more of it; `shipway release list` shows the ids",
            )
        if not found or not written:
            raise NotFoundError(f"no release {name!r}", hint="`shipway release list` shows the ids")
        if len(found) > 1:
            ids = ", ".join(key for key, _, _ in found)
            raise UsageError(f"release {name!r} is ambiguous: {ids}")
        return _verified(Release.from_dict(found[0][1]))

    async def sign_off(self, release: ReleaseId, statement: dict[str, Any]) -> Release:
        """Attach a signed-off statement (a gate's verdict, an override) to a release."""
        found = await self.documents.get("release", release)
        if found is None:
            raise NotFoundError(f"no release {release!r}", hint="`shipway release list` shows the ids")
        body, version = found
        known = Release.from_dict(body)
        updated = replace(known, signed_off=(*known.signed_off, statement))
        await self.documents.put("release", release, updated.to_dict(), expected_version=version)
        return updated

    async def label(self, environment: str) -> ReleaseId | None:
        """Return the stable release of an environment."""
        found = await self.documents.get("label", environment)
        return ReleaseId(found[0]["release"]) if found else None

    async def label_history(self, environment: str) -> list[LabelEntry]:
        """Return the stable releases of an environment, oldest first."""
        found = await self.documents.get("label", environment)
        return [LabelEntry(**entry) for entry in found[0]["history"]] if found else []

    async def set_label(
        self, environment: str, release: ReleaseId, *, at_s: float, actor: str, fence: Fence | None = None
    ) -> None:
        """Point an environment at a release; the previous one is kept in the label's history.

        Setting what is already set changes nothing, so that a controller may repeat itself after a crash. A leader
        gives its `fence`, a command of a user none.

        Raises:
            FencedError: the lease of `fence` has a higher epoch.
        """
        found = await self.documents.get("label", environment)
        if found is not None and found[0]["release"] == release:
            return
        history = found[0]["history"] if found else []
        body = {"release": release, "history": [*history, {"release": release, "at_s": at_s, "actor": actor}]}
        version = found[1] if found else 0
        await self.documents.put("label", environment, body, expected_version=version, fence=fence)

    async def list(self) -> list[Release]:
        """Return all releases, oldest first."""
        return [Release.from_dict(body) for _, body, _ in await self.documents.list("release", limit=_MOST_RELEASES)]


def _verified(release: Release) -> Release:
    if release_id(release.manifest) != release.id:
        raise IntegrityError(
            f"release {release.id}: the stored manifest no longer has this id",
            hint="restore the store from a backup: `shipway db restore`",
        )
    return release
