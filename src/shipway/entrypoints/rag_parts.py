"""Building the technical parts of retrieval: readers, models, index formats."""

from shipway.adapters.documents.readers import default_readers
from shipway.adapters.faiss.vectors import FaissFormat
from shipway.adapters.memory_rag.models import HashingEmbedder, OverlapReranker
from shipway.adapters.onnx.embedder import MiniLmEmbedder
from shipway.adapters.onnx.reranker import CrossEncoder
from shipway.adapters.tantivy.keywords import TantivyFormat
from shipway.core.clock import SystemClock
from shipway.core.errors import UsageError
from shipway.rag.build import BuildParts
from shipway.rag.index import IndexFormats
from shipway.rag.ports import Embedder, Reranker
from shipway.services.application import Application
from shipway.services.models import WITHOUT_MODEL, locate_with_tokenizer


def index_formats() -> IndexFormats:
    """Return how indexes are written and read."""
    return IndexFormats(FaissFormat(), TantivyFormat())


def embedder(name: str) -> Embedder:
    """Return an embedding model by its catalogue id.

    Raises:
        UsageError: no such embedding model.
        NotFoundError: it is not installed.
    """
    if name == WITHOUT_MODEL:
        return HashingEmbedder()
    return MiniLmEmbedder(*locate_with_tokenizer(name, "embedding"))


def reranker(name: str | None) -> Reranker | None:
    """Return a cross-encoder by its catalogue id; None reranks nothing."""
    if name is None:
        return None
    if name == WITHOUT_MODEL:
        return OverlapReranker()
    return CrossEncoder(*locate_with_tokenizer(name, "reranker"))


def build_parts(app: Application) -> BuildParts:
    """Return what a corpus build needs."""
    corpus = app.project.corpus
    if corpus is None:
        raise UsageError("the project declares no corpus", hint="add a corpus section to shipway.yaml")
    ranker = reranker(app.project.retrieval.reranker)
    return BuildParts(
        readers=default_readers(),
        embedder=embedder(corpus.embedding),
        formats=index_formats(),
        clock=SystemClock(),
        reranker_digest=ranker.digest if ranker else None,
    )
