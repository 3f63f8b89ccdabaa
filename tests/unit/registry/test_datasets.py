"""Versions of datasets in the store."""

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.canonical import digest_bytes
from shipway.core.errors import ConflictError, NotFoundError, UsageError
from shipway.registry.datasets import DatasetContent, DatasetRegistry


def content(text):
    return DatasetContent(digest_bytes(f"cases of {text}".encode()), len(text), text.encode())


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def registry(store):
    return DatasetRegistry(store.documents, store.blobs)


async def test_a_version_keeps_what_was_registered(registry):
    version, is_new = await registry.add("faq", content("abc"), at_s=5.0, by="user:me")
    assert is_new
    assert (version.label, version.cases, version.at_s, version.by) == ("faq@1", 3, 5.0, "user:me")
    assert await registry.get("faq", 1) == version
    assert await registry.data(version) == b"abc"


async def test_the_same_cases_are_no_new_version(registry):
    first, _ = await registry.add("faq", content("abc"), at_s=5.0, by="me")
    assert await registry.add("faq", content("abc"), at_s=9.0, by="you") == (first, False)


async def test_going_back_to_older_cases_is_a_version(registry):
    for text in ("a", "b", "a"):
        await registry.add("faq", content(text), at_s=1.0, by="me")
    assert [item.number for item in await registry.versions("faq")] == [1, 2, 3]
    assert (await registry.latest("faq")).digest == content("a").digest


async def test_names_that_begin_alike_are_apart(registry):
    await registry.add("faq", content("a"), at_s=1.0, by="me")
    await registry.add("faq-de", content("b"), at_s=1.0, by="me")
    assert [item.label for item in await registry.versions("faq")] == ["faq@1"]
    assert [item.label for item in await registry.versions()] == ["faq@1", "faq-de@1"]
    assert await registry.latest("fa") is None


async def test_two_that_register_at_once_do_not_overwrite_each_other(registry, store):
    await store.documents.put("dataset", "faq/000001", {"taken": True})

    class Blind:
        """Lists nothing, as another process does that looked a moment ago."""

        put = staticmethod(store.documents.put)

        async def list(self, kind, **_):
            return []

    with pytest.raises(ConflictError, match="faq@1 was registered by somebody else meanwhile"):
        await DatasetRegistry(Blind(), store.blobs).add("faq", content("a"), at_s=1.0, by="me")


async def test_a_version_that_is_not_there_is_refused(registry):
    with pytest.raises(NotFoundError, match="no dataset version faq@7"):
        await registry.get("faq", 7)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b"])
async def test_a_name_that_would_hide_in_others_is_refused(registry, name):
    with pytest.raises(UsageError, match="is no name for a dataset"):
        await registry.add(name, content("a"), at_s=1.0, by="me")
