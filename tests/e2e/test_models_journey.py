"""The first hour of a newcomer, with the real models: a project of three documents, asked through the gateway."""

import json
import re
import urllib.request

import pytest

CASES = 3

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(180)]


def asked(app, question: str) -> tuple[dict, str]:
    """Return the reply and the release that gave it."""
    body = {"model": "ask", "messages": [{"role": "user", "content": question}]}
    request = urllib.request.Request(
        app.endpoints["gateway"] + "/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {app.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply), reply.headers["X-Shipway-Release"]


def test_a_new_project_is_built_released_deployed_and_answers_with_citations(project):
    app = project()
    app.init("rag")
    for path in ("docs/membership.md", "docs/staff/desk.md"):
        (app.root / path).unlink()
    cases = app.root / "evals" / "cases.jsonl"
    kept = [line for line in cases.read_text().splitlines() if '"membership.md"' not in line and "staff" not in line]
    cases.write_text("\n".join(kept[:CASES]))

    app.up()
    built = app.json("rag", "build")
    assert built["documents"] == 3
    assert built["embedded"] == built["chunks"] > 0
    assert app.json("rag", "build")["embedded"] == 0
    # So few cases can decide nothing, and the gates are refused before anything is made of them.
    refused = app.json("release", "create", expect=2)["error"]
    assert "it can never pass" in refused["message"]
    settings = app.root / "shipway.yaml"
    settings.write_text(re.sub(r"(?ms)^gates:\n.*?(?=^\S)", "gates: []\n", settings.read_text()))
    release = app.release("first")
    app.run("deploy", release, "--override-gate", "three cases prove nothing")

    reply, answered_by = asked(app, "How long may I keep a tool?")
    assert answered_by == release
    assert "14 days" in reply["choices"][0]["message"]["content"]
    assert {item["document"] for item in reply["citations"]} == {"borrowing.md"}
    refusal, _ = asked(app, "Who won the football world cup in 1998?")
    assert "I don't know" in refusal["choices"][0]["message"]["content"]
    assert app.json("down")["stopped"] is True
