"""Versions of datasets: the cases as a blob, what is known about them as a document."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shipway.core.errors import ConflictError, NotFoundError, UsageError
from shipway.core.ids import Digest
from shipway.core.ports import BlobStore, DocumentStore

KIND = "dataset"
_MOST_VERSIONS = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One version: `digest` is that of the cases, `blob` that of the file that holds them."""

    name: str
    number: int
    digest: Digest
    blob: Digest
    cases: int
    at_s: float
    by: str

    @property
    def label(self) -> str:
        """Return how a person names it: `faq@3`."""
        return f"{self.name}@{self.number}"


@dataclass(frozen=True, slots=True)
class DatasetContent:
    """What is registered: the digest and number of its cases and the bytes of its file."""

    digest: Digest
    cases: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DatasetRegistry:
    """Where the versions are kept; what equals the newest version is no new one."""

    documents: DocumentStore
    blobs: BlobStore

    async def add(self, name: str, content: DatasetContent, *, at_s: float, by: str) -> tuple[DatasetVersion, bool]:
        """Store a version; return what is the newest one now and whether it is new.

        Raises:
            UsageError: no name for a dataset.
            ConflictError: somebody else registered one meanwhile.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name for a dataset; use letters, digits, '.', '_' and '-'")
        last = await self.latest(name)
        if last is not None and last.digest == content.digest:
            return last, False
        blob = await self.blobs.put(content.data)
        number = last.number + 1 if last else 1
        version = DatasetVersion(name, number, content.digest, blob, content.cases, at_s, by)
        try:
            await self.documents.put(KIND, _key(name, number), asdict(version), expected_version=0)
        except ConflictError as error:
            hint = "look at it with `shipway dataset list` and register again"
            raise ConflictError(f"{version.label} was registered by somebody else meanwhile", hint=hint) from error
        return version, True

    async def versions(self, name: str = "") -> list[DatasetVersion]:
        """Return the versions of one dataset, or of all, by name and number."""
        found = await self.documents.list(KIND, prefix=f"{name}/" if name else "", limit=_MOST_VERSIONS)
        return sorted((_version(body) for _, body, _ in found), key=lambda item: (item.name, item.number))

    async def latest(self, name: str) -> DatasetVersion | None:
        """Return the newest version, None when there is none."""
        found = await self.versions(name)
        return found[-1] if found else None

    async def get(self, name: str, number: int) -> DatasetVersion:
        """Return a version.

        Raises:
            NotFoundError: there is none of this number.
        """
        found = await self.documents.get(KIND, _key(name, number))
        if found is None:
            raise NotFoundError(
                f"no dataset version {name}@{number}", hint="`shipway dataset list` shows what there is"
            )
        return _version(found[0])

    async def data(self, version: DatasetVersion) -> bytes:
        """Return the bytes that were registered.

        Raises:
            IntegrityError: they are no longer what they were.
        """
        return await self.blobs.get(version.blob)


def _key(name: str, number: int) -> str:
    return f"{name}/{number:06d}"


def _version(body: Mapping[str, Any]) -> DatasetVersion:
    return DatasetVersion(**body)
