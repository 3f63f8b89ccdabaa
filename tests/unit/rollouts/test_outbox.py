"""Entries reach the audit log once."""

from dataclasses import replace

import pytest

from shipway.core.ports import AuditEvent
from shipway.rollouts.outbox import flushed
from shipway.rollouts.transitions import recorded

pytestmark = pytest.mark.anyio


async def test_an_entry_that_the_log_already_holds_is_not_appended_again(make_world, make_plan):
    world = make_world(make_plan())
    started = await world.start()
    row = recorded(started, 2.0, "paused", actor="ada", details={"reason": "lunch"})
    first = await flushed(row, world.audit)
    await flushed(row, world.audit)
    assert [event.details["action_id"] for event in world.events] == ["ro_1/1", "ro_1/2"]
    assert (first.outbox, first.audit_seq) == ((), 2)
    event = world.events[1]
    assert (event.actor, event.action, event.subject) == ("ada", "rollout.paused", "ro_1")
    assert event.details["environment"] == "production"


async def test_events_of_others_in_the_log_are_skipped(make_world, make_plan):
    world = make_world(make_plan())
    await world.audit.append(AuditEvent(1.0, "ada", "key.created", "key"))
    row = replace(await world.start(), audit_seq=0)
    assert (await flushed(row, world.audit)).audit_seq == 2


async def test_the_history_is_bounded_while_the_numbering_goes_on(make_world, make_plan):
    row = await make_world(make_plan()).start()
    for _ in range(300):
        row = recorded(row, 1.0, "paused")
    assert (len(row.history), row.history[-1].action_id) == (200, "ro_1/301")
