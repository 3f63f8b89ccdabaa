"""Our gateway against nginx, LiteLLM and Portkey: the same load on each, in turns, on one processor.

Usage:
    bench_gateway.py [--only ours,nginx] [--loads closed,open,stream] [--rounds 5] [--quick]

The gateway has the first processor, the upstream and the load generator the last ones. Each round starts each contender
anew, so what a start decides (hash seeds, memory layout) varies between rounds and not between contenders.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway_load import STREAM_MS, Load, Upstream, build, request, start_upstream
from gateway_ours import ROWS, Ours
from gateway_peers import Contender, Launch, LiteLlm, Nginx, Portkey, start
from gateway_processes import (
    PeakMemory,
    Place,
    Processes,
    busy_share,
    carry_niceness,
    ended_by_signals,
    free_port,
    rss_mb,
    tree,
    wait_until_answered,
    wait_until_listening,
    waited_s,
)
from gateway_summary import DIRECT, details, summary, table
from report import show, write

PEERS: tuple[Contender, ...] = (Nginx(), LiteLlm(), Portkey())
PARTIAL = Path(__file__).resolve().parent.parent / ".bench" / "gateway-partial.json"
PACKAGES = ("shipway", "httptools", "uvloop", "orjson")
QUIET_SHARE = 0.1

FULL = (
    Load("closed", 1, 1.0, 2.0),
    Load("closed", 32, 1.0, 4.0),
    Load("closed", 256, 0.5, 3.0),
    Load("open", 256, 1.0, 6.0, 1000.0),
    Load("stream", 64, 2.0, 4.0, STREAM_MS),
    Load("stream", 512, 2.5, 5.0, STREAM_MS),
)
QUICK = (
    Load("closed", 32, 0.7, 1.5),
    Load("open", 256, 0.5, 2.0, 1000.0),
    Load("stream", 512, 1.8, 2.0, STREAM_MS),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run does."""

    contenders: tuple[Contender, ...]
    loads: tuple[Load, ...]
    rounds: int
    complete: bool


def plan(arguments: Sequence[str] | None = None) -> Plan:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names or beginnings of rows: ours (with policies), ours-, nginx …")
    parser.add_argument("--loads", default="closed,open,stream", help="which kinds of load")
    parser.add_argument("--rounds", type=int, choices=range(1, 21), metavar="1..20", help="default 5, quick 2")
    parser.add_argument("--quick", action="store_true", help="short loads: good for ratios of processor time only")
    told = parser.parse_args(arguments)
    names = [name for name in told.only.split(",") if name]
    rows = [*PEERS, *_rows_of_ours(said=bool(names))]
    chosen = tuple(row for row in rows if not names or row.name in names or f"{row.name.partition('-')[0]}-" in names)
    if not chosen:
        parser.error(f"--only {told.only}: choose from {', '.join(row.name for row in rows)}, ours-")
    kinds = told.loads.split(",")
    loads = tuple(load for load in (QUICK if told.quick else FULL) if load.mode in kinds)
    if not loads:
        parser.error(f"--loads {told.loads}: choose from closed, open, stream")
    complete = not (names or told.quick) and len(loads) == len(FULL)
    return Plan(chosen, loads, told.rounds or (2 if told.quick else 5), complete)


def _rows_of_ours(*, said: bool) -> Iterable[Ours]:
    for row in ROWS:
        missing = row.missing()
        if not row.is_built():
            print(f"{row.name}: left out, `make compiled` was not run, failed, or is older than the source")
        elif not missing:
            yield row
        elif not said:
            print(f"{row.name}: left out, this version has no setting {', '.join(missing)}")


class Bench:
    """One run's processes and the upstream that all contenders share."""

    def __init__(self, folder: Path, processes: Processes, upstream: Upstream, loads: Sequence[Load]) -> None:
        self._folder = folder
        self._processes = processes
        self._upstream = upstream
        self._loads = loads
        self._count = 0

    def direct(self) -> dict[str, Any]:
        """Return the figures without any gateway; its closed loops say what the generator could do."""
        launch = Launch([], {}, "bench-model", {})
        return self._loaded(self._loads, self._upstream.port, launch, [], Place.choose())

    def round(self, contender: Contender) -> dict[str, Any]:
        """Start a contender, put every load on it, end it."""
        self._count += 1
        folder, place, port = self._folder / f"{self._count}", Place.choose(contender.workers), free_port()
        folder.mkdir()
        launch = contender.prepare(folder, self._upstream, port)
        started = start(contender, launch, self._processes, place.gateway)
        try:
            first = request(model=launch.model, headers=launch.headers, stream=False)
            start_s = wait_until_answered(port, first, started[0], launch.start_s)
            wait_until_listening(port, len(launch.argv), launch.start_s)
            pids = [pid for process in started for pid in tree(process.pid)]
            idle_mb = rss_mb(pids)
            loads = [load for load in self._loads if contender.measures(load)]
            self._warm(port, launch, pids, place)
            figures = {"start_s": start_s, "rss_idle_mb": idle_mb, **self._loaded(loads, port, launch, pids, place)}
        except RuntimeError as error:
            raise SystemExit(f"{contender.name}: {error}\n{self._processes.log(f'{contender.name}-0')}") from error
        else:
            return figures
        finally:
            for process in started:
                self._processes.end(process)

    def _warm(self, port: int, launch: Launch, pids: Sequence[int], place: Place) -> None:
        Load("closed", 32, launch.warmup_s, 0.1).run(port, self._request(launch, stream=False), place.load, pids)

    def _request(self, launch: Launch, *, stream: bool) -> Path:
        file = self._folder / "request.http"
        file.write_bytes(request(model=launch.model, headers=launch.headers, stream=stream))
        return file

    def _loaded(
        self, loads: Sequence[Load], port: int, launch: Launch, pids: Sequence[int], place: Place
    ) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        for load in loads:
            file = self._request(launch, stream=load.mode == "stream")
            before_s = waited_s(pids)
            with PeakMemory(pids) as memory:
                figures[load.name] = load.run(port, file, place.load, pids)
            figures[load.name]["waited_share"] = (waited_s(pids) - before_s) / (load.warmup_s + load.measure_s)
            if pids and load.mode == "stream":
                figures["rss_streams_mb"] = memory.peak_mb
        return figures


def main() -> None:
    """Run the benchmark."""
    wanted = plan()
    build()
    for contender in wanted.contenders:
        if isinstance(contender, LiteLlm | Portkey):
            contender.install()
    carry_niceness(os.getpid())
    busy = busy_share()
    if busy > QUIET_SHARE:
        print(f"others use {busy:.0%} of this machine: believe processor time and ratios, not absolute figures")
    rounds: dict[str, list[dict[str, Any]]] = {DIRECT: [], **{row.name: [] for row in wanted.contenders}}
    with (
        tempfile.TemporaryDirectory(prefix="shipway-bench-") as home,
        ended_by_signals(),
        Processes(Path(home)) as processes,
    ):
        bench = Bench(Path(home), processes, start_upstream(processes, Place.choose().upstream), wanted.loads)
        for number in range(wanted.rounds):
            rounds[DIRECT].append(bench.direct())
            turn = number % len(wanted.contenders)
            for row in (*wanted.contenders[turn:], *wanted.contenders[:turn]):
                print(f"round {number + 1}/{wanted.rounds}: {row.name}", flush=True)
                rounds[row.name].append(bench.round(row))
    report(wanted, rounds, busy)


def report(wanted: Plan, rounds: dict[str, list[dict[str, Any]]], busy: float) -> None:
    """Print the table and write the figures; a partial run does not replace the complete one's file."""
    figures = summary(rounds)
    print("\n".join(table(rounds)))
    print()
    show(figures)
    told = {"measures": details(rounds), "rounds": rounds, "busy_share_before": busy}
    if wanted.complete:
        versions = {row.name: row.version() for row in PEERS}
        print(write("gateway", figures, told, PACKAGES, also=versions))
    else:
        PARTIAL.parent.mkdir(exist_ok=True)
        PARTIAL.write_text(json.dumps({"summary": figures, "details": told}, indent=1) + "\n", encoding="utf-8")
        print(PARTIAL)


if __name__ == "__main__":
    main()
