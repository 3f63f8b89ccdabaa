"""A user who keeps their own code: released, evaluated, proxied, rolled out under load, stopped and taken back."""

import json
import shutil
import urllib.request
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "own-service"
PLAN = """
rates: { per_key_min: 1000000 }
server: { drain_s: 5 }
"""
TEXT = {"text": "Where is my order?"}
PATH = "/svc/classify/classify"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture
def service(project):
    app = project()
    shutil.copytree(EXAMPLE, app.root, ignore=shutil.ignore_patterns(".shipway", "__pycache__"))
    settings = app.root / "shipway.yaml"
    held = settings.read_text().replace("weight: 0.5, min_bake_s: 5", "weight: 0.5, min_bake_s: 60")
    short = held.replace("min_bake_s: 5 ", "min_bake_s: 0.5 ")
    guarded = short.replace("rollout:\n", "rollout:\n  drain_s: 1\n  guardrails: { min_samples: 10 }\n")
    settings.write_text(guarded + PLAN)
    return app


def edit(app, before: str, after: str) -> str:
    code = app.root / "app.py"
    text = code.read_text()
    assert before in text
    code.write_text(text.replace(before, after))
    return app.release(after)


def get(url: str, key: str) -> dict:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        found: dict = json.load(reply)
    return found


def stable_of(app) -> set[str]:
    """Return what status, snapshot, gateway and control each call stable."""
    status = app.json("status")
    gateway = get(app.endpoints["gateway"] + "/version", app.key)
    control = get(app.endpoints["control"] + "/version", app.key)
    labelled = [row["release"] for row in app.json("release", "list") if row["stable_in"]]
    served = list(gateway["routes"].values())
    routes = [*status["routes"], *app.snapshot()["routes"], *control["routes"]]
    assert not any(route["candidate"] for route in [*routes, *served])
    return {*(route["stable"] for route in routes), *(route["stable"]["release"] for route in served), *labelled}


def first_release(app) -> str:
    """Return a release that serves after it was refused without an evaluation."""
    started = app.run("up")
    assert started.out.count("swk_") == 1
    app.key = next(line.split()[1] for line in started.out.splitlines() if line.startswith("key"))
    release = app.release("first")
    refused = app.json("deploy", release, expect=4)
    assert "has not been evaluated" in refused["error"]["message"]
    assert app.json("eval", "run", release)["verdict"] == "PASS"
    assert app.json("deploy", release)["kind"] == "first"
    return release


def see_rolled_back(app, clients, until, failing: str, stable: str) -> None:
    """Force a release that answers 500 past its gate, and see that live evidence takes it back."""
    until(lambda: clients.answered, "the stable release answers")
    rollout = app.json("deploy", failing, "--override-gate", "to see it stopped")["rollout"]
    watched = app.json("rollout", "watch", rollout, expect=1)
    assert (watched["verdict"], watched["state"]) == ("FAIL", "rolled_back")
    mark = len(clients.replies)
    until(lambda: len(clients.replies) > mark + 10, "requests after the rollback")
    after = clients.replies[mark + clients.clients :]
    assert {(reply.status, reply.release) for reply in after} == {(200, stable)}
    assert {reply.release for reply in clients.failed} == {failing}


def test_a_service_of_ones_own_is_released_rolled_out_stopped_and_taken_back(service, load, until):
    first = first_release(service)
    with load(service, PATH, TEXT) as clients:
        until(lambda: len(clients.answered) > 5, "the first release answers")
        assert json.loads(clients.answered[0].body) == {"label": "order", "release": first}

        second = edit(service, '"tracking"}', '"tracking", "package"}')
        changed = service.json("release", "diff", first, second)
        assert changed["parts"] == ["code"]
        assert [change["key"] for change in changed["changes"]] == ["files.app.py"]
        service.run("eval", "run", second)
        rollout = service.json("deploy", second)["rollout"]
        until(lambda: service.rollout(rollout)["step"] == 1, "the second step is in force")
        until(lambda: clients.served_by(second) > 5, "the candidate has traffic")
        service.run("rollout", "promote", "-m", "nothing bad to see")
        watched = service.json("rollout", "watch", rollout)
        assert (watched["verdict"], watched["state"]) == ("PASS", "completed")
        mark = len(clients.replies)
        until(lambda: len(clients.replies) > mark + 10, "requests after the promotion")
        assert {reply.release for reply in clients.replies[mark + clients.clients :]} == {second}
        assert clients.failed == []
    assert stable_of(service) == {second}

    mislabelling = edit(service, "return next((label", 'return "unsorted" or next((label')
    judged = service.json("eval", "run", mislabelling, expect=1)
    assert judged["verdict"] == "FAIL"
    assert judged["worse"]
    assert "FAIL" in service.json("deploy", mislabelling, expect=1)["error"]["message"]

    failing = edit(
        service, "    body = request.get_json", '    raise RuntimeError("broken")\n    body = request.get_json'
    )
    with load(service, PATH, TEXT) as clients:
        see_rolled_back(service, clients, until, failing, second)
    assert stable_of(service) == {second}

    just_after = service.json("rollback", expect=2)
    assert f"`shipway rollback --to {first}`" in just_after["error"]["message"]
    assert stable_of(service) == {second}
    assert service.json("rollback", "--to", first, "-m", "the old words were better")["release"] == first
    assert stable_of(service) == {first}
    with load(service, PATH, TEXT) as clients:
        until(lambda: len(clients.replies) > 5, "requests after going back")
    assert {(reply.status, reply.release) for reply in clients.replies} == {(200, first)}

    assert service.json("audit", "verify")["intact"] is True
    actions = [(event["action"], event["subject"]) for event in service.json("audit", "list")]
    story = [
        *[("release.created", first), ("release.evaluated", first), ("deployment.completed", first)],
        *[("release.created", second), ("release.evaluated", second), ("gate.overridden", failing)],
        ("rollback.completed", first),
    ]
    assert [item for item in actions if item in story] == story
    until(
        lambda: not any(f"classify-{release}" in service.pids() for release in (second, failing, mislabelling)),
        "processes of releases that nobody is on have ended",
    )


def test_a_service_that_only_ends_never_gets_traffic_and_is_taken_back_by_itself(service, load, until):
    service.up()
    first = service.release("first")
    service.run("deploy", first, "--override-gate", "journey")
    crashing = edit(service, "import os\n", "import os\nraise SystemExit(7)\n")

    with load(service, PATH, TEXT) as clients:
        until(lambda: clients.answered, "the first release answers")
        rollout = service.json("deploy", crashing, "--override-gate", "to see it end")["rollout"]
        until(lambda: service.rollout(rollout)["state"] == "rolled_back", "the candidate is taken back")
        mark = len(clients.replies)
        until(lambda: len(clients.replies) > mark + 20, "requests after it")

    assert clients.failed == []
    assert {reply.release for reply in clients.replies} == {first}
    assert stable_of(service) == {first}


def test_a_service_that_does_not_start_never_gets_traffic_and_its_rollout_can_be_aborted(service, load, until):
    service.up()
    first = service.release("first")
    service.run("deploy", first, "--override-gate", "journey")
    # One that ended instead would be taken back by itself after three seconds.
    hanging = edit(service, "import os\n", "import os\nimport time\n\ntime.sleep(3600)\n")

    with load(service, PATH, TEXT) as clients:
        until(lambda: clients.answered, "the first release answers")
        rollout = service.json("deploy", hanging, "--override-gate", "to see it wait")["rollout"]
        until(lambda: service.pids().get(f"classify-{hanging}"), "the candidate's process runs")
        mark = len(clients.replies)
        until(lambda: len(clients.replies) > mark + 20, "requests while the candidate starts")
        assert service.rollout(rollout)["step"] == -1
        service.run("rollback", "--wait")

    assert service.rollout(rollout)["state"] == "rolled_back"
    assert clients.failed == []
    assert {reply.release for reply in clients.replies} == {first}
    assert stable_of(service) == {first}
