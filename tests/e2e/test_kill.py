"""`kill -9` at random instants of a rollout: it goes on from where it was, and nothing acknowledged is lost.

Six rounds by default; SHIPWAY_KILL_ROUNDS asks for more.
"""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field

import pytest

ROUNDS = int(os.environ.get("SHIPWAY_KILL_ROUNDS", "6"))
VICTIMS = ("gateway", "control", "engine-echo", "supervisor")
WEIGHTS = {0.0, 0.1, 0.3, 0.5, 1.0}
ASK = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
LATEST_KILL_S = 2.5

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60 + 40 * ROUNDS)]


@dataclass
class Watch:
    """Reads the snapshot and the rollout all the time and keeps what it must never see."""

    app: object
    faults: list[str] = field(default_factory=list)
    rollout: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self):
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(30)

    def _run(self):
        before = (0, 0)
        progress: dict[str, tuple[int, int]] = {}
        while not self._stop.wait(0.03):
            snapshot = self.app.snapshot()
            now = (snapshot["epoch"], snapshot["version"])
            if now[0] < before[0] or now[1] < before[1]:
                self.faults.append(f"(epoch, version) went from {before} to {now}")
            before = now
            weights = {route["candidate_weight"] for route in snapshot["routes"]}
            if len(weights) != 1 or not weights <= WEIGHTS:
                self.faults.append(f"weights {weights}")
            if name := self.rollout:
                row = self.app.rollout(name)
                here = (row["step"], row["actions"])
                if name in progress and (here[0] < progress[name][0] or here[1] < progress[name][1]):
                    self.faults.append(f"{name}: (step, actions) went from {progress[name]} to {here}")
                progress[name] = here


def kill(app, victim: str) -> None:
    pid = app.pids()[victim]
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


def recover(app, victim: str, killed: int | None, until) -> None:
    """Return once the victim runs again: the supervisor starts its children, the user starts the supervisor."""
    if victim == "supervisor":
        until(lambda: app.run("up", expect=None).code == 0, "up works again after its supervisor was killed", 60)
        return
    until(lambda: app.pids().get(victim) not in {None, killed}, f"{victim} was started again")


def action_numbers(events: list[dict], rollout: str) -> list[str]:
    return [event["details"]["action_id"] for event in events if event["subject"] == rollout]


@pytest.fixture
def draws() -> random.Random:
    return random.Random(20_240)


def test_a_rollout_survives_kill_9_of_any_process_at_random_instants(chat, load, until, draws):
    releases = [chat.release("first"), chat.prompt(2)]
    rollouts = []
    with load(chat, "/v1/chat/completions", ASK) as clients, Watch(chat) as watch:
        until(lambda: clients.answered, "the first release answers")
        for number in range(ROUNDS):
            victim = VICTIMS[number % len(VICTIMS)]
            candidate = releases[(number + 1) % 2]
            rollout = chat.json("deploy", candidate, "--override-gate", f"round {number}")["rollout"]
            rollouts.append(rollout)
            watch.rollout = rollout
            instant_s = time.monotonic() + draws.uniform(0.0, LATEST_KILL_S)
            until(lambda: time.monotonic() >= instant_s, "the instant")  # noqa: B023 - called at once
            killed = chat.pids()[victim]
            kill(chat, victim)
            recover(chat, victim, killed, until)
            until(lambda: chat.rollout(rollout)["step"] == 2, f"round {number}, {victim}: it goes on", 40)  # noqa: B023
            mark = clients.served_by(candidate)
            until(lambda: clients.served_by(candidate) > mark, "the candidate has traffic")  # noqa: B023
            chat.run("rollout", "promote", "-m", f"round {number}")
            until(lambda: chat.rollout(rollout)["settled"], f"round {number}, {victim}: it ends", 40)  # noqa: B023
            assert chat.rollout(rollout)["state"] == "completed"
            assert [(route["stable"], route["candidate"]) for route in chat.snapshot()["routes"]] == [(candidate, None)]

    assert watch.faults == []
    acknowledged = {reply.request_id for reply in clients.answered}
    assert len(acknowledged) == len(clients.answered) > ROUNDS * 20
    until(lambda: acknowledged <= chat.recorded(), "every acknowledged request is recorded")
    assert chat.json("audit", "verify")["intact"] is True
    events = chat.json("audit", "list", "--limit", "100000")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    for rollout in rollouts:
        row = chat.rollout(rollout)
        expected = [f"{rollout}/{number}" for number in range(1, row["actions"] + 1)]
        assert [entry["action_id"] for entry in row["history"]] == expected
        assert action_numbers(events, rollout) == expected
