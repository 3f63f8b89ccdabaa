import asyncio

import pytest

from shipway.core.errors import ConflictError, FencedError
from shipway.core.ports import Fence

pytestmark = pytest.mark.anyio


async def test_a_document_is_read_back_with_version_one(store):
    body = {"name": "é", "n": 1, "share": 0.5, "list": [None, True], "deep": {"a": []}}
    assert await store.documents.put("release", "rel_a", body) == 1
    assert await store.documents.get("release", "rel_a") == (body, 1)


async def test_an_unknown_document_is_none(store):
    assert await store.documents.get("release", "rel_a") is None


async def test_each_write_raises_the_version(store):
    await store.documents.put("rollout", "r", {"n": 1})
    assert await store.documents.put("rollout", "r", {"n": 2}, expected_version=1) == 2
    assert await store.documents.put("rollout", "r", {"n": 3}) == 3
    assert await store.documents.get("rollout", "r") == ({"n": 3}, 3)


@pytest.mark.parametrize("expected", [0, 2])
async def test_a_write_that_expects_another_version_changes_nothing(store, expected):
    await store.documents.put("rollout", "r", {"n": 1})
    with pytest.raises(ConflictError, match="version 1"):
        await store.documents.put("rollout", "r", {"n": 2}, expected_version=expected)
    assert await store.documents.get("rollout", "r") == ({"n": 1}, 1)


async def test_an_absent_document_cannot_be_updated(store):
    with pytest.raises(ConflictError, match="does not exist"):
        await store.documents.put("rollout", "r", {}, expected_version=3)


async def test_of_two_creators_at_once_exactly_one_wins(store):
    results = await asyncio.gather(
        *(store.documents.put("process", "up", {"n": number}, expected_version=0) for number in range(8)),
        return_exceptions=True,
    )
    assert results.count(1) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 7


async def test_documents_are_listed_by_kind_in_order_of_first_writing(store):
    for name in ("b", "a", "c"):
        await store.documents.put("label", name, {"name": name})
    await store.documents.put("label", "b", {"name": "again"})
    await store.documents.put("corpus", "z", {})
    listed = await store.documents.list("label")
    assert [(name, version) for name, _, version in listed] == [("b", 2), ("a", 1), ("c", 1)]
    assert [name for name, _, _ in await store.documents.list("label", limit=2)] == ["b", "a"]


async def test_a_prefix_is_literal_and_minds_case(store):
    for name in ("a_1", "ab1", "A_1", "a_2"):
        await store.documents.put("label", name, {})
    assert [name for name, _, _ in await store.documents.list("label", prefix="a_")] == ["a_1", "a_2"]


async def test_a_deleted_document_is_gone_and_can_be_created_again(store):
    await store.documents.put("label", "a", {"n": 1})
    assert await store.documents.delete("label", "a") is True
    assert await store.documents.delete("label", "a") is False
    assert await store.documents.get("label", "a") is None
    assert await store.documents.put("label", "a", {"n": 2}, expected_version=0) == 1


async def test_what_a_caller_does_to_a_body_does_not_reach_the_store(store):
    body = {"list": [1]}
    await store.documents.put("label", "a", body)
    body["list"].append(2)
    (await store.documents.get("label", "a"))[0]["list"].append(3)
    assert await store.documents.get("label", "a") == ({"list": [1]}, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: "a"}])
async def test_a_body_without_a_json_form_is_refused_by_name(store, value):
    with pytest.raises(TypeError, match="label 'a'"):
        await store.documents.put("label", "a", {"value": [value]})
    assert await store.documents.get("label", "a") is None


async def led(store, holder, now_s):
    lease = await store.leases.acquire("rollouts/production", holder, ttl_s=10.0, now_s=now_s)
    return Fence(lease.name, lease.epoch)


@pytest.mark.parametrize("expected", [None, 0])
async def test_a_document_is_not_created_by_a_former_leader(store, expected):
    former = await led(store, "a", 100.0)
    await led(store, "b", 111.0)
    with pytest.raises(FencedError, match="epoch 2; epoch 1 may not write"):
        await store.documents.put("process", "p", {"wanted": True}, expected_version=expected, fence=former)
    assert await store.documents.get("process", "p") is None


async def test_a_document_that_nobody_has_changed_since_is_not_changed_by_a_former_leader(store):
    former = await led(store, "a", 100.0)
    await store.documents.put("process", "p", {"wanted": True}, fence=former)
    newer = await led(store, "b", 111.0)
    with pytest.raises(FencedError):
        await store.documents.put("process", "p", {"wanted": False}, expected_version=1, fence=former)
    assert await store.documents.put("process", "p", {"wanted": False}, expected_version=1, fence=newer) == 2


async def test_a_leader_whose_lease_ran_out_unnoticed_by_others_still_writes(store):
    fence = await led(store, "a", 100.0)
    await store.leases.release("rollouts/production", "a")
    assert await store.documents.put("process", "p", {}, fence=fence) == 1


async def test_a_fence_of_a_lease_that_nobody_holds_refuses_nothing(store):
    assert await store.documents.put("process", "p", {}, fence=Fence("rollouts/elsewhere", 1)) == 1
