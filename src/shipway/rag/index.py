"""Open a pinned corpus for serving; the wiring hands the result to `retrieve`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread

from shipway.core.errors import IntegrityError
from shipway.core.ids import Digest
from shipway.rag.manifest import corpus_directory, read_passages, verify
from shipway.rag.model import Chunk, CorpusManifest
from shipway.rag.ports import KeywordFormat, KeywordIndex, VectorFormat, VectorIndex


@dataclass(frozen=True, slots=True)
class IndexFormats:
    """How indexes are written and read."""

    vectors: VectorFormat
    keywords: KeywordFormat


@dataclass(frozen=True, slots=True)
class OpenCorpus:
    """A corpus ready for questions: a chunk's place in `chunks` is its number in both indexes."""

    manifest: CorpusManifest
    digest: Digest
    chunks: tuple[Chunk, ...]
    vectors: VectorIndex
    keywords: KeywordIndex


async def open_corpus(corpora: Path, digest: Digest, formats: IndexFormats) -> OpenCorpus:
    """Verify and open a corpus.

    Raises:
        NotFoundError: there is no such corpus.
        IntegrityError: it is not what the digest says, or an index does not fit the manifest.
    """
    directory = corpus_directory(corpora, digest)
    manifest = await anyio.to_thread.run_sync(partial(verify, directory, digest))
    chunks = await anyio.to_thread.run_sync(partial(read_passages, directory, manifest))
    vectors = await formats.vectors.open(directory)
    keywords = await formats.keywords.open(directory)
    for name, size in (("vector", vectors.size), ("keyword", keywords.size)):
        if size != manifest.chunks:
            message = f"corpus {digest}: the {name} index has {size} chunks, the manifest {manifest.chunks}"
            raise IntegrityError(message, hint="run `shipway rag build`")
    return OpenCorpus(manifest, digest, chunks, vectors, keywords)
