"""`make bench-pipeline`: what running a pipeline costs over spawning its processes, beside doit and Prefect.

1,000 stages of argv `true` in a random DAG, two at a time. Every engine is a process of its own, from its start to its
end, and spawns a process for each stage. Bare spawning is as many processes, two at a time, by the plainest means of
the standard library. Rounds are interleaved, and the best of each counts; Prefect has one.

    python benchmarks/bench_pipeline.py [--stages N] [--rounds N] [--peers doit,prefect]
"""

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import report

STAGES = 1_000
ROUNDS = 3
PARALLEL = 2
MOST_NEEDS = 3
SEED = 6
HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".bench" / "pipeline"
LOCK = HERE / "peers" / "pipeline.txt"
TIMEOUT_S = 1_800.0
HEAD = """app: bench-pipeline
models: { main: { engine: echo, model: echo } }
routes: { chat: { kind: chat, model: main } }
pipeline:
"""
DOIT = """import subprocess
NEEDS = {needs!r}
DOIT_CONFIG = {{"backend": "sqlite3", "verbosity": 0, "reporter": "zero"}}
def task_stage():
    for name, needs in NEEDS.items():
        yield {{"name": name, "actions": [["true"]], "task_dep": ["stage:" + need for need in needs]}}
"""
BARE = """import subprocess, sys
from concurrent.futures import ThreadPoolExecutor
def spawn(_index):
    subprocess.run(["true"], check=True)
with ThreadPoolExecutor({parallel}) as pool:
    list(pool.map(spawn, range({stages})))
"""
PREFECT = """import subprocess
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner
NEEDS = {needs!r}
@task(log_prints=False)
def stage(name):
    subprocess.run(["true"], check=True)
@flow(task_runner=ThreadPoolTaskRunner(max_workers={parallel}))
def pipeline():
    found = {{}}
    for name, needs in NEEDS.items():
        found[name] = stage.submit(name, wait_for=[found[need] for need in needs])
    for future in found.values():
        future.result()
if __name__ == "__main__":
    pipeline()
"""
QUIET = {
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that runs the pipeline of its folder."""

    folder: Path
    argv: list[str]
    before: Callable[[Path], None]
    """Makes the folder as if nothing had ever run in it."""


def needs_of(stages: int) -> dict[str, list[str]]:
    """Return a random DAG: each stage needs up to three of those before it."""
    drawn = random.Random(SEED)  # noqa: S311 - drawn again alike, not secret
    names = [f"s{index:04}" for index in range(stages)]
    return {
        name: sorted(drawn.sample(names[:index], min(index, drawn.randint(0, MOST_NEEDS))))
        for index, name in enumerate(names)
    }


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=STAGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--peers", default="doit,prefect", help="which of them; with fewer nothing is written")
    asked = parser.parse_args()
    needs = needs_of(asked.stages)
    peers = {name for name in asked.peers.split(",") if name}
    if peers:
        _install_peers()
    took: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        engines = _engines(Path(folder), needs, peers)
        for turn in range(asked.rounds):
            for name, engine in engines.items():
                # Prefect takes minutes; once is enough to see that.
                if name == "prefect" and turn:
                    continue
                seconds, cpu_s = _measure(engine)
                took.setdefault(name, []).append(seconds)
                cpu.setdefault(name, []).append(cpu_s)
                print(f"round {turn + 1}: {name:<8} {seconds:7.2f} s, {cpu_s:6.2f} s of processors")
    summary = _summary({name: min(values) for name, values in took.items()}, asked.stages)
    report.show(summary)
    details: dict[str, object] = {
        "stages": asked.stages,
        "parallel": PARALLEL,
        "edges": sum(map(len, needs.values())),
        "wall_s": took,
    }
    details["cpu_s"] = cpu
    details["spread"] = {name: max(values) / min(values) for name, values in took.items()}
    details["median_s"] = {name: statistics.median(values) for name, values in took.items()}
    if peers == {"doit", "prefect"}:
        print(f"written: {report.write('pipeline', summary, details, ('shipway', 'anyio'), also=_versions())}")


def _summary(best_s: dict[str, float], stages: int) -> dict[str, float]:
    over_ms = {name: (seconds - best_s["bare"]) / stages * 1000 for name, seconds in best_s.items() if name != "bare"}
    summary = {"overhead_ms_per_stage": over_ms["shipway"], "bare_ms_per_stage": best_s["bare"] / stages * 1000}
    for peer in ("doit", "prefect"):
        if peer in over_ms:
            summary[f"overhead_vs_{peer}"] = over_ms["shipway"] / over_ms[peer]
            summary[f"{peer}_overhead_ms_per_stage"] = over_ms[peer]
    return summary


def _engines(folder: Path, needs: dict[str, list[str]], peers: set[str]) -> dict[str, Engine]:
    found = {"bare": _script(folder, "bare", BARE.format(parallel=PARALLEL, stages=len(needs)), sys.executable)}
    ours = folder / "shipway"
    ours.mkdir()
    lines = (f'  {name}: {{ run: ["true"], needs: [{", ".join(below)}] }}\n' for name, below in needs.items())
    (ours / "shipway.yaml").write_text(HEAD + "".join(lines))
    start = "from shipway.entrypoints.cli.main import main; main()"
    argv = [sys.executable, "-c", start, "pipeline", "run", "--jobs", str(PARALLEL)]
    found["shipway"] = Engine(ours, argv, lambda path: shutil.rmtree(path / ".shipway", ignore_errors=True))
    if "doit" in peers:
        doit = folder / "doit"
        doit.mkdir()
        (doit / "dodo.py").write_text(DOIT.format(needs=needs))
        argv = [str(PEERS / "bin" / "doit"), "run", "-n", str(PARALLEL), "-P", "thread"]
        found["doit"] = Engine(doit, argv, _forget_doit)
    if "prefect" in peers:
        script = PREFECT.format(needs=needs, parallel=PARALLEL)
        found["prefect"] = _script(folder, "prefect", script, str(PEERS / "bin" / "python"))
    return found


def _script(folder: Path, name: str, text: str, python: str) -> Engine:
    place = folder / name
    place.mkdir()
    (place / "program.py").write_text(text)
    return Engine(place, [python, "program.py"], lambda path: shutil.rmtree(path / "home", ignore_errors=True))


def _forget_doit(folder: Path) -> None:
    for path in folder.glob(".doit.db*"):
        path.unlink()


def _measure(engine: Engine) -> tuple[float, float]:
    """Return how long an engine took, and the time of processors for it and all that it started and waited for."""
    engine.before(engine.folder)
    env = {**os.environ, **QUIET, "PREFECT_HOME": str(engine.folder / "home")}
    with (engine.folder / "output.log").open("wb") as log:
        before_s, started_s = _cpu_s(), time.perf_counter()
        done = subprocess.run(
            engine.argv, cwd=engine.folder, env=env, stdout=log, stderr=log, check=False, timeout=TIMEOUT_S
        )
        took_s = time.perf_counter() - started_s
    if done.returncode != 0:
        end = (engine.folder / "output.log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"{engine.argv[0]} left with {done.returncode}:\n{end}")
    return took_s, _cpu_s() - before_s


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _install_peers() -> None:
    done = PEERS / ".done"
    if done.is_file() and done.read_text() == LOCK.read_text():
        return
    venv.create(PEERS, with_pip=True, clear=True)
    python = str(PEERS / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "--require-hashes", "-r", str(LOCK)], check=True)
    done.write_text(LOCK.read_text())


def _versions() -> dict[str, str]:
    lines = LOCK.read_text().splitlines()
    pins = (line.split(" ", 1)[0].split("==") for line in lines if line.startswith(("doit==", "prefect==")))
    return {name: version.rstrip("; ") for name, version in pins}


if __name__ == "__main__":
    main()
