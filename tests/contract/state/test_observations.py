import asyncio
from dataclasses import replace

import pytest

from shipway.core.observation import PAIR, QUALITY, THUMBS, Observation

pytestmark = pytest.mark.anyio


def seen(name: str, **changes: object) -> Observation:
    item = Observation(
        id=name,
        at_s=1000.25,
        kind=THUMBS,
        environment="production",
        route="ask",
        release="rel_b",
        value=1.0,
        is_candidate=True,
        candidate_weight=0.25,
        rollout=None,
        conversation="c1",
        record_id="r1",
        details={"judge": "é", "tokens": 12},
    )
    return replace(item, **changes)


async def names(store, position: int = 0, **query) -> list[str]:
    found = await store.observations.after(position, environment="production", **query)
    return [stored.observation.id for stored in found]


async def test_observations_are_read_back_equal_and_in_commit_order(store):
    first, second = seen("a"), seen("b", rollout="rol_1", kind=PAIR, value=-1.0, details={})
    assert await store.observations.append([first, second]) == 2
    found = await store.observations.after(0, environment="production")
    assert [item.observation for item in found] == [first, second]
    assert await store.observations.find("b") == second


async def test_known_ids_are_skipped_and_the_first_value_stays(store):
    await store.observations.append([seen("a", value=0.0)])
    assert await store.observations.append([seen("a", value=1.0), seen("b"), seen("b"), seen("c")]) == 2
    assert await names(store) == ["a", "b", "c"]
    assert (await store.observations.find("a")).value == 0.0


async def test_a_reader_goes_on_behind_the_last_position_it_saw(store):
    assert await store.observations.last_position() == 0
    await store.observations.append([seen("a"), seen("b")])
    position = await store.observations.last_position()
    await store.observations.append([seen("c")])
    assert await names(store, position) == ["c"]


async def test_observations_are_filtered_by_environment_rollout_kind_and_time(store):
    await store.observations.append(
        [
            seen("a", rollout="rol_1"),
            seen("b", kind=QUALITY, value=0.5, at_s=2000.0),
            seen("c", environment="staging"),
            seen("d", kind=PAIR, rollout="rol_1", value=-0.5, at_s=3000.0),
        ]
    )
    assert await names(store) == ["a", "b", "d"]
    assert await names(store, rollout="rol_1") == ["a", "d"]
    assert await names(store, kinds=(QUALITY, PAIR)) == ["b", "d"]
    assert await names(store, rollout="rol_1", kinds=[PAIR]) == ["d"]
    assert await names(store, since_s=2000.0) == ["b", "d"]
    assert await names(store, limit=2) == ["a", "b"]


async def test_writers_at_once_store_each_id_once(store):
    groups = [[seen(f"o{number}") for number in range(start, start + 10)] for start in range(0, 40, 5)]
    counts = await asyncio.gather(*(store.observations.append(group) for group in groups))
    assert sum(counts) == 45
    positions = [item.position for item in await store.observations.after(0, environment="production")]
    assert positions == sorted(set(positions))
    assert len(positions) == 45


async def test_nothing_to_append_and_an_unknown_id_are_no_faults(store):
    assert await store.observations.append([]) == 0
    assert await store.observations.find("a") is None


async def test_what_a_caller_does_to_details_does_not_reach_the_store(store):
    details = {"tokens": 1}
    await store.observations.append([seen("a", details=details)])
    details["tokens"] = 2
    assert (await store.observations.find("a")).details == {"tokens": 1}


async def test_details_without_a_json_form_are_refused_and_nothing_of_the_group_is_stored(store):
    with pytest.raises(TypeError, match="'b'"):
        await store.observations.append([seen("a"), seen("b", details={"x": float("nan")})])
    assert await names(store) == []
