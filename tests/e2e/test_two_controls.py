"""Two control processes by mistake: one leads, the other waits; one that was asleep cannot write when it wakes up."""

import contextlib
import json
import os
import signal
import sqlite3
import urllib.request
from itertools import pairwise

import pytest

ASK = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]


def leading(url: str) -> bool | None:
    """Return what a control process says of itself, None while it does not answer."""
    try:
        with urllib.request.urlopen(url + "/health", timeout=0.5) as reply:
            return bool(json.load(reply)["leading"])
    except OSError:
        return None


def spare_url(log) -> str | None:
    taken = [json.loads(line) for line in log.read_text().splitlines() if "control_port_taken" in line]
    return f"http://127.0.0.1:{taken[0]['taken']}" if taken else None


def is_writable(app) -> bool:
    """Tell whether nobody is in the middle of writing the store."""
    try:
        with contextlib.closing(sqlite3.connect(app.root / ".shipway" / "state.db", timeout=1)) as store:
            store.execute("BEGIN IMMEDIATE")
            store.rollback()
    except sqlite3.OperationalError:
        return False
    return True


def stopped_between_writes(app, pid: int, until) -> None:
    # A process stopped while it holds SQLite's write lock would stop everybody: that is another failure than this one.
    def stop() -> bool:
        os.kill(pid, signal.SIGSTOP)
        if is_writable(app):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    until(stop, "the leader was stopped between two writes")


def epochs(app) -> tuple[int, int]:
    lease = app.query("SELECT epoch FROM leases")[0][0]
    return lease, app.snapshot()["epoch"]


def taken_over(row):
    """Return the epochs of the leaders that took a rollout over, oldest first."""
    return [entry["details"]["epoch"] for entry in row["history"] if entry["action"] == "rollout.taken_over"]


def test_the_spare_takes_over_from_a_sleeping_and_from_a_killed_leader(chat, load, foreground, until, tmp_path):
    second = chat.prompt(2)
    first_url, first_pid = chat.endpoints["control"], chat.pids()["control"]
    until(lambda: leading(first_url), "the first control process leads")
    spare = foreground(chat, "control")
    second_url = until(lambda: spare_url(tmp_path / "control-0.log"), "the spare says where it listens")
    until(lambda: leading(second_url) is False, "the spare waits")
    assert leading(first_url) is True
    seen = [epochs(chat)]

    with load(chat, "/v1/chat/completions", ASK, clients=2) as clients:
        rollout = chat.json("deploy", second, "--override-gate", "two controls")["rollout"]
        until(lambda: chat.rollout(rollout)["step"] >= 0, "the first leader has begun")
        stopped_between_writes(chat, first_pid, until)
        until(lambda: leading(second_url), "the spare leads once the lease has expired")
        until(lambda: chat.snapshot()["epoch"] > seen[0][1], "the new leader has stamped the snapshot")
        seen.append(epochs(chat))
        os.kill(first_pid, signal.SIGCONT)
        until(lambda: leading(first_url) is False, "the sleeper has noticed that it leads no more")
        until(lambda: chat.rollout(rollout)["step"] == 2, "the new leader goes on")
        until(lambda: taken_over(chat.rollout(rollout))[-1] > seen[0][0], "the new leader has taken the rollout over")
        assert leading(second_url) is True
        seen.append(epochs(chat))

        spare.kill()
        until(lambda: leading(first_url), "the other one leads again")
        chat.run("rollout", "promote", "-m", "go on")
        until(lambda: chat.rollout(rollout)["stopped"], "the rollout ends")
        seen.append(epochs(chat))

    assert clients.failed == []
    assert chat.rollout(rollout)["state"] == "completed"
    assert [route["stable"] for route in chat.snapshot()["routes"]] == [second]
    assert all(before <= after for before, after in pairwise(seen))
    assert [lease for lease, _ in seen] == [seen[0][0], seen[0][0] + 1, seen[0][0] + 1, seen[0][0] + 2]
    row = chat.rollout(rollout)
    taken = taken_over(row)
    assert taken[-2:] == [seen[1][0], seen[3][0]]
    assert [entry["action_id"] for entry in row["history"]] == [f"{rollout}/{n + 1}" for n in range(row["actions"])]
    assert chat.json("audit", "verify")["intact"] is True
