"""A small corpus with nothing outside the process: memory models and indexes, documents in a temporary directory."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from shipway.adapters.documents.readers import default_readers
from shipway.adapters.memory_rag.indexes import NumpyVectorFormat, WordFormat
from shipway.adapters.memory_rag.models import HashingEmbedder, OverlapReranker
from shipway.config.sections.corpus import Corpus
from shipway.core.clock import ManualClock
from shipway.core.ids import TenantId
from shipway.core.principal import Principal
from shipway.rag.build import BuildParts, build_corpus
from shipway.rag.index import IndexFormats, OpenCorpus, open_corpus
from shipway.rag.model import BuildReport, CorpusManifest
from shipway.rag.ports import Embedder
from shipway.rag.retrieve import RetrievalModels, RetrievalPolicy, Retriever

SOURCES = [
    {"path": "acme/**", "tenant": "acme", "groups": ["public"]},
    {"path": "acme/staff/**", "tenant": "acme", "groups": ["staff"]},
    {"path": "zenith/**", "tenant": "zenith", "groups": ["public"]},
]


@dataclass
class Workshop:
    """Writes documents, builds them and asks questions."""

    root: Path
    corpora: Path
    sources: list[dict[str, object]]
    clock: ManualClock
    embedder: Embedder
    finished: CorpusManifest | None = None

    formats = IndexFormats(NumpyVectorFormat(), WordFormat())

    def write(self, path: str, text: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def corpus(self, *, size: int = 60, overlap: int = 10) -> Corpus:
        chunk = {"size": size, "overlap": overlap}
        return Corpus.model_validate({"sources": self.sources, "chunk": chunk, "embedding": "hashing"})

    def parts(self) -> BuildParts:
        return BuildParts(default_readers(), self.embedder, self.formats, self.clock)

    async def build(self, *, size: int = 60) -> BuildReport:
        corpus = self.corpus(size=size)
        report = await build_corpus(corpus, self.root, self.corpora, self.parts(), before=self.finished)
        self.finished = report.manifest
        return report

    async def open(self, report: BuildReport) -> OpenCorpus:
        return await open_corpus(self.corpora, report.digest, self.formats)

    async def retriever(self, report: BuildReport, policy: RetrievalPolicy | None = None) -> Retriever:
        models = RetrievalModels(self.embedder, OverlapReranker())
        return Retriever(await self.open(report), models, policy or RetrievalPolicy(), self.clock)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    root = tmp_path / "docs"
    root.mkdir()
    return Workshop(root, tmp_path / "corpora", list(SOURCES), ManualClock(), HashingEmbedder())


@pytest.fixture
def principal() -> Callable[..., Principal]:
    def make(tenant: str = "acme", *groups: str) -> Principal:
        return Principal(TenantId(tenant), frozenset(groups or ("public",)), "someone")

    return make
