import pytest

from shipway.core.canonical import digest_bytes
from shipway.core.errors import NotFoundError
from shipway.core.ids import Digest

pytestmark = pytest.mark.anyio


async def test_a_blob_is_read_back_by_the_digest_of_its_content(store):
    digest = await store.blobs.put(b"\x00prompt\xff")
    assert digest == digest_bytes(b"\x00prompt\xff")
    assert await store.blobs.get(digest) == b"\x00prompt\xff"


async def test_the_same_bytes_twice_are_one_blob(store):
    assert await store.blobs.put(b"same") == await store.blobs.put(b"same")


async def test_an_unknown_digest_is_not_found_by_name(store):
    with pytest.raises(NotFoundError, match="sha256:00"):
        await store.blobs.get(Digest("sha256:" + "0" * 64))
