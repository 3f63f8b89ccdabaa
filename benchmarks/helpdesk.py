"""The help desk example as the studies use it: its folder, its splits, its documents in an index."""

from pathlib import Path

from shipway.adapters.documents.readers import default_readers
from shipway.config.sections.corpus import Corpus
from shipway.core.clock import SystemClock
from shipway.entrypoints.rag_parts import index_formats
from shipway.evals.model import Split
from shipway.rag.build import BuildParts, build_corpus
from shipway.rag.index import OpenCorpus, open_corpus
from shipway.rag.ports import Embedder

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "helpdesk"
CASES = EXAMPLE / "evals" / "cases.jsonl"
SPLITS: tuple[Split, ...] = ("calibration", "test")
"""Settings are chosen on the first and only reported on the second."""


async def indexed(corpus: Corpus, directory: Path, embedder: Embedder) -> OpenCorpus:
    """Build the example's documents into a directory and open them."""
    formats = index_formats()
    parts = BuildParts(default_readers(), embedder, formats, SystemClock())
    built = await build_corpus(corpus, EXAMPLE / corpus.root, directory, parts)
    return await open_corpus(directory, built.digest, formats)
