"""BM25 search with tantivy; implements `rag.ports.KeywordFormat` and `KeywordIndex`.

Tenant and groups are terms of the query, so that what the principal may not read is no candidate. English stemming and
stop words; other languages match by whole words.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import tantivy
from tantivy import Occur, Query

from shipway.core.errors import IntegrityError
from shipway.core.principal import Principal
from shipway.rag.model import Chunk
from shipway.rag.ports import Hit

_DIRECTORY = "keywords"
_ANALYZER = "english"
_HEAP_BYTES = 50_000_000
_LONGEST_WORD = 60
_TEXT_FIELDS = ("heading", "body")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_MAX_TERMS = 64
"""A question's words beyond these are ignored: the cost of a query grows with them."""


class TantivyFormat:
    """A directory in the corpus directory."""

    @property
    def version(self) -> str:
        """Return name and format version."""
        return "tantivy-english/1"

    async def write(self, directory: Path, chunks: Sequence[Chunk]) -> None:
        """Write the index of chunks 0 … n-1."""
        path = directory / _DIRECTORY
        try:
            await anyio.to_thread.run_sync(_write, path, chunks)
        except ValueError as error:
            # tantivy tells of a full disk in the text of a ValueError.
            if found := _OS_ERROR.search(str(error)):
                number = int(found[1])
                raise OSError(number, os.strerror(number), str(path)) from error
            raise

    async def open(self, directory: Path) -> "TantivyIndex":
        """Open it for reading."""
        return await anyio.to_thread.run_sync(_open, directory / _DIRECTORY)


class TantivyIndex:
    """An opened index; searches run in a worker thread."""

    def __init__(self, index: tantivy.Index) -> None:
        self._schema = index.schema
        self._searcher = index.searcher()
        self._analyzer = _analyzer()

    @property
    def size(self) -> int:
        """Return how many chunks it holds."""
        return int(self._searcher.num_docs)

    async def search(self, question: str, principal: Principal, limit: int) -> list[Hit]:
        """Return the best `limit` hits that the principal may read."""
        words = list(dict.fromkeys(self._analyzer.analyze(question)))[:_MAX_TERMS]
        if not words or not principal.groups or limit < 1:
            return []
        query = self._query(words, principal)
        return await anyio.to_thread.run_sync(self._search, query, limit)

    def _query(self, words: Sequence[str], principal: Principal) -> Query:
        groups = Query.term_set_query(self._schema, "groups", sorted(principal.groups))
        matches = [
            (Occur.Should, Query.term_query(self._schema, field, word)) for word in words for field in _TEXT_FIELDS
        ]
        return Query.boolean_query(
            [
                (Occur.Must, _unscored(Query.term_query(self._schema, "tenant", principal.tenant))),
                (Occur.Must, _unscored(groups)),
                (Occur.Must, Query.boolean_query(matches)),
            ]
        )

    def _search(self, query: Query, limit: int) -> list[Hit]:
        hits = self._searcher.search(query, limit, count=False).hits
        numbers = self._searcher.fast_field_values("number", [address for _, address in hits])
        return [(int(number or 0), float(score)) for number, (score, _) in zip(numbers, hits, strict=True)]


def _unscored(query: Query) -> Query:
    return Query.const_score_query(query, 0.0)


def _analyzer() -> tantivy.TextAnalyzer:
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(_LONGEST_WORD))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.stopword("english"))
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def _write(directory: Path, chunks: Sequence[Chunk]) -> None:
    directory.mkdir()
    builder = tantivy.SchemaBuilder().add_unsigned_field("number", stored=False, indexed=False, fast=True)
    for name in ("tenant", "groups"):
        builder.add_text_field(name, stored=False, tokenizer_name="raw", index_option="basic")
    for name in _TEXT_FIELDS:
        builder.add_text_field(name, stored=False, tokenizer_name=_ANALYZER, index_option="freq")
    index = tantivy.Index(builder.build(), path=str(directory), reuse=False)
    index.register_tokenizer(_ANALYZER, _analyzer())
    writer = index.writer(_HEAP_BYTES, 1)
    for number, chunk in enumerate(chunks):
        document = tantivy.Document()
        document.add_unsigned("number", number)
        document.add_text("tenant", chunk.access.tenant)
        for group in sorted(chunk.access.groups):
            document.add_text("groups", group)
        document.add_text("heading", " ".join((chunk.title, *chunk.heading)))
        document.add_text("body", chunk.text)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()


def _open(directory: Path) -> TantivyIndex:
    try:
        index = tantivy.Index.open(str(directory))
        index.register_tokenizer(_ANALYZER, _analyzer())
        return TantivyIndex(index)
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{directory}: not a keyword index ({error})", hint="run `shipway rag build`") from error
