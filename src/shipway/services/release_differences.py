"""What changed between two releases, with the texts behind the digests; `shipway release diff` calls it."""

from dataclasses import dataclass

from shipway.core.errors import ConfigError, NotFoundError
from shipway.core.ids import Digest
from shipway.core.ports import BlobStore
from shipway.rag.compose import parse_prompt
from shipway.registry.difference import Change, ReleaseDifference, difference
from shipway.registry.model import Release
from shipway.registry.texts import Text, TextChange, text_change

# Finding the lines that differ takes time in the square of the length; a longer file is generated, not written.
_LONGEST_TEXT_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class ComparedReleases:
    """Every change; `texts` shows those of prompts and code files that the store has and that are not too long."""

    difference: ReleaseDifference
    texts: tuple[TextChange, ...]

    @property
    def other_changes(self) -> tuple[Change, ...]:
        """Return the changes that no text shows."""
        shown = {(text.part, text.key) for text in self.texts}
        return tuple(change for change in self.difference.changes if (change.part, change.key) not in shown)


async def compared_releases(blobs: BlobStore, before: Release, after: Release) -> ComparedReleases:
    """Compare two releases down to the lines of their prompts and code files."""
    found = difference(before, after)
    texts: list[TextChange] = []
    for change in found.changes:
        if change.part == "prompt" and change.key.endswith(".digest"):
            name = change.key.removesuffix(".digest")
            old, new = await _prompt(blobs, before, name), await _prompt(blobs, after, name)
        elif change.part == "code" and change.key.startswith("files."):
            path = change.key.removeprefix("files.")
            old, new = await _code(blobs, path, change.before), await _code(blobs, path, change.after)
        else:
            continue
        # A side that has a digest and no text cannot be shown, so the digests are.
        if (old is None) == (change.before is None) and (new is None) == (change.after is None):
            texts.append(text_change(change.part, change.key, old, new))
    return ComparedReleases(found, tuple(texts))


async def _prompt(blobs: BlobStore, release: Release, name: str) -> Text | None:
    entry = release.manifest["prompts"].get(name)
    if entry is None:
        return None
    content = await _content(blobs, entry["digest"])
    return None if content is None else Text(entry["path"], content, _version(content, entry["path"]))


async def _code(blobs: BlobStore, path: str, digest: str | None) -> Text | None:
    content = None if digest is None else await _content(blobs, digest)
    return None if content is None else Text(path, content)


async def _content(blobs: BlobStore, digest: str) -> str | None:
    try:
        data = await blobs.get(Digest(digest))
        return data.decode() if len(data) <= _LONGEST_TEXT_BYTES else None
    except (NotFoundError, UnicodeDecodeError):
        return None


def _version(content: str, path: str) -> str:
    try:
        return parse_prompt(content.encode(), path).version
    except ConfigError:
        return ""
