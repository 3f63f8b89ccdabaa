"""Build a corpus from its documents; the `ingest` service and the data stage of the pipeline call this.

Only new or changed files are parsed and only new texts embedded. The corpus directory appears under its final name
complete or not at all, and directories of earlier corpora are not touched, so serving goes on whatever happens here.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import anyio.to_thread
import numpy as np
import numpy.typing as npt

from shipway.config.sections.corpus import Corpus
from shipway.core.canonical import digest_bytes
from shipway.core.clock import Clock
from shipway.core.errors import ConflictError, DocumentError, IntegrityError, NotFoundError
from shipway.core.ids import Digest
from shipway.rag.chunk import VERSION as CHUNKER_VERSION
from shipway.rag.chunk import chunk_document
from shipway.rag.disk import disk_failures
from shipway.rag.index import IndexFormats
from shipway.rag.ledger import Ledger
from shipway.rag.manifest import corpus_directory, manifest_digest, passages_bytes, verify, write_corpus
from shipway.rag.model import BuildReport, Chunk, CorpusManifest, Document, ManifestDocument
from shipway.rag.parse import document_digest, make_document, parse_sidecar
from shipway.rag.ports import DocumentReader, Embedder, Vectors
from shipway.rag.sources import FoundFile, Scan, refuse, scan

Progress = Callable[[int, int], None]
"""Called with (chunks embedded so far, chunks to embed)."""

_BATCH = 64
_TEMPORARY = ".building-"
_LEDGER = "ledger.sqlite3"


@dataclass(frozen=True, slots=True)
class BuildParts:
    """What a build works with."""

    readers: Mapping[str, DocumentReader]
    embedder: Embedder
    formats: IndexFormats
    clock: Clock
    reranker_digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class _Changes:
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


async def build_corpus(
    corpus: Corpus,
    root: Path,
    corpora: Path,
    parts: BuildParts,
    *,
    before: CorpusManifest | None = None,
    progress: Progress = lambda _done, _total: None,
) -> BuildReport:
    """Bring the ledger up to date with the files below `root` and build the corpus of it under `corpora`.

    What was added, changed and removed is told against `before`, the corpus that was finished last: an interrupted
    build has brought the ledger further than any corpus.

    Raises:
        NotFoundError: the root is no directory.
        DocumentError: documents cannot be read, or no rule says who may read them; all of them are named.
        ConflictError: another build is writing here.
        StoreError: the disk is full or refuses to be written.
    """
    with disk_failures(corpora, corpora / _LEDGER):
        await anyio.to_thread.run_sync(partial(corpora.mkdir, parents=True, exist_ok=True))
        with _exclusive(corpora):
            return await _built(corpus, root, corpora, parts, before, progress)


async def _built(
    corpus: Corpus, root: Path, corpora: Path, parts: BuildParts, before: CorpusManifest | None, progress: Progress
) -> BuildReport:
    ledger = await anyio.to_thread.run_sync(Ledger.open, corpora / _LEDGER)
    try:
        found = await anyio.to_thread.run_sync(partial(scan, corpus, root, parts.readers.keys()))
        files = found.files
        await _update(ledger, found, corpus.root, parts)
        chunks = await anyio.to_thread.run_sync(_chunks, ledger, files, corpus)
        vectors, embedded = await _embed(ledger, chunks, parts.embedder, progress)
        manifest, passages = _manifest(corpus, files, chunks, parts)
        await _publish(corpora, manifest, passages, (chunks, vectors), parts.formats)
    finally:
        ledger.close()
    changes = _changes(before, manifest)
    return BuildReport(
        manifest=manifest,
        digest=manifest_digest(manifest),
        added=changes.added,
        changed=changes.changed,
        removed=changes.removed,
        unchanged=len(files) - len(changes.added) - len(changes.changed),
        embedded=embedded,
        reused=len(chunks) - embedded,
    )


async def stale_documents(
    manifest: CorpusManifest, corpus: Corpus, root: Path, readers: Mapping[str, DocumentReader]
) -> tuple[str, ...]:
    """Return the paths whose file or access rule is no longer what the manifest pins, and new and removed ones."""
    found = await anyio.to_thread.run_sync(partial(scan, corpus, root, readers.keys()))
    refuse(corpus.root, found.refused)
    pinned = {item.path: item for item in manifest.documents}
    present = {file.path: _pinned(file, readers) for file in found.files}
    return tuple(sorted(path for path in pinned.keys() | present.keys() if pinned.get(path) != present.get(path)))


@contextmanager
def _exclusive(corpora: Path) -> Iterator[None]:
    with (corpora / "build.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConflictError(
                f"{corpora.name}/: another corpus build is running", hint="wait for it to end"
            ) from error
        yield


async def _update(ledger: Ledger, found: Scan, corpus_root: str, parts: BuildParts) -> None:
    known = ledger.digests()
    refused = list(found.refused)
    for file in found.files:
        pinned = _pinned(file, parts.readers)
        if known.get(file.path) == pinned.digest:
            continue
        try:
            document = await _parsed(file, pinned, parts.readers)
        except DocumentError as error:
            refused.append(error)
            continue
        await anyio.to_thread.run_sync(ledger.put_document, document)
    refuse(corpus_root, refused)
    removed = sorted(known.keys() - {file.path for file in found.files})
    await anyio.to_thread.run_sync(ledger.remove_documents, removed, parts.clock.now_s())


def _changes(before: CorpusManifest | None, after: CorpusManifest) -> _Changes:
    known = {item.path: item for item in before.documents} if before else {}
    present = {item.path: item for item in after.documents}
    return _Changes(
        added=tuple(path for path in present if path not in known),
        changed=tuple(path for path, item in present.items() if path in known and known[path] != item),
        removed=tuple(path for path in known if path not in present),
    )


async def _parsed(file: FoundFile, pinned: ManifestDocument, readers: Mapping[str, DocumentReader]) -> Document:
    extract = await _reader(file.path, readers).read(file.path, file.data)
    sidecar = {} if file.sidecar is None else parse_sidecar(file.path, file.sidecar)
    return make_document(pinned, extract, sidecar, file.tenant_root)


def _reader(path: str, readers: Mapping[str, DocumentReader]) -> DocumentReader:
    return readers[PurePosixPath(path).suffix.lower()]


def _pinned(file: FoundFile, readers: Mapping[str, DocumentReader]) -> ManifestDocument:
    reader = _reader(file.path, readers).version
    return ManifestDocument(
        path=file.path,
        digest=document_digest(file.path, file.data, file.sidecar, f"{reader} root={file.tenant_root}"),
        reader=reader,
        tenant=file.access.tenant,
        groups=tuple(sorted(file.access.groups)),
    )


def _chunks(ledger: Ledger, files: Sequence[FoundFile], corpus: Corpus) -> list[Chunk]:
    # Access comes from the rules of this build, never from the ledger: a changed rule must reach unchanged documents.
    access = {file.path: file.access for file in files}
    documents = ledger.documents()
    if not documents:
        raise DocumentError(corpus.root, "holds no documents", hint="add documents or change `corpus.root`")
    return [chunk for item in documents for chunk in chunk_document(item, access[item.path], corpus.chunk)]


async def _embed(
    ledger: Ledger, chunks: Sequence[Chunk], embedder: Embedder, progress: Progress
) -> tuple[Vectors, int]:
    texts = [chunk.indexed_text() for chunk in chunks]
    digests = [digest_bytes(text.encode()) for text in texts]
    known = await anyio.to_thread.run_sync(ledger.vectors, embedder.digest)
    missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known}
    embedded = sum(digest in missing for digest in digests)
    waiting = list(missing.items())
    for start in range(0, len(waiting), _BATCH):
        batch = waiting[start : start + _BATCH]
        vectors = await embedder.embed([text for _, text in batch])
        fresh: dict[Digest, npt.NDArray[np.float32]] = {
            digest: vector for (digest, _), vector in zip(batch, vectors, strict=True)
        }
        await anyio.to_thread.run_sync(ledger.put_vectors, embedder.digest, fresh)
        known.update(fresh)
        progress(start + len(batch), len(waiting))
    await anyio.to_thread.run_sync(ledger.keep_vectors, embedder.digest, digests)
    return np.stack([known[digest] for digest in digests]).astype(np.float32), embedded


def _manifest(
    corpus: Corpus, files: Sequence[FoundFile], chunks: Sequence[Chunk], parts: BuildParts
) -> tuple[CorpusManifest, bytes]:
    passages = passages_bytes(chunks)
    manifest = CorpusManifest(
        documents=tuple(_pinned(file, parts.readers) for file in files),
        chunks=len(chunks),
        passages=digest_bytes(passages),
        chunk_size=corpus.chunk.size,
        chunk_overlap=corpus.chunk.overlap,
        embedding=corpus.embedding,
        embedding_digest=parts.embedder.digest,
        reranker_digest=parts.reranker_digest,
        versions={
            "chunker": CHUNKER_VERSION,
            "vectors": parts.formats.vectors.version,
            "keywords": parts.formats.keywords.version,
        },
    )
    return manifest, passages


async def _publish(
    corpora: Path,
    manifest: CorpusManifest,
    passages: bytes,
    content: tuple[Sequence[Chunk], Vectors],
    formats: IndexFormats,
) -> None:
    """Write the corpus under a temporary name and rename it; nothing is written when it is there and whole."""
    digest = manifest_digest(manifest)
    final = corpus_directory(corpora, digest)
    if await anyio.to_thread.run_sync(_is_whole, final, digest):
        return
    chunks, vectors = content
    temporary = await anyio.to_thread.run_sync(_temporary, final)
    try:
        await formats.vectors.write(temporary, vectors)
        await formats.keywords.write(temporary, chunks)
        await anyio.to_thread.run_sync(write_corpus, temporary, manifest, passages)
        await anyio.to_thread.run_sync(_settle, temporary, final)
    except BaseException:
        # At once, not by the next build: on a full disk it is the room that everything else waits for.
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _is_whole(directory: Path, digest: Digest) -> bool:
    try:
        verify(directory, digest)
    except (IntegrityError, NotFoundError):
        return False
    return True


def _temporary(final: Path) -> Path:
    """Make a directory to build in, without what killed builds left: the lock says that none is running."""
    for leftover in final.parent.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(leftover)
    temporary = final.with_name(f"{_TEMPORARY}{final.name}")
    temporary.mkdir()
    return temporary


def _settle(temporary: Path, final: Path) -> None:
    for path in [*temporary.rglob("*"), temporary]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
