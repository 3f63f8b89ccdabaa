"""The pipeline of a project that defines none: what runs cold, what warm, what after a change, and writing it down."""

import json
import subprocess

import anyio
import pytest

from shipway.entrypoints.wiring import opened

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PULL_REQUEST = ("--event", "pull_request", "--tier", "pr")
ASKER = {"tenant": "default", "groups": ["public"]}
CASES = [
    {"id": f"{name}{number}", "question": question, "must_contain": [term], "expected_sources": [f"{name}.md"], **ASKER}
    for name, question, term in (
        ("opening", "When does the library open?", "9"),
        ("loans", "How long may a book be kept?", "28"),
    )
    for number in range(5)
]
GATES = """gates:
  - { metric: tenant_leak, zero_tolerance: true }
  - { metric: recall_at_5, min: 0.2 }
"""


@pytest.fixture
def library(make_app):
    app = make_app("rag")
    settings = (app.root / "shipway.yaml").read_text()
    app.write("shipway.yaml", settings.replace("gates: [{ metric: tenant_leak, zero_tolerance: true }]\n", GATES))
    app.write("evals/cases.jsonl", "\n".join(map(json.dumps, CASES)))
    app.write(".gitignore", ".shipway/\n")
    git(app, "init", "--quiet", "--initial-branch", "main")
    commit(app)
    return app


@pytest.fixture
def served(library):
    """The engine that is asked."""
    assert library.spawn("up", "--timeout", "60").code == 0
    return library


def git(app, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", "-C", str(app.root), *identity, *arguments], check=True, capture_output=True)


def commit(app):
    git(app, "add", "--all")
    git(app, "commit", "--quiet", "--message", "state")


def ran(app, *arguments):
    """Return the stages of a run of a pull request that were run, neither left out nor known."""
    done = app.run("pipeline", "run", "--json", *PULL_REQUEST, *arguments)
    assert done.code == 0, done.err + done.out
    return [stage["name"] for stage in done.json["stages"] if stage["state"] == "passed" and not stage["known"]]


def state(app, stage, *arguments):
    return app.run("pipeline", "explain", stage, "--json", *PULL_REQUEST, *arguments).json


def test_a_change_of_a_prompt_runs_what_it_concerns_and_a_warm_run_the_gate_alone(served):
    assert ran(served) == ["rag-build", "release", "evaluate", "gate", "rag-integration"]
    assert ran(served) == ["gate"]

    served.write("Dockerfile", "FROM scratch\n")
    commit(served)
    served.edit("prompts/answer.yaml", "Answer from the text.", "Answer from the text alone.")
    since = ("--since", "HEAD")

    assert state(served, "rag-build", *since)["state"] == "known"
    assert state(served, "release", *since)["reasons"] == ["input prompts/answer.yaml changed"]
    evaluate = state(served, "evaluate", *since)
    assert (evaluate["state"], evaluate["waits_for"]) == ("open", ["release"])
    assert evaluate["reasons"] == [
        "runs unless release gives what it gave before: nothing else that decides it has changed",
        "release runs before it: input prompts/answer.yaml changed",
    ]
    for stage, part in (("build", "code"), ("rag-integration", "data or policy")):
        found = state(served, stage, *since)
        assert (found["state"], found["reasons"]) == ("left out", [f"runs when {part} changed, and prompt did"])
    assert ran(served, *since) == ["release", "evaluate", "gate"]
    assert ran(served, *since) == ["gate"]


def test_a_change_of_a_document_and_back_is_known_and_still_makes_a_release(served):
    ran(served)
    before = (served.root / "docs" / "loans.md").read_text()
    served.write("docs/loans.md", before + "\nA game may be kept for 3 days.\n")
    assert ran(served) == ["rag-build", "release", "evaluate", "gate", "rag-integration"]

    served.write("docs/loans.md", before)
    assert ran(served) == ["gate"]
    served.edit("prompts/answer.yaml", "Answer from the text.", "Answer from the text alone.")
    assert ran(served, "--changed", "prompt") == ["release", "evaluate", "gate"]


def test_settings_of_the_environment_are_part_of_what_decides(library, monkeypatch):
    ran(library, "--until", "release")
    monkeypatch.setenv("SHIPWAY__DECODING__SEED", "9")
    found = state(library, "rag-build")
    assert found["state"] == "runs"
    assert "tool shipway changed" in found["reasons"][0]


def test_the_derived_pipeline_is_shown_and_written_down_unchanged(library):
    shown = library.run("pipeline", "list")
    assert shown.out.startswith("derived, as shipway.yaml has no pipeline; `shipway pipeline init --write`")
    assert "evals/cases.jsonl and gates" in shown.out
    derived = library.run("pipeline", "graph", "--json").json
    assert derived["derived"]
    text = (library.root / "shipway.yaml").read_text()
    assert library.run("pipeline", "init").out.startswith("# The stages from commit to production")
    assert (library.root / "shipway.yaml").read_text() == text

    assert library.run("pipeline", "init", "--write").code == 0

    assert (library.root / "shipway.yaml").read_text().startswith(text)
    written = library.run("pipeline", "graph", "--json").json
    assert not written["derived"]
    assert written["digest"] == derived["digest"]
    assert library.run("config", "check").code == 0
    again = library.run("pipeline", "init")
    assert again.code == 2
    assert "has a pipeline of its own" in again.err


async def make_stable(app, release):
    async with opened(app.root) as installed:
        await installed.releases.set_label(installed.environment, release, at_s=1.0, actor="user:a")


def test_what_users_have_is_compared_with_by_the_commit_of_the_stable_release(library):
    none = library.run("pipeline", "changed", "--since", "released")
    assert (none.code, "no release is stable in local" in none.err) == (2, True)
    library.run("rag", "build")
    anyio.run(make_stable, library, library.run("release", "create", "--json").json["release"])

    found = library.run("pipeline", "changed", "--since", "released", "--json").json
    assert (found["parts"], found["known"]) == ([], True)
    library.edit("prompts/answer.yaml", "Answer from the text.", "Answer from the text alone.")
    commit(library)
    assert library.run("pipeline", "changed", "--since", "released").out == "prompt\n"
    left_out = state(library, "rag-integration", "--since", "released")
    assert left_out["reasons"] == ["runs when data or policy changed, and prompt did"]

    git(library, "checkout", "--quiet", "--orphan", "squashed")
    commit(library)
    git(library, "branch", "--quiet", "-D", "main")
    git(library, "reflog", "expire", "--expire=now", "--all")
    git(library, "gc", "--quiet", "--prune=now")
    gone = library.run("pipeline", "changed", "--since", "released")
    assert (gone.code, f"git does not know commit {found['commit']}" in gone.err) == (2, True)


def test_since_and_changed_contradict_each_other(library):
    done = library.run("pipeline", "run", "--since", "HEAD", "--changed", "code")
    assert done.code == 2
    assert "--since and --changed contradict each other" in done.err
