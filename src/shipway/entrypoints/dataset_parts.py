"""What checking a dataset looks with on this machine."""

from importlib import import_module

from shipway.adapters.memory_rag.models import HashingEmbedder
from shipway.core.errors import ShipwayError
from shipway.core.personal_data import RegexPii
from shipway.rag.ports import Embedder
from shipway.services.application import Application
from shipway.services.datasets import DatasetTools


def dataset_tools(app: Application | None) -> DatasetTools:
    """Return readers, the finder of personal data and the model that compares topics.

    Topics are compared by the corpus's embedding model where it is installed, else by the words of the questions.
    """
    if app is None:
        return DatasetTools(pii=RegexPii())
    # The readers of documents take libraries that a project without a corpus need not have.
    readers = import_module("shipway.adapters.documents.readers").default_readers() if app.project.corpus else {}
    return DatasetTools(readers, RegexPii(), _embedder(app).embed)


def _embedder(app: Application) -> Embedder:
    corpus = app.project.corpus
    if corpus is None:
        return HashingEmbedder()
    try:
        found: Embedder = import_module("shipway.entrypoints.rag_parts").embedder(corpus.embedding)
    except ShipwayError:
        return HashingEmbedder()
    return found
