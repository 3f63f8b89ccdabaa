import asyncio
from dataclasses import replace

import pytest

from shipway.core.record import ServedRequest

pytestmark = pytest.mark.anyio


def served(name: str, **changes: object) -> ServedRequest:
    record = ServedRequest(
        id=name,
        at_s=1000.25,
        environment="production",
        route="ask",
        release="rel_a",
        is_candidate=False,
        candidate_weight=0.25,
        rollout=None,
        snapshot_version=3,
        conversation="c1",
        conversation_source="header",
        tenant="acme",
        key_id="key_1",
        status=200,
        latency_ms=12.5,
        ttft_ms=3.25,
        events=("abstained",),
        documents=("a.md", "b.md"),
    )
    return replace(record, **changes)


async def names(store, position: int = 0, **query) -> list[str]:
    found = await store.records.after(position, environment="production", **query)
    return [stored.record.id for stored in found]


async def test_records_are_read_back_equal_and_in_commit_order(store):
    first, second = served("r1"), served("r2", rollout="rol_1", is_candidate=True)
    assert await store.records.append([first, second]) == 2
    assert [item.record for item in await store.records.after(0, environment="production")] == [first, second]


async def test_known_ids_are_skipped_and_only_new_ones_counted(store):
    await store.records.append([served("r1")])
    assert await store.records.append([served("r1", status=500), served("r2"), served("r2"), served("r3")]) == 2
    assert await names(store) == ["r1", "r2", "r3"]
    assert (await store.records.after(0, environment="production"))[0].record.status == 200


async def test_a_reader_goes_on_behind_the_last_position_it_saw(store):
    await store.records.append([served("r1"), served("r2")])
    seen = await store.records.last_position()
    await store.records.append([served("r3")])
    assert await names(store, seen) == ["r3"]
    assert await names(store, await store.records.last_position()) == []


async def test_records_are_filtered_by_environment_and_rollout(store):
    await store.records.append([served("r1", rollout="rol_1"), served("r2"), served("r3", environment="staging")])
    assert await names(store, rollout="rol_1") == ["r1"]
    assert await names(store) == ["r1", "r2"]
    assert await names(store, limit=1) == ["r1"]


async def test_an_empty_store_has_position_zero(store):
    assert await store.records.last_position() == 0


async def test_marks_are_stored_with_the_records_and_move_on(store):
    await store.records.append([served("r1")], marks={"a.jsonl": 10, "b.jsonl": 5})
    await store.records.append([], marks={"a.jsonl": 20})
    assert await store.records.marks() == {"a.jsonl": 20, "b.jsonl": 5}


async def test_marks_of_files_that_are_gone_are_forgotten_and_the_others_stay(store):
    await store.records.append([], marks={"a.jsonl": 10, "b.jsonl": 5})
    await store.records.forget_marks(["a.jsonl", "never-there.jsonl"])
    await store.records.forget_marks([])
    assert await store.records.marks() == {"b.jsonl": 5}


async def test_more_marks_than_one_statement_may_name_are_forgotten(store):
    many = {f"{number}.jsonl": 1 for number in range(1200)}
    await store.records.append([], marks=many)
    await store.records.forget_marks(list(many))
    assert await store.records.marks() == {}


async def test_a_group_of_known_records_alone_moves_the_marks(store):
    await store.records.append([served("r1")], marks={"a.jsonl": 10})
    assert await store.records.append([served("r1")], marks={"a.jsonl": 20}) == 0
    assert await store.records.marks() == {"a.jsonl": 20}


async def test_groups_appended_at_once_store_each_id_once(store):
    groups = [[served(f"r{number}") for number in range(start, start + 10)] for start in range(0, 40, 5)]
    counts = await asyncio.gather(*(store.records.append(group) for group in groups))
    assert sum(counts) == 45
    positions = [item.position for item in await store.records.after(0, environment="production")]
    assert positions == sorted(set(positions))
    assert len(positions) == 45


async def test_a_batch_larger_than_one_query_may_name_is_still_deduplicated(store):
    many = [served(f"r{number}") for number in range(1200)]
    await store.records.append(many[:1100])
    assert await store.records.append(many) == 100


async def test_a_record_is_found_by_its_id_and_no_other(store):
    await store.records.append([served("r1"), served("r2")])
    assert await store.records.find("r2") == served("r2")
    assert await store.records.find("r3") is None
    assert await store.records.find("") is None
