import asyncio

import pytest

from shipway.core.ports import AuditEvent

pytestmark = pytest.mark.anyio


def event(number: int) -> AuditEvent:
    return AuditEvent(
        at_s=1000.5 + number,
        actor="ada",
        action="deploy",
        subject=f"rel_{number}",
        details={"weight": 0.1, "n": number},
    )


async def test_entries_are_numbered_from_one_without_gaps(store):
    stored = [await store.audit.append(event(number)) for number in range(3)]
    assert [item.seq for item in stored] == [1, 2, 3]
    assert await store.audit.entries() == stored


async def test_entries_can_be_read_in_pages(store):
    stored = [await store.audit.append(event(number)) for number in range(5)]
    assert await store.audit.entries(after=1, limit=2) == stored[1:3]


async def test_equal_events_get_different_digests_because_each_binds_the_one_before(store):
    first, second = await store.audit.append(event(1)), await store.audit.append(event(1))
    assert first.digest.startswith("sha256:")
    assert first.digest != second.digest


async def test_a_chain_as_written_verifies(store):
    for number in range(5):
        await store.audit.append(event(number))
    assert await store.audit.verify() == []


async def test_appends_at_once_still_make_a_dense_chain(store):
    await asyncio.gather(*(store.audit.append(event(number)) for number in range(20)))
    assert [item.seq for item in await store.audit.entries()] == list(range(1, 21))
    assert await store.audit.verify() == []


async def test_details_changed_by_the_caller_afterwards_do_not_change_the_log(store):
    details = {"weight": 0.1}
    await store.audit.append(AuditEvent(at_s=1.0, actor="ada", action="a", subject="s", details=details))
    details["weight"] = 0.9
    assert (await store.audit.entries())[0].details == {"weight": 0.1}
    assert await store.audit.verify() == []


async def test_details_without_a_json_form_are_refused_and_leave_no_gap(store):
    with pytest.raises(TypeError, match="nan"):
        await store.audit.append(
            AuditEvent(at_s=1.0, actor="ada", action="a", subject="s", details={"p": float("nan")})
        )
    assert (await store.audit.append(event(1))).seq == 1


def action(name: str, at_s: float = 1.0) -> AuditEvent:
    return AuditEvent(at_s, "controller", "rollout.promoted", "ro_1", {"action_id": name})


async def test_an_action_stands_in_the_log_once_and_its_entry_is_returned(store):
    first = await store.audit.append(action("ro_1/1"))
    await store.audit.append(event(1))

    assert await store.audit.append(action("ro_1/1", at_s=9.0)) == first
    assert [item.seq for item in await store.audit.entries()] == [1, 2]
    assert (await store.audit.append(action("ro_1/2"))).seq == 3
    assert await store.audit.verify() == []


async def test_two_leaders_that_write_one_action_at_once_leave_one_entry(store):
    stored = await asyncio.gather(*(store.audit.append(action("ro_1/1", at_s=float(n))) for n in range(8)))

    assert len({item.digest for item in stored}) == 1
    assert await store.audit.entries() == [stored[0]]
