"""`shipway readiness` and `readiness attest` on real folders, stores and a running service."""

import json
import sqlite3
import subprocess

import pytest
from tests.integration.cli.conftest import App

DOCKERFILE = 'FROM python:3.12-slim\nUSER 10001\nHEALTHCHECK CMD ["true"]\nCMD ["shipway", "serve"]\n'
IGNORED = ".env\n.git\n**/__pycache__\nvenv\n.venv\n**/*.pyc\n"
SAID = ("--statement", "the proxy masks personal data", "--by", "Ann")


def states(app: App, *options: str) -> dict[str, str]:
    return {check["id"]: check["state"] for check in audited(app, *options)["checks"]}


def audited(app: App, *options: str) -> dict:
    done = app.run("readiness", "--format", "json", *options)
    assert done.code == 0, done.err
    return json.loads(done.out)


def commit(app: App) -> None:
    for command in (
        ("init", "-q"),
        ("add", "-A"),
        ("-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-qm", "All"),
    ):
        subprocess.run(["git", "-C", str(app.root), *command], check=True, timeout=60)


@pytest.fixture
def contained(make_app) -> App:
    """An app whose image is right, in git, that does not run."""
    app = make_app()
    app.write("Dockerfile", DOCKERFILE)
    app.write(".dockerignore", IGNORED)
    app.write(".gitignore", ".env\n.shipway/\n")
    commit(app)
    return app


def test_looking_leaves_nothing_behind(make_app):
    app = make_app()
    before = sorted(app.root.rglob("*"))
    done = app.run("readiness")

    assert done.code == 0
    assert "  FAIL         DOCKER-1  The image runs as a user that is not root\n" in done.out
    assert "level 0 of 4" in done.out
    assert sorted(app.root.rglob("*")) == before


def test_a_broken_project_file_is_a_source_that_is_missing(make_app):
    app = make_app()
    app.write("shipway.yaml", "app: [\n")
    found = audited(app)

    assert "shipway.yaml:2" in found["not_looked_at"]["settings"]["why"]
    assert {check["state"] for check in found["checks"]} == {"FAIL", "NOT_CHECKED"}


def test_git_is_read_and_what_is_not_committed_is_told(contained):
    assert {name: states(contained)[name] for name in ("SEC-8", "CICD-10", "CICD-12")} == {
        "SEC-8": "PASS",
        "CICD-10": "PASS",
        "CICD-12": "PASS",
    }
    contained.edit("prompts/chat.yaml", "You are helpful.", "You are short.")

    assert {name: states(contained)[name] for name in ("CICD-10", "CICD-12")} == {"CICD-10": "FAIL", "CICD-12": "FAIL"}


def test_every_format_can_be_written_to_a_file(make_app, tmp_path):
    app = make_app()
    for shape, begins in (("text", "application\n"), ("markdown", "# Readiness\n"), ("json", "{\n")):
        out = tmp_path / f"out.{shape}"
        done = app.run("readiness", "--format", shape, "--output", str(out))

        assert (done.code, done.out) == (0, "")
        assert out.read_text().startswith(begins)


def test_areas_are_chosen_by_name(make_app):
    app = make_app()

    assert {name.split("-")[0] for name in states(app, "--only", "docker, ci/cd")} == {"DOCKER", "CICD"}
    assert app.run("readiness", "--only", "dockers").code == 2
    assert app.run("readiness", "--only", ",").code == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--output", "no/such/folder/x"),
        ("--key-env", "NO_SUCH_VARIABLE"),
        ("--url", "ftp://x"),
        ("--min-level", "5"),
        ("--format", "html"),
        ("--by", "Ann"),
        ("--expires", "5"),
        ("atest", "SEC-2"),
    ],
)
def test_misuse_leaves_with_2(make_app, options):
    assert make_app().run("readiness", *options).code == 2


def test_a_level_that_is_not_reached_leaves_with_1_and_with_4_when_nothing_failed(make_app, contained):
    assert make_app("chat", "bare").run("readiness", "--min-level", "1").code == 1
    assert contained.run("readiness", "--min-level", "1").code == 4
    assert contained.run("readiness", "--min-level", "0").code == 0


def test_a_service_that_is_not_there_is_not_checked(contained):
    found = audited(contained, "--url", "http://127.0.0.1:9")

    assert "nobody answers at http://127.0.0.1:9" in found["not_looked_at"]["service"]["why"]
    assert states(contained, "--url", "http://127.0.0.1:9")["APP-1"] == "NOT_CHECKED"


def test_a_statement_counts_until_somebody_changes_the_log(make_app):
    app = make_app()
    done = app.run("readiness", "attest", "SEC-2", *SAID, "--expires", "30")

    assert done.code == 0
    assert "SEC-2 is stated by Ann until " in done.out
    assert states(app)["SEC-2"] == "ATTESTED"
    assert "readiness.attested" in app.run("audit", "list").out
    with sqlite3.connect(app.root / ".shipway" / "state.db") as connection:
        connection.execute("UPDATE audit SET details = replace(details, 'Ann', 'Bob')")

    (found,) = [check for check in audited(app)["checks"] if check["id"] == "SEC-2"]
    assert found["state"] == "NOT_CHECKED"
    assert "the audit log is damaged" in found["note"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("SEC-99", *SAID),
        ("DOCKER-1", *SAID),
        ("SEC-2", *SAID, "--expires", "0"),
        ("SEC-2", *SAID, "--expires", "999"),
        ("SEC-2", "--statement", "ok", "--by", "Ann"),
        ("SEC-2", "--by", "Ann"),
        ("SEC-2", "--statement", "the proxy masks it"),
        SAID,
    ],
)
def test_a_statement_that_cannot_be_leaves_with_2_and_states_nothing(make_app, arguments):
    app = make_app()

    assert app.run("readiness", "attest", *arguments).code == 2
    assert states(app)["SEC-2"] == "NOT_CHECKED"


@pytest.mark.e2e
def test_a_running_service_is_asked(contained, monkeypatch):
    assert contained.spawn("up").code == 0
    assert states(contained)["APP-1"] == "PASS"
    assert states(contained)["SEC-6"] == "PASS"
    assert states(contained)["APP-2"] == "FAIL"
    release = json.loads(contained.run("release", "create", "--json").out)["release"]
    identifier = release if isinstance(release, str) else release["id"]
    assert contained.run("eval", "run", identifier).code == 0
    assert contained.run("deploy", identifier, "--wait").code == 0
    key = json.loads(contained.run("key", "create", "--role", "invoke", "--role", "operate", "--json").out)
    monkeypatch.setenv("SHIPWAY_TARGET_KEY", key["secret"])
    # The workers know a new key a moment later.
    assert any(states(contained)["APP-4"] != "NOT_CHECKED" for _ in range(200))

    found = states(contained)
    wanted = ("APP-1", "APP-2", "APP-4", "APP-8", "MON-1", "MON-3", "MON-7", "SEC-4", "SEC-6", "REL-4", "LIVE-3")
    assert {name: found[name] for name in wanted} == dict.fromkeys(wanted, "PASS")
    assert contained.run("readiness", "--min-level", "1").code == 0
    assert contained.run("down").code == 0
    assert states(contained)["APP-1"] == "NOT_CHECKED"
