"""`corpus`: which documents exist and who may read them; `retrieval`: how passages are found."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from shipway.config.sections.section import Section


class Source(Section):
    """Documents by path, and who may read them. The last rule that matches a document decides."""

    path: str
    """A glob relative to `corpus.root`."""
    tenant: str
    """The tenant whose documents these are; a caller of another tenant never sees them."""
    groups: tuple[str, ...]
    """The groups of that tenant that may read them."""

    @model_validator(mode="after")
    def _someone_may_read(self) -> Self:
        if not self.groups:
            raise ValueError("groups is empty, so nobody could read these documents")
        return self


class Chunking(Section):
    """How documents are cut."""

    size: Annotated[int, Field(ge=20)] = 512
    """Tokens of a chunk at most."""
    overlap: Annotated[int, Field(ge=0)] = 50
    """Tokens that a chunk repeats from the one before."""

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> Self:
        if self.overlap >= self.size:
            raise ValueError(f"overlap {self.overlap} is not smaller than size {self.size}")
        return self


class Corpus(Section):
    """The documents of the app. A document that no rule names is refused: access is denied by default."""

    root: str = "docs"
    """The folder of the documents, relative to the project file."""
    sources: tuple[Source, ...]
    """Which documents there are and who may read them; the last rule that matches decides."""
    chunk: Chunking = Chunking()
    """How documents are cut."""
    embedding: str = "minilm-l6-v2-int8"
    """An id of `shipway models list`, or `hashing` for the one without a model (tests only)."""


class Answerable(Section):
    """When a question counts as answerable from the passages found: a logistic model over two signals."""

    bias: float = 0.0
    """The logistic model's constant."""
    cosine: float = 0.0
    """The weight of the best passage's cosine similarity."""
    rerank: float = 1.0
    """The weight of the best passage's reranker score."""
    coverage: float = 0.0
    """The weight of the share of the question's words, by rarity, that the best passage has."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The probability from which a question counts as answerable."""


class Retrieval(Section):
    """How passages are found."""

    top_k: Annotated[int, Field(ge=1, le=50)] = 5
    """Passages handed to the answer."""
    candidates: Annotated[int, Field(ge=1, le=200)] = 40
    """Chunks taken from each of dense and keyword search before they are fused."""
    rerank: Annotated[int, Field(ge=0, le=100)] = 12
    """Chunks that the cross-encoder reads."""
    dense_weight: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Share of dense search in the fused rank; the rest is keyword search."""
    rerank_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the cross-encoder's opinion against the fused order of dense and keyword search."""
    reranker: str | None = "ms-marco-minilm-l12-v2-int8"
    """An id of `shipway models list`; null ranks without one."""
    answerable: Answerable = Answerable()
    """When a question counts as answerable."""
