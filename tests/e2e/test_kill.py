"""`kill -9` at random instants of a rollout: it goes on from where it was, and nothing acknowledged is lost.

Ten rounds by default, each of another strategy and with another victim; SHIPWAY_KILL_ROUNDS asks for more.
`benchmarks/kill_rollouts.py` does it two hundred times, with services of one's own and with bad releases as well.
"""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field

import pytest

ROUNDS = int(os.environ.get("SHIPWAY_KILL_ROUNDS", "10"))
VICTIMS = ("gateway", "control", "engine-echo", "supervisor")
STRATEGIES = ("canary", "blue-green", "rolling", "swap", "shadow")
# With a person's word before the promotion, so that every round ends where the test is ready for it. An engine that is
# killed fails everybody: with no stable arm beside it, that alone would be reason enough to go back.
PLAN = """
  bake_s: 0.5
  batches: 2
  sample: 1.0
  min_pairs: 20
  keep_s: 0
  ask_to_promote: true
  metrics: { alone: null }
  rules: { error_rate: { action: warn }, error_increase: { action: warn } }
"""
WEIGHTS = {0.0, 0.1, 0.3, 0.5, 1.0}
ASK = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
LATEST_KILL_S = 2.5

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60 + 120 * ROUNDS)]


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


def has_gone_on(row: dict) -> bool:
    """Tell whether a rollout is where it goes on only when somebody says so."""
    waits = row["state"] == "paused" and row["code"] == "approval"
    return waits or (row["state"] == "progressing" and row["phase"] == "applied" and row["step"] == 2)


def action_numbers(events: list[dict], rollout: str) -> list[str]:
    return [event["details"]["action_id"] for event in events if event["subject"] == rollout]


@pytest.fixture
def draws() -> random.Random:
    return random.Random(20_240)


def test_a_rollout_survives_kill_9_of_any_process_at_random_instants(chat, load, until, draws):
    settings = chat.root / "shipway.yaml"
    settings.write_text(settings.read_text().replace("rollout:\n", "rollout:" + PLAN))
    releases = [chat.release("first"), chat.prompt(2)]
    rollouts = []
    with load(chat, "/v1/chat/completions", ASK) as clients, Watch(chat) as watch:
        until(lambda: clients.answered, "the first release answers")
        for number in range(ROUNDS):
            victim = VICTIMS[number % len(VICTIMS)]
            candidate = releases[(number + 1) % 2]
            strategy = STRATEGIES[number % len(STRATEGIES)]
            told = ("--strategy", strategy, "--override-gate", f"round {number}")
            rollout = chat.json("deploy", candidate, *told)["rollout"]
            rollouts.append(rollout)
            watch.rollout = rollout
            instant_s = time.monotonic() + draws.uniform(0.0, LATEST_KILL_S)
            until(lambda: time.monotonic() >= instant_s, "the instant")  # noqa: B023 - called at once
            killed = chat.pids()[victim]
            kill(chat, victim)
            recover(chat, victim, killed, until)
            what = f"round {number}, {strategy}, {victim}"
            until(lambda: has_gone_on(chat.rollout(rollout)), f"{what}: it goes on")  # noqa: B023
            mark = clients.served_by(candidate)
            until(lambda: clients.served_by(candidate) > mark, f"{what}: the candidate has traffic")  # noqa: B023
            chat.run("rollout", "promote", "-m", f"round {number}")
            until(lambda: chat.rollout(rollout)["stopped"], f"{what}: it ends")  # noqa: B023
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
