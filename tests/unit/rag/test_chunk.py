"""Chunk offsets are exact, nothing is lost and rows stay whole, whatever the text."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shipway.config.sections.corpus import Chunking
from shipway.core.ids import Digest, TenantId
from shipway.rag.chunk import chunk_document, count_tokens, sentences
from shipway.rag.model import Access, Document, ManifestDocument
from shipway.rag.parse import make_document
from shipway.rag.ports import Block, Extract

ACCESS = Access(TenantId("acme"), frozenset({"public"}))
PINNED = ManifestDocument("acme/a.md", Digest("sha256:0"), "text/1", TenantId("acme"), ("public",))

words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
texts = st.lists(
    words | st.sampled_from(["Größe.", "naïve!", "水は３リットル。", "e.g.", "U.S.", "🚢", "1.7"]), max_size=60
).map(" ".join)
blocks = st.lists(
    st.one_of(
        texts.map(lambda text: Block("text", text)),
        texts.map(lambda text: Block("row", text)),
        st.builds(Block, st.just("heading"), words, st.integers(1, 3)),
    ),
    max_size=8,
)
chunkings = st.integers(20, 60).flatmap(
    lambda size: st.builds(Chunking, size=st.just(size), overlap=st.integers(0, size - 1))
)


def document(*content: Block) -> Document:
    return make_document(PINNED, Extract(content), {}, "acme")


@given(content=blocks.filter(lambda found: any(b.text.strip() for b in found)), settings=chunkings)
def test_a_chunk_is_its_offsets_and_all_text_is_in_some_chunk(content, settings):
    whole = document(*content)
    chunks = chunk_document(whole, ACCESS, settings)
    covered = [False] * len(whole.text)
    for chunk in chunks:
        assert whole.text[chunk.start : chunk.end] == chunk.text
        covered[chunk.start : chunk.end] = [True] * (chunk.end - chunk.start)
    for section in whole.sections:
        for unit in section.units:
            missing = [i for i in range(unit.start, unit.end) if not covered[i] and not whole.text[i].isspace()]
            assert not missing
            if unit.whole:
                assert any(c.start <= unit.start and unit.end <= c.end for c in chunks)


@given(content=blocks.filter(lambda found: any(b.text.strip() for b in found)), settings=chunkings)
def test_only_a_whole_row_or_an_endless_word_is_longer_than_the_limit(content, settings):
    whole = document(*content)
    for chunk in chunk_document(whole, ACCESS, settings):
        is_row = any(u.whole and u.start == chunk.start and u.end == chunk.end for s in whole.sections for u in s.units)
        assert is_row or count_tokens(chunk.text) <= settings.size or len(chunk.text.split()) == 1


@given(text=texts)
def test_sentences_are_in_order_disjoint_and_complete(text):
    spans = list(sentences(text))
    assert all(a < b for a, b in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())


def test_abbreviations_and_decimals_do_not_end_a_sentence():
    text = "It holds 1.7 litres, e.g. Tea for Dr. Smith. Is it safe? Yes."
    assert [text[a:b] for a, b in sentences(text)] == [
        "It holds 1.7 litres, e.g. Tea for Dr. Smith.",
        "Is it safe?",
        "Yes.",
    ]


def test_the_next_chunk_repeats_the_last_sentences_up_to_the_overlap():
    text = " ".join(f"Sentence number {n} has seven tokens." for n in range(6))
    found = chunk_document(document(Block("text", text)), ACCESS, Chunking(size=20, overlap=8))
    assert [chunk.text[:17] for chunk in found] == [f"Sentence number {n}" for n in (0, 1, 2, 3, 4)]


def test_chunks_do_not_cross_headings_and_know_their_path():
    found = chunk_document(
        document(
            Block("heading", "Kettles", 1),
            Block("heading", "Heron", 2),
            Block("text", "It holds 1.7 litres."),
            Block("heading", "Pelican", 2),
            Block("text", "It holds 2 litres."),
        ),
        ACCESS,
        Chunking(),
    )
    assert [(c.heading, c.text) for c in found] == [
        (("Kettles", "Heron"), "It holds 1.7 litres."),
        (("Kettles", "Pelican"), "It holds 2 litres."),
    ]
    assert found[0].indexed_text() == "Kettles > Heron\nIt holds 1.7 litres."


def test_a_heading_with_nothing_below_it_is_a_chunk_of_its_own():
    found = chunk_document(
        document(Block("heading", "Call 0800 123", 2), Block("heading", "Hours", 2), Block("text", "Nine to five.")),
        ACCESS,
        Chunking(),
    )
    assert [c.text for c in found] == ["Call 0800 123", "Nine to five."]


def test_chunk_ids_depend_on_document_settings_and_place():
    one = document(Block("text", " ".join(f"Sentence {n} is here." for n in range(20))))
    small = chunk_document(one, ACCESS, Chunking(size=20, overlap=0))
    large = chunk_document(one, ACCESS, Chunking(size=30, overlap=0))
    ids = [chunk.id for chunk in (*small, *large)]
    assert len(set(ids)) == len(ids)
    assert [c.id for c in chunk_document(one, ACCESS, Chunking(size=20, overlap=0))] == [c.id for c in small]
