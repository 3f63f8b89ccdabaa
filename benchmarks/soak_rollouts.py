"""Good and bad rollouts of every strategy, live: real processes, two gateway workers, constant load.

`python benchmarks/soak_rollouts.py [--strategy NAME ...] [--quick] [--minutes N] [--real]` (`make soak`). Every
finished rollout is written down at once in `.bench/soak/rows.jsonl`; started again, it goes on behind the last one.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from report import show, write
from soak_clients import Clients, Tally
from soak_project import CODE_FAULTS, ENGINE_FAULTS, ON_ENGINE, STRATEGIES, Project, wait_for

FOLDER = Path(__file__).parent.parent / ".bench" / "soak"
EACH, QUICK = 20, 2
SLOWEST_S = 150.0
_END_S = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """One rollout: what it was, how it ended, and what its users saw.

    `lost` are failed requests that no fault explains: of a release without one, or without an answer of any release.
    `left_s` is from the decision to go back until the last request was assigned to the candidate, on the slowest
    worker; None without such a decision, negative when the last one came before it.
    """

    strategy: str
    number: int
    fault: str
    state: str
    code: str
    reason: str
    seconds: float
    answered: int
    spoilt: int
    lost: list[tuple[str, int, str]]
    left_s: float | None
    confirm_s: float | None
    real: bool = False

    @property
    def is_right(self) -> bool:
        """Whether a good one was promoted, a bad one rolled back, or refused because it never got well enough."""
        return self.never_started or self.state == ("rolled_back" if self.fault else "completed")

    @property
    def never_started(self) -> bool:
        """Whether it was a bad one that never was healthy and never had a user: there was nothing to take back."""
        return bool(self.fault) and self.state == "failed" and not self.spoilt


def main() -> None:
    """Run the soak, or what is left of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--strategy", action="append", choices=STRATEGIES)
    parser.add_argument("--quick", action="store_true", help="two good and two bad ones each")
    parser.add_argument("--real", action="store_true", help="one good and one bad one each on the embedded model")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--rows", type=Path, default=FOLDER / "rows.jsonl")
    told = parser.parse_args()
    end_s = time.monotonic() + 60.0 * told.minutes
    told.rows.parent.mkdir(parents=True, exist_ok=True)
    for strategy in told.strategy or (ON_ENGINE if told.real else STRATEGIES):
        each = 1 if told.real else QUICK if told.quick else EACH
        left = [item for item in wanted(strategy, each) if item[0] not in done(told.rows, strategy, real=told.real)]
        if left and time.monotonic() < end_s:
            soak(strategy, left, told.rows, end_s, real=told.real)
    rows = read(told.rows)
    summary = summarised(rows)
    show(summary)
    print("\n".join(table(rows)))
    if not told.quick:
        packages = ("shipway", "uvloop", "httptools", "aiohttp")
        print(write("soak", summary, [{**asdict(row), "lost": row.lost[:5]} for row in rows], packages))


def wanted(strategy: str, each: int) -> list[tuple[int, str]]:
    """Return (number, fault) of a strategy's rollouts, good and bad in turn."""
    faults = list(ENGINE_FAULTS if strategy in ON_ENGINE else CODE_FAULTS)
    if strategy == "rolling":
        faults.remove("wrong answers")
    good = ["", "slow start"] if strategy not in ON_ENGINE else [""]
    found = []
    for number in range(each):
        found.append((2 * number, good[number % len(good)]))
        found.append((2 * number + 1, faults[number % len(faults)]))
    return found


def done(path: Path, strategy: str, *, real: bool) -> set[int]:
    """Return the numbers of what has been walked already."""
    return {row.number for row in read(path) if (row.strategy, row.real) == (strategy, real)}


def read(path: Path) -> list[Row]:
    """Return the rows so far."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def soak(strategy: str, left: list[tuple[int, str]], rows: Path, end_s: float, *, real: bool) -> None:
    """Walk rollouts of one strategy in a project of their own."""
    home = Path(tempfile.mkdtemp(prefix=f"shipway-soak-{strategy}-"))
    project = Project(home, strategy, real=real)
    try:
        project.begin()
        with Clients(project, count=2 if real else 6) as clients:
            wait_for(lambda: clients.acknowledged, _END_S)
            for row in walked(project, clients, left, end_s):
                with rows.open("a") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
                print(_line(row), flush=True)
    finally:
        project.end()
        shutil.rmtree(home, ignore_errors=True)


def walked(project: Project, clients: Clients, left: list[tuple[int, str]], end_s: float) -> Iterator[Row]:
    """Yield a row for each rollout that ends in time."""
    for number, fault in left:
        if time.monotonic() > end_s:
            return
        clients.taken()
        began_s = time.monotonic()
        candidate = project.release(fault)
        name = project.run("deploy", candidate, "--override-gate", "soak")["rollout"]
        row = followed(project, name)
        wait_for(lambda: project.rollout(name)["stopped"], _END_S)  # noqa: B023 - called at once
        ended_s = time.monotonic()
        # Records come a moment after the requests.
        time.sleep(1.0)
        yield measured(project, row, (number, fault, ended_s - began_s), clients.taken())


def followed(project: Project, name: str) -> dict[str, Any]:
    """Return the row of a rollout that has ended; what waits for a person is told to go on, or is given up."""
    end_s = time.monotonic() + SLOWEST_S
    while True:
        row = project.rollout(name)
        if row["state"] in {"completed", "rolled_back", "failed"}:
            return row
        if project.strategy == "flag" and _has_baked(row):
            _promote(project, name)
        if time.monotonic() > end_s or row["state"] == "paused":
            # Counted as what it is: a rollout that did not end by itself.
            project.run("rollout", "abort", name, "-m", "soak")
            wait_for(lambda: project.rollout(name)["state"] == "rolled_back", _END_S)
            return {**project.rollout(name), "state": f"given up, {row['state']}", "reason": row["reason"]}
        time.sleep(0.1)


def _promote(project: Project, name: str) -> None:
    """Give everybody the flag, unless it was taken back since it was looked at.

    By the time alone, whatever was seen and whether a controller leads: harm has to go before it.
    """
    try:
        project.run("rollout", "promote", name, "-m", "everybody")
    except RuntimeError:
        if project.rollout(name)["state"] not in {"rolling_back", "rolled_back"}:
            raise


def _has_baked(row: dict[str, Any]) -> bool:
    """Tell whether a flag has been at its share for four seconds: long enough to see a bad one."""
    since_s = row["times"]["step_s"]
    settled = row["state"] == "progressing" and row["phase"] == "applied" and row["command"] is None
    return settled and row["step"] == 0 and since_s is not None and time.time() - since_s > 4.0


def measured(project: Project, row: dict[str, Any], which: tuple[int, str, float], seen: Tally) -> Row:
    """Return what a rollout was like."""
    number, fault, seconds = which
    is_bad = fault not in {"", "slow start"}
    ill = {row["candidate"]} if is_bad else set()
    lost = [item for item in seen.failed if item[0] not in ill]
    times = row["times"]
    left_s = None
    if times["decided_s"] is not None and row["state"] == "rolled_back":
        last = project.query(
            "SELECT max(at_s) FROM records WHERE rollout = ? AND release = ? AND status <> 503",
            row["id"],
            row["candidate"],
        )[0][0]
        left_s = None if last is None else last - times["decided_s"]
    confirm_s = None if times["decided_s"] is None else times["confirmed_s"] - times["decided_s"]
    return Row(
        strategy=project.strategy,
        number=number,
        fault=fault if is_bad else "",
        state=row["state"],
        code=row["code"],
        reason=row["reason"][:300],
        seconds=round(seconds, 1),
        answered=seen.answered,
        spoilt=len(seen.failed) - len(lost),
        lost=lost,
        left_s=left_s,
        confirm_s=confirm_s,
        real=project.real,
    )


def summarised(rows: list[Row]) -> dict[str, float]:
    """Return the counts that a reader looks for."""
    bad, good = [row for row in rows if row.fault], [row for row in rows if not row.fault]
    engine = [row for row in rows if row.strategy in ON_ENGINE]
    code = [row for row in rows if row.strategy not in ON_ENGINE]
    summary = {
        "rollouts": len(rows),
        "bad": len(bad),
        "bad_rolled_back": sum(row.is_right and not row.never_started for row in bad),
        "bad_never_started": sum(row.never_started for row in bad),
        "good": len(good),
        "good_promoted": sum(row.is_right for row in good),
        "requests": sum(row.answered + row.spoilt + len(row.lost) for row in rows),
        "requests_spoilt_by_faults": sum(row.spoilt for row in rows),
        "requests_failed_by_the_machinery": sum(len(row.lost) for row in rows),
        "seconds_a_rollout": sum(row.seconds for row in rows) / max(1, len(rows)),
    }
    for kind, some in (("traffic", engine), ("code", code)):
        summary[f"last_assigned_after_s_{kind}"] = max(
            (row.left_s for row in some if row.left_s is not None), default=0.0
        )
        summary[f"confirmed_after_s_{kind}"] = max(
            (row.confirm_s for row in some if row.confirm_s is not None), default=0.0
        )
    return summary


def table(rows: list[Row]) -> list[str]:
    """Return the table of the documentation: a line for each strategy."""
    head = "| Strategy | Good promoted | Bad stopped | Requests | Failed otherwise | Last assigned | All confirmed |"
    lines = [head, "| --- " * 7 + "|"]
    for strategy in STRATEGIES:
        own = [row for row in rows if row.strategy == strategy]
        good, bad = [row for row in own if not row.fault], [row for row in own if row.fault]
        cells = [
            strategy,
            f"{sum(row.is_right for row in good)} of {len(good)}",
            f"{sum(row.is_right for row in bad)} of {len(bad)}",
            f"{sum(row.answered + row.spoilt + len(row.lost) for row in own):,}",
            str(sum(len(row.lost) for row in own)),
            f"{max((row.left_s for row in own if row.left_s is not None), default=0.0):+.2f} s",
            f"{max((row.confirm_s for row in own if row.confirm_s is not None), default=0.0):.2f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _line(row: Row) -> str:
    left = "" if row.left_s is None else f"  last {row.left_s:+.2f} s"
    return (
        f"{row.strategy:10} {row.number:2} {row.fault or 'good':20} {row.state:12} {row.code:10} {row.seconds:5.1f} s"
        f"  {row.answered} answered, {row.spoilt} spoilt, {len(row.lost)} lost{left}  {row.reason[:90]}"
    )


if __name__ == "__main__":
    main()
