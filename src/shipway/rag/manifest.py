"""A corpus on disk: its manifest, its passages and the seal on its index files.

    <corpora>/<64 hex digits of the manifest's digest>/
        manifest.json     what a release pins; canonical JSON, so its bytes give the digest
        passages.jsonl    all chunks with text, offsets and access lists; its digest is in the manifest
        seal.json         digests of the index files as they were built on this machine
        …                 the index files; how they look is the adapters' matter

`build` writes it, `index` opens it for serving; a directory is never changed after it has its name.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shipway.core.canonical import canonical_json, digest_bytes, digest_json
from shipway.core.errors import IntegrityError, NotFoundError
from shipway.core.ids import Digest, TenantId
from shipway.rag.model import Access, Chunk, CorpusManifest, ManifestDocument

SCHEMA = 1
_MANIFEST = "manifest.json"
_PASSAGES = "passages.jsonl"
_SEAL = "seal.json"
_REBUILD = "run `shipway rag build`: from the same documents it makes the same corpus again, whole"


def manifest_digest(manifest: CorpusManifest) -> Digest:
    """Return what a release pins."""
    return digest_json(asdict(manifest))


def corpus_directory(corpora: Path, digest: Digest) -> Path:
    """Return where a corpus lies."""
    return corpora / digest.removeprefix("sha256:")


def passages_bytes(chunks: Sequence[Chunk]) -> bytes:
    """Return the content of `passages.jsonl`, one chunk a line."""
    return b"".join(canonical_json(_chunk_json(chunk)) + b"\n" for chunk in chunks)


def write_corpus(directory: Path, manifest: CorpusManifest, passages: bytes) -> None:
    """Write manifest and passages beside the index files that are already there, and seal all of it."""
    (directory / _PASSAGES).write_bytes(passages)
    (directory / _MANIFEST).write_bytes(canonical_json(asdict(manifest)))
    (directory / _SEAL).write_bytes(canonical_json(_index_digests(directory)))


def read_manifest(directory: Path, expected: Digest) -> CorpusManifest:
    """Return the manifest that has the expected digest.

    Raises:
        NotFoundError: there is no such corpus.
        IntegrityError: the manifest is another one, or of an unknown schema.
    """
    path = directory / _MANIFEST
    if not path.is_file():
        raise NotFoundError(f"corpus {expected} is not in {directory.parent.name}/", hint="run `shipway rag build`")
    data = path.read_bytes()
    found = digest_bytes(data)
    if found != expected:
        raise IntegrityError(f"{directory.name}/{_MANIFEST}: digest {found}, pinned is {expected}", hint=_REBUILD)
    loaded: dict[str, Any] = json.loads(data)
    if loaded["schema"] != SCHEMA:
        raise IntegrityError(
            f"{directory.name}/{_MANIFEST}: schema {loaded['schema']}, this Shipway reads {SCHEMA}", hint=_REBUILD
        )
    documents = tuple(_manifest_document(item) for item in loaded.pop("documents"))
    return CorpusManifest(documents=documents, **loaded)


def read_passages(directory: Path, manifest: CorpusManifest) -> tuple[Chunk, ...]:
    """Return all chunks in the manifest's order.

    Raises:
        IntegrityError: they are not those of the manifest.
    """
    path = directory / _PASSAGES
    data = path.read_bytes() if path.is_file() else b""
    found = digest_bytes(data)
    if found != manifest.passages:
        message = f"{directory.name}/{_PASSAGES}: digest {found}, the manifest says {manifest.passages}"
        raise IntegrityError(message, hint=_REBUILD)
    chunks = tuple(_chunk(json.loads(line)) for line in data.splitlines())
    if len(chunks) != manifest.chunks:
        message = f"{directory.name}/{_PASSAGES}: {len(chunks)} chunks, the manifest says {manifest.chunks}"
        raise IntegrityError(message, hint=_REBUILD)
    return chunks


def verify(directory: Path, expected: Digest) -> CorpusManifest:
    """Check everything in a corpus directory against the pinned digest and the seal.

    Raises:
        NotFoundError: there is no such corpus.
        IntegrityError: which file is not what it was.
    """
    try:
        manifest = read_manifest(directory, expected)
        read_passages(directory, manifest)
        sealed = _sealed(directory)
        present = _index_digests(directory)
    except OSError as error:
        raise IntegrityError(f"{directory}: cannot be read: {error}", hint=_REBUILD) from error
    wrong = sorted(name for name in sealed.keys() | present.keys() if sealed.get(name) != present.get(name))
    if wrong:
        message = f"{directory.name}: {', '.join(wrong)} changed since the corpus was built"
        raise IntegrityError(message, hint=_REBUILD)
    return manifest


def _sealed(directory: Path) -> dict[str, str]:
    try:
        sealed = json.loads((directory / _SEAL).read_bytes())
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{directory.name}/{_SEAL}: {error}", hint=_REBUILD) from error
    if not isinstance(sealed, dict):
        raise IntegrityError(f"{directory.name}/{_SEAL}: is no mapping of files to digests", hint=_REBUILD)
    return sealed


def _index_digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    names = {path: path.relative_to(directory).as_posix() for path in files}
    # Lock files come and go with readers.
    skipped = {_MANIFEST, _PASSAGES, _SEAL}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path, name in names.items()
        if name not in skipped and path.suffix != ".lock"
    }


def _chunk_json(chunk: Chunk) -> dict[str, Any]:
    data = asdict(chunk)
    data["access"] = {"tenant": chunk.access.tenant, "groups": sorted(chunk.access.groups)}
    return data


def _chunk(data: dict[str, Any]) -> Chunk:
    access = Access(TenantId(data["access"]["tenant"]), frozenset(data["access"]["groups"]))
    names = {"heading": tuple(data["heading"]), "supersedes": tuple(data["supersedes"]), "access": access}
    return Chunk(**{**data, **names})


def _manifest_document(data: dict[str, Any]) -> ManifestDocument:
    return ManifestDocument(**{**data, "groups": tuple(data["groups"])})
