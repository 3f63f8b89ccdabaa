"""What a new user meets: commands before anything runs, and results that cannot be kept."""

import json
import socket

import anyio
import pytest

from shipway.adapters.sql.store import SqlStore
from shipway.entrypoints.cli.commands import evaluate
from shipway.registry.store import ReleaseRegistry

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

HTTP = """app: small
code: { paths: ["*.py"] }
routes: { ask: { kind: http, command: [python, app.py] } }
rollout: { steps: [{ weight: 0.5 }, { weight: 1.0 }], drain_s: 0 }
"""


def release(app) -> str:
    return app.run("release", "create", "--json").json["release"]


def rollout_under_way(app) -> tuple[str, str]:
    """Return the first release and a rollout of the second, of an app that does not run."""
    first = release(app)
    assert app.run("deploy", first, "--override-gate", "to see").code == 0
    app.edit("prompts/chat.yaml", "You are helpful.", "You are kind.")
    second = release(app)
    done = app.run("deploy", second, "--override-gate", "to see", "--json")
    assert done.code == 0, done.err
    assert "no controller runs" in done.err
    return first, done.json["rollout"]


def test_doctor_leaves_nothing_behind_where_nothing_was_ever_run(make_app):
    app = make_app("rag")

    done = app.run("doctor", "--json")

    assert done.code == 0, done.out
    assert {row["check"]: row["state"] for row in done.json}["models"] == "ok"
    assert not (app.root / ".shipway").exists()


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_asked(make_app):
    app = make_app()
    made = release(app)

    done = app.run("eval", "run", made, "--markdown", str(app.root / "gone" / "report.md"))

    assert (done.code, done.out) == (2, "")
    assert f"--markdown: there is no folder {app.root / 'gone'}" in done.err
    assert app.run("eval", "compare", made, made).code == 2


def test_a_report_that_fails_at_the_end_does_not_cost_the_verdict(make_app, monkeypatch):
    app = make_app()
    assert app.spawn("up").code == 0
    made = release(app)
    monkeypatch.setattr(evaluate, "require_writable_file", lambda path, option: None)
    report = str(app.root / "gone" / "report.md")

    done = app.run("eval", "run", made, "--markdown", report)
    as_json = app.run("eval", "run", made, "--markdown", report, "--json")

    assert done.code == as_json.code == 3
    assert "PASS" in done.out
    assert "the verdict is PASS and is stored, but the report is not written" in done.err
    assert as_json.json["verdict"] == "PASS"
    assert report in as_json.json["report_error"]


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_an_engine_whose_port_is_taken_says_so(make_app, as_json):
    app = make_app()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = app.spawn("engine", "echo", "--port", str(port), *as_json)

    assert done.code == 2
    assert f"port {port} is in use" in done.out + done.err


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("prompts/chat.yaml }", "prompts/gone.yaml }", "shipway.yaml:3: prompts.chat: prompts/gone.yaml: no such file"),
        ("engine: echo, model: echo", "engine: llamacpp, model: gone", "shipway.yaml:2: models.echo.model: "),
    ],
)
def test_up_starts_nothing_when_what_it_needs_is_missing(make_app, before, after, problem):
    app = make_app()
    app.edit("shipway.yaml", before, after)

    done = app.run("up")

    assert done.code == 2
    assert problem in done.err
    assert not (app.root / ".shipway").exists()


@pytest.mark.parametrize("command", [["rollout", "abort"], ["rollout", "promote"], ["rollback"]])
def test_a_command_for_a_controller_that_does_not_run_is_kept_and_said_to_be(make_app, command):
    app = make_app()
    _, rollout = rollout_under_way(app)

    done = app.run(*command)

    assert done.code == 3
    assert "no controller runs" in done.err
    assert f"rollout {rollout} is kept" in done.err
    assert "`shipway up`" in done.err
    assert "handed to the controller" not in done.out


def test_a_rollout_that_does_not_wait_for_the_command_refuses_it_and_names_its_state(make_app):
    app = make_app()
    _, rollout = rollout_under_way(app)

    done = app.run("rollout", "resume", "--json")

    assert done.code == 2
    assert f"rollout {rollout} is pending, so there is nothing to resume" in done.json["error"]["message"]


def were_stable(app, *releases: str) -> None:
    """Make releases stable one after the other, as if the app had run then."""

    async def act() -> None:
        store = await SqlStore.open(app.root / ".shipway" / "state.db", create=True)
        try:
            for at_s, name in enumerate(releases, 1):
                await ReleaseRegistry(store.documents).set_label("local", name, at_s=at_s, actor="user:ada")
        finally:
            await store.close()

    anyio.run(act)


def test_a_dry_run_prints_its_plan_while_a_rollout_runs_and_says_that_it_would_be_refused(make_app):
    app = make_app()
    first = app.run("release", "create", "--json").json["release"]
    assert app.run("deploy", first, "--override-gate", "to see").code == 0
    app.edit("prompts/chat.yaml", "You are helpful.", "You are short.")
    second = app.run("release", "create", "--json").json["release"]
    rollout = app.run("deploy", second, "--override-gate", "to see", "--json").json["rollout"]
    app.edit("prompts/chat.yaml", "You are short.", "You are long.")
    third = app.run("release", "create", "--json").json["release"]

    asked = ["deploy", third, "--override-gate", "to see"]
    told, machine, done = app.run(*asked, "--dry-run"), app.run(*asked, "--dry-run", "--json"), app.run(*asked)

    assert told.code == machine.code == 0
    assert f"{first} -> {third} on chat" in told.out
    assert f"deploying now would be refused: rollout {rollout} of {second} is pending in local" in told.out
    assert f"shipway rollout abort {rollout}" in told.out
    assert machine.json["refused"].startswith(f"rollout {rollout} of {second}")
    assert (done.code, f"rollout {rollout} of {second} is pending" in done.err) == (2, True)
    assert "->" not in done.out
    assert len(app.run("rollout", "list", "--json").json) == 1


@pytest.mark.parametrize("command", [["deploy", "{}", "--override-gate", "x"], ["rollback", "--to", "{}"]])
def test_a_service_is_not_waited_for_while_nothing_would_start_it(make_app, command):
    app = make_app()
    app.write("shipway.yaml", HTTP)
    app.write("app.py", "pass\n")
    made = release(app)
    if command[0] == "rollback":
        app.write("app.py", "pass  # newer\n")
        were_stable(app, made, release(app))

    done = app.run(*(word.format(made) for word in command))

    assert done.code == 2
    assert "not running" in done.err
    assert "`shipway up` first" in done.err
    assert not any(event["action"].startswith("rollback") for event in app.run("audit", "list", "--json").json)


def test_a_rollback_to_a_release_that_was_never_stable_is_a_wrong_request(make_app):
    app = make_app()
    first = release(app)
    assert app.run("deploy", first, "--override-gate", "to see").code == 0
    app.edit("prompts/chat.yaml", "You are helpful.", "You are kind.")
    never = release(app)

    done = app.run("rollback", "--to", never)

    assert done.code == 2
    assert f"{never} was never stable in local" in done.err
    assert f"stable were: {first}" in done.err
    assert f"`shipway deploy {never}`" in done.err
    assert not any(event["action"].startswith("rollback") for event in app.run("audit", "list", "--json").json)


def test_several_layers_of_mistakes_are_reported_in_one_run(make_app):
    app = make_app()
    app.edit("shipway.yaml", "max_out: 64", "max_ouy: 64")
    app.edit("shipway.yaml", "model: echo, prompt", "model: other, prompt")
    app.edit("shipway.yaml", "metric: correct", "metric: corect")
    (app.root / "prompts/chat.yaml").unlink()

    done = app.run("config", "check")

    assert done.code == 2
    for said in (
        "unknown key; did you mean 'max_out'?",
        "'other' is not in models",
        "no such file",
        "corect",
    ):
        assert said in done.err


def test_a_secret_that_is_not_set_is_a_warning(make_app, monkeypatch):
    monkeypatch.delenv("SMALL_KEY", raising=False)
    app = make_app()
    app.edit("shipway.yaml", "max_out: 64", "max_out: 64, api_key: { env: SMALL_KEY }")

    done, as_json = app.run("config", "check"), app.run("config", "check", "--json")

    assert (done.code, as_json.code) == (0, 0)
    assert "warning: shipway.yaml:2: models.echo.api_key: environment variable SMALL_KEY" in done.err
    assert len(as_json.json["warnings"]) == 1


def test_a_backup_into_a_folder_that_is_not_there_is_a_wrong_request(make_app):
    app = make_app()
    release(app)

    done = app.run("db", "backup", str(app.root / "gone" / "copy.db"))

    assert done.code == 2
    assert "there is no folder" in done.err


def test_a_key_without_a_group_name_is_refused(make_app):
    done = make_app().run("key", "create", "--group", "", "--json")

    assert done.code == 2
    assert "a group without a name" in json.loads(done.out)["error"]["message"]


def test_watching_a_rollout_that_nobody_leads_says_so_once_and_goes_on(make_app):
    app = make_app()
    rollout_under_way(app)

    with app.start("rollout", "watch") as watching:
        lines = iter(watching.stdout.readline, b"")
        said = next(line for line in lines if b"warning" in line)
        watching.terminate()
        rest = b"".join(lines)

    assert b"no controller runs for 'local', so the rollout stands still" in said
    assert b"`shipway up`" in said
    assert b"warning" not in rest
