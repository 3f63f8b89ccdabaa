import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.cache_model import CacheKey
from shipway.gateway.semantic import Asking, SemanticIndex
from shipway.gateway.wording import wording_of

pytestmark = pytest.mark.anyio
SCOPE, KEY = CacheKey("rel_a", "scope"), CacheKey("rel_a", "answer")


class Embedder:
    digest = "sha256:test"

    def __init__(self) -> None:
        self.next = (1.0, 0.0)

    async def embed(self, texts):
        return np.array([self.next for _ in texts], np.float32)


@pytest.fixture
def embedder() -> Embedder:
    return Embedder()


async def asked(index, embedder, text, cosine=1.0, scope=SCOPE):
    embedder.next = (cosine, float(np.sqrt(1 - cosine**2)))
    return await index.asking(scope, text)


async def test_a_question_is_found_from_the_threshold_on_and_not_below(embedder):
    index = SemanticIndex(embedder, 0.9)
    index.add(await asked(index, embedder, "which papers are needed for refunds?"), KEY, expires_s=10)
    text = "what documents must go with claims?"

    assert index.nearest(await asked(index, embedder, text, 0.91), now_s=0) == KEY
    assert index.nearest(await asked(index, embedder, text, 0.89), now_s=0) is None


async def test_another_scope_finds_nothing(embedder):
    index = SemanticIndex(embedder, 0.5)
    index.add(await asked(index, embedder, "hello there"), KEY, expires_s=10)

    assert index.nearest(await asked(index, embedder, "hello there", scope=CacheKey("rel_a", "x")), now_s=0) is None


async def test_the_wording_parts_what_the_vectors_do_not(embedder):
    index = SemanticIndex(embedder, 0.5)
    index.add(await asked(index, embedder, "Is it returned within 30 days?"), KEY, expires_s=10)

    assert index.nearest(await asked(index, embedder, "Is it returned within 45 days?"), now_s=0) is None


async def test_a_nearer_question_that_the_wording_excludes_does_not_hide_a_good_one(embedder):
    index = SemanticIndex(embedder, 0.5)
    other = CacheKey("rel_a", "good")
    index.add(await asked(index, embedder, "is it open on Monday?", 1.0), KEY, expires_s=10)
    index.add(await asked(index, embedder, "Is it open on Tuesday?", 0.9), other, expires_s=10)

    assert index.nearest(await asked(index, embedder, "is it open on tuesday", 1.0), now_s=0) == other


async def test_expired_questions_are_dropped(embedder):
    index = SemanticIndex(embedder, 0.5)
    index.add(await asked(index, embedder, "hello there"), KEY, expires_s=10)

    assert index.nearest(await asked(index, embedder, "hello there"), now_s=10) is None
    assert len(index) == 0


async def test_the_number_of_questions_is_bounded(embedder):
    index = SemanticIndex(embedder, 0.5, max_questions=3)
    for number in range(5):
        scope = CacheKey("rel_a", str(number % 2))
        index.add(await asked(index, embedder, f"question {number}", scope=scope), KEY, expires_s=10)

    assert len(index) == 3


async def test_a_release_is_forgotten_with_all_its_questions(embedder):
    index = SemanticIndex(embedder, 0.5)
    index.add(await asked(index, embedder, "hello there"), KEY, expires_s=10)
    index.add(await asked(index, embedder, "hello there", scope=CacheKey("rel_b", "s")), KEY, expires_s=10)
    index.forget("rel_a")

    assert len(index) == 1
    assert index.nearest(await asked(index, embedder, "hello there"), now_s=0) is None


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 6.2)), max_size=60), st.integers(1, 20))
def test_the_index_finds_what_a_plain_search_finds(steps, most):
    index = SemanticIndex(Embedder(), 0.95, max_questions=most)
    known: list[tuple[CacheKey, np.ndarray]] = []
    for number, (adds, angle) in enumerate(steps):
        vector = np.array([np.cos(angle), np.sin(angle)], np.float32)
        asking = Asking(SCOPE, vector, wording_of("hello there"))
        if adds:
            key = CacheKey("rel_a", str(number))
            index.add(asking, key, expires_s=10)
            known = [*known, (key, vector)][-most:]
            assert len(index) == len(known)
            continue
        found = index.nearest(asking, now_s=0)
        best = max((float(other @ vector) for _, other in known), default=-1.0)
        if found is None:
            assert best < 0.95 + 1e-6
        else:
            assert dict(known)[found] @ vector >= best - 1e-6
