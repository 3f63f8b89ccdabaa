"""From real requests to cases and replays: answers are sampled, users complain, a candidate is asked the same."""

import json
import time
import urllib.request
from typing import Any

import pytest
from tests.integration.cli.conftest import App, make_app
from tests.integration.cli.test_operating_what_runs import deployed

__all__ = ["make_app"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
QUESTIONS = [f"Please say word{n} and thing{n * 7} to ann@example.com" for n in range(40)]


def post(url: str, path: str, key: str, value: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url + path,
        data=json.dumps(value).encode(),
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.loads(reply.read()), reply.headers["x-request-id"]


def gathered(app: App, count: int) -> list[dict[str, Any]]:
    """Look until so many cases are proposed: texts and observations reach the store after the answers."""
    while True:
        found = app.run("dataset", "proposals", "list", "--json").json["proposals"]
        if len(found) >= count:
            return found
        time.sleep(0.1)


def test_what_users_asked_is_replayed_and_what_they_disliked_is_proposed(make_app):
    app = make_app()
    app.edit("shipway.yaml", "app: small\n", "app: small\nquality: { sample: 1.0 }\n")
    first = deployed(app)
    up = app.spawn("up", "--json").json
    url, key = up["gateway"].removesuffix("/v1"), up["key"]["secret"]
    asked = [
        post(url, "/v1/chat/completions", key, {"model": "chat", "messages": [{"role": "user", "content": question}]})
        for question in QUESTIONS
    ]
    post(url, "/v1/feedback", key, {"request_id": asked[3][1], "thumbs": "down", "correction": "word3 alone"})

    (proposal,) = gathered(app, 1)
    assert (proposal["request_id"], proposal["reasons"]) == (asked[3][1], ["thumbs down"])
    assert "ann@example.com" not in json.dumps(proposal)
    assert app.run("dataset", "proposals", "accept", proposal["id"]).code == 0
    app.edit("prompts/chat.yaml", "You are helpful.", "You are kind.")
    second = app.run("release", "create", "--json").json["release"]

    replayed = app.run("replay", second, "--json")

    assert replayed.code == 0, replayed.err
    assert (replayed.json["verdict"], replayed.json["against"], replayed.json["cases"]) == ("PASS", first, 40)
