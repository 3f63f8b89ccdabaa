"""Bad input gets one clear paragraph and the right exit code, and loses nothing."""

import contextlib
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from shipway.adapters.sql.engine import Database

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def each_connection(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], AbstractContextManager[None]]:
    """Makes every connection to a store that is opened meanwhile begin with a statement."""

    @contextlib.contextmanager
    def begin_with(statement: str) -> Iterator[None]:
        connected = Database.connected

        def configured(database: Database) -> sqlite3.Connection:
            connection = connected(database)
            connection.execute(statement)
            return connection

        with monkeypatch.context() as patch:
            patch.setattr(Database, "connected", configured)
            yield

    return begin_with


def refused(done, code: int) -> str:
    """Return the message of a command that failed as it should: on stderr, one paragraph, no traceback."""
    assert done.code == code, f"{done.code}\n{done.out}\n{done.err}"
    progress, _, message = done.err.partition("shipway: ")
    assert all(line.endswith(" is ready") for line in progress.splitlines())
    assert "Traceback" not in message
    assert "\n\n" not in message.strip()
    assert "unexpected" not in message
    return message


def parts(app) -> dict:
    return app.run("release", "list", "--json").json


@pytest.mark.parametrize("command", [["config", "check"], ["up"], ["release", "create"], ["status"]])
def test_broken_yaml_is_named_by_file_and_line(make_app, command):
    app = make_app()
    app.edit("shipway.yaml", "pipeline:", "  broken: [\npipeline:")

    message = refused(app.run(*command), 2)

    assert "shipway.yaml:8" in message or "shipway.yaml:9" in message


def test_an_unknown_key_is_named_with_its_line_and_the_key_that_was_meant(make_app):
    app = make_app()
    app.edit("shipway.yaml", "pipeline:", "rates: { per_key_mn: 5 }\npipeline:")

    message = refused(app.run("config", "check"), 2)

    assert "shipway.yaml:8" in message
    assert "rates.per_key_mn" in message
    assert "did you mean 'per_key_min'" in message


def test_several_problems_are_reported_at_once(make_app):
    app = make_app()
    app.edit("shipway.yaml", "app: small", "app: small\nserver: { port: 70000, wrokers: 1 }")

    message = refused(app.run("config", "check"), 2)

    assert "server.port" in message
    assert "server.wrokers" in message


def test_a_missing_prompt_is_named(make_app):
    app = make_app()
    (app.root / "prompts" / "chat.yaml").unlink()

    assert "prompts/chat.yaml: no such file" in refused(app.run("release", "create"), 2)
    assert parts(app) == []


def test_a_corpus_that_was_not_built_says_how_to_build_it(make_app):
    app = make_app("rag")

    message = refused(app.run("release", "create"), 2)

    assert "shipway rag build" in message


def test_a_missing_folder_of_documents_is_named(make_app):
    app = make_app("rag")
    (app.root / "docs").rename(app.root / "papers")

    assert "docs" in refused(app.run("rag", "build"), 2)


def test_a_missing_model_file_is_named_before_anything_is_stored(make_app):
    app = make_app()
    app.edit("shipway.yaml", "engine: echo, model: echo", "engine: llamacpp, model: weights/gone.gguf")

    assert "weights/gone.gguf" in refused(app.run("release", "create"), 2)
    assert parts(app) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{'id': 'x'}", "cases.jsonl:11"),
        ('{"id": "3", "question": "again", "must_contain": ["x"]}', "cases.jsonl:11"),
        ('{"id": "new", "qestion": "?", "must_contain": ["x"]}', "cases.jsonl:11"),
    ],
    ids=["no JSON", "duplicate id", "misspelt field"],
)
def test_a_wrong_dataset_line_is_named_by_file_and_line(make_app, line, said):
    app = make_app()
    release = app.run("release", "create", "--json").json["release"]
    with (app.root / "evals" / "cases.jsonl").open("a") as cases:
        cases.write("\n" + line + "\n")

    assert said in refused(app.run("eval", "run", release), 2)
    assert "evaluated" not in app.run("release", "show", release).out


def test_a_secret_in_clear_is_refused_without_repeating_it(make_app):
    app = make_app()
    secret = "sk-proj-" + "Zq3" * 12
    app.edit(
        "shipway.yaml",
        "engine: echo, model: echo",
        f'engine: openai, model: gpt, base_url: "https://h/v1", api_key: {secret}',
    )

    for command in (["config", "check"], ["config", "show"], ["up"]):
        done = app.run(*command)
        message = refused(done, 2)
        assert secret not in done.out + done.err
        assert "shipway.yaml:2" in message
        assert "env:" in message


def test_a_port_in_use_is_named_and_nothing_is_left_running(make_app):
    app = make_app()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        app.edit("shipway.yaml", "pipeline:", f"server: {{ port: {port} }}\npipeline:")

        assert f"port {port}" in refused(app.spawn("up"), 2)
    assert app.run("status", "--json").json["running"] is False


def test_a_second_up_says_where_the_first_one_is_and_leaves_it_alone(make_app):
    app = make_app()
    first = app.spawn("up", "--json").json

    message = refused(app.spawn("up"), 2)

    assert first["gateway"] in message
    assert "shipway down" in message
    status = app.run("status", "--json").json
    assert status["running"] is True
    assert {process["restarts"] for process in status["processes"]} == {0}


def test_a_locked_store_is_named_and_works_again_afterwards(make_app):
    app = make_app()
    before = parts(app)
    with contextlib.closing(sqlite3.connect(app.root / ".shipway" / "state.db")) as holder:
        holder.execute("BEGIN IMMEDIATE")
        message = refused(app.run("release", "create"), 3)
        holder.rollback()

    assert "is locked by another process" in message
    assert parts(app) == before
    assert app.run("release", "create").code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_store_without_write_permission_is_named(make_app):
    app = make_app()
    parts(app)
    home = app.root / ".shipway"
    for path in (*home.glob("state.db*"), home):
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        message = refused(app.run("release", "create"), 3)
    finally:
        home.chmod(0o700)
        for path in home.glob("state.db*"):
            path.chmod(0o600)

    assert "read-only" in message
    assert app.run("release", "create").code == 0


def test_a_read_only_store_is_named_and_unchanged(make_app, each_connection):
    app = make_app()
    first = app.run("release", "create", "--json").json["release"]
    app.edit("prompts/chat.yaml", "You are helpful.", "You are very helpful.")

    with each_connection("PRAGMA query_only=ON"):
        message = refused(app.run("release", "create"), 3)

    assert "read-only" in message
    assert [row["release"] for row in parts(app)] == [first]


def test_a_full_disk_is_named_and_keeps_what_was_stored(make_app, each_connection):
    app = make_app()
    first = app.run("release", "create", "--json").json["release"]
    app.edit("prompts/chat.yaml", "You are helpful.", "You are very helpful." + "x" * 200_000)

    # SQLite then refuses to grow the file, with the very error of a disk without space.
    with each_connection("PRAGMA max_page_count=1"):
        message = refused(app.run("release", "create"), 3)

    assert "the disk is full" in message
    assert [row["release"] for row in parts(app)] == [first]
    assert app.run("audit", "verify").code == 0
    assert app.run("db", "check").code == 0
    assert app.run("release", "create").code == 0


def test_an_engine_that_cannot_load_its_model_ends_up_with_its_log_and_leaves_nothing_running(make_app):
    app = make_app()
    app.write("weights.gguf", "this is no model")
    app.edit("shipway.yaml", "engine: echo, model: echo", "engine: llamacpp, model: weights.gguf")

    message = refused(app.spawn("up", "--timeout", "30"), 3)

    assert "engine-echo" in message
    assert "weights.gguf" in message
    assert app.run("status", "--json").json["running"] is False


def test_an_engine_elsewhere_that_cannot_be_reached_fails_the_evaluation_and_not_the_command(make_app):
    app = make_app()
    app.edit("shipway.yaml", "engine: echo, model: echo", 'engine: openai, model: m, base_url: "http://127.0.0.1:9/v1"')
    release = app.run("release", "create", "--json").json["release"]

    done = app.run("eval", "run", release, "--json")

    assert done.code == 3
    assert done.json["verdict"] == "ERROR"
    assert "Traceback" not in done.err
    assert "the first 5 calls" in done.json["error"]["message"]
    # Nothing was measured, so nothing is stored: the release counts as not evaluated.
    assert app.run("deploy", release, "--json").code == 4


def test_a_pdf_that_is_none_is_named_and_the_corpus_of_before_stays(make_app):
    app = make_app("rag")
    built = app.run("rag", "build", "--json").json["manifest"]
    app.write("docs/fake.pdf", "hello")

    assert "fake.pdf" in refused(app.run("rag", "build"), 2)

    (app.root / "docs" / "fake.pdf").unlink()
    again = app.run("rag", "build", "--json").json
    assert again["manifest"] == built
    assert again["embedded"] == 0


@pytest.mark.parametrize("kind", ["manifest.json", "passages.jsonl", "index"])
def test_a_corpus_that_does_not_match_its_manifest_is_not_used(make_app, kind):
    app = make_app("rag")
    app.edit("shipway.yaml", "engine: echo, model: echo", "engine: openai, model: m, base_url: http://127.0.0.1:9/v1")
    app.run("rag", "build")
    release = app.run("release", "create", "--json").json["release"]
    (corpus,) = [path.parent for path in (app.root / ".shipway" / "corpora").rglob("manifest.json")]
    flip(corpus / kind if kind != "index" else largest_index(corpus))

    message = refused(app.run("rag", "ask", "How long?", "--tenant", "default", "--release", release), 3)

    assert corpus.name[:12] in message


def test_documents_that_changed_since_the_build_are_named(make_app):
    app = make_app("rag")
    app.run("rag", "build")
    app.write("docs/loans.md", "# Loans\n\nA book may be kept for 30 days.\n")

    message = refused(app.run("release", "create"), 3)

    assert "loans.md" in message
    assert "shipway rag build" in message


def test_options_that_a_shell_left_empty_are_refused(make_app):
    app = make_app()
    for option, command in {
        "--to": ["rollback", "--to", ""],
        "--strategy": ["deploy", "rel_1", "--strategy", ""],
        "--plan": ["deploy", "rel_1", "--plan", ""],
    }.items():
        assert refused(app.run(*command), 2).startswith(f"{option}: the ")


@pytest.mark.parametrize("command", ["status", "history", "explain", "watch", "pause", "resume", "promote", "abort"])
def test_a_rollout_that_a_shell_left_empty_is_not_the_newest(make_app, command):
    message = refused(make_app().run("rollout", command, ""), 2)
    assert message.startswith("ROLLOUT: the value is empty; name a rollout, or leave it out")


def test_a_plan_that_is_a_pipe_is_refused_and_not_waited_for(make_app, tmp_path):
    app = make_app()
    release = app.run("release", "create", "--json").json["release"]
    os.mkfifo(tmp_path / "plan")
    assert "plan: is a pipe; give a file" in refused(
        app.run("deploy", release, "--override-gate", "test", "--dry-run", "--plan", str(tmp_path / "plan")), 2
    )


def test_an_unknown_release_cannot_be_deployed(make_app):
    app = make_app()

    for name in ("rel_0000000000000000", "nothing", "../../etc"):
        assert name in refused(app.run("deploy", name), 2)


def test_a_release_without_an_evaluation_is_not_deployed_and_says_what_is_missing(make_app):
    app = make_app()
    release = app.run("release", "create", "--json").json["release"]

    message = refused(app.run("deploy", release), 4)

    assert f"shipway eval run {release}" in message
    assert app.run("status", "--json").json["routes"] == []


def test_an_error_as_json_is_the_same_message_on_stdout(make_app):
    app = make_app()

    done = app.run("deploy", "nothing", "--json")

    assert done.code == 2
    assert done.json["error"]["exit_code"] == 2
    assert "nothing" in done.json["error"]["message"]
    assert done.err == ""


def flip(path: Path) -> None:
    """Change one byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def largest_index(corpus: Path) -> Path:
    others = [path for path in corpus.rglob("*") if path.is_file() and path.suffix not in {".json", ".jsonl", ".lock"}]
    return max(others, key=lambda path: path.stat().st_size)
