"""Budgets that are used up are seen and reset while the gateway runs, counted on this host or in Redis."""

import json
import urllib.error
import urllib.request

import pytest
from tests.redis_server import serving_redis

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PRICED = "price: { input: 1000000, output: 1000000 }"
ASK = {"model": "chat", "messages": [{"role": "user", "content": "say it"}], "max_tokens": 8}


def ask(gateway: str, secret: str) -> tuple[int, str]:
    """Return status and error code of one request."""
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    request = urllib.request.Request(f"{gateway}/v1/chat/completions", json.dumps(ASK).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, ""
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]["code"]


def used_up(gateway: str, secret: str) -> int:
    """Spend until nothing is left; returns how many requests passed."""
    for passed in range(200):
        status, code = ask(gateway, secret)
        if status != 200:
            assert (status, code) == (429, "budget_exceeded")
            return passed
    raise AssertionError("the budget never ends")


def rows(done) -> dict[tuple[str, str], dict]:
    assert done.code == 0, done.err
    return {(row["key_id"], row["limit"]): row for row in done.json}


@pytest.fixture(params=["host", "redis"])
def spending(request, make_app, tmp_path, monkeypatch):
    """A running app with a budget in dollars, counted in one of both ways."""
    app = make_app()
    app.edit("shipway.yaml", "max_out: 64", f"max_out: 64, {PRICED}")
    budgets = "rates: { per_key_min: 10000 }\nbudgets: { key_daily_usd: 100, monthly_usd: 100000 }\n"
    more = "redis: { url: { env: LIMITS_REDIS } }\n" if request.param == "redis" else ""
    app.edit("shipway.yaml", "app: small\n", f"app: small\n{budgets}{more}")
    release = app.run("release", "create", "--json").json["release"]
    assert app.run("deploy", release, "--override-gate", "a test").code == 0
    if request.param == "host":
        yield app
        return
    with serving_redis(tmp_path) as server:
        monkeypatch.setenv("LIMITS_REDIS", server.url)
        yield app
        app.run("down")


def test_a_budget_that_is_used_up_is_shown_and_reset_for_the_running_gateway(spending):
    up = spending.spawn("up", "--json").json
    key, secret, gateway = up["key"]["key_id"], up["key"]["secret"], up["gateway"]
    passed = used_up(gateway, secret)
    assert passed > 0

    before = rows(spending.run("limits", "show", "--key", key, "--json"))
    said = spending.run("limits", "show").out
    spending.edit("shipway.yaml", "app: small", "app: small\nfoo: 1")
    reset = spending.run("limits", "reset", "--key", key, "--only", "daily_usd", "--json")
    after = rows(spending.run("limits", "show", "--key", key, "--json"))

    spent = before[key, "daily_usd"]
    assert spent["most"] == 100
    assert 0 < spent["used"] <= 100
    assert spent["used"] + spent["left"] == pytest.approx(100)
    assert f"{key}" in said
    assert "tenant default" in said
    assert [row["used"] for row in reset.json["reset"]] == [spent["used"]]
    assert after[key, "daily_usd"]["used"] == 0
    assert after["", "monthly_usd"]["used"] == before["", "monthly_usd"]["used"] > 0
    assert used_up(gateway, secret) == passed
    spending.edit("shipway.yaml", "app: small\nfoo: 1", "app: small")
    events = spending.run("audit", "list", "--json").json
    (event,) = [entry for entry in events if entry["action"] == "limits.reset"]
    assert (event["subject"], event["details"]["used"]) == (f"key:{key}", {"daily_usd": spent["used"]})


def test_limits_are_shown_and_reset_while_nothing_runs(make_app):
    app = make_app()
    key = app.run("key", "create", "--json").json["key_id"]

    assert rows(app.run("limits", "show", "--json"))[key, "requests"]["used"] == 0
    assert app.run("limits", "reset", "--key", key).out.startswith(f"{key}: requests is at 0")
    assert app.run("limits", "reset").code == 2
    assert app.run("limits", "show", "--tenant", "nobody").code == 2


def test_limits_of_a_key_that_is_not_there_are_a_warning_wherever_settings_are_taken(make_app):
    app = make_app()
    tenants = "tenants: { default: {} }\nkey_limits:\n  key_0: { tenant: default, per_key_min: 5 }"
    app.edit("shipway.yaml", "app: small", f"app: small\n{tenants}")
    app.run("key", "create")
    said = "shipway.yaml:4: key_limits.key_0: no key in force has this id"

    check, up, reload = app.run("config", "check"), app.spawn("up"), app.run("reload")

    for done in (check, up, reload):
        assert done.code == 0, done.err
        assert f"shipway: warning: {said}" in done.err
    (warning,) = app.run("config", "check", "--json").json["warnings"]
    assert warning.startswith(said)
