"""`make bench-evals`: what running an evaluation costs, beside promptfoo and DeepEval.

All ask the same local endpoint, which answers after 10 ms, the same cases with the same concurrency. A runner is a
process of its own; its processor time and peak memory are what the kernel counted for it and its children. Start-up is
counted apart: a case costs the slope between a run of 100 and one of 1,000 cases.

    python benchmarks/bench_evals.py [--quick] [--no-peers]
"""

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import report

CONCURRENCY = 16
FEW, MANY = 100, 1_000
LARGE = (10_000, 100_000)
ROUNDS = 3
PROJECT = """app: bench-evals
models: {{ far: {{ engine: openai, model: bench-model, base_url: "{url}", max_out: 64 }} }}
routes: {{ chat: {{ kind: chat, model: far }} }}
evals: {{ dataset: cases.jsonl, split: all, route: chat, concurrency: {concurrency} }}
gates: [{{ metric: correct, min: 0.5 }}]
"""
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one runner."""

    cases: int
    wall_s: float
    cpu_s: float
    peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a runner takes; `start_s` is what a run of no case would take."""

    cpu_ms_per_case: float
    wall_ms_per_case: float
    start_s: float
    peak_rss_mb: float
    runs: list[Run]


Runner = Callable[[int], Run]
"""Runs so many cases."""


@contextmanager
def endpoint(delay_ms: float = 10.0) -> Iterator[str]:
    """Run the endpoint; yield its address up to `/v1`."""
    command = [sys.executable, str(Path(__file__).parent / "eval_endpoint.py"), str(delay_ms)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.stdin.close()
        process.wait(10)


def measured(command: Sequence[str], cases: int, folder: Path, environment: dict[str, str] | None = None) -> Run:
    """Run a command to its end; its children count, once it has waited for them."""
    started_s = time.monotonic()
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = (folder / "output.log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Run(cases, time.monotonic() - started_s, cpu_s, usage.ru_maxrss / _KIB)


def cost_of(run: Runner, rounds: int) -> Cost:
    """Return what a case costs: the slope between few and many, the median over rounds."""
    run(FEW)  # what the first one compiles and reads from the disk is no part of it
    pairs = [(run(FEW), run(MANY)) for _ in range(rounds)]
    per_case = [(many.cpu_s - few.cpu_s) / (MANY - FEW) for few, many in pairs]
    wall = [(many.wall_s - few.wall_s) / (MANY - FEW) for few, many in pairs]
    start = [few.wall_s - slope * FEW for (few, _), slope in zip(pairs, wall, strict=True)]
    return Cost(
        statistics.median(per_case) * 1000,
        statistics.median(wall) * 1000,
        statistics.median(start),
        max(many.peak_rss_mb for _, many in pairs),
        [run for pair in pairs for run in pair],
    )


class Ours:
    """`shipway eval run` of a target by its address, with a gate."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._target = f"{url}#bench-model"
        (folder / "shipway.yaml").write_text(PROJECT.format(url=url, concurrency=CONCURRENCY))

    def __call__(self, cases: int) -> Run:
        """Write the cases and evaluate them."""
        rows = ({"id": f"c{n}", "question": f"word{n}", "must_contain": [f"word{n}"]} for n in range(cases))
        (self._folder / "cases.jsonl").write_text("\n".join(map(json.dumps, rows)))
        program = [sys.executable, "-m", "shipway.entrypoints.cli.main"]
        return measured([*program, "eval", "run", "--target", self._target], cases, self._folder)


def peers(folder: Path, url: str) -> dict[str, Runner]:
    """Return the runners beside ours that are installed; `eval_peers` drives them."""
    if importlib.util.find_spec("eval_peers") is None:
        return {}
    found: dict[str, Runner] = importlib.import_module("eval_peers").runners(folder, url, CONCURRENCY, measured)
    return found


def main() -> None:
    """Measure, print and write `results/evals.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, 10,000 cases at most")
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    chosen = parser.parse_args()
    rounds, large = (1, LARGE[:1]) if chosen.quick else (ROUNDS, LARGE)
    with tempfile.TemporaryDirectory() as name, endpoint() as url:
        folder = Path(name)
        (folder / "ours").mkdir()
        ours = Ours(folder / "ours", url)
        costs = {"shipway": cost_of(ours, rounds)}
        if not chosen.no_peers:
            costs |= {peer: cost_of(run, rounds) for peer, run in peers(folder, url).items()}
        many = {cases: ours(cases) for cases in large}
    summary = _summary(costs, many)
    report.show(summary)
    details: dict[str, Any] = {
        "concurrency": CONCURRENCY,
        "costs": {peer: asdict(cost) for peer, cost in costs.items()},
        "large": {str(cases): asdict(run) for cases, run in many.items()},
    }
    if chosen.no_peers or chosen.quick or len(costs) == 1:
        print(json.dumps(details, indent=1))
        print("not written: results/evals.json holds whole runs beside peers alone", file=sys.stderr)
        return
    report.write("evals", summary, details, ("shipway", "anyio", "httptools", "orjson", "numpy"))


def _summary(costs: dict[str, Cost], many: dict[int, Run]) -> dict[str, float]:
    ours = costs["shipway"]
    others = [cost.cpu_ms_per_case for peer, cost in costs.items() if peer != "shipway"]
    summary = {
        "cpu_ms_per_case": ours.cpu_ms_per_case,
        "wall_ms_per_case": ours.wall_ms_per_case,
        "start_s": ours.start_s,
        **{f"peak_rss_mb_{cases // 1000}k": run.peak_rss_mb for cases, run in many.items()},
        "peak_rss_mb_1k": ours.peak_rss_mb,
    }
    if others:
        summary["cpu_speedup_vs_best_peer"] = min(others) / ours.cpu_ms_per_case
    for peer, cost in costs.items():
        if peer != "shipway":
            summary[f"{peer}_cpu_ms_per_case"] = cost.cpu_ms_per_case
    return summary


if __name__ == "__main__":
    main()
