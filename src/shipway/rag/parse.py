"""Make a document of a reader's blocks and its metadata; `build` calls it for every new or changed file.

Metadata comes from a file's front matter, and from a sidecar `<file>.meta.yaml` for formats that have none:
`title`, `effective` (a date) and `supersedes` (paths from the tenant's root).
"""

from collections.abc import Iterable
from datetime import date
from pathlib import PurePosixPath
from typing import Any

import yaml

from shipway.config.yaml_words import in_words
from shipway.core.canonical import digest_bytes, digest_json
from shipway.core.errors import DocumentError
from shipway.core.ids import Digest
from shipway.core.nesting import TOO_DEEP, too_deep
from shipway.rag.model import Document, DocumentSection, ManifestDocument, Unit
from shipway.rag.ports import Block, Extract

SIDECAR_SUFFIX = ".meta.yaml"
_WRITE = "write `title: …` lines"


def document_digest(path: str, data: bytes, sidecar: bytes | None, reader: str) -> Digest:
    """Return the digest of all that a document is made of."""
    return digest_json(
        {
            "path": path,
            "content": digest_bytes(data),
            "sidecar": None if sidecar is None else digest_bytes(sidecar),
            "reader": reader,
        }
    )


def parse_sidecar(path: str, data: bytes) -> dict[str, Any]:
    """Return the metadata of a sidecar file.

    Raises:
        DocumentError: it is not a YAML mapping.
    """
    return parse_metadata(path + SIDECAR_SUFFIX, data)


def parse_metadata(path: str, data: bytes | str) -> dict[str, Any]:
    """Return a YAML mapping.

    Raises:
        DocumentError: it is no YAML, or no mapping.
    """
    try:
        loaded = yaml.safe_load(data)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in its line {mark.line + 1}" if mark else ""
        reason = f"metadata is not YAML{where}: {in_words(error)}"
        raise DocumentError(path, reason, hint=_WRITE) from error
    except RecursionError:
        raise DocumentError(path, f"metadata is {TOO_DEEP}", hint=_WRITE) from None
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: bytes that are not UTF-8, a date such as 2026-02-30.
        raise DocumentError(path, f"metadata is not YAML: {error}", hint=_WRITE) from error
    if too_deep(loaded):
        raise DocumentError(path, f"metadata is {TOO_DEEP}", hint=_WRITE)
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise DocumentError(path, f"metadata is a {type(loaded).__name__}, not a mapping", hint=_WRITE)
    return loaded


def make_document(pinned: ManifestDocument, extract: Extract, sidecar: dict[str, Any], tenant_root: str) -> Document:
    """Put text, outline and metadata together; a sidecar's keys win over the file's own.

    Raises:
        DocumentError: there is no text, or the metadata says something that cannot be.
    """
    path = pinned.path
    metadata = {**extract.metadata, **sidecar}
    text, sections = _outline(extract.blocks)
    if not sections:
        raise DocumentError(path, "has no text", hint="remove the file, or for a scan run OCR first")
    first_heading = next((block.text for block in extract.blocks if block.kind == "heading"), None)
    title = metadata.get("title") or extract.title or first_heading or PurePosixPath(path).stem
    return Document(
        path=path,
        digest=pinned.digest,
        reader=pinned.reader,
        title=str(title).strip(),
        text=text,
        sections=sections,
        effective=_effective(path, metadata.get("effective")),
        supersedes=_supersedes(path, metadata.get("supersedes"), tenant_root),
    )


def _effective(path: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value)
        except ValueError as error:
            raise DocumentError(path, f"effective {value!r} is not a date", hint="write YYYY-MM-DD") from error
    if not isinstance(value, date):
        raise DocumentError(path, f"effective {value!r} is not a date", hint="write YYYY-MM-DD")
    return value.isoformat()[:10]


def _supersedes(path: str, value: Any, tenant_root: str) -> tuple[str, ...]:
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DocumentError(path, f"supersedes {value!r} is not a list of paths", hint="write `supersedes: [a/b.md]`")
    # Paths are read below the tenant's own root, so no document can put away another tenant's.
    found = tuple(sorted(str(PurePosixPath(tenant_root) / name) for name in names))
    for name in found:
        if ".." in PurePosixPath(name).parts or name == path:
            raise DocumentError(path, f"supersedes {name!r}, which cannot be", hint="name another document's path")
    return found


def _outline(blocks: Iterable[Block]) -> tuple[str, tuple[DocumentSection, ...]]:
    """Join the blocks into one text and remember where each section's units lie in it."""
    pieces: list[str] = []
    length = 0
    path: list[tuple[int, str]] = []
    sections: list[tuple[tuple[str, ...], list[Unit]]] = []
    bare: Unit | None = None
    for block in blocks:
        text = block.text.strip()
        if not text:
            continue
        unit = Unit(length, length + len(text), whole=block.kind == "row")
        pieces.append(text)
        length += len(text) + 2
        if block.kind == "heading":
            _keep_bare_heading(bare, path, block.level, sections)
            path = [entry for entry in path if entry[0] < block.level]
            path.append((block.level, text))
            bare = unit
            sections.append((tuple(name for _, name in path), []))
            continue
        bare = None
        if not sections:
            sections.append(((), []))
        sections[-1][1].append(unit)
    _keep_bare_heading(bare, path, 0, sections)
    found = tuple(DocumentSection(heading, tuple(units)) for heading, units in sections if units)
    return "\n\n".join(pieces), found


def _keep_bare_heading(
    bare: Unit | None,
    path: list[tuple[int, str]],
    next_level: int,
    sections: list[tuple[tuple[str, ...], list[Unit]]],
) -> None:
    """Make a heading with nothing below it a unit of its own, else its words would be in no chunk."""
    if bare is not None and next_level <= path[-1][0]:
        sections[-1][1].append(bare)
