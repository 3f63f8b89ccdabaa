"""Does the gateway's memory stay what it is? 512 streams for ten minutes, its memory every few seconds.

Usage:
    bench_gateway_soak.py [--minutes 10] [--streams 512]
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway_load import STREAM_MS, Load, build, request, start_upstream
from gateway_ours import ROWS
from gateway_peers import start
from gateway_processes import (
    Place,
    Processes,
    carry_niceness,
    ended_by_signals,
    free_port,
    rss_mb,
    tree,
    wait_until_answered,
)
from report import show, write

SAMPLE_S = 2.0
COMPLETE_MINUTES = 10.0
"""A shorter run is printed and not kept."""
SETTLING_S = 30.0
"""Streams start one after the other, and allocators take what they need at the beginning."""


def main() -> None:
    """Run the soak test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=512)
    told = parser.parse_args()
    if not 1 <= told.minutes <= 60 or not 1 <= told.streams <= 4096:
        parser.error("--minutes is 1 to 60, --streams 1 to 4096")
    carry_niceness(os.getpid())
    build()
    load = Load("stream", told.streams, STREAM_MS / 1000, told.minutes * 60, STREAM_MS)
    with (
        tempfile.TemporaryDirectory(prefix="shipway-bench-") as home,
        ended_by_signals(),
        Processes(Path(home)) as processes,
    ):
        figures, memory = soak(Path(home), processes, load)
    settled = [(at_s, used_mb) for at_s, used_mb in memory if at_s >= SETTLING_S]
    summary = {
        "rss_settled_mb": settled[0][1],
        "rss_end_mb": settled[-1][1],
        "rss_peak_mb": max(used_mb for _, used_mb in memory),
        "growth_mb_per_min": 60 * statistics.linear_regression(*zip(*settled, strict=True)).slope,
        "streams": figures["streams"],
        "broken": figures["broken"],
        "tokens_per_s": figures["tokens"] / figures["window_s"],
        "minutes": told.minutes,
    }
    show(summary)
    if told.minutes >= COMPLETE_MINUTES:
        print(write("gateway-soak", summary, {"load": figures, "rss_mb": memory}, ("shipway", "uvloop", "httptools")))


def soak(home: Path, processes: Processes, load: Load) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """Return the generator's figures and (seconds, MiB) of the gateway's memory."""
    place, port = Place.choose(), free_port()
    upstream = start_upstream(processes, place.upstream)
    ours = next(row for row in ROWS if row.name == "ours")
    project = home / "project"
    project.mkdir()
    launch = ours.prepare(project, upstream, port)
    started = start(ours, launch, processes, place.gateway)
    first = request(model=launch.model, headers=launch.headers, stream=False)
    wait_until_answered(port, first, started[0], launch.start_s)
    file = home / "request.http"
    file.write_bytes(request(model=launch.model, headers=launch.headers, stream=True))
    pids = [pid for process in started for pid in tree(process.pid)]
    stop, memory = threading.Event(), list[tuple[float, float]]()
    watching = threading.Thread(target=_watch, args=(pids, stop, memory), daemon=True)
    watching.start()
    try:
        return load.run(port, file, place.load, pids), memory
    finally:
        stop.set()
        watching.join()


def _watch(pids: Sequence[int], stop: threading.Event, memory: list[tuple[float, float]]) -> None:
    began_s = time.monotonic()
    while not stop.wait(SAMPLE_S):
        memory.append((round(time.monotonic() - began_s, 1), rss_mb(pids)))


if __name__ == "__main__":
    main()
