from dataclasses import replace

import pytest

from shipway.core.errors import ConflictError
from shipway.core.snapshot import KeyEntry

pytestmark = pytest.mark.anyio


def key(name: str) -> KeyEntry:
    return KeyEntry(name, "ab" * 32, "acme", ("staff", "legal"), ("invoke",), ("ask",), 99.5)


async def test_keys_are_listed_whole_and_oldest_first(store):
    await store.keys.add(key("k2"), created_at_s=20.0)
    await store.keys.add(key("k1"), created_at_s=10.0)
    assert await store.keys.list() == [key("k1"), key("k2")]


async def test_a_revoked_key_is_not_listed_and_not_revoked_twice(store):
    await store.keys.add(key("k1"), created_at_s=10.0)
    assert await store.keys.revoke("k1") is True
    assert await store.keys.list() == []
    assert await store.keys.revoke("k1") is False


async def test_revoking_an_unknown_key_says_so(store):
    assert await store.keys.revoke("nobody") is False


async def test_an_id_is_never_used_twice_even_after_it_was_revoked(store):
    await store.keys.add(key("k1"), created_at_s=10.0)
    await store.keys.revoke("k1")
    with pytest.raises(ConflictError, match="k1"):
        await store.keys.add(key("k1"), created_at_s=11.0)


async def test_a_rotated_key_keeps_its_id_and_place_and_has_the_new_secret(store):
    await store.keys.add(key("k1"), created_at_s=10.0)
    await store.keys.add(key("k2"), created_at_s=20.0)
    rotated = replace(key("k1"), sha256="cd" * 32, previous_sha256="ab" * 32, previous_until_s=30.0, rotated_at_s=25.0)
    assert await store.keys.rotate(rotated, replaced_sha256="ab" * 32) is True
    assert await store.keys.list() == [rotated, key("k2")]


async def test_of_two_rotations_of_one_secret_the_second_is_refused(store):
    await store.keys.add(key("k1"), created_at_s=10.0)
    first = replace(key("k1"), sha256="cd" * 32)
    assert await store.keys.rotate(first, replaced_sha256="ab" * 32) is True
    assert await store.keys.rotate(replace(first, sha256="ef" * 32), replaced_sha256="ab" * 32) is False
    assert await store.keys.list() == [first]


async def test_a_revoked_or_unknown_key_is_not_rotated(store):
    await store.keys.add(key("k1"), created_at_s=10.0)
    await store.keys.revoke("k1")
    assert await store.keys.rotate(replace(key("k1"), sha256="cd" * 32), replaced_sha256="ab" * 32) is False
    assert await store.keys.rotate(key("k9"), replaced_sha256="ab" * 32) is False
