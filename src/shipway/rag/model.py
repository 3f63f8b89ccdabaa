"""The nouns of retrieval; `rag`'s logic, its adapters and the services that join it all use them."""

from dataclasses import dataclass, field

from shipway.core.ids import Digest, TenantId
from shipway.core.principal import Principal


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read a document: members of one of the groups, inside the tenant."""

    tenant: TenantId
    groups: frozenset[str]

    def admits(self, principal: Principal) -> bool:
        """Say whether the principal may read it; without a shared group the answer is no."""
        return self.tenant == principal.tenant and not self.groups.isdisjoint(principal.groups)


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch of a document's text; `whole` ones (table rows) are never cut."""

    start: int
    end: int
    whole: bool = False


@dataclass(frozen=True, slots=True)
class DocumentSection:
    """What stands below one heading, as character offsets into the document's text."""

    heading: tuple[str, ...]
    units: tuple[Unit, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it was read: its text, its outline and what its metadata says.

    `path` is relative to the corpus root, with forward slashes. `digest` covers the path, the file's bytes, its sidecar
    and the reader's version, so that equal files of two tenants stay two documents. `supersedes` are paths.
    """

    path: str
    digest: Digest
    reader: str
    title: str
    text: str
    sections: tuple[DocumentSection, ...]
    effective: str | None = None
    supersedes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document: `text` is exactly `document.text[start:end]`."""

    id: Digest
    document: str
    document_digest: Digest
    ordinal: int
    title: str
    heading: tuple[str, ...]
    text: str
    start: int
    end: int
    access: Access
    effective: str | None = None
    supersedes: tuple[str, ...] = ()

    def indexed_text(self) -> str:
        """Return what is embedded and reranked: the text below its document's title and headings."""
        return indexed_text(self.title, self.heading, self.text)


def indexed_text(title: str, heading: tuple[str, ...], text: str) -> str:
    """Return a passage's text below its title and headings; a heading equal to the title is said once."""
    return "\n".join([" > ".join(dict.fromkeys((title, *heading))), text])


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk found for a question.

    `cosine` is the similarity of question and chunk, `rerank` the cross-encoder's logit, `coverage` how well
    the chunk meets what the question expects; `score` orders the passages of one part of a question.
    """

    chunk_id: Digest
    document: str
    document_digest: Digest
    title: str
    heading: tuple[str, ...]
    text: str
    start: int
    end: int
    effective: str | None
    score: float
    cosine: float = 0.0
    rerank: float = 0.0
    coverage: float = 0.0
    part: int = 0
    superseded_by: str | None = None

    def indexed_text(self) -> str:
        """Return what was embedded and is reranked."""
        return indexed_text(self.title, self.heading, self.text)


@dataclass(frozen=True, slots=True)
class QuestionPart:
    """One sub-question with its own passages (best first) and its own answerability in [0, 1]."""

    question: str
    passages: tuple[Passage, ...]
    answerability: float
    answerable: bool


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What was found for a question.

    `passages` are those of all parts, best of each part first. `answerability` is that of the weakest part and
    `answerable` is true only when every part is. `timings_ms` has `embed`, `dense`, `sparse`, `fuse`, `rerank`;
    `considered` counts the chunks that the principal may read.
    """

    question: str
    passages: tuple[Passage, ...]
    parts: tuple[QuestionPart, ...]
    answerability: float
    answerable: bool
    timings_ms: dict[str, float]
    considered: int


@dataclass(frozen=True, slots=True)
class ManifestDocument:
    """One document as the corpus manifest pins it."""

    path: str
    digest: Digest
    reader: str
    tenant: TenantId
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CorpusManifest:
    """Everything that decides what retrieval can return; its digest is what a release pins.

    `passages` is the digest of all chunks with their text, offsets and access lists. No index bytes, times or absolute
    paths are in it, so that the same documents and settings give the same digest on every machine.
    """

    documents: tuple[ManifestDocument, ...]
    chunks: int
    passages: Digest
    chunk_size: int
    chunk_overlap: int
    embedding: str
    embedding_digest: Digest
    reranker_digest: Digest | None
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = 1


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did; `embedded` and `reused` count chunks."""

    manifest: CorpusManifest
    digest: Digest
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int
    embedded: int
    reused: int
