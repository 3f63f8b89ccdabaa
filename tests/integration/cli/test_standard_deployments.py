"""The derived pipeline to its end: a push is rolled out under traffic, a model update compared, the night tests all."""

import contextlib
import json
import os
import subprocess
import threading
import urllib.request

import anyio
import pytest

from shipway.entrypoints.wiring import opened
from shipway.services.running import require_endpoints

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

GATES = """gates:
  - { metric: tenant_leak, zero_tolerance: true }
  - { metric: recall_at_5, min: 0.2 }
  - { model_update: true }
rates: { per_key_min: 100000 }
rollout: { steps: [{ weight: 0.5, min_bake_s: 0 }, { weight: 1.0, min_bake_s: 0 }], drain_s: 0, harmless_rate: 0.3 }
"""
THINGS = [f"{first}{second}" for first in ("red", "blue", "tall", "old") for second in ("kite", "drum", "lamp", "tent")]
SMOKE = """- { name: kites, kind: contains, route: ask, prompt: 'How long may a redkite be kept?', contains: [lent] }
- { name: counted, kind: counters, families: [shipway_requests_total] }
- { name: recorded, kind: record }
"""
LOAD = """route: ask
stages: [{ rate: 5, for_s: 2 }]
requests: [{ name: kites, prompt: "How long may a redkite be kept?", max_tokens: 16 }]
limits: { error_rate: 1 }
"""
BY_PUSH = ("--event", "push", "--branch", "main")


def case(name, number, question):
    asker = {"tenant": "default", "groups": ["public"]}
    return {"id": f"{name}{number}", "question": question, "expected_sources": [f"{name}.md"], **asker}


@pytest.fixture
def library(make_app, monkeypatch):
    """A library with a document for each of its things, served, whose operator has a key."""
    app = make_app("rag")
    settings = (app.root / "shipway.yaml").read_text()
    app.write("shipway.yaml", settings.replace("gates: [{ metric: tenant_leak, zero_tolerance: true }]\n", GATES))
    for days, name in enumerate(THINGS, 11):
        app.write(
            f"docs/{name}.md", f"# {name}\n\nThe {name} is lent for {days} days. It may be kept for {days} days.\n"
        )
    questions = ("How long may a {0} be kept?", "For how many days is the {0} lent?")
    cases = [case(name, n, text.format(name)) for name in THINGS for n, text in enumerate(questions)]
    app.write("evals/cases.jsonl", "\n".join(map(json.dumps, cases)))
    app.write("evals/smoke.yaml", SMOKE)
    app.write("load.yaml", LOAD)
    app.write(".gitignore", ".shipway/\n")
    git(app, "init", "--quiet", "--initial-branch", "main")
    commit(app)
    # Before anything runs: workers learn of a later key in their own time.
    key = app.run("key", "create", "--group", "public", "--role", "invoke", "--role", "operate", "--json")
    monkeypatch.setenv("SHIPWAY_TARGET_KEY", key.json["secret"])
    assert app.spawn("up", "--timeout", "60").code == 0
    return app


def git(app, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", "-C", str(app.root), *identity, *arguments], check=True, capture_output=True)


def commit(app):
    git(app, "add", "--all")
    git(app, "commit", "--quiet", "--message", "state")


async def seen(app):
    async with opened(app.root) as installed:
        return require_endpoints(installed.workspace).gateway.rstrip("/"), await installed.releases.label("local")


@contextlib.contextmanager
def traffic(app, key):
    """Ask the gateway all the time."""
    address, _ = anyio.run(seen, app)
    ended = threading.Event()

    def ask():
        number = 0
        while not ended.is_set():
            number += 1
            question = [{"role": "user", "content": f"How long may a redkite be kept? {number}"}]
            body = json.dumps({"model": "ask", "messages": question}).encode()
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{address}/v1/chat/completions", body, headers)
            # What is answered decides the rollout, not this.
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=30) as reply:
                reply.read()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()


def ran(app, *arguments):
    """Return how a run ended, the verdicts of the stages that it has not left out, and what they said."""
    done = app.run("pipeline", "run", "--json", *arguments)
    stages = [stage for stage in done.json["stages"] if stage["state"] != "skipped"]
    said = "\n".join(f"{stage['name']}: {stage['problem']}\n{stage['output_tail']}" for stage in stages)
    return done.code, {stage["name"]: stage["verdict"] for stage in stages}, said


def test_a_push_and_then_a_model_update_reach_users_and_the_night_tests_what_they_have(library):
    code, first, said = ran(library, *BY_PUSH)
    assert (code, set(first.values())) == (0, {"PASS"}), said
    judged = {"rag-build", "release", "evaluate", "gate"}
    assert set(first) == judged | {"canary", "smoke", "monitor"}
    _, before = anyio.run(seen, library)

    library.edit("shipway.yaml", "max_out: 64", "max_out: 60")
    commit(library)
    with traffic(library, os.environ["SHIPWAY_TARGET_KEY"]):
        code, update, said = ran(library, "--event", "model_update", "--branch", "main", "--since", "released")
    assert (code, set(update.values())) == (0, {"PASS"}), said
    assert set(update) == set(first) | {"cost", "safety", "regression"}
    _, after = anyio.run(seen, library)
    assert after != before

    # What is stable is asked again by a machine that remembers nothing.
    code, night, said = ran(library, "--event", "schedule", "--tier", "full", "--no-cache")
    assert (code, set(night.values())) == (0, {"PASS"}), said
    assert set(night) == judged | {"safety", "data", "load"}
    assert library.run("pipeline", "changed", "--since", "released").out == "\n"


def test_a_stage_after_the_canary_that_failed_is_gone_on_from(library, monkeypatch):
    key = os.environ["SHIPWAY_TARGET_KEY"]
    monkeypatch.delenv("SHIPWAY_TARGET_KEY")
    code, found, said = ran(library, *BY_PUSH)
    assert (code, found["canary"], found["smoke"]) == (3, "PASS", "ERROR")
    assert "SHIPWAY_TARGET_KEY is not set" in said

    monkeypatch.setenv("SHIPWAY_TARGET_KEY", key)
    code, found, said = ran(library, *BY_PUSH, "--from", "smoke")
    assert (code, found["smoke"], found.get("monitor")) == (0, "PASS", "PASS"), said
