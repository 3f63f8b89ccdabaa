from dataclasses import replace

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.errors import IntegrityError, NotFoundError, UsageError
from shipway.registry.model import Provenance, Release, release_id
from shipway.registry.store import ReleaseRegistry


def a_release(app: str) -> Release:
    manifest = {
        "schema": 1,
        "app": app,
        "code": {"files": {}},
        "prompts": {},
        "models": {},
        "data": {"corpus": None},
        "policy": {},
    }
    return Release(release_id(manifest), manifest, Provenance("user:test", 5.0, message=app))


@pytest.fixture
def documents() -> "MemoryStore":
    return MemoryStore().documents


@pytest.fixture
def registry(documents) -> ReleaseRegistry:
    return ReleaseRegistry(documents)


@pytest.mark.anyio
async def test_a_stored_release_comes_back_as_it_was(registry):
    release = a_release("a")

    assert await registry.add(release) == (release, True)
    assert await registry.get(release.id) == release


@pytest.mark.anyio
async def test_the_first_author_of_the_same_content_stays(registry):
    release = a_release("a")
    await registry.add(release)

    again, is_new = await registry.add(replace(release, provenance=Provenance("user:other", 9.0)))

    assert (again, is_new) == (release, False)
    assert await registry.list() == [release]


@pytest.mark.anyio
async def test_an_id_that_does_not_belong_to_its_manifest_is_not_stored(registry):
    with pytest.raises(IntegrityError, match="the id does not belong to its manifest"):
        await registry.add(replace(a_release("a"), id=a_release("b").id))

    assert await registry.list() == []


@pytest.mark.anyio
async def test_another_manifest_under_the_same_id_is_refused(registry, documents):
    release = a_release("a")
    forged = release.to_dict() | {"manifest": a_release("b").manifest}
    await documents.put("release", release.id, forged)

    with pytest.raises(IntegrityError, match="another manifest already has this id"):
        await registry.add(release)


@pytest.mark.anyio
@pytest.mark.parametrize("by_prefix", [False, True])
async def test_a_manifest_that_was_damaged_in_the_store_is_not_returned(registry, documents, by_prefix):
    release = a_release("a")
    damaged = release.to_dict() | {"manifest": release.manifest | {"app": "b"}}
    await documents.put("release", release.id, damaged)

    with pytest.raises(IntegrityError, match=f"{release.id}: the stored manifest no longer has this id\n  restore"):
        await registry.get(release.id[:12] if by_prefix else release.id)


@pytest.mark.anyio
async def test_the_beginning_of_an_id_is_enough_with_or_without_its_prefix(registry):
    release = a_release("a")
    await registry.add(release)
    await registry.add(a_release("b"))

    assert await registry.get(release.id[:10]) == release
    assert await registry.get(release.id.removeprefix("rel_")[:8]) == release


@pytest.mark.anyio
async def test_a_beginning_that_several_share_lists_them(registry, documents):
    for digits in ("aaaa1", "aaaa2"):
        await documents.put("release", f"rel_{digits}", a_release(digits).to_dict())

    with pytest.raises(UsageError, match="release 'aaaa' is ambiguous: rel_aaaa1, rel_aaaa2"):
        await registry.get("aaaa")


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["", "rel_", "rel_a", "abc", "rel_0000000000000000", "%", "rel_%"])
async def test_what_names_no_release_is_not_found(registry, name):
    release = a_release("a")
    await registry.add(release)

    with pytest.raises(NotFoundError, match="`shipway release list` shows the ids"):
        await registry.get(name)


@pytest.mark.anyio
async def test_more_releases_than_one_page_are_listed_oldest_first(registry):
    releases = [a_release(f"app{number}") for number in range(1005)]
    for release in releases:
        await registry.add(release)

    assert await registry.list() == releases


@pytest.mark.anyio
async def test_a_statement_is_signed_off_beside_the_manifest(registry):
    release = a_release("a")
    await registry.add(release)

    await registry.sign_off(release.id, {"verdict": "PASS"})
    await registry.sign_off(release.id, {"override": "user:test"})

    found = await registry.get(release.id)
    assert found.signed_off == ({"verdict": "PASS"}, {"override": "user:test"})
    assert (found.id, found.manifest) == (release.id, release.manifest)


@pytest.mark.anyio
async def test_signing_off_on_an_unknown_release_is_not_found(registry):
    with pytest.raises(NotFoundError, match="no release 'rel_x'"):
        await registry.sign_off("rel_x", {})


@pytest.mark.anyio
async def test_a_label_points_at_one_release_and_remembers_those_before(registry):
    assert await registry.label("production") is None
    for at_s, release in enumerate(("rel_1", "rel_2", "rel_2", "rel_1")):
        await registry.set_label("production", release, at_s=float(at_s), actor="user:test")

    assert await registry.label("production") == "rel_1"
    assert [entry.release for entry in await registry.label_history("production")] == ["rel_1", "rel_2", "rel_1"]
    assert await registry.label("staging") is None


@pytest.mark.anyio
async def test_a_beginning_that_is_too_short_is_told_from_one_that_nothing_has(registry):
    release = a_release("a")
    await registry.add(release)

    with pytest.raises(NotFoundError, match="of an id, at least 4 characters after rel_ are needed"):
        await registry.get(release.id[:6])
    with pytest.raises(NotFoundError, match="no release 'rel_zzzz'"):
        await registry.get("rel_zzzz")
