"""Logs of what `shipway up` runs begin anew when they are full, and no line of a request is lost by it."""

import json
import time
import urllib.request

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ASK = {"model": "chat", "messages": [{"role": "user", "content": "say it"}], "max_tokens": 8}


def ask(gateway: str, secret: str) -> str:
    """Return the id of a request that was served."""
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    request = urllib.request.Request(f"{gateway}/v1/chat/completions", json.dumps(ASK).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(reply.headers["x-request-id"])


def test_a_running_gateways_log_is_put_away_when_it_is_full_and_lacks_no_request(make_app):
    app = make_app()
    settings = "logging: { max_file_bytes: 10000, kept_files: 1000 }\nrates: { per_key_min: 100000 }"
    app.edit("shipway.yaml", "app: small", f"app: small\n{settings}")
    release = app.run("release", "create", "--json").json["release"]
    assert app.run("deploy", release, "--override-gate", "a test").code == 0
    up = app.spawn("up", "--json").json
    logs = app.root / ".shipway" / "logs"

    asked: list[str] = []
    end_s = time.monotonic() + 60
    while not (logs / "gateway.log.2").exists():
        assert time.monotonic() < end_s, "the log is never put away"
        asked += [ask(up["gateway"], up["key"]["secret"]) for _ in range(50)]
    assert app.run("down").code == 0

    lines = [line for part in logs.glob("gateway.log*") for line in part.read_text().splitlines()]
    served = [json.loads(line).get("request_id") for line in lines if line.startswith("{")]
    assert sorted(name for name in served if name in set(asked)) == sorted(asked)
    newest = (logs / "gateway.log").read_text().splitlines()
    shown = app.run("logs", "gateway", "-n", str(len(newest) + 5), "--json")
    assert shown.json["lines"][5:] == newest
