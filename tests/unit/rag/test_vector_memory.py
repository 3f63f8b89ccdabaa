import numpy as np
import pytest

from shipway.adapters.memory_rag.models import HashingEmbedder
from shipway.core.errors import UsageError
from shipway.rag.vector_memory import RememberingEmbedder

pytestmark = pytest.mark.anyio


class Counting(HashingEmbedder):
    """An embedder that remembers what it was asked, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []

    async def embed(self, texts):
        self.calls.append(list(texts))
        return await super().embed(texts)


async def test_only_texts_that_are_not_kept_are_embedded():
    model = Counting()
    embedder = RememberingEmbedder(model)
    await embedder.embed(["kettle", "grinder"])
    await embedder.embed(["price", "grinder", "kettle"])
    assert model.calls == [["kettle", "grinder"], ["price"]]


async def test_vectors_are_the_models_own_and_in_order():
    embedder = RememberingEmbedder(Counting())
    await embedder.embed(["grinder"])
    texts = ["kettle", "grinder", "kettle", "price"]
    assert np.array_equal(await embedder.embed(texts), await HashingEmbedder().embed(texts))


async def test_a_text_that_occurs_twice_is_embedded_once():
    model = Counting()
    await RememberingEmbedder(model).embed(["kettle", "kettle"])
    assert model.calls == [["kettle"]]


async def test_the_longest_unused_vector_is_forgotten_first():
    model = Counting()
    embedder = RememberingEmbedder(model, kept=2)
    for text in ("kettle", "grinder", "kettle", "price", "kettle", "grinder"):
        await embedder.embed([text])
    assert model.calls == [["kettle"], ["grinder"], ["price"], ["grinder"]]


async def test_a_request_larger_than_the_memory_is_answered_whole():
    texts = ["kettle", "grinder", "price"]
    found = await RememberingEmbedder(Counting(), kept=1).embed(texts)
    assert np.array_equal(found, await HashingEmbedder().embed(texts))


async def test_a_caller_who_changes_its_vectors_does_not_change_the_kept_ones():
    embedder = RememberingEmbedder(Counting())
    first = await embedder.embed(["kettle"])
    first[:] = 0.0
    assert np.array_equal(await embedder.embed(["kettle"]), await HashingEmbedder().embed(["kettle"]))


async def test_no_text_asks_nothing_of_the_model():
    model = Counting()
    assert (await RememberingEmbedder(model).embed([])).shape == (0, model.dimensions)
    assert model.calls == []


def test_it_stands_for_the_model_that_a_corpus_was_embedded_with():
    assert RememberingEmbedder(HashingEmbedder(64)).digest == HashingEmbedder(64).digest


def test_a_memory_for_nothing_is_refused():
    with pytest.raises(UsageError, match="keep 0 vectors"):
        RememberingEmbedder(HashingEmbedder(), kept=0)
