"""Every vector and keyword index does the same; faiss and tantivy beside the ones in memory."""

from itertools import pairwise

import numpy as np
import pytest

from shipway.adapters.memory_rag.indexes import NumpyVectorFormat, WordFormat
from shipway.core.errors import IntegrityError
from shipway.core.ids import Digest, TenantId
from shipway.core.principal import Principal
from shipway.rag.model import Access, Chunk

faiss_vectors = pytest.importorskip("shipway.adapters.faiss.vectors")
tantivy_keywords = pytest.importorskip("shipway.adapters.tantivy.keywords")

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[NumpyVectorFormat, faiss_vectors.FaissFormat])
def vectors(request):
    return request.param()


@pytest.fixture(params=[WordFormat, tantivy_keywords.TantivyFormat])
def keywords(request):
    return request.param()


def chunk(number: int, text: str, tenant: str = "acme", groups: tuple[str, ...] = ("public",)) -> Chunk:
    digest = Digest(f"sha256:{number:064x}")
    access = Access(TenantId(tenant), frozenset(groups))
    return Chunk(digest, f"{number}.md", digest, 0, f"Title {number}", ("Kettles",), text, 0, len(text), access)


def principal(tenant: str = "acme", *groups: str) -> Principal:
    return Principal(TenantId(tenant), frozenset(groups or ("public",)), "s")


async def test_only_allowed_vectors_are_found_best_first(vectors, tmp_path):
    await vectors.write(tmp_path, np.eye(4, dtype=np.float32))
    index = await vectors.open(tmp_path)
    query = np.array([[0.1, 0.9, 0.3, 0.2]], np.float32)
    (found,) = await index.search(query, np.array([0, 2, 3]), 2)
    assert index.size == 4
    assert [number for number, _ in found] == [2, 3]
    assert [score for _, score in found] == pytest.approx([0.3, 0.2])


async def test_each_query_vector_has_its_own_hits(vectors, tmp_path):
    await vectors.write(tmp_path, np.eye(3, dtype=np.float32))
    found = await (await vectors.open(tmp_path)).search(np.eye(3, dtype=np.float32), np.arange(3), 1)
    assert [[number for number, _ in hits] for hits in found] == [[0], [1], [2]]


async def test_nothing_allowed_is_nothing_found(vectors, tmp_path):
    await vectors.write(tmp_path, np.eye(3, dtype=np.float32))
    found = await (await vectors.open(tmp_path)).search(np.eye(3, dtype=np.float32)[:2], np.array([], np.int64), 5)
    assert found == [[], []]


async def test_a_broken_vector_file_is_an_integrity_error(vectors, tmp_path):
    with pytest.raises(IntegrityError):
        await vectors.open(tmp_path)
    await vectors.write(tmp_path, np.eye(3, dtype=np.float32))
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"broken")
    with pytest.raises(IntegrityError, match="rag build"):
        await vectors.open(tmp_path)


async def test_words_find_only_what_tenant_and_groups_allow(keywords, tmp_path):
    chunks = [
        chunk(0, "the kettle leaks"),
        chunk(1, "the kettle leaks", tenant="zenith"),
        chunk(2, "the kettle leaks", groups=("staff",)),
        chunk(3, "the kettle leaks", groups=("staff", "public")),
        chunk(4, "the kettle leaks", groups=()),
    ]
    await keywords.write(tmp_path, chunks)
    index = await keywords.open(tmp_path)
    assert index.size == 5
    for who, expected in [
        (principal("acme", "public"), {0, 3}),
        (principal("acme", "staff"), {2, 3}),
        (principal("acme", "staff", "public"), {0, 2, 3}),
        (principal("zenith", "public"), {1}),
        (principal("nobody", "public"), set()),
        (principal("acme", "other"), set()),
        (Principal(TenantId("acme"), frozenset(), "s"), set()),
    ]:
        assert {number for number, _ in await index.search("leaking kettle", who, 10)} == expected


async def test_rarer_words_rank_higher_and_stems_match(keywords, tmp_path):
    await keywords.write(
        tmp_path, [chunk(0, "kettle repairs"), chunk(1, "kettle"), chunk(2, "kettle lid"), chunk(3, "jug")]
    )
    found = await (await keywords.open(tmp_path)).search("repair a kettle", principal(), 10)
    assert found[0][0] == 0
    assert all(a[1] >= b[1] for a, b in pairwise(found))


@pytest.mark.parametrize("question", ["", "the of and", "???", 'AND OR ( " tenant:zenith', "zzzz"])
async def test_a_question_without_known_words_finds_nothing_and_syntax_means_nothing(keywords, tmp_path, question):
    await keywords.write(tmp_path, [chunk(0, "kettle"), chunk(1, "secret", tenant="zenith")])
    assert await (await keywords.open(tmp_path)).search(question, principal(), 10) == []


async def test_a_limit_is_kept(keywords, tmp_path):
    await keywords.write(tmp_path, [chunk(n, "kettle") for n in range(9)])
    index = await keywords.open(tmp_path)
    assert len(await index.search("kettle", principal(), 3)) == 3
    assert await index.search("kettle", principal(), 0) == []


async def test_a_broken_word_index_is_an_integrity_error(keywords, tmp_path):
    with pytest.raises(IntegrityError, match="rag build"):
        await keywords.open(tmp_path)
