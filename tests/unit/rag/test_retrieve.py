"""Retrieval never crosses access rules, obeys `supersedes` and takes questions apart."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.adapters.memory_rag.indexes import NumpyVectorFormat, WordFormat
from shipway.adapters.memory_rag.models import HashingEmbedder, OverlapReranker
from shipway.core.clock import ManualClock
from shipway.core.errors import IntegrityError, UsageError
from shipway.core.ids import Digest, TenantId
from shipway.core.principal import Principal
from shipway.rag.index import IndexFormats, OpenCorpus
from shipway.rag.model import Access, Chunk, CorpusManifest
from shipway.rag.ports import ChunkNumbers, Hit, Vectors
from shipway.rag.retrieve import RetrievalModels, RetrievalPolicy, Retriever

WORDS = ["kettle", "return", "warranty", "litres", "Heron", "price", "margin", "days"]
TENANTS = ["acme", "zenith"]
GROUPS = ["public", "staff", "finance"]

documents = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.sets(st.sampled_from(GROUPS), max_size=2),
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=6),
        st.none() | st.integers(0, 11),
    ),
    max_size=12,
)


class LeakyIndex:
    """An index that forgets the selection it was given."""

    def __init__(self, size: int) -> None:
        self.size = size

    async def search(self, vectors: Vectors, allowed: ChunkNumbers, limit: int) -> list[list[Hit]]:
        return [[(number, 1.0) for number in range(self.size)] for _ in vectors]


class SilentWords:
    size = 0

    async def search(self, question: str, principal: Principal, limit: int) -> list[Hit]:
        return []


def chunk(number: int, tenant: str, groups: Sequence[str], text: str, supersedes: tuple[str, ...] = ()) -> Chunk:
    return Chunk(
        id=Digest(f"sha256:{number:064x}"),
        document=f"{tenant}/{number}.md",
        document_digest=Digest(f"sha256:{number:064x}"),
        ordinal=0,
        title=f"Document {number}",
        heading=(),
        text=text,
        start=0,
        end=len(text),
        access=Access(TenantId(tenant), frozenset(groups)),
        supersedes=supersedes,
    )


async def opened(chunks: Sequence[Chunk], directory: Path, formats: object) -> OpenCorpus:
    embedder = HashingEmbedder()
    vectors = await embedder.embed([item.indexed_text() for item in chunks])
    manifest = CorpusManifest((), len(chunks), Digest("x"), 1, 0, "hashing", embedder.digest, None)
    await formats.vectors.write(directory, vectors)
    await formats.keywords.write(directory, chunks)
    return OpenCorpus(
        manifest,
        Digest("x"),
        tuple(chunks),
        await formats.vectors.open(directory),
        await formats.keywords.open(directory),
    )


@given(
    documents=documents,
    tenant=st.sampled_from([*TENANTS, "nobody"]),
    groups=st.sets(st.sampled_from(GROUPS)),
    question=st.lists(st.sampled_from([*WORDS, "and how", "?", "Document 3"]), min_size=1, max_size=8).map(" ".join),
)
@settings(max_examples=150)
def test_no_passage_ever_comes_from_a_document_that_the_principal_may_not_read(
    documents, tenant, groups, question, tmp_path_factory
):
    chunks = [
        chunk(n, t, sorted(g), " ".join(words), () if old is None else (f"{t}/{old}.md",))
        for n, (t, g, words, old) in enumerate(documents)
    ]
    oracle = {c.document for c in chunks if c.access.tenant == tenant and set(c.access.groups) & groups}
    directory = tmp_path_factory.mktemp("corpus")

    async def run() -> None:
        if not chunks:
            return
        corpus = await opened(chunks, directory, IndexFormats(NumpyVectorFormat(), WordFormat()))
        retriever = Retriever(
            corpus, RetrievalModels(HashingEmbedder(), OverlapReranker()), RetrievalPolicy(), ManualClock()
        )
        found = await retriever.retrieve(question, Principal(TenantId(tenant), frozenset(groups), "s"), top_k=12)
        seen = {p.document for p in found.passages} | {p.document for part in found.parts for p in part.passages}
        assert seen <= oracle
        assert {p.superseded_by for p in found.passages} - {None} <= oracle
        assert found.considered == len(oracle)
        assert bool(found.passages) == bool(oracle)

    anyio.run(run)


@pytest.mark.anyio
async def test_the_fuzz_also_holds_for_faiss_and_tantivy(tmp_path):
    faiss_vectors = pytest.importorskip("shipway.adapters.faiss.vectors")
    keywords = pytest.importorskip("shipway.adapters.tantivy.keywords")
    random = np.random.default_rng(7)
    chunks = [
        chunk(
            n,
            str(random.choice(TENANTS)),
            [str(g) for g in random.choice(GROUPS, random.integers(0, 3))],
            "kettle days",
        )
        for n in range(200)
    ]
    corpus = await opened(chunks, tmp_path, IndexFormats(faiss_vectors.FaissFormat(), keywords.TantivyFormat()))
    retriever = Retriever(
        corpus, RetrievalModels(HashingEmbedder(), None), RetrievalPolicy(candidates=200), ManualClock()
    )
    for tenant in [*TENANTS, "nobody"]:
        for groups in (set(), {"public"}, {"staff"}, {"public", "finance"}, {"other"}):
            found = await retriever.retrieve(
                "kettle days", Principal(TenantId(tenant), frozenset(groups), "s"), top_k=200
            )
            oracle = {c.document for c in chunks if c.access.tenant == tenant and set(c.access.groups) & groups}
            assert {p.document for p in found.passages} == oracle


@pytest.mark.anyio
async def test_an_index_that_ignores_the_selection_makes_the_retrieval_fail_closed():
    chunks = (chunk(0, "acme", ["public"], "kettle"), chunk(1, "zenith", ["public"], "kettle"))
    manifest = CorpusManifest((), 2, Digest("x"), 1, 0, "hashing", HashingEmbedder().digest, None)
    corpus = OpenCorpus(manifest, Digest("x"), chunks, LeakyIndex(2), SilentWords())
    retriever = Retriever(corpus, RetrievalModels(HashingEmbedder(), None), RetrievalPolicy(), ManualClock())
    with pytest.raises(IntegrityError, match="outside the caller's access rights"):
        await retriever.retrieve("kettle?", Principal(TenantId("acme"), frozenset({"public"}), "s"))


def test_a_model_other_than_the_corpus_was_embedded_with_is_refused():
    manifest = CorpusManifest((), 0, Digest("x"), 1, 0, "hashing", HashingEmbedder(64).digest, None)
    corpus = OpenCorpus(manifest, Digest("x"), (), LeakyIndex(0), SilentWords())
    with pytest.raises(IntegrityError, match="was embedded by"):
        Retriever(corpus, RetrievalModels(HashingEmbedder(), None), RetrievalPolicy(), ManualClock())


@pytest.mark.anyio
async def test_a_retrieval_cannot_be_asked_for_without_a_principal(workshop):
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    retriever = await workshop.retriever(await workshop.build())
    with pytest.raises(TypeError, match="principal"):
        await retriever.retrieve("kettle?")


@pytest.mark.anyio
async def test_a_superseded_document_is_dropped_when_its_successor_is_found(workshop, principal):
    workshop.write("acme/returns-2024.md", "# Returns 2024\n\nA kettle can be returned within 30 days.")
    workshop.write(
        "acme/returns-2026.md",
        "---\nsupersedes: [returns-2024.md]\n---\n# Returns 2026\n\nA kettle can be returned within 45 days.",
    )
    retriever = await workshop.retriever(await workshop.build())
    found = await retriever.retrieve("When can a kettle be returned?", principal())
    assert [p.document for p in found.passages] == ["acme/returns-2026.md"]


@pytest.mark.anyio
async def test_a_superseded_document_stays_for_those_who_may_not_read_its_successor(workshop, principal):
    workshop.write("acme/old.md", "# Returns\n\nA kettle can be returned within 30 days.")
    workshop.write("acme/staff/new.md", "---\nsupersedes: [old.md]\n---\n# Returns\n\nA kettle: within 45 days.")
    retriever = await workshop.retriever(await workshop.build())
    public = await retriever.retrieve("When can a kettle be returned?", principal("acme", "public"))
    both = await retriever.retrieve("When can a kettle be returned?", principal("acme", "public", "staff"))
    assert [p.document for p in public.passages] == ["acme/old.md"]
    assert [p.document for p in both.passages] == ["acme/staff/new.md"]


@pytest.mark.anyio
async def test_a_superseded_document_ranks_last_when_its_successor_was_not_found(workshop, principal):
    workshop.write("acme/old.md", "# Kettle returns\n\nKettle returns take thirty days.")
    workshop.write("acme/new.md", "---\nsupersedes: [old.md]\n---\n# Zebra\n\nXylophone quartz.")
    workshop.write("acme/other.md", "# Kettle\n\nKettle.")
    retriever = await workshop.retriever(await workshop.build(), RetrievalPolicy(candidates=2))
    found = await retriever.retrieve("kettle returns", principal())
    assert [(p.document, p.superseded_by) for p in found.passages] == [
        ("acme/other.md", None),
        ("acme/old.md", "acme/new.md"),
    ]


@pytest.mark.anyio
async def test_each_part_of_a_question_gets_its_own_passages(workshop, principal):
    workshop.write("acme/heron.md", "# Heron\n\nThe Heron holds 1.7 litres.")
    workshop.write("acme/repair.md", "# Repairs\n\nA kettle repair costs EUR 35.")
    retriever = await workshop.retriever(await workshop.build())
    found = await retriever.retrieve(
        "How many litres does the Heron hold, and what does a kettle repair cost?", principal(), top_k=2
    )
    assert [part.passages[0].document for part in found.parts] == ["acme/heron.md", "acme/repair.md"]
    assert [(p.document, p.part) for p in found.passages] == [("acme/heron.md", 0), ("acme/repair.md", 1)]


@pytest.mark.anyio
async def test_a_question_is_answerable_only_when_every_part_is(workshop, principal):
    workshop.write("acme/heron.md", "# Heron\n\nThe Heron holds 1.7 litres.")
    policy = RetrievalPolicy()
    policy = replace(policy, answerable=replace(policy.answerable, rerank=1.0, threshold=0.5))
    retriever = await workshop.retriever(await workshop.build(), policy)
    whole = await retriever.retrieve("How many litres does the Heron hold?", principal())
    half = await retriever.retrieve(
        "How many litres does the Heron hold, and which colour is the Walrus toaster lid?", principal()
    )
    assert whole.answerable
    assert [part.answerable for part in half.parts] == [True, False]
    assert not half.answerable


@pytest.mark.anyio
async def test_a_principal_who_may_read_nothing_gets_nothing_and_no_answer(workshop, principal):
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    retriever = await workshop.retriever(await workshop.build())
    found = await retriever.retrieve("kettle?", Principal(TenantId("acme"), frozenset(), "s"))
    assert (found.passages, found.answerable, found.considered) == ((), False, 0)


@pytest.mark.anyio
async def test_every_stage_is_timed_and_scores_are_finite(workshop, principal):
    workshop.write("acme/a.md", "# A\n\nThe kettle holds 2 litres.")
    found = await (await workshop.retriever(await workshop.build())).retrieve("kettle?", principal())
    assert list(found.timings_ms) == ["embed", "dense", "sparse", "fuse", "rerank"]
    assert all(math.isfinite(p.score) for p in found.passages)


@pytest.mark.anyio
@pytest.mark.parametrize(("question", "top_k", "message"), [("  ", 5, "question is empty"), ("kettle", 0, "top_k 0")])
async def test_a_request_that_means_nothing_is_refused(workshop, principal, question, top_k, message):
    workshop.write("acme/a.md", "# A\n\nText.")
    retriever = await workshop.retriever(await workshop.build())
    with pytest.raises(UsageError, match=message):
        await retriever.retrieve(question, principal(), top_k=top_k)


def test_a_policy_is_read_from_its_json_form_and_passes_over_what_it_does_not_know():
    policy = RetrievalPolicy.from_dict(
        {"top_k": 3, "reranker": "x", "answerable": {"bias": 1.0, "cosine": 2.0, "rerank": 0.5, "threshold": 0.4}}
    )
    assert (policy.top_k, policy.answerable.cosine, policy.candidates) == (3, 2.0, RetrievalPolicy().candidates)
