"""A route that a rollout exchanges in place: its requests wait, everybody else's go on, and none is lost."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from shipway.core.clock import SystemClock
from shipway.core.snapshot import Snapshot
from shipway.core.switches import Switch, SwitchKind
from shipway.gateway.watch import SnapshotWatcher

REPLY = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
ASK = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


def parked(snapshot: Snapshot, *names: str, stable: str = "rel_a") -> Snapshot:
    return replace(
        snapshot,
        routes=tuple(replace(route, parked=route.route in names, stable=stable) for route in snapshot.routes),
    )


async def until(true: Any) -> None:
    while not true():
        await asyncio.sleep(0.002)


async def test_parked_requests_wait_and_are_then_served_by_the_release_that_came(bench):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    bench.apply(parked(bench.snapshot(version=2), "chat"))

    asked = [asyncio.ensure_future(bench.post("/v1/chat/completions", ASK)) for _ in range(5)]
    await until(lambda: len(bench.serving.parking) == 5)
    assert (bench.gateway.at_work, bench.gateway.places.waiting, bench.upstream.heard) == (0, 0, [])
    status, _, _ = await bench.post("/v1/chat/completions", {**ASK, "model": "ask"})
    assert status == 200
    bench.apply(parked(bench.snapshot(version=3), stable="rel_b"))

    for reply in asyncio.as_completed(asked):
        status, body, headers = await reply
        assert (status, body["choices"], headers["X-Shipway-Release"]) == (200, REPLY["choices"], "rel_b")
    served = [record for record in bench.sink.records if record.route == "chat"]
    assert [(r.release, r.snapshot_version, "parked" in r.events) for r in served] == [("rel_b", 3, True)] * 5
    assert len(bench.serving.parking) == bench.gateway.at_work == 0


async def test_a_parked_stream_arrives_whole(bench):
    async def stream(wire: Any) -> None:
        await wire.head()
        for word in (b"a", b"b"):
            await wire.chunk(b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % word)
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end()

    bench.upstream.play(stream)
    bench.apply(parked(bench.snapshot(version=2), "chat"))

    asked = asyncio.ensure_future(bench.stream(ASK))
    await until(lambda: len(bench.serving.parking) == 1)
    bench.apply(bench.snapshot(version=3))

    raw = await asked
    assert raw.count(b"content") == 2
    assert raw.rstrip().endswith(b"data: [DONE]")


async def test_a_stream_under_way_is_not_touched(bench):
    going = asyncio.Event()

    async def wait_in_the_middle(wire: Any) -> None:
        await wire.head()
        await wire.chunk(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
        await going.wait()
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end()

    bench.upstream.play(wait_in_the_middle)
    asked = asyncio.ensure_future(bench.stream(ASK))
    await bench.upstream.arrived.wait()
    bench.apply(parked(bench.snapshot(version=2), "chat"))
    assert len(bench.serving.parking) == 0
    going.set()

    assert (await asked).rstrip().endswith(b"data: [DONE]")
    assert "parked" not in bench.sink.records[0].events


@pytest.mark.parametrize("path", ["/generate", "/rag_answer"])
async def test_the_other_ways_in_wait_as_well(bench, path):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    bench.apply(parked(bench.snapshot(version=2), "chat", "ask"))
    body = (
        {"route": "chat", "prompt": "hi", "max_tokens": 8}
        if path == "/generate"
        else {"question": "hi", "session_id": "s"}
    )

    asked = asyncio.ensure_future(bench.post(path, body))
    await until(lambda: len(bench.serving.parking) == 1)
    bench.apply(bench.snapshot(version=3))

    status, answer, _ = await asked
    assert (status, bool(answer)) == (200, True)


async def test_a_parked_service_gets_its_requests_whole_once_its_new_process_is_there(bench):
    new = type(bench.upstream)()
    await new.start()
    new.play(lambda wire: wire.json({"from": "the new process"}))
    try:
        bench.apply(parked(bench.snapshot(version=2), "fixer"))
        asked = asyncio.ensure_future(bench.post("/svc/fixer/repair?x=1", {"note": "a" * 10_000}))
        await until(lambda: len(bench.serving.parking) == 1)
        ready = parked(bench.snapshot(version=3), stable="rel_b")
        endpoints = (("rel_b", new.url),)
        bench.apply(replace(ready, routes=tuple(replace(route, endpoints=endpoints) for route in ready.routes)))

        status, answer, headers = await asked
    finally:
        await new.stop()
    assert (status, answer, headers["X-Shipway-Release"]) == (200, {"from": "the new process"}, "rel_b")
    (heard,) = new.heard
    assert (heard.target, heard.json()) == ("/repair?x=1", {"note": "a" * 10_000})
    assert bench.upstream.heard == []


async def test_who_has_waited_too_long_hears_when_to_come_back_and_has_consumed_nothing(run_gateway, quick):
    async with run_gateway(replace(quick, park_s=0.05)) as bench:
        bench.apply(parked(bench.snapshot(version=2), "chat"))

        status, body, headers = await bench.post("/v1/chat/completions", ASK)

        assert (status, body["error"]["code"], headers["Retry-After"]) == (503, "route_parked", "5")
        assert bench.sink.records == bench.upstream.heard == []
        assert [record.error_type for record in bench.logged] == ["route_parked"]
        assert "error" not in bench.logged[0].events
        assert len(bench.serving.parking) == bench.gateway.at_work == 0


async def test_a_caller_that_says_how_long_it_waits_is_kept_no_longer(bench):
    bench.apply(parked(bench.snapshot(version=2), "chat"))

    status, body, _ = await bench.post("/v1/chat/completions", ASK, x_request_timeout_ms="50")
    assert (status, body["error"]["code"]) == (503, "route_parked")

    status, body, _ = await bench.post("/v1/chat/completions", ASK, x_request_timeout_ms="soon")
    assert (status, body["error"]["param"]) == (400, "x-request-timeout-ms")


async def test_a_client_that_leaves_while_parked_frees_its_place(run_gateway, quick):
    async with run_gateway(replace(quick, max_queued=1)) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        bench.apply(parked(bench.snapshot(version=2), "chat"))
        leaving = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
        await until(lambda: len(bench.serving.parking) == 1)
        status, body, _ = await bench.post("/v1/chat/completions", ASK)
        assert (status, body["error"]["code"]) == (503, "overloaded")

        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await until(lambda: len(bench.serving.parking) == 0)
        staying = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
        await until(lambda: len(bench.serving.parking) == 1)
        bench.apply(bench.snapshot(version=3))

        assert (await staying)[0] == 200
        assert [record.status for record in bench.sink.records] == [200]
        assert 499 in [record.status for record in bench.logged]


async def test_a_route_that_is_switched_off_while_its_requests_wait_lets_none_wait_on(bench):
    bench.apply(parked(bench.snapshot(version=2), "chat"))
    asked = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
    await until(lambda: len(bench.serving.parking) == 1)

    kill = Switch(SwitchKind.KILL_ROUTE, "chat", reason="incident")
    bench.apply(parked(bench.snapshot(version=3, switches=(kill,)), "chat"))

    status, body, _ = await asked
    assert (status, body["error"]["code"]) == (503, "route_switched_off")


async def test_a_route_parked_twice_lets_its_requests_through_once_it_is_free(bench):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    bench.apply(parked(bench.snapshot(version=2), "chat"))
    asked = [asyncio.ensure_future(bench.post("/v1/chat/completions", ASK)) for _ in range(3)]
    await until(lambda: len(bench.serving.parking) == 3)

    for version in range(3, 6):
        bench.apply(parked(bench.snapshot(version=version), "chat"))
        await until(lambda: len(bench.serving.parking) == 3)
    bench.apply(bench.snapshot(version=6))

    assert [status for status, _, _ in await asyncio.gather(*asked)] == [200] * 3
    assert [record.events.count("parked") for record in bench.sink.records] == [1] * 3


async def test_a_silent_control_does_not_let_parked_requests_go_to_what_is_stopped(
    bench, make_loader, make_runtime, make_source
):
    going = parked(bench.snapshot(version=2, dead_man_s=-1.0), "chat")
    exposed = tuple(replace(route, candidate="rel_a", candidate_weight=0.5) for route in going.routes)
    source = make_source(replace(going, routes=exposed))
    loader = make_loader(lambda name: make_runtime(name, bench.routes(name)))
    watcher = SnapshotWatcher(
        source, loader, source, bench.serving, worker="w", clock=SystemClock(), note=lambda *_, **__: None
    )
    await watcher.tick()
    asked = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
    await until(lambda: len(bench.serving.parking) == 1)

    await watcher.tick()
    assert bench.serving.current.dead_man_tripped
    assert len(bench.serving.parking) == 1

    bench.upstream.play(lambda wire: wire.json(REPLY))
    source.snapshot = bench.snapshot(version=3)
    await watcher.tick()
    assert (await asked)[0] == 200


async def test_parking_again_and_again_under_load_fails_nobody_and_lets_nobody_through(bench):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    going, failed, served = True, [], 0

    async def client() -> None:
        nonlocal served
        while going:
            status, _, _ = await bench.post("/v1/chat/completions", ASK)
            served += 1
            if status != 200:
                failed.append(status)

    clients = [asyncio.ensure_future(client()) for _ in range(6)]
    for turn in range(10):
        # They go on a few at a time.
        await until(lambda: len(bench.serving.parking) == 0)
        before, stable = served, "rel_b" if turn % 2 else "rel_a"
        await until(lambda before=before: served >= before + 12)
        bench.apply(parked(bench.snapshot(version=2 + 2 * turn), "chat"))
        await until(lambda: len(bench.serving.parking) == 6)
        # All stand still: nothing is at work, and nothing more is asked of what may be exchanged now.
        heard = len(bench.upstream.heard)
        await asyncio.sleep(0)
        assert (bench.gateway.at_work, len(bench.upstream.heard), len(bench.sink.records)) == (0, heard, served)
        bench.apply(parked(bench.snapshot(version=3 + 2 * turn), stable=stable))
    going = False
    await asyncio.gather(*clients)

    assert failed == []
    assert {record.release for record in bench.sink.records} == {"rel_a", "rel_b"}
    assert sum("parked" in record.events for record in bench.sink.records) == 60


async def test_a_worker_says_as_long_as_it_finishes_what_it_took_before(bench):
    go_on = asyncio.Event()

    async def slow(wire: Any) -> None:
        await go_on.wait()
        await wire.json(REPLY)

    bench.upstream.play(slow)
    asked = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
    await until(lambda: bench.gateway.at_work == 1)
    assert not bench.serving.finishes_parked
    loaded = bench.serving.current.releases
    bench.serving.apply(parked(bench.snapshot(version=2), "chat"), loaded, silent=False)
    assert bench.serving.finishes_parked

    go_on.set()
    assert (await asked)[0] == 200
    await until(lambda: not bench.serving.finishes_parked)


async def test_a_worker_that_is_told_to_end_says_so_to_those_who_are_parked(run_gateway, quick):
    async with run_gateway(quick, drain_s=60.0) as bench:
        bench.apply(parked(bench.snapshot(version=2), "chat"))
        asked = [asyncio.ensure_future(bench.post("/v1/chat/completions", ASK)) for _ in range(3)]
        await until(lambda: len(bench.serving.parking) == 3)

        bench.stop.set()

        for status, body, headers in await asyncio.gather(*asked):
            assert (status, headers["Retry-After"]) == (503, "5")
            assert (body["error"]["code"], body["error"]["type"]) == ("route_parked", "unavailable_error")
        await asyncio.shield(bench.served)
        assert len(bench.serving.parking) == 0
        assert [(record.status, record.error_type) for record in bench.logged] == [(503, "route_parked")] * 3
        assert not any("error" in record.events for record in bench.logged)
        assert bench.upstream.heard == bench.sink.records == []


class Succeeded:
    """The place of a worker whose successor serves already."""

    def __init__(self, listener: Any) -> None:
        self.own = listener
        self.succeeded = asyncio.Event()

    async def take(self, server: Any, _stop: asyncio.Event) -> None:
        await server.start(self.own)
        self.succeeded.set()


async def test_parked_requests_of_a_worker_that_is_replaced_wait_on_until_their_route_is_free(
    run_gateway, quick, free_socket
):
    listener = free_socket()
    async with run_gateway(quick, drain_s=600.0, listener=listener, place=Succeeded(listener)) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        bench.apply(parked(bench.snapshot(version=2), "chat"))
        asked = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
        await until(lambda: len(bench.serving.parking) == 1)

        bench.stop.set()
        await until(lambda: bench.serving.draining)
        bench.apply(bench.snapshot(version=3))

        assert (await asked)[0] == 200


async def test_parked_requests_of_a_worker_that_is_replaced_are_told_so_before_it_ends(run_gateway, quick, free_socket):
    listener = free_socket()
    async with run_gateway(quick, drain_s=2.5, listener=listener, place=Succeeded(listener)) as bench:
        bench.apply(parked(bench.snapshot(version=2), "chat"))
        asked = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
        await until(lambda: len(bench.serving.parking) == 1)

        bench.stop.set()

        status, body, _ = await asked
        assert (status, body["error"]["code"]) == (503, "route_parked")
