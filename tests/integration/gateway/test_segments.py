"""A candidate for some callers alone: the others are stable's, and their records say that they were not divided."""

import asyncio
from dataclasses import replace
from typing import Any

from shipway.core.clock import SystemClock
from shipway.core.snapshot import Segment, Snapshot, position
from shipway.gateway.watch import SnapshotWatcher

REPLY = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
OPERATOR = "swk_operate"
INSIDE = Segment(tenants=("acme",), keys=("key_operate",))
OUTSIDE = Segment(tenants=("globex",))


def ask(conversation: str) -> dict[str, Any]:
    return {
        "model": "chat",
        "messages": [{"role": "user", "content": "hi"}],
        "metadata": {"conversation_id": conversation},
    }


def divided(snapshot: Snapshot, weight: float, *segments: Segment) -> Snapshot:
    return replace(
        snapshot,
        rollout="roll_1",
        routes=tuple(
            replace(route, candidate="rel_b", candidate_weight=weight, salt="s", segments=segments)
            for route in snapshot.routes
        ),
    )


async def test_callers_of_a_segment_are_divided_by_weight_and_all_others_are_stables(bench):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    bench.apply(divided(bench.snapshot(version=2), 0.5, INSIDE, OUTSIDE))
    names = [f"c{number}" for number in range(24)]

    for name in names:
        for key in ("swk_invoke", OPERATOR):
            status, _, headers = await bench.post("/v1/chat/completions", ask(name), key=key)
            is_candidate = key == OPERATOR and position("s", name) < 0.5
            assert (status, headers["X-Shipway-Release"]) == (200, "rel_b" if is_candidate else "rel_a")

    outside = [record for record in bench.sink.records if record.key_id == "key_invoke"]
    assert {(r.release, r.is_candidate, r.candidate_weight) for r in outside} == {("rel_a", False, 0.0)}
    inside = {(r.release, r.is_candidate, r.candidate_weight) for r in bench.sink.records if r not in outside}
    assert inside == {("rel_a", False, 0.5), ("rel_b", True, 0.5)}


async def test_everybody_is_divided_again_once_the_segments_are_gone(bench):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    bench.apply(divided(bench.snapshot(version=2), 1.0, OUTSIDE))
    _, _, before = await bench.post("/v1/chat/completions", ask("one"))

    bench.apply(divided(bench.snapshot(version=3), 1.0))
    _, _, after = await bench.post("/v1/chat/completions", ask("one"))

    assert (before["X-Shipway-Release"], after["X-Shipway-Release"]) == ("rel_a", "rel_b")
    assert [(r.is_candidate, r.candidate_weight) for r in bench.sink.records] == [(False, 0.0), (True, 1.0)]


async def test_an_operator_outside_all_segments_may_still_ask_the_candidate_by_name(bench):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    bench.apply(divided(bench.snapshot(version=2), 1.0, OUTSIDE))

    _, _, headers = await bench.post("/v1/chat/completions", ask("one"), key=OPERATOR, x_shipway_release="rel_b")

    assert headers["X-Shipway-Release"] == "rel_b"
    record = bench.sink.records[0]
    assert (record.is_candidate, record.rollout, record.events) == (True, None, ("pinned",))


async def test_a_silent_control_takes_the_candidate_from_its_segments_too(
    bench, make_loader, make_runtime, make_source
):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    source = make_source(divided(bench.snapshot(version=2, dead_man_s=-1.0), 1.0, INSIDE))
    loader = make_loader(lambda name: make_runtime(name, bench.routes(name)))
    watcher = SnapshotWatcher(
        source, loader, source, bench.serving, worker="w", clock=SystemClock(), note=lambda *_, **__: None
    )
    while bench.serving.current.snapshot.version < 2:
        await watcher.tick()
        await asyncio.sleep(0)

    await watcher.tick()
    _, _, headers = await bench.post("/v1/chat/completions", ask("one"), key=OPERATOR)

    assert bench.serving.current.dead_man_tripped
    assert headers["X-Shipway-Release"] == "rel_a"
    assert [(r.is_candidate, r.candidate_weight) for r in bench.sink.records] == [(False, 0.0)]


async def test_the_version_page_shows_segments_and_what_is_parked(bench):
    bench.apply(divided(bench.snapshot(version=2), 0.5, INSIDE))

    _, shown = await bench.get("/version", key=OPERATOR)

    assert shown["routes"]["chat"]["parked"] is False
    assert shown["routes"]["chat"]["segments"] == [{"tenants": ["acme"], "groups": [], "keys": ["key_operate"]}]
