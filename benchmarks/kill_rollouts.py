"""`kill -9` of the controller and of the gateway at random instants of real rollouts, 200 times.

`python benchmarks/kill_rollouts.py [--instants N]` (`make kills`). Each rollout, of one strategy after the
other, loses one process at a drawn instant; it must go on to the end it would have had. Every instant is written down
at once in `.bench/kills/rows.jsonl`; started again, it goes on behind the last one.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from report import show, write
from soak_clients import Clients
from soak_project import STRATEGIES, Project, wait_for
from soak_rollouts import followed

FOLDER = Path(__file__).parent.parent / ".bench" / "kills"
SEED, INSTANTS = 20_305, 200
VICTIMS = ("control", "gateway-0", "gateway-1")
LATEST_S = {"": 7.0, "error_500": 1.5, "errors": 2.5}
"""Of a good rollout, and of bad ones, which end sooner."""
EVERY = 10
"""Instants of one project, before the next strategy's turn."""
_END_S = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """One instant: who was killed, where the rollout was, how it ended, and what must not be.

    `unrecorded` are acknowledged requests without a record, `unexplained` failed requests that the kill does not
    explain: those beside the gateway's own.
    """

    number: int
    strategy: str
    fault: str
    victim: str
    at_s: float
    where: str
    state: str
    answered: int
    cut: int
    unexplained: list[tuple[str, int, str]]
    unrecorded: int
    faults: list[str]

    @property
    def is_right(self) -> bool:
        """Whether it ended as it would have without the kill, and nothing was lost."""
        ended = self.state == ("rolled_back" if self.fault else "completed")
        return ended and not (self.faults or self.unrecorded or self.unexplained)


def main() -> None:
    """Kill, or go on killing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--instants", type=int, default=INSTANTS)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--strategy", action="append", choices=STRATEGIES)
    parser.add_argument("--rows", type=Path, default=FOLDER / "rows.jsonl")
    told = parser.parse_args()
    end_s = time.monotonic() + 60.0 * told.minutes
    told.rows.parent.mkdir(parents=True, exist_ok=True)
    strategies = told.strategy or list(STRATEGIES)
    while len(read(told.rows)) < told.instants and time.monotonic() < end_s:
        first = len(read(told.rows))
        last = min(told.instants, first + EVERY)
        walk(strategies[first // EVERY % len(strategies)], range(first, last), told.rows, end_s)
    rows = read(told.rows)
    summary = summarised(rows)
    show(summary)
    if len(rows) >= INSTANTS:
        print(write("kills", summary, [asdict(row) for row in rows], ("shipway", "uvloop", "httptools", "aiohttp")))


def read(path: Path) -> list[Row]:
    """Return the rows so far."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def walk(strategy: str, numbers: range, rows: Path, end_s: float) -> None:
    """Walk some rollouts of one strategy in a project of their own."""
    home = Path(tempfile.mkdtemp(prefix=f"shipway-kills-{strategy}-"))
    project = Project(home, strategy)
    try:
        project.begin()
        with Clients(project, count=4) as clients:
            wait_for(lambda: clients.acknowledged, _END_S)
            for number in numbers:
                if time.monotonic() > end_s:
                    return
                row = killed(project, clients, number)
                with rows.open("a") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
                words = f"{row.state} {row.faults or ''} {row.unexplained[:3] or ''} {row.unrecorded or ''}"
                print(
                    f"{number:3} {strategy:10} {row.victim:10} after {row.at_s:.1f} s in {row.where}: {words}",
                    flush=True,
                )
    finally:
        project.end()
        shutil.rmtree(home, ignore_errors=True)


def killed(project: Project, clients: Clients, number: int) -> Row:
    """Return how a rollout fared that lost a process at an instant."""
    draws = random.Random(SEED + number)  # noqa: S311 - no secret
    victim = draws.choice(VICTIMS)
    # Every third one is bad, so that the way back is interrupted as well.
    fault = "" if number % 3 else ("error_500" if project.on_engine else "errors")
    at_s = draws.uniform(0.0, LATEST_S[fault])
    candidate = project.release(fault)
    wait_for(lambda: is_up(project), _END_S)
    clients.taken()
    name, before, pid = struck(project, candidate, victim, at_s)
    wait_for(lambda: project.pids().get(victim) not in {None, pid}, _END_S)
    row = followed(project, name)
    wait_for(lambda: project.rollout(name)["stopped"], _END_S)
    seen = clients.taken()
    acknowledged = set(clients.acknowledged)
    wait_for(lambda: acknowledged <= recorded(project), 20.0)
    ill = candidate if fault else ""
    others = [item for item in seen.failed if not ill or item[0] != ill]
    # A killed gateway takes its connections with it; whoever asks meanwhile asks the other one, or again.
    cut = [item for item in others if victim != "control" and item[1] == 0]
    return Row(
        number=number,
        strategy=project.strategy,
        fault=fault,
        victim=victim,
        at_s=round(at_s, 2),
        where=f"{before['state']} {before['step']} {before['phase']}",
        state=row["state"],
        answered=seen.answered,
        cut=len(cut),
        unexplained=[item for item in others if item not in cut][:5],
        unrecorded=len(acknowledged - recorded(project)),
        faults=faults_of(project, name),
    )


def struck(project: Project, candidate: str, victim: str, at_s: float) -> tuple[str, dict[str, Any], int | None]:
    """Deploy and kill, so long after the rollout began; return its name, its row just before, and who was killed."""
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(project.run, "deploy", candidate, "--override-gate", "kills")
        name = wait_for(lambda: rollout_of(project, candidate) or (told.done() and told.result()["rollout"]), _END_S)
        time.sleep(at_s)
        before = project.rollout(name)
        pid = project.kill(victim)
        told.result()
    return name, before, pid


def rollout_of(project: Project, candidate: str) -> str:
    """Return the rollout of a release, "" before it has begun."""
    query = "SELECT key FROM documents WHERE kind = 'rollout' AND json_extract(body, '$.candidate') = ?"
    found = project.query(query, candidate)
    return str(found[0][0]) if found else ""


def is_up(project: Project) -> bool:
    """Tell whether every process runs."""
    return all(project.pids().get(name) for name in VICTIMS)


def recorded(project: Project) -> set[str]:
    """Return the ids of all recorded requests."""
    return {row[0] for row in project.query("SELECT id FROM records")}


def faults_of(project: Project, name: str) -> list[str]:
    """Return what is wrong with the trail of a rollout and with what is in force after it."""
    found = []
    if not project.run("audit", "verify")["intact"]:
        found.append("the audit chain does not verify")
    row, numbers = trail_of(project, name)
    if numbers != [f"{name}/{number}" for number in range(1, row["actions"] + 1)]:
        found.append(f"audit ids {numbers} of {row['actions']} actions")
    snapshot = json.loads(project.query("SELECT body FROM snapshots")[0][0])
    winner = row["candidate"] if row["state"] == "completed" else row["stable"]
    ended = (winner, None, False)
    left = [item for item in snapshot["routes"] if (item["stable"], item["candidate"], item["parked"]) != ended]
    return [*found, *(f"in force after it: {item}" for item in left)]


def trail_of(project: Project, name: str) -> tuple[dict[str, Any], list[str]]:
    """Return the row of a rollout and the ids of its actions in the audit log, both of one moment if there is one.

    The watch over a promoted release may act between two looks, and what it did reaches the log a moment later.
    """
    end_s = time.monotonic() + _END_S
    while True:
        row: dict[str, Any] = project.rollout(name)
        events = project.run("audit", "list", "--limit", "100000")
        numbers = [event["details"]["action_id"] for event in events if event["subject"] == name]
        rested = not row["outbox"] and project.rollout(name)["actions"] == row["actions"]
        if rested or time.monotonic() > end_s:
            return row, numbers


def summarised(rows: list[Row]) -> dict[str, float]:
    """Return the counts that a reader looks for."""
    return {
        "instants": len(rows),
        "right": sum(row.is_right for row in rows),
        "ended_otherwise": sum(row.state != ("rolled_back" if row.fault else "completed") for row in rows),
        "broken_trails": sum(bool(row.faults) for row in rows),
        "acknowledged_without_record": sum(row.unrecorded for row in rows),
        "answered": sum(row.answered for row in rows),
        "cut_by_killed_gateways": sum(row.cut for row in rows),
        "failed_otherwise": sum(len(row.unexplained) for row in rows),
    }


if __name__ == "__main__":
    main()
