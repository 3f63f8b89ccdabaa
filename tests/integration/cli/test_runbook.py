"""`shipway runbook`: Markdown from the real state, whose commands can be copied."""

import json
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer
from tests.integration.cli.conftest import App
from tests.integration.cli.test_operating_what_runs import deployed, two_releases
from tests.served import served_request
from typer.main import get_command

from shipway.adapters.sql.store import SqlStore
from shipway.core.clock import SystemClock
from shipway.entrypoints.cli.main import app as shipway_app
from shipway.services.runbooks.pages import Runbook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
CONTACTS = 'contacts: [{ who: On call, how: "#llm-oncall" }, { who: Lead, how: "+49 1", when: after 15 minutes }]\n'


def commands(text: str) -> Iterator[list[str]]:
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from (shlex.split(line, comments=True)[1:] for line in block.splitlines() if line.startswith("shipway "))


def posted(text: str) -> list[list[str]]:
    """Return the requests with a body that a runbook has curl send."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    calls = [shlex.split(line, comments=True) for line in lines if line.startswith("curl ")]
    return [call for call in calls if {"-d", "--data"} & set(call)]


def parsed(arguments: list[str]) -> None:
    """Parse a command line as the program does, without running it."""
    command: Any = get_command(shipway_app)
    context = typer.Context(command)
    rest = list(arguments)
    while hasattr(command, "commands") or command is get_command(shipway_app) or hasattr(command, "get_command"):
        name = rest.pop(0)
        command = command.get_command(context, name)
        assert command is not None, f"there is no {' '.join(arguments)}"
    command.make_context(arguments[0], rest)


def serve(app: App, first: str, second: str) -> None:
    """Write what the store would have after some requests of a bad candidate."""

    async def act() -> None:
        store = await SqlStore.open(app.root / ".shipway" / "state.db", create=True)
        now_s = SystemClock().now_s()
        known = {"environment": "local", "route": "chat", "at_s": now_s, "rollout": "ro_1"}
        records = [served_request(f"c{n}", id=f"a{n}", release=first, latency_ms=100.0, **known) for n in range(20)]
        records += [
            served_request(
                f"d{n}", id=f"b{n}", release=second, is_candidate=True, status=502, events=("error",), **known
            )
            for n in range(5)
        ]
        try:
            await store.records.append(records)
        finally:
            await store.close()

    anyio.run(act)


@pytest.mark.parametrize("kind", list(Runbook))
def test_every_command_of_every_runbook_exists_with_its_options(make_app, kind):
    app = make_app()
    first, second = two_releases(app)
    serve(app, first, second)

    text = app.run("runbook", kind.value, "--json").json["markdown"]

    found = list(commands(text))
    assert found
    for arguments in found:
        parsed(arguments)
    requests = posted(text)
    assert requests
    for call in requests:
        # The gateway answers 415 to what curl would say by itself.
        assert "Content-Type: application/json" in [call[n + 1] for n, word in enumerate(call) if word == "-H"]
        assert json.loads(call[call.index("-d") + 1])["model"] == "chat"


def test_a_command_that_does_not_exist_would_be_found():
    with pytest.raises(AssertionError):
        parsed(["nonsense"])
    with pytest.raises(Exception, match="no-such"):
        parsed(["rollback", "--no-such"])


def test_a_runbook_names_releases_figures_contacts_and_the_way_back(make_app):
    app = make_app()
    app.edit("shipway.yaml", "app: small\n", f"app: small\n{CONTACTS}")
    first, second = two_releases(app)
    serve(app, first, second)

    text = app.run("runbook", "rollback").out

    assert f"| chat | {first} | - | - |" in text
    assert f"- rollback: {second} -> {first}" in text
    assert "what the way back undoes: prompt" in text
    assert f"shipway rollback --to {first} " in text
    assert f"| chat | {second} (candidate) | 5 | 5 (100.0%) |" in text
    assert "| 20 | 0 (0.0%) | 100 | 100 | 100 |" in text
    assert "1. On call: #llm-oncall\n2. Lead: +49 1 (after 15 minutes)" in text
    assert "nothing runs here" in text
    assert "shipway switch set kill-route chat --for 30m" in text


def test_what_is_not_known_is_said(make_app):
    app = make_app()

    latency, stale, post = (app.run("runbook", kind).out for kind in ("latency", "stale-index", "post-rollback"))

    assert "Nothing is deployed." in latency
    assert "No request was served." in latency
    assert "Nobody is named" in latency
    assert "No route has another model to flip to" in latency
    assert "No corpus" in stale
    assert "Not known: no release was left." in post


def test_another_model_is_offered_to_flip_to(make_app):
    app = make_app()
    models = "models: { echo: { engine: echo, model: echo, max_out: 64 }"
    app.edit("shipway.yaml", f"{models} }}", f"{models}, small: {{ engine: echo, model: echo, max_out: 32 }} }}")
    app.edit("shipway.yaml", "routes: {", "routing: { fallbacks: { echo: [small] } }\nroutes: {")
    deployed(app)

    text = app.run("runbook", "latency").out

    assert "shipway switch set lock-route chat small" in text
    assert "shipway switch set max-new '*' 32" in text


def test_it_works_with_a_broken_project_file_and_says_that_contacts_are_not_known(make_app):
    app = make_app()
    two_releases(app)
    assert app.spawn("up").code == 0
    app.edit("shipway.yaml", "app: small", "app: small\nfoo: 1")

    done = app.run("runbook", "rollback")

    assert done.code == 0
    assert "Not known: the project file cannot be read." in done.out
    assert "unknown key" in done.out


def test_a_stale_index_is_found_and_the_way_to_ship_a_new_one_shown(make_app):
    app = make_app("rag")
    assert app.run("rag", "build").code == 0
    first = deployed(app)
    fresh = app.run("runbook", "stale-index").out
    assert "up to date" in fresh
    assert "no release pins it yet" not in fresh
    app.write("docs/loans.md", "# Loans\n\nA book may be kept for 14 days.\n")

    stale = app.run("runbook", "stale-index").out
    assert "documents changed since the corpus was built: docs/loans.md" in stale
    assert f"shipway eval run RELEASE --baseline {first}" in stale

    assert app.run("rag", "build").code == 0
    assert "**no release pins it yet**" in app.run("runbook", "stale-index").out


def test_after_a_real_rollback_what_can_be_told_is_ticked_and_bundled(make_app, tmp_path):
    app = make_app()
    first, second = two_releases(app)
    assert app.spawn("up").code == 0
    assert app.run("rollback").code == 0
    serve(app, first, second)
    out, kept = tmp_path / "post.md", tmp_path / "post.zip"
    assert re.search(r"kill \d+   # engine-echo", app.run("runbook", "latency").out)

    done = app.run("runbook", "post-rollback", "--out", str(out), "--bundle", str(kept))

    assert done.code == 0, done.err
    text = out.read_text()
    assert f"- [x] no route assigns {second} any more" in text
    # They were written after the rollback, as if some worker had not obeyed.
    assert "- [ ] no request was assigned to it since every worker obeyed (5 found)" in text
    assert "- [x] every worker obeys the newest snapshot" in text
    assert "- [x] the audit chain verifies" in text
    assert "- [x] no switch is left on" in text
    assert "- [ ] a person has read answers of every route" in text
    assert re.search(r"curl -fsS http://127\.0\.0\.1:\d+/health", text)
    for arguments in commands(text):
        parsed(arguments)
    with zipfile.ZipFile(kept) as archive:
        names = set(archive.namelist())
        assert {"runbook.md", "requests.csv", "figures.json", "state.json", "audit.jsonl"} <= names
        assert "metrics/engine-echo.txt" in names
        assert any(name.startswith("metrics/gateway") for name in names)
        assert archive.read("requests.csv").count(b"\nb") == 5
        assert "keys" not in json.loads(archive.read("state.json"))["snapshot"]
        assert b"rollback.started" in archive.read("audit.jsonl")
        assert b"shipway_engine" in archive.read("metrics/engine-echo.txt")


def test_a_bundle_is_a_folder_where_no_zip_file_is_named_and_replaces_nothing(make_app, tmp_path):
    app = make_app()
    two_releases(app)
    folder = tmp_path / "post-mortem"

    assert app.run("runbook", "post-rollback", "--bundle", str(folder)).code == 0
    assert (folder / "runbook.md").read_text().startswith("# After a rollback")
    assert (folder / "change.json").is_file()

    again = app.run("runbook", "post-rollback", "--bundle", str(folder))
    assert (again.code, "is there already" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "nonsense"),
        (["rollback", "--last", "soon"], "is not a duration"),
        (["rollback", "--out", "nowhere/x.md"], "no folder"),
    ],
)
def test_a_wrong_call_exits_with_2(make_app, arguments, said):
    done = make_app().run("runbook", *arguments)

    assert done.code == 2
    assert said in done.err


def test_a_runbook_changes_nothing(make_app):
    app = make_app()
    two_releases(app)
    before = app.run("audit", "list", "--json").json

    for kind in Runbook:
        app.run("runbook", kind.value)

    assert app.run("audit", "list", "--json").json == before
    assert not list(Path(app.root).glob("*.md"))
