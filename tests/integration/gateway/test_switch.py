"""Changing the snapshot under load: nothing fails, nobody is moved, and the old candidate is let go of."""

import asyncio
from dataclasses import replace
from typing import Any

from shipway.core.clock import SystemClock
from shipway.core.snapshot import position
from shipway.gateway.watch import SnapshotWatcher

REPLY = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


def ask(conversation: str) -> dict[str, Any]:
    return {
        "model": "chat",
        "messages": [{"role": "user", "content": "hi"}],
        "metadata": {"conversation_id": conversation},
    }


async def test_a_switch_under_load_fails_nothing_keeps_conversations_and_ends_the_candidate(
    bench, make_loader, make_runtime, make_source
):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    loader = make_loader(lambda name: make_runtime(name, bench.routes(name)))
    source = make_source(bench.snapshot(version=2))
    watcher = SnapshotWatcher(
        source, loader, source, bench.serving, worker="w", clock=SystemClock(), note=lambda *_, **__: None
    )
    polling = asyncio.ensure_future(_poll(watcher))
    seen: list[tuple[str, str]] = []
    failed: list[int] = []
    going = True

    async def client(number: int) -> None:
        turn = 0
        while going:
            conversation = f"c{number}-{turn % 5}"
            status, _, headers = await bench.post("/v1/chat/completions", ask(conversation))
            if status != 200:
                failed.append(status)
            seen.append((conversation, headers["X-Shipway-Release"]))
            turn += 1

    clients = [asyncio.ensure_future(client(number)) for number in range(8)]
    await _until(lambda: len(seen) > 50)
    for version, weight in ((3, 0.3), (4, 0.6)):
        source.snapshot = _with_candidate(bench, version, weight)
        await _until_reported(source, version)
        mark = len(seen)
        await _until_longer(seen, mark + 100)
        during = seen[mark + 8 :]
        assert {release for _, release in during} == {"rel_a", "rel_b"}
        assert all((release == "rel_b") == (position("s", name) < weight) for name, release in during)
    source.snapshot = bench.snapshot(version=5)
    await _until_reported(source, 5)
    # A reply that was on its way when the swap came may still be counted: one for each client at most.
    mark = len(seen) + len(clients)
    await _until_longer(seen, mark + 100)
    assert {release for _, release in seen[mark:]} == {"rel_a"}
    going = False
    await asyncio.gather(*clients)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    assert failed == []
    await _until(lambda: loader.made["rel_b"].closed)
    assert len(bench.sink.records) == len(seen)
    assert all(r.candidate_weight in {0.0, 0.3, 0.6} for r in bench.sink.records)


async def test_a_running_stream_ends_on_the_release_it_began_with_and_keeps_it_open(
    bench, make_loader, make_runtime, make_source
):
    release = asyncio.Event()

    async def wait_in_the_middle(wire: Any) -> None:
        await wire.head()
        await wire.chunk(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
        await release.wait()
        await wire.chunk(b'data: {"choices":[{"delta":{"content":"b"}}]}\n\ndata: [DONE]\n\n')
        await wire.end()

    bench.upstream.play(wait_in_the_middle)
    loader = make_loader(lambda name: make_runtime(name, bench.routes(name)))
    source = make_source(_with_candidate(bench, 2, 1.0))
    watcher = SnapshotWatcher(
        source, loader, source, bench.serving, worker="w", clock=SystemClock(), note=lambda *_, **__: None
    )
    await _until_ticked(watcher, lambda: bench.serving.current.snapshot.version == 2)
    stream = asyncio.ensure_future(bench.stream(ask("c")))
    await asyncio.wait_for(bench.upstream.arrived.wait(), 5)
    source.snapshot = bench.snapshot(version=3)
    await watcher.tick()
    assert bench.serving.current.snapshot.version == 3
    assert not loader.made["rel_b"].closed
    release.set()
    assert (await stream).endswith(b"data: [DONE]\n\n")
    await _until(lambda: loader.made["rel_b"].closed)
    assert bench.sink.records[0].release == "rel_b"


def _with_candidate(bench: Any, version: int, weight: float) -> Any:
    routes = tuple(
        replace(route, candidate="rel_b", candidate_weight=weight, salt="s") for route in bench.snapshot().routes
    )
    return bench.snapshot(version=version, routes=routes)


async def _poll(watcher: SnapshotWatcher) -> None:
    while True:
        await watcher.tick()
        await asyncio.sleep(0.005)


async def _until_ticked(watcher: SnapshotWatcher, condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await watcher.tick()
            await asyncio.sleep(0)


async def _until_reported(source: Any, version: int) -> None:
    await _until(lambda: source.reports and source.reports[-1].version == version)


async def _until_longer(seen: list[Any], length: int) -> None:
    await _until(lambda: len(seen) > length)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)
