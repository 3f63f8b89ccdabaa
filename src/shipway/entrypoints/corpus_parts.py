"""The corpora service with its readers; light, because no model or index is loaded for it."""

from shipway.adapters.documents.readers import default_readers
from shipway.services.application import Application
from shipway.services.corpora import BuiltCorpora


def corpora() -> BuiltCorpora:
    """Return the corpora service."""
    return BuiltCorpora(default_readers())


async def check_corpus(app: Application) -> str:
    """Return in words that the corpus is built and up to date."""
    found = await corpora().current(app)
    return f"{found['documents']} documents, {found['chunks']} chunks, up to date"
